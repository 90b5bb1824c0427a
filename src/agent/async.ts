/**
 * Small helpers for waiting: aborts that hang together, abortable sleep, a bounded gate, and a
 * wake-up flag. They exist so that no loop of the agent polls or leaks listeners.
 */
import { setMaxListeners } from 'node:events';
import { SkepError } from '../model/errors.js';
import type { Clock } from '../model/environment.js';

/** What an aborted wait rejects with. */
export function abortedError(): SkepError {
  return new SkepError('canceled', 'context canceled');
}

/** An abort controller that many waits hang on at once, without Node's warning about a leak. */
export function lifeAbort(): AbortController {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  return controller;
}

/** Throws if `signal` is aborted. */
export function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw abortedError();
}

/** An abort controller that also aborts with `parent`; `release` forgets the parent. */
export function childAbort(parent: AbortSignal): {
  readonly controller: AbortController;
  readonly release: () => void;
} {
  const controller = lifeAbort();
  const onAbort = (): void => controller.abort();
  if (parent.aborted) controller.abort();
  else parent.addEventListener('abort', onAbort, { once: true });
  return { controller, release: () => parent.removeEventListener('abort', onAbort) };
}

/** Resolves after `delayMs`; rejects when `signal` aborts first. */
export function sleep(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(abortedError());
      return;
    }
    const onAbort = (): void => {
      timer.cancel();
      reject(abortedError());
    };
    const timer = clock.setTimer(delayMs, () => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    });
    signal.addEventListener('abort', onAbort, { once: true });
  });
}

/** Settles like `work`, but rejects at once when `signal` aborts. */
export function orAborted<R>(work: Promise<R>, signal: AbortSignal): Promise<R> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(abortedError());
      work.catch(() => undefined);
      return;
    }
    const onAbort = (): void => reject(abortedError());
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(
      (value) => {
        signal.removeEventListener('abort', onAbort);
        resolve(value);
      },
      (error: unknown) => {
        signal.removeEventListener('abort', onAbort);
        reject(SkepError.from(error));
      },
    );
  });
}

/** Wakes one waiting loop; a wake-up while nobody waits is kept. */
export class WakeFlag {
  private raised = false;
  private waiter: (() => void) | undefined;

  /** Wakes the waiter, now or at its next wait. */
  raise(): void {
    this.raised = true;
    this.waiter?.();
  }

  /** True after a wake-up that nobody has waited for yet. */
  get isRaised(): boolean {
    return this.raised;
  }

  /** Resolves at the next {@link raise}, or rejects when `signal` aborts. */
  wait(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const finish = (settle: () => void): void => {
        this.waiter = undefined;
        signal.removeEventListener('abort', onAbort);
        settle();
      };
      const onAbort = (): void => finish(() => reject(abortedError()));
      if (signal.aborted) {
        reject(abortedError());
        return;
      }
      signal.addEventListener('abort', onAbort, { once: true });
      const wake = (): void =>
        finish(() => {
          this.raised = false;
          resolve();
        });
      if (this.raised) wake();
      else this.waiter = wake;
    });
  }
}

/** At most `limit` pieces of work at once; the others wait in order. */
export class Gate {
  private running = 0;
  private readonly queue: (() => void)[] = [];

  constructor(private readonly limit: number) {}

  /** Runs `work` when its turn comes; rejects when `signal` aborts before that. */
  async run<R>(signal: AbortSignal, work: () => Promise<R>): Promise<R> {
    await this.enter(signal);
    try {
      return await work();
    } finally {
      this.running -= 1;
      this.queue.shift()?.();
    }
  }

  private enter(signal: AbortSignal): Promise<void> {
    throwIfAborted(signal);
    if (this.running < this.limit) {
      this.running += 1;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const admit = (): void => {
        signal.removeEventListener('abort', onAbort);
        this.running += 1;
        resolve();
      };
      const onAbort = (): void => {
        const index = this.queue.indexOf(admit);
        if (index >= 0) this.queue.splice(index, 1);
        reject(abortedError());
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.queue.push(admit);
    });
  }
}
