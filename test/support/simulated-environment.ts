/**
 * Time and randomness from one seed, for tests and simulations of the pure rooms: a virtual clock
 * whose timers fire only when the test advances it, and a seeded generator. The same seed gives the
 * same run, so a failing seed can be replayed.
 */
import type { Clock, Environment, RandomSource, Timer } from '../../src/model/environment.js';

/** Virtual wall clock at the start of every simulation: 2026-01-01T00:00:00Z. */
export const SIMULATION_EPOCH_MS = Date.UTC(2026, 0, 1);

interface PendingTimer {
  readonly atMs: number;
  readonly sequence: number;
  readonly callback: () => void;
  cancelled: boolean;
}

/** Whether `a` fires before `b`: by time, then by order of creation. */
function isBefore(a: PendingTimer, b: PendingTimer): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.sequence < b.sequence);
}

/** Binary heap of timers, earliest first. */
class TimerHeap {
  readonly #timers: PendingTimer[] = [];

  get first(): PendingTimer | undefined {
    return this.#timers[0];
  }

  push(timer: PendingTimer): void {
    const timers = this.#timers;
    timers.push(timer);
    let child = timers.length - 1;
    while (child > 0) {
      const parent = (child - 1) >> 1;
      const above = timers[parent];
      if (above === undefined || isBefore(above, timer)) break;
      timers[child] = above;
      timers[parent] = timer;
      child = parent;
    }
  }

  pop(): PendingTimer | undefined {
    const timers = this.#timers;
    const top = timers[0];
    const last = timers.pop();
    if (top === undefined || last === undefined || timers.length === 0) return top;
    let parent = 0;
    for (;;) {
      const leftIndex = 2 * parent + 1;
      const left = timers[leftIndex];
      if (left === undefined) break;
      const right = timers[leftIndex + 1];
      const useRight = right !== undefined && isBefore(right, left);
      const smaller = useRight ? right : left;
      if (!isBefore(smaller, last)) break;
      timers[parent] = smaller;
      parent = useRight ? leftIndex + 1 : leftIndex;
    }
    timers[parent] = last;
    return top;
  }
}

/** A clock that stands still until told to move. Both its clocks move together. */
export class SimulatedClock implements Clock {
  readonly #timers = new TimerHeap();
  #elapsedMs = 0;
  #wallOffsetMs = SIMULATION_EPOCH_MS;
  #sequence = 0;
  #live = 0;

  nowMs(): number {
    return this.#wallOffsetMs + this.#elapsedMs;
  }

  monotonicMs(): number {
    return this.#elapsedMs;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const timer: PendingTimer = {
      atMs: this.#elapsedMs + Math.max(0, delayMs),
      sequence: this.#sequence++,
      callback,
      cancelled: false,
    };
    this.#timers.push(timer);
    this.#live += 1;
    return {
      cancel: () => {
        if (!timer.cancelled) this.#live -= 1;
        timer.cancelled = true;
      },
    };
  }

  /** Timers waiting to fire. */
  get pendingTimers(): number {
    return this.#live;
  }

  /** Virtual time of the next timer on the monotonic clock, or undefined when there is none. */
  nextTimerAtMs(): number | undefined {
    while (this.#timers.first?.cancelled === true) this.#timers.pop();
    return this.#timers.first?.atMs;
  }

  /** Moves to the next timer and fires it; false when there is none. */
  step(): boolean {
    const atMs = this.nextTimerAtMs();
    const timer = atMs === undefined ? undefined : this.#timers.pop();
    if (timer === undefined) return false;
    this.#elapsedMs = Math.max(this.#elapsedMs, timer.atMs);
    timer.cancelled = true;
    this.#live -= 1;
    timer.callback();
    return true;
  }

  /** Moves `durationMs` on, firing each timer that falls due, in order, at its own time. */
  advance(durationMs: number): void {
    const untilMs = this.#elapsedMs + durationMs;
    for (;;) {
      const atMs = this.nextTimerAtMs();
      if (atMs === undefined || atMs > untilMs) break;
      this.step();
    }
    this.#elapsedMs = untilMs;
  }

  /**
   * As {@link advance}, but lets pending promises settle after each timer, for shells that await
   * between timers.
   */
  async advanceAsync(durationMs: number): Promise<void> {
    const untilMs = this.#elapsedMs + durationMs;
    await settlePromises();
    for (;;) {
      const atMs = this.nextTimerAtMs();
      if (atMs === undefined || atMs > untilMs) break;
      this.step();
      await settlePromises();
    }
    this.#elapsedMs = untilMs;
  }

  /** Moves the wall clock alone, as an administrator or NTP would. */
  shiftWallClock(byMs: number): void {
    this.#wallOffsetMs += byMs;
  }
}

/** Resolves after the microtasks (and their successors) that are pending now have run. */
export function settlePromises(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A seeded generator (sfc32): fast, of good quality, the same on every machine. Not for keys. */
export class SeededRandom implements RandomSource {
  readonly seed: number;
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number) {
    this.seed = seed;
    this.#a = 0x9e3779b9 ^ seed;
    this.#b = 0x243f6a88 ^ Math.trunc(seed / 2 ** 32);
    this.#c = 0xb7e15162;
    for (let round = 0; round < 12; round++) this.uint32();
  }

  /** Uniform in [0, 2^32). */
  uint32(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }

  next(): number {
    return this.uint32() / 2 ** 32;
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.uint32() & 0xff);
  }

  /** Uniform whole number in [low, high], both included. */
  integer(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  /** True with the given probability. */
  chance(probability: number): boolean {
    return this.next() < probability;
  }

  /** One of `items`, which must not be empty. */
  pick<T>(items: readonly T[]): T {
    const item = items[this.integer(0, items.length - 1)];
    if (item === undefined) throw new RangeError('pick from nothing');
    return item;
  }

  /** A new array with the items of `items` in random order. */
  shuffle<T>(items: readonly T[]): T[] {
    const shuffled = [...items];
    for (let index = shuffled.length - 1; index > 0; index--) {
      const other = this.integer(0, index);
      const [a, b] = [shuffled[index] as T, shuffled[other] as T];
      shuffled[index] = b;
      shuffled[other] = a;
    }
    return shuffled;
  }

  /** An independent generator derived from this one, so that parts do not disturb each other. */
  fork(): SeededRandom {
    return new SeededRandom(this.uint32());
  }
}

/** An {@link Environment} with the simulator's own controls at hand. */
export interface SimulatedEnvironment extends Environment {
  readonly clock: SimulatedClock;
  readonly random: SeededRandom;
}

/** A new virtual world from `seed`. */
export function simulatedEnvironment(seed: number): SimulatedEnvironment {
  return { clock: new SimulatedClock(), random: new SeededRandom(seed) };
}
