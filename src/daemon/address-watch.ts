/**
 * Looks now and then whether the host still has the addresses that its node is known by. Polled: an
 * event tells of a change, but not that it lasts, and the look is one message to the kernel.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Clock, Timer } from '../model/environment.js';
import type { NodeState } from './node-state.js';

/** Pause between two looks. */
const LOOK_MS = 2_000;
/** What is different for so long stays: leases are renewed and links come back within it. */
export const ADDRESSES_SETTLE_MS = 10_000;

/** What a watch works with. */
export interface AddressWatchOptions {
  readonly clock: Clock;
  /** The node's recorded state; undefined while there is nothing to watch. */
  readonly recorded: () => NodeState | undefined;
  /** The recorded state with the addresses of now. */
  readonly present: (recorded: NodeState) => NodeState;
  /** Called once for each change that lasts. */
  readonly onMoved: () => void;
}

/** See the file's head. */
export class AddressWatch {
  readonly #options: AddressWatchOptions;
  #timer: Timer | undefined;
  /** What the addresses have changed to, and since when. */
  #change: { readonly to: NodeState; readonly sinceMs: number } | undefined;

  constructor(options: AddressWatchOptions) {
    this.#options = options;
  }

  /** Begins to look. */
  start(): void {
    this.#timer = this.#options.clock.setTimer(LOOK_MS, () => {
      this.#look();
      this.start();
    });
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #look(): void {
    const { clock, recorded, present, onMoved } = this.#options;
    const before = recorded();
    const now = before === undefined ? undefined : present(before);
    if (now === undefined || isDeepStrictEqual(now, before)) {
      this.#change = undefined;
      return;
    }
    const nowMs = clock.monotonicMs();
    if (!isDeepStrictEqual(now, this.#change?.to)) this.#change = { to: now, sinceMs: nowMs };
    const { sinceMs } = this.#change ?? { sinceMs: nowMs };
    if (nowMs - sinceMs < ADDRESSES_SETTLE_MS) return;
    this.#change = undefined;
    onMoved();
  }
}
