/** The store's writer lock: first come, first served, with a bounded queue. */
import { SkepError } from '../model/errors.js';

/** Mutual exclusion of writers. */
export class WriterLock {
  readonly #waiting: (() => void)[] = [];
  readonly #waitingMax: number;
  #held = false;

  constructor(waitingMax: number) {
    this.#waitingMax = waitingMax;
  }

  /**
   * Resolves with the releaser (idempotent) when the lock is the caller's.
   * @throws SkepError resource_exhausted when too many wait already.
   */
  async acquire(): Promise<() => void> {
    if (this.#held) {
      if (this.#waiting.length >= this.#waitingMax) {
        throw new SkepError('resource_exhausted', 'store: too many writers are waiting');
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#held = true;
    let released = false;
    return () => {
      if (released) return;
      released = true;
      this.#release();
    };
  }

  #release(): void {
    const next = this.#waiting.shift();
    // The lock passes over held, so that nobody gets in between.
    if (next === undefined) this.#held = false;
    else next();
  }
}
