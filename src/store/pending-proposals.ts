/**
 * Proposals of this leader that are in the log and not applied yet, by index. An entry of another
 * term at the same index means that the proposal was superseded.
 */
import type { Clock, Timer } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import { type Deferred, deferred } from './deferred.js';
import { lostLeadership, type Proposal } from './proposer.js';

interface Pending {
  readonly term: number;
  readonly sinceMs: number;
  readonly applied: Deferred<void>;
  readonly settled: Deferred<void>;
  isLate: boolean;
  isWedged: boolean;
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
  /** In the order they were made. */
  readonly #pending = new Map<number, Pending>();
  /** One for all: nearly every proposal is decided before anything is due. */
  #timer: Timer | undefined;

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
    const sinceMs = this.#clock.monotonicMs();
    this.#pending.set(index, { term, sinceMs, applied, settled, isLate: false, isWedged: false });
    if (this.#timer === undefined) this.#arm();
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
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #end(index: number, { applied, settled }: Pending, error: SkepError | undefined): void {
    this.#pending.delete(index);
    if (error === undefined) applied.resolve();
    else applied.reject(error);
    settled.resolve();
  }

  /** Waits for the first thing that is due with one of those pending, if there are any. */
  #arm(): void {
    let dueMs = Infinity;
    for (const pending of this.#pending.values()) dueMs = Math.min(dueMs, this.#dueOf(pending));
    if (dueMs === Infinity) return;
    const delayMs = Math.max(0, dueMs - this.#clock.monotonicMs());
    this.#timer = this.#clock.setTimer(delayMs, () => {
      this.#timer = undefined;
      this.#check();
      if (this.#timer === undefined) this.#arm();
    });
  }

  #dueOf({ sinceMs, isLate, isWedged }: Pending): number {
    const { deadlineMs, wedgeMs } = this.#times;
    return sinceMs + Math.min(isLate ? Infinity : deadlineMs, isWedged ? Infinity : wedgeMs);
  }

  #check(): void {
    const { deadlineMs, wedgeMs } = this.#times;
    const nowMs = this.#clock.monotonicMs();
    let isNewlyWedged = false;
    for (const pending of this.#pending.values()) {
      const agedMs = nowMs - pending.sinceMs;
      if (agedMs >= deadlineMs && !pending.isLate) {
        pending.isLate = true;
        pending.applied.reject(late());
      }
      if (agedMs >= wedgeMs && !pending.isWedged) {
        pending.isWedged = true;
        isNewlyWedged = true;
      }
    }
    if (isNewlyWedged) this.#onWedged();
  }
}

function late(): SkepError {
  return new SkepError('deadline_exceeded', 'raft: proposal was not decided in time');
}

/** A proposal that was not even taken. */
export function refusedProposal(error: SkepError): Proposal {
  return { index: undefined, applied: Promise.reject(error), settled: Promise.resolve() };
}
