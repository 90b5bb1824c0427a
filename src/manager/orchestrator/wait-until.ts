/** Waiting for the store to reach a state, without polling and without missing a change. */
import type { Clock } from '../../model/environment.js';
import type { ReadTransaction, Store } from '../../store/types.js';
import { subscribeTo, type Topic } from './store-topics.js';

/** A one-way switch that several waiters can hang on; cheaper than an AbortSignal and synchronous. */
export class Cancellation {
  readonly #callbacks = new Set<() => void>();
  #cancelled = false;

  get cancelled(): boolean {
    return this.#cancelled;
  }

  /** Runs all callbacks once; idempotent. */
  cancel(): void {
    if (this.#cancelled) return;
    this.#cancelled = true;
    for (const callback of [...this.#callbacks]) callback();
    this.#callbacks.clear();
  }

  /** Calls `callback` on cancellation (at once if that was before); returns the unsubscriber. */
  onCancel(callback: () => void): () => void {
    if (this.#cancelled) {
      callback();
      return () => undefined;
    }
    this.#callbacks.add(callback);
    return () => this.#callbacks.delete(callback);
  }
}

/**
 * Resolves true once `reached` holds, false when cancelled first. `topics` are the changes that can
 * make a difference, as things are now; they are asked for again after each of them.
 */
export function waitUntil(
  store: Store,
  options: {
    readonly reached: (transaction: ReadTransaction) => boolean;
    readonly topics: (transaction: ReadTransaction) => readonly Topic[];
    readonly cancellation: Cancellation;
  },
): Promise<boolean> {
  const { reached, topics, cancellation } = options;
  return new Promise((resolve) => {
    let finished = false;
    let unsubscribe = (): void => undefined;
    let forget = (): void => undefined;
    const finish = (value: boolean): void => {
      if (finished) return;
      finished = true;
      unsubscribe();
      forget();
      resolve(value);
    };
    const look = (): void => {
      unsubscribe();
      if (finished) return;
      if (store.view(reached)) finish(true);
      else unsubscribe = subscribeTo(store, store.view(topics), look);
    };
    look();
    if (finished) return;
    forget = cancellation.onCancel(() => finish(false));
    if (finished) forget();
  });
}

/** Resolves after `delayMs`, or as soon as it is cancelled. */
export function sleep(clock: Clock, delayMs: number, cancellation: Cancellation): Promise<void> {
  if (delayMs <= 0 || cancellation.cancelled) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = clock.setTimer(delayMs, () => {
      forget();
      resolve();
    });
    const forget = cancellation.onCancel(() => {
      timer.cancel();
      resolve();
    });
  });
}
