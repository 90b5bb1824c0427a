/**
 * Notices that this process stood still (halted, starved, paging): it then has not heard its nodes for as long,
 * and they may have given its connections up, which is no sign that any of them is gone.
 */
import type { Clock, Timer } from '../../model/environment.js';
import { STANDSTILL_LOOK_MS, STANDSTILL_MIN_MS } from './constants.js';

/** Looks at the clock, from its making until it is stopped. */
export class StandstillWatch {
  readonly #clock: Clock;
  readonly #onStoodStill: (durationMs: number) => void;
  #timer: Timer;

  /** @param onStoodStill told once this process runs again, with how long it did not */
  constructor(clock: Clock, onStoodStill: (durationMs: number) => void) {
    this.#clock = clock;
    this.#onStoodStill = onStoodStill;
    this.#timer = this.#arm();
  }

  /** Idempotent. */
  stop(): void {
    this.#timer.cancel();
  }

  #arm(): Timer {
    const dueMs = this.#clock.monotonicMs() + STANDSTILL_LOOK_MS;
    return this.#clock.setTimer(STANDSTILL_LOOK_MS, () => {
      this.#timer = this.#arm();
      const lateMs = this.#clock.monotonicMs() - dueMs;
      if (lateMs >= STANDSTILL_MIN_MS) this.#onStoodStill(lateMs);
    });
  }
}
