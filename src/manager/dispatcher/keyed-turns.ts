/** Bounded concurrency by key: many calls to one slow party hold up no call to another. */

/** At most so many pieces of work at once for each key; others wait for their turn, in order. */
export class KeyedTurns {
  readonly #running = new Map<string, number>();
  readonly #waiting = new Map<string, (() => void)[]>();

  constructor(private readonly limit: number) {}

  /** Runs `work` when its turn comes. */
  async run<R>(key: string, work: () => Promise<R>): Promise<R> {
    const running = this.#running.get(key) ?? 0;
    if (running < this.limit) this.#running.set(key, running + 1);
    else
      await new Promise<void>((resolve) => {
        this.#waiting.set(key, [...(this.#waiting.get(key) ?? []), resolve]);
      });
    try {
      return await work();
    } finally {
      this.#leave(key);
    }
  }

  /** The turn goes to the next one that waits. */
  #leave(key: string): void {
    const [next, ...rest] = this.#waiting.get(key) ?? [];
    if (rest.length === 0) this.#waiting.delete(key);
    else this.#waiting.set(key, rest);
    if (next !== undefined) {
      next();
      return;
    }
    const running = (this.#running.get(key) ?? 1) - 1;
    if (running === 0) this.#running.delete(key);
    else this.#running.set(key, running);
  }
}
