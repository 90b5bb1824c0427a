/** Waiting for the store to reach a state, without polling and without missing a change. */
import type { Clock } from '../../model/environment.js';
import type { ReadTransaction, Store, StoreEvent } from '../../store/types.js';

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
 * Resolves true once `reached` holds, false when cancelled first. `concerns` tells which changes
 * can make a difference; it keeps waiting cheap on a busy store.
 */
export function waitUntil(
  store: Store,
  options: {
    readonly reached: (transaction: ReadTransaction) => boolean;
    readonly concerns: (event: StoreEvent) => boolean;
    readonly cancellation: Cancellation;
  },
): Promise<boolean> {
  const { reached, concerns, cancellation } = options;
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
    const subscription = store.viewAndSubscribe(reached, (events) => {
      if (!finished && events.some(concerns) && store.view(reached)) finish(true);
    });
    unsubscribe = subscription.unsubscribe;
    if (subscription.result) {
      finish(true);
      return;
    }
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
