/**
 * Plain containers on attachable networks. The engine joins an endpoint before it says for which
 * container; that is looked up afterwards, so that the container gets a name on the network.
 */
import type Dockerode from 'dockerode';
import type { Clock, RandomSource } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import type { Logger } from '../observe/logger.js';
import { type EngineNetworks, statusOf } from './engine-networks.js';
import { CONTAINER_LOOKUP_DELAYS_MS } from './limits.js';
import { type LocalEndpoint, type LocalNetwork, type LocalState, placeKey } from './local-state.js';

const SHORT_ID_LENGTH = 12;
const CONTAINER_ID_BYTES = 32;

/** The part of a container's description used here. */
interface ContainerDetails {
  readonly Id: string;
  readonly Name: string;
  readonly NetworkSettings: {
    readonly SandboxKey?: string;
    readonly Networks?: Readonly<
      Record<string, { readonly EndpointID?: string; readonly Aliases?: readonly string[] | null }>
    >;
  };
}

/** What the lookups need. */
export interface AttachedContainersParts {
  readonly engine: Dockerode;
  readonly networks: EngineNetworks;
  readonly state: LocalState;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly logger: Logger;
  /** A container became known. */
  readonly onChange: () => void;
}

/** Finds containers behind endpoints. */
export class AttachedContainers {
  private readonly parts: AttachedContainersParts;

  constructor(parts: AttachedContainersParts) {
    this.parts = parts;
  }

  /** An endpoint joined that no task asked for. Runs on its own; gives up after a while. */
  follow(endpoint: LocalEndpoint): void {
    this.attempt(endpoint.id, 0);
  }

  /** Path of the network namespace of a container. */
  async sandboxOf(containerId: string): Promise<string | undefined> {
    return (await this.inspect(containerId))?.NetworkSettings.SandboxKey;
  }

  /**
   * Id of the container the engine wants an address for: the one on the network that has no
   * endpoint yet. When several start at once nobody can say; a random id stands for it then.
   */
  async containerWaitingFor(network: LocalNetwork): Promise<string> {
    const { networks, random, logger } = this.parts;
    try {
      const rows = await networks.configured(network);
      const waiting = rows.filter(({ joined }) => !joined);
      if (waiting.length === 1 && waiting[0] !== undefined) return waiting[0].containerId;
    } catch (error) {
      logger.debug({ err: SkepError.from(error).message }, 'container of an endpoint is unknown');
    }
    return Buffer.from(random.bytes(CONTAINER_ID_BYTES)).toString('hex');
  }

  private attempt(endpointId: string, turn: number): void {
    const delayMs = CONTAINER_LOOKUP_DELAYS_MS[turn];
    const { clock, logger } = this.parts;
    if (delayMs === undefined) {
      logger.warn({ endpoint: endpointId }, 'no container found behind an endpoint');
      return;
    }
    clock.setTimer(delayMs, () => {
      this.find(endpointId).then(
        (found) => {
          if (!found) this.attempt(endpointId, turn + 1);
        },
        (error: unknown) => {
          logger.debug({ err: SkepError.from(error).message }, 'container lookup failed');
          this.attempt(endpointId, turn + 1);
        },
      );
    });
  }

  /** True when there is nothing more to find. */
  private async find(endpointId: string): Promise<boolean> {
    const { state, networks, onChange } = this.parts;
    const endpoint = state.endpoints.get(endpointId);
    if (endpoint?.interfaceName === undefined || state.containers.has(endpointId)) return true;
    if (state.planned.has(placeKey(endpoint.networkId, endpoint.address))) return true;
    const network = state.networks.get(endpoint.networkId);
    if (network?.engineId === undefined) return true;
    const rows = await networks.containers(network.engineId);
    const row = rows.find((each) => each.endpointId === endpointId);
    if (row === undefined) return false;
    const details = await this.inspect(row.containerId);
    const attachment = Object.values(details?.NetworkSettings.Networks ?? {}).find(
      (each) => each.EndpointID === endpointId,
    );
    // While `docker network connect` is under way the engine shows an id that stands for none, and no aliases.
    if (attachment === undefined) return false;
    const names = [row.containerId.slice(0, SHORT_ID_LENGTH), ...(attachment.Aliases ?? [])];
    const aliases = [...new Set(names)].filter((name) => name !== row.name);
    const { containerId, name } = row;
    state.containers.set(endpointId, { endpointId, containerId, name, aliases });
    await state.save();
    onChange();
    return true;
  }

  private async inspect(containerId: string): Promise<ContainerDetails | undefined> {
    try {
      return await this.parts.engine.getContainer(containerId).inspect();
    } catch (error) {
      if (statusOf(error) === 404) return undefined;
      throw SkepError.from(error, 'unavailable');
    }
  }
}
