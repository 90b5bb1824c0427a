/**
 * Removes twins nobody uses: at once when the last task of a network ends, after a while when a
 * plain container was the last (it may be created now and started later).
 */
import type { Clock, Timer } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import type { Logger } from '../observe/logger.js';
import type { EngineNetworks } from './engine-networks.js';
import { PLAN_EXPIRY_MS, RELEASE_ATTEMPTS, RELEASE_RETRY_MS, TWIN_IDLE_MS } from './limits.js';
import type { LocalNetwork, LocalState } from './local-state.js';

/** What the sweeper works on. */
export interface TwinSweeperParts {
  readonly networks: Pick<EngineNetworks, 'remove' | 'configured'>;
  readonly state: LocalState;
  readonly clock: Clock;
  readonly logger: Logger;
  /** A network was removed some time after its last task. */
  readonly onChange: () => void;
}

/** One per node. */
export class TwinSweeper {
  private readonly parts: TwinSweeperParts;
  /** When a network was last used, monotonic. */
  private readonly usedMs = new Map<string, number>();
  private sweeping = false;
  private stopped = false;
  /** Networks whose last task has gone but whose endpoints the engine has not taken back yet. */
  private readonly leaving = new Map<string, Timer>();

  constructor(parts: TwinSweeperParts) {
    this.parts = parts;
  }

  /** The network is about to be used, or was until now. */
  touch(networkId: string): void {
    this.usedMs.set(networkId, this.parts.clock.monotonicMs());
  }

  /**
   * A task has left the network. The engine takes endpoints back some time after their container
   * has stopped, so that the last one may still be there: then this is tried again for a while.
   */
  release(networkId: string): Promise<void> {
    this.leaving.get(networkId)?.cancel();
    this.leaving.delete(networkId);
    return this.attempt(networkId, RELEASE_ATTEMPTS);
  }

  /** Ends all later attempts. */
  stop(): void {
    this.stopped = true;
    for (const timer of this.leaving.values()) timer.cancel();
    this.leaving.clear();
  }

  private async attempt(networkId: string, attempts: number): Promise<void> {
    const { state, clock, logger, onChange } = this.parts;
    const network = state.networks.get(networkId);
    if (network === undefined || state.isPromised(networkId)) return;
    if (network.info.attachable && (await this.hasContainers(network))) return;
    if (!state.isInUse(networkId) && (await this.remove(networkId))) return onChange();
    if (attempts <= 1 || this.stopped) return;
    const timer = clock.setTimer(RELEASE_RETRY_MS, () => {
      this.leaving.delete(networkId);
      this.attempt(networkId, attempts - 1).catch((error: unknown) => {
        logger.debug({ err: SkepError.from(error).message }, 'network stays on the engine');
      });
    });
    this.leaving.get(networkId)?.cancel();
    this.leaving.set(networkId, timer);
  }

  /** Looks for networks that have been idle for long. True if one was removed. */
  async sweep(): Promise<boolean> {
    if (this.sweeping) return false;
    this.sweeping = true;
    try {
      return await this.sweepOnce();
    } finally {
      this.sweeping = false;
    }
  }

  private async sweepOnce(): Promise<boolean> {
    const { state, clock } = this.parts;
    this.forgetOldPlans();
    let removed = false;
    for (const network of [...state.networks.values()]) {
      const { info } = network;
      if (state.isInUse(info.id)) {
        this.touch(info.id);
        continue;
      }
      const used = this.usedMs.get(info.id);
      if (used === undefined) this.touch(info.id);
      if (used === undefined || clock.monotonicMs() - used < TWIN_IDLE_MS) continue;
      if (await this.hasContainers(network)) continue;
      removed = (await this.remove(info.id)) || removed;
    }
    return removed;
  }

  private forgetOldPlans(): void {
    const { state, clock } = this.parts;
    for (const [place, plan] of state.planned) {
      const used = state.endpointAt(plan.networkId, plan.address) !== undefined;
      if (!used && clock.nowMs() - plan.plannedAtMs > PLAN_EXPIRY_MS) state.planned.delete(place);
    }
  }

  /** Forgets the network unless this node has an address of its own on it. */
  private async remove(networkId: string): Promise<boolean> {
    const { networks, state } = this.parts;
    if (!(await networks.remove(networkId))) return false;
    const own = state.node?.attachments.some((each) => each.networkId === networkId) ?? false;
    const network = state.networks.get(networkId);
    if (own && network !== undefined) state.networks.set(networkId, { info: network.info });
    else if (!state.isInUse(networkId)) state.networks.delete(networkId);
    this.usedMs.delete(networkId);
    await state.save();
    return true;
  }

  /** Also stopped containers count: they may be started again. */
  private async hasContainers(network: LocalNetwork): Promise<boolean> {
    try {
      return (await this.parts.networks.configured(network)).length > 0;
    } catch (error) {
      this.parts.logger.debug({ err: SkepError.from(error).message }, 'engine did not answer');
      return true;
    }
  }
}
