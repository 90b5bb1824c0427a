/**
 * Proposals of this leader that are in the log and not applied yet, by index. An entry of another
 * term at the same index means that the proposal was superseded.
 */
import type { Clock, Timer } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import { deferred } from './deferred.js';
import { lostLeadership, type Proposal } from './proposer.js';

interface Pending {
  readonly term: number;
  readonly finish: (error: SkepError | undefined) => void;
  readonly settle: () => void;
  readonly timers: readonly Timer[];
}

/** How long callers wait, and from when on the leader counts as stuck. */
export interface ProposalTimes {
  readonly deadlineMs: number;
  readonly wedgeMs: number;
}

/** See the file's head. */
export class PendingProposals {
  readonly #clock: Clock;
  readonly #times: ProposalTimes;
  readonly #onWedged: () => void;
  readonly #pending = new Map<number, Pending>();

  constructor(clock: Clock, times: ProposalTimes, onWedged: () => void) {
    this.#clock = clock;
    this.#times = times;
    this.#onWedged = onWedged;
  }

  get size(): number {
    return this.#pending.size;
  }

  /** Follows the entry at `index` until its fate is known. */
  add(index: number, term: number): Proposal {
    const applied = deferred<void>();
    const settled = deferred<void>();
    const late = (): void => {
      applied.reject(new SkepError('deadline_exceeded', 'raft: proposal was not decided in time'));
    };
    const timers = [
      this.#clock.setTimer(this.#times.deadlineMs, late),
      this.#clock.setTimer(this.#times.wedgeMs, this.#onWedged),
    ];
    const finish = (error: SkepError | undefined): void => {
      if (error === undefined) applied.resolve();
      else applied.reject(error);
    };
    this.#pending.set(index, { term, finish, settle: () => settled.resolve(), timers });
    return { index: BigInt(index), applied: applied.promise, settled: settled.promise };
  }

  /** The entry at `index` was applied; `refusal` if the store's rules forbade it. */
  applied(index: number, term: number, refusal: SkepError | undefined): void {
    const pending = this.#pending.get(index);
    if (pending === undefined) return;
    this.#end(index, pending, pending.term === term ? refusal : lostLeadership());
  }

  /** Leadership is lost or the node stops: nobody here will know what becomes of them. */
  abandon(error: SkepError): void {
    for (const [index, pending] of this.#pending) this.#end(index, pending, error);
  }

  #end(index: number, pending: Pending, error: SkepError | undefined): void {
    this.#pending.delete(index);
    for (const timer of pending.timers) timer.cancel();
    pending.finish(error);
    pending.settle();
  }
}

/** A proposal that was not even taken. */
export function refusedProposal(error: SkepError): Proposal {
  return { index: undefined, applied: Promise.reject(error), settled: Promise.resolve() };
}
