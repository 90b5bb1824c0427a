/**
 * Twins of swarm networks on the Docker Engine: made on first use, found again by label after a
 * restart, removed when nobody here uses them. `docker inspect` and the engine's own name server
 * see containers on them.
 */
import type Dockerode from 'dockerode';
import type { Clock } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import type { Logger } from '../observe/logger.js';
import { DRIVER_NAME, FORCED_REMOVAL_ATTEMPTS, RELEASE_RETRY_MS } from './limits.js';
import type { LocalNetwork, LocalState } from './local-state.js';
import {
  NETWORK_ID_LABEL,
  type NetworkInfo,
  networkInfoOfTwin,
  type TwinNetwork,
  twinSpecOf,
} from './network-info.js';

const STATUS_NOT_FOUND = 404;

/** A container on a twin, as the engine lists it. */
export interface TwinContainer {
  readonly containerId: string;
  readonly name: string;
  readonly endpointId: string;
}

/** Owns the twins. Calls for one network never overlap. */
export class EngineNetworks {
  private readonly engine: Dockerode;
  private readonly state: LocalState;
  private readonly logger: Logger;
  private readonly clock: Clock;
  private readonly busy = new Map<string, Promise<unknown>>();
  /** By network: an `ensure` that waits for its turn answers everybody who asks until then. */
  private readonly waiting = new Map<string, { readonly shape: string; id: Promise<string> }>();

  constructor(engine: Dockerode, state: LocalState, clock: Clock, logger: Logger) {
    this.clock = clock;
    this.engine = engine;
    this.state = state;
    this.logger = logger;
  }

  /** Compares what we remember with the twins the engine has. @throws SkepError when it is unreachable */
  async recover(): Promise<void> {
    const twins = await this.list();
    const seen = new Set<string>();
    for (const twin of twins) {
      let info: NetworkInfo;
      try {
        info = networkInfoOfTwin(twin);
      } catch (error) {
        this.logger.warn({ network: twin.Name, err: String(error) }, 'odd network on the engine');
        continue;
      }
      seen.add(info.id);
      const known = this.state.networks.get(info.id);
      this.state.networks.set(info.id, { info: known?.info ?? info, engineId: twin.Id });
    }
    for (const [id, { info, engineId }] of this.state.networks) {
      if (engineId !== undefined && !seen.has(id)) this.state.networks.set(id, { info });
    }
    await this.state.save();
  }

  /** The engine's id of the twin, made if missing. */
  ensure(info: NetworkInfo): Promise<string> {
    const shape = JSON.stringify(info);
    const present = this.waiting.get(info.id);
    if (present?.shape === shape) return present.id;
    const id = this.exclusive(info.id, async () => {
      if (this.waiting.get(info.id) === entry) this.waiting.delete(info.id);
      return this.ensureNow(info);
    });
    const entry = { shape, id };
    this.waiting.set(info.id, entry);
    return id;
  }

  /** Removes the twin unless containers are on it. True if it is gone. */
  remove(networkId: string): Promise<boolean> {
    return this.exclusive(networkId, async () => {
      const engineId = this.state.networks.get(networkId)?.engineId;
      if (engineId === undefined) return true;
      if (this.state.isInUse(networkId)) return false;
      return this.removeTwin(engineId);
    });
  }

  /** Takes every container off and removes the twin, for leaving the cluster. */
  async removeByForce(network: LocalNetwork): Promise<void> {
    const { engineId } = network;
    if (engineId === undefined) return;
    const twin = this.engine.getNetwork(engineId);
    for (const container of await this.containers(engineId)) {
      await tolerate(twin.disconnect({ Container: container.containerId, Force: true }));
    }
    // The engine takes endpoints back some time after their containers have gone.
    for (let attempt = 1; !(await this.removeTwin(engineId)); attempt++) {
      if (attempt === FORCED_REMOVAL_ATTEMPTS) return;
      await new Promise<void>((resolve) => {
        this.clock.setTimer(RELEASE_RETRY_MS, resolve);
      });
    }
  }

  /** Containers the engine has on a twin; none if the twin is gone. */
  async containers(engineId: string): Promise<readonly TwinContainer[]> {
    try {
      const details: unknown = await this.engine.getNetwork(engineId).inspect();
      const { Containers } = details as {
        Containers?: Record<string, { Name: string; EndpointID: string }> | null;
      };
      return Object.entries(Containers ?? {}).map(([containerId, row]) => ({
        containerId,
        name: row.Name,
        endpointId: row.EndpointID,
      }));
    } catch (error) {
      if (statusOf(error) === STATUS_NOT_FOUND) return [];
      throw error;
    }
  }

