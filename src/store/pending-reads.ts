/**
 * Read barriers: requests for a read index, and waiting until that index is applied. All that wait
 * share requests: one is under way at a time, and whoever comes meanwhile waits for the next, since
 * a request vouches only for what was agreed upon before it was made.
 */
import type { Clock, Timer } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import { deferred } from './deferred.js';

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: SkepError) => void;
  readonly timer: Timer;
}

interface Confirmed {
  readonly index: number;
  readonly reads: ReadonlySet<Waiting>;
}

/** What {@link PendingReads} needs. */
export interface PendingReadsOptions {
  readonly clock: Clock;
  readonly deadlineMs: number;
  /**
   * Begins each request's name. Of this start of this member alone: the leader takes equal names
   * for one request, and an answer to an earlier start may still be on its way.
   */
  readonly prefix: string;
  /** Hands a request to the core; false when there is no leader to ask. */
  readonly ask: (context: string) => boolean;
}

/** See the file's head. */
export class PendingReads {
  readonly #clock: Clock;
  readonly #deadlineMs: number;
  readonly #ask: (context: string) => boolean;
  readonly #prefix: string;
  /** Came after the request that is under way. */
  #waiting = new Set<Waiting>();
  #asked: { readonly context: string; readonly reads: Set<Waiting> } | undefined;
  /** Waits for its index to be applied. */
  #confirmed: Confirmed[] = [];
  #next = 1;

  constructor(options: PendingReadsOptions) {
    this.#clock = options.clock;
    this.#deadlineMs = options.deadlineMs;
    this.#ask = options.ask;
    this.#prefix = options.prefix;
  }

  /**
   * Resolves when all that was agreed upon before is applied; waits through an election.
   * @throws SkepError deadline_exceeded
   */
  async add(timeoutMs = this.#deadlineMs): Promise<void> {
    const { promise, resolve, reject } = deferred<void>();
    const timer = this.#clock.setTimer(timeoutMs, () => {
      this.#drop(read);
      reject(new SkepError('deadline_exceeded', 'raft: no leader confirmed the read'));
    });
    const read: Waiting = { resolve, reject, timer };
    this.#waiting.add(read);
    this.#request();
    await promise;
  }

  /** Asks again: the request may be lost, or there may be a leader now. */
  askAgain(): void {
    // Under its name, so that a slow answer to the first asking still counts.
    if (this.#asked !== undefined) this.#ask(this.#asked.context);
    else this.#request();
  }

  /** The state may be read once `index` is applied. */
  confirm(context: string, index: number): void {
    const asked = this.#asked;
    if (asked?.context !== context) return;
    this.#asked = undefined;
    this.#confirmed.push({ index, reads: asked.reads });
    this.#request();
  }

  /** Ends the requests whose index is applied now. */
  applied(index: number): void {
    if (this.#confirmed.length === 0) return;
    const left: Confirmed[] = [];
    for (const one of this.#confirmed) {
      if (one.index > index) left.push(one);
      else for (const read of one.reads) settle(read);
    }
    this.#confirmed = left;
  }

  abandon(error: SkepError): void {
    const confirmed = this.#confirmed.flatMap(({ reads }) => [...reads]);
    const all = [...this.#waiting, ...(this.#asked?.reads ?? []), ...confirmed];
    this.#waiting = new Set();
    this.#asked = undefined;
    this.#confirmed = [];
    for (const read of all) {
      read.timer.cancel();
      read.reject(error);
    }
  }

  #request(): void {
    if (this.#asked !== undefined || this.#waiting.size === 0) return;
    const context = `${this.#prefix}-${this.#next++}`;
    if (!this.#ask(context)) return;
    this.#asked = { context, reads: this.#waiting };
    this.#waiting = new Set();
  }

  #drop(read: Waiting): void {
    this.#waiting.delete(read);
    this.#asked?.reads.delete(read);
    this.#confirmed = this.#confirmed.map(({ index, reads }) => ({
      index,
      reads: new Set([...reads].filter((one) => one !== read)),
    }));
  }
}

function settle(read: Waiting): void {
  read.timer.cancel();
  read.resolve();
}
