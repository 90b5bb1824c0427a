/** Secret drivers of this host: the plugins that its engine would find. */
import type Dockerode from 'dockerode';
import { ENGINE_PLUGIN_PLACES, type ManagedPlugin } from '../manager/drivers/plugin-endpoint.js';
import { SecretDrivers, type SecretSource } from '../manager/drivers/secret-drivers.js';
import { SkepError } from '../model/errors.js';

/** The part of an inspected plugin that matters. */
interface InspectedPlugin {
  readonly Id?: string;
  readonly Enabled?: boolean;
  readonly Config?: {
    readonly Interface?: { readonly Types?: readonly string[] | null; readonly Socket?: string };
  };
}

/** Plugins in the places of a stock engine, and those that this engine runs. */
export function secretSource(engine: Dockerode): SecretSource {
  return new SecretDrivers({
    ...ENGINE_PLUGIN_PLACES,
    managed: async (name): Promise<ManagedPlugin | undefined> => {
      let found: InspectedPlugin;
      try {
        found = (await engine.getPlugin(name, name).inspect()) as InspectedPlugin;
      } catch (cause) {
        if ((cause as { statusCode?: number }).statusCode === 404) return undefined;
        throw new SkepError('unavailable', SkepError.from(cause).message, { cause });
      }
      const { Types, Socket = '' } = found.Config?.Interface ?? {};
      return {
        id: found.Id ?? '',
        isEnabled: found.Enabled === true,
        types: Types ?? [],
        socket: Socket,
      };
    },
  });
}
