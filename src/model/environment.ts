/**
 * Time and randomness as arguments. Pure rooms (raft, allocator, scheduler, orchestrator, updater)
 * take these interfaces and never touch Date, timers or Math.random, so that a whole cluster can
 * run from one seed.
 */

/** A pending timer; `cancel` is idempotent. */
export interface Timer {
  cancel(): void;
}

/** Source of time. */
export interface Clock {
  /** Wall clock, milliseconds since the epoch. */
  nowMs(): number;
  /** Monotonic clock, milliseconds from an arbitrary origin. */
  monotonicMs(): number;
  /** Calls `callback` once, `delayMs` (>= 0) from now. */
  setTimer(delayMs: number, callback: () => void): Timer;
}

/** Source of randomness. */
export interface RandomSource {
  /** Uniform in [0, 1). */
  next(): number;
  /** `length` random bytes; cryptographically strong in production. */
  bytes(length: number): Uint8Array;
}

/** What a pure room gets besides its data. */
export interface Environment {
  readonly clock: Clock;
  readonly random: RandomSource;
}