  /**
   * Containers configured for a network, also stopped and never started ones (for which the
   * engine's own `network` filter is blind), and whether they are on it now.
   */
  async configured(
    network: LocalNetwork,
  ): Promise<readonly { readonly containerId: string; readonly joined: boolean }[]> {
    const rows = await this.engine.listContainers({ all: true });
    return rows.flatMap((row) => {
      // The engine keys them by the name the container was given, which may be an id.
      const networks = row.NetworkSettings?.Networks ?? {};
      const settings = networks[network.info.name] ?? networks[network.engineId ?? ''];
      if (settings === undefined) return [];
      return [{ containerId: row.Id, joined: (settings.EndpointID ?? '') !== '' }];
    });
  }

  /** A network of the engine's own (host, bridge, none). */
  async predefined(name: string): Promise<string> {
    const details: unknown = await this.engine.getNetwork(name).inspect();
    return (details as { Id: string }).Id;
  }

  private async ensureNow(info: NetworkInfo): Promise<string> {
    const known = this.state.networks.get(info.id);
    if (known?.engineId !== undefined && sameShape(known.info, info)) {
      if (await this.exists(known.engineId)) return known.engineId;
    }
    // The plugin must know the network before the engine asks it for the pool.
    this.state.networks.set(info.id, { info });
    let id: string;
    try {
      id = await this.create(info);
    } catch (error) {
      // Containers may still be on the old twin.
      if (known !== undefined) this.state.networks.set(info.id, known);
      throw error;
    }
    this.state.networks.set(info.id, { info, engineId: id });
    await this.state.save();
    return id;
  }

  private async list(): Promise<readonly TwinNetwork[]> {
    const rows: unknown = await this.engine.listNetworks({
      filters: { label: [NETWORK_ID_LABEL] },
    });
    const twins = rows as readonly (TwinNetwork & { readonly Driver: string })[];
    return twins.filter(({ Driver }) => Driver === DRIVER_NAME);
  }

  private async exists(engineId: string): Promise<boolean> {
    try {
      await this.engine.getNetwork(engineId).inspect();
      return true;
    } catch (error) {
      if (statusOf(error) === STATUS_NOT_FOUND) return false;
      throw error;
    }
  }

  private async create(info: NetworkInfo): Promise<string> {
    for (const twin of await this.list()) {
      if (twin.Name !== info.name && twin.Options?.[NETWORK_ID_LABEL] !== info.id) continue;
      if (twin.Options?.[NETWORK_ID_LABEL] === info.id && fits(twin, info)) return twin.Id;
      // Left over from a network of that name that is gone, or whose addresses changed.
      await this.removeTwin(twin.Id);
    }
    const spec = twinSpecOf(info);
    const created = await this.engine.createNetwork({
      Name: info.name,
      Driver: DRIVER_NAME,
      CheckDuplicate: true,
      Internal: info.internal,
      Attachable: info.attachable,
      Labels: { ...spec.Labels },
      Options: { ...spec.Options },
      IPAM: {
        Driver: DRIVER_NAME,
        Options: { ...spec.IpamOptions },
        Config: spec.IpamConfig.map((config) => ({ ...config })),
      },
    });
    return created.id;
  }

  private async removeTwin(engineId: string): Promise<boolean> {
    try {
      await this.engine.getNetwork(engineId).remove();
      return true;
    } catch (error) {
      if (statusOf(error) === STATUS_NOT_FOUND) return true;
      // Containers are still on it: it stays until the next of them goes.
      this.logger.debug({ err: SkepError.from(error).message }, 'network stays on the engine');
      return false;
    }
  }

  private async exclusive<T>(networkId: string, work: () => Promise<T>): Promise<T> {
    const former = this.busy.get(networkId) ?? Promise.resolve();
    const run = former.then(work, work);
    this.busy.set(networkId, run);
    try {
      return await run;
    } catch (error) {
      throw SkepError.from(error, 'unavailable');
    } finally {
      if (this.busy.get(networkId) === run) this.busy.delete(networkId);
    }
  }
}

/** HTTP status of an engine error. */
export function statusOf(error: unknown): number | undefined {
  if (error instanceof Error && 'statusCode' in error && typeof error.statusCode === 'number') {
    return error.statusCode;
  }
  return undefined;
}

async function tolerate(call: Promise<unknown>): Promise<void> {
  try {
    await call;
  } catch (error) {
    if (statusOf(error) === undefined) throw error;
  }
}

function fits(twin: TwinNetwork, info: NetworkInfo): boolean {
  try {
    return sameShape(networkInfoOfTwin(twin), info);
  } catch {
    // Options nobody can read: not a fit.
    return false;
  }
}

/** Same IPv4 subnets and VXLAN ids; what else differs needs no new twin. */
function sameShape(left: NetworkInfo, right: NetworkInfo): boolean {
  const shape = ({ subnets }: NetworkInfo): string =>
    JSON.stringify(subnets.map(({ vni, subnet, gateway }) => [vni, subnet, gateway]));
  return shape(left) === shape(right);
}
