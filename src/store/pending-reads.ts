/** Read barriers: requests for a read index, and waiting until that index is applied. */
import type { Clock, Timer } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import { deferred } from './deferred.js';

interface PendingRead {
  /** Undefined until a leader has confirmed it. */
  index: number | undefined;
  readonly resolve: () => void;
  readonly reject: (error: SkepError) => void;
  readonly timer: Timer;
}

/** See the file's head. */
export class PendingReads {
  readonly #clock: Clock;
  readonly #deadlineMs: number;
  readonly #pending = new Map<string, PendingRead>();
  #next = 1;

  constructor(clock: Clock, deadlineMs: number) {
    this.#clock = clock;
    this.#deadlineMs = deadlineMs;
  }

  /** A new request: its context for the core, and a promise of its end. */
  add(timeoutMs = this.#deadlineMs): { readonly context: string; readonly done: Promise<void> } {
    const context = String(this.#next++);
    const { promise, resolve, reject } = deferred<void>();
    const timer = this.#clock.setTimer(timeoutMs, () => {
      this.fail(context, new SkepError('deadline_exceeded', 'raft: no leader confirmed the read'));
    });
    this.#pending.set(context, { index: undefined, resolve, reject, timer });
    return { context, done: promise };
  }

  /** The state may be read once `index` is applied. */
  confirm(context: string, index: number): void {
    const read = this.#pending.get(context);
    if (read !== undefined) read.index = index;
  }

  /** Ends the requests whose index is applied now. */
  applied(index: number): void {
    for (const [context, read] of this.#pending) {
      if (read.index === undefined || read.index > index) continue;
      this.#pending.delete(context);
      read.timer.cancel();
      read.resolve();
    }
  }

  fail(context: string, error: SkepError): void {
    const read = this.#pending.get(context);
    if (read === undefined) return;
    this.#pending.delete(context);
    read.timer.cancel();
    read.reject(error);
  }

  abandon(error: SkepError): void {
    for (const context of [...this.#pending.keys()]) this.fail(context, error);
  }
}
