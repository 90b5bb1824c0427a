/**
 * Whether the tables have been refilled after a start. Until then nothing a former process left
 * in force is removed.
 */
import type { Clock } from '../model/environment.js';
import type { JoinState } from './cluster-gossip.js';
import { SETTLE_MAX_MS, SETTLE_MS } from './limits.js';

/** Time since the node knew its cluster. Without a session with a manager it waits for ever. */
export class Settling {
  private readonly clock: Clock;
  private beganMs: number | undefined;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /** The first configuration arrived; later ones change nothing. */
  begin(): void {
    this.beganMs ??= this.clock.monotonicMs();
  }

  /** True once gossip has been joined for a while, or could not be joined for a long while. */
  settled(join: JoinState): boolean {
    if (this.beganMs === undefined) return false;
    const now = this.clock.monotonicMs();
    if (now - this.beganMs >= SETTLE_MAX_MS) return true;
    return join.kind === 'joined' && now - join.sinceMs >= SETTLE_MS;
  }
}
