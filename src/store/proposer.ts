/**
 * How the store gets its changes agreed upon: a {@link Proposer} takes the bytes of a raft entry.
 * The raft node is the one of production; {@link LocalProposer} applies at once, for tests and
 * simulations of the rooms above.
 */
import { invariant, SkepError } from '../model/errors.js';

/** SwarmKit's ErrLostLeadership, which a caller gets on a manager that does not lead. */
export const LOST_LEADERSHIP = 'raft: failed to process the request: node lost leader status';

/** The error of a proposal on a manager that does not lead, or ceased to. */
export function lostLeadership(): SkepError {
  return new SkepError('unavailable', LOST_LEADERSHIP);
}

/** The same for a proposal that was not even made: it may safely be tried on the leader. */
export function notLeading(): SkepError {
  return new SkepError('unavailable', LOST_LEADERSHIP, { details: { proposed: false } });
}

/** Whether the error says that nothing was proposed, so that trying again cannot do it twice. */
export function wasNotProposed(error: unknown): boolean {
  return error instanceof SkepError && error.details['proposed'] === false;
}

/** A change on its way. */
export interface Proposal {
  /**
   * Resolves once the entry is applied to the store here. Rejects with a SkepError: the store's
   * refusal, `unavailable` without leadership (the entry may still be applied later by another
   * leader), `deadline_exceeded` when that took too long (likewise).
   */
  readonly applied: Promise<void>;
  /**
   * Resolves, and never rejects, when the entry can no longer be applied behind the back of a
   * following proposal: it was applied, refused, or this manager ceased to lead.
   */
  readonly settled: Promise<void>;
}

/** Gets entries agreed upon, in the order they are proposed. */
export interface Proposer {
  propose(request: Uint8Array): Proposal;
}

/** Where agreed entries go. */
export interface EntryTarget {
  /** Applies the entry; returns the refusal if the store's rules forbid it. */
  applyEntry(index: bigint, request: Uint8Array): SkepError | undefined;
}

/** Applies each proposal at once, counting indexes from 1. `available = false` refuses them. */
export class LocalProposer implements Proposer {
  #target: EntryTarget | undefined;
  #index: bigint;
  /** Stands for leadership. */
  available = true;
  /** Waited for before each entry is applied, as raft waits for its quorum; at once if undefined. */
  latency: (() => Promise<void>) | undefined;
  #last: Promise<void> = Promise.resolve();
  /** Called with each entry applied; lets a test feed a second store. */
  onEntry: ((index: bigint, request: Uint8Array) => void) | undefined;

  constructor(firstIndex = 1n) {
    this.#index = firstIndex - 1n;
  }

  /** Says whom to apply to; once, before the first proposal. */
  attach(target: EntryTarget): void {
    invariant(this.#target === undefined, 'a local proposer serves one store');
    this.#target = target;
  }

  propose(request: Uint8Array): Proposal {
    const { latency } = this;
    if (latency !== undefined) {
      const applied = this.#last.then(latency).then(() => {
        const refused = this.#apply(request);
        if (refused !== undefined) throw refused;
      });
      this.#last = applied.catch(() => undefined);
      return { applied, settled: this.#last };
    }
    const settled = Promise.resolve();
    const refused = this.#apply(request);
    return {
      applied: refused === undefined ? Promise.resolve() : Promise.reject(refused),
      settled,
    };
  }

  #apply(request: Uint8Array): SkepError | undefined {
    if (!this.available) return lostLeadership();
    invariant(this.#target !== undefined, 'a local proposer needs its store attached');
    this.#index += 1n;
    this.onEntry?.(this.#index, request);
    return this.#target.applyEntry(this.#index, request);
  }
}
