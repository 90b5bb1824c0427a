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
  /** The entry's place in the log, if it is applied at all; undefined when it was not even taken. */
  readonly index: bigint | undefined;
  /**
   * Resolves once the entry is applied to the store here. Rejects with a SkepError: the store's
   * refusal, `unavailable` without leadership (the entry may still be applied later by another
   * leader), `deadline_exceeded` when that took too long (likewise).
   */
  readonly applied: Promise<void>;
  /**
   * Resolves, and never rejects, when nothing of this entry is to be expected any more: it was
   * applied, refused, or this manager ceased to lead.
   */
  readonly settled: Promise<void>;
}

/** Where an entry will stand. */
export interface LogPlace {
  readonly index: bigint;
  readonly term: number;
}

/**
 * Gets entries agreed upon, in the order they are proposed. Of those under way at one time either all
 * are applied, or some of the first and none after them: whoever proposes may build on what is not
 * decided yet.
 */
export interface Proposer {
  /**
   * Where the next entry will stand if nothing comes before it, so that several transactions can be
   * gathered in it; undefined when there is none to be had now, or entries are applied at once.
   */
  readonly nextPlace?: LogPlace | undefined;
  /**
   * `request` must not change any more; it is what the entry's data is, by identity. Refused when
   * it cannot stand at `place`.
   */
  propose(request: Uint8Array, place?: LogPlace): Proposal;
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
  /** Waited for before an entry is applied, as raft waits for its quorum; at once if undefined. */
  latency: (() => Promise<void>) | undefined;
  #last: Promise<void> = Promise.resolve();
  /** Grows when leadership is lost: entries under way then are never applied. */
  #leaderships = 0;
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
    if (latency !== undefined) return this.#proposeLater(request, latency());
    const settled = Promise.resolve();
    if (!this.available) {
      return { index: undefined, applied: Promise.reject(lostLeadership()), settled };
    }
    this.#index += 1n;
    const refused = this.#apply(this.#index, request);
    return {
      index: this.#index,
      applied: refused === undefined ? Promise.resolve() : Promise.reject(refused),
      settled,
    };
  }

  #proposeLater(request: Uint8Array, decided: Promise<void>): Proposal {
    this.#index += 1n;
    const index = this.#index;
    const leadership = this.#leaderships;
    const applied = Promise.all([this.#last, decided]).then(() => {
      if (!this.available) this.#leaderships += 1;
      if (leadership !== this.#leaderships) throw lostLeadership();
      const refused = this.#apply(index, request);
      if (refused !== undefined) throw refused;
    });
    this.#last = applied.catch(() => undefined);
    return { index, applied, settled: this.#last };
  }

  #apply(index: bigint, request: Uint8Array): SkepError | undefined {
    invariant(this.#target !== undefined, 'a local proposer needs its store attached');
    this.onEntry?.(index, request);
    return this.#target.applyEntry(index, request);
  }
}
