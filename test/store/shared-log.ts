/**
 * Two managers' stores over one log in memory, of which one leads at a time: entries wait until the
 * test commits them, and a change of leaders keeps any number of them and drops the rest, as raft
 * may. The shell's order of events is raft's: proposals fail first, then entries of others come.
 */
import { invariant, type SkepError } from '../../src/model/errors.js';
import { type Deferred, deferred } from '../../src/store/deferred.js';
import { MemoryStore } from '../../src/store/memory-store.js';
import {
  type LogPlace,
  lostLeadership,
  notLeading,
  type Proposal,
  type Proposer,
} from '../../src/store/proposer.js';
import { simulatedEnvironment } from '../support/simulated-environment.js';

interface Slot {
  readonly request: Uint8Array;
  readonly applied: Deferred<void>;
  readonly settled: Deferred<void>;
}

/** See the file's head. */
export class SharedLog {
  readonly stores: readonly [MemoryStore, MemoryStore];
  /** Entries that a store refused to apply: made on a state that never came. */
  readonly refusals: SkepError[] = [];
  #leader = 0;
  #slots: Slot[] = [];
  #committed = 0n;
  #term = 1;
  readonly #isSharing: boolean;

  /** @param isSharing whether writers of one turn of the event loop share an entry, as with raft */
  constructor(seed: number, isSharing = false) {
    this.#isSharing = isSharing;
    this.stores = [this.#newStore(seed, 0), this.#newStore(seed + 1, 1)];
  }

  /** The store that takes writes. */
  get leading(): MemoryStore {
    return this.stores[this.#leader] as MemoryStore;
  }

  /** Entries that are not committed yet. */
  get pending(): number {
    return this.#slots.length;
  }

  /** Commits and applies the next `count` entries everywhere. */
  commit(count: number): void {
    for (const slot of this.#slots.splice(0, count)) this.#apply(slot);
  }

  /** The other manager leads from now on; `kept` of the entries under way had reached it. */
  changeLeader(kept: number): void {
    const { length } = this.#slots;
    for (const slot of this.#slots) {
      slot.applied.reject(lostLeadership());
      slot.settled.resolve();
    }
    this.#slots.length = Math.min(kept, length);
    this.#leader = 1 - this.#leader;
    this.#term += 1;
    this.commit(length);
    // The new leader's own first entry.
    this.#apply({ request: new Uint8Array(0), applied: deferred(), settled: deferred() });
  }

  #newStore(seed: number, which: number): MemoryStore {
    const proposer = this.#proposer(which);
    const environment = simulatedEnvironment(seed);
    return new MemoryStore({ environment, proposer, freezeObjects: true });
  }

  #proposer(which: number): Proposer {
    const propose = this.#propose.bind(this, which);
    if (!this.#isSharing) return { propose };
    const nextPlace = (): LogPlace | undefined =>
      which === this.#leader ? { index: this.#nextIndex, term: this.#term } : undefined;
    return {
      propose,
      get nextPlace() {
        return nextPlace();
      },
    };
  }

  get #nextIndex(): bigint {
    return this.#committed + BigInt(this.#slots.length) + 1n;
  }

  #propose(which: number, request: Uint8Array, place?: LogPlace): Proposal {
    const isThere =
      place === undefined || (place.term === this.#term && place.index === this.#nextIndex);
    if (which !== this.#leader || !isThere) {
      return {
        index: undefined,
        applied: Promise.reject(notLeading()),
        settled: Promise.resolve(),
      };
    }
    const slot = { request, applied: deferred<void>(), settled: deferred<void>() };
    const index = this.#nextIndex;
    this.#slots.push(slot);
    return { index, applied: slot.applied.promise, settled: slot.settled.promise };
  }

  #apply(slot: Slot): void {
    this.#committed += 1n;
    const outcomes = this.stores.map((store, which) => {
      // Only the manager that made an entry has these very bytes.
      const request = which === this.#leader ? slot.request : Uint8Array.from(slot.request);
      return store.applyEntry(this.#committed, request);
    });
    invariant(outcomes[0]?.message === outcomes[1]?.message, 'both refuse, or none');
    const [refusal] = outcomes;
    if (refusal !== undefined) this.refusals.push(refusal);
    if (refusal === undefined) slot.applied.resolve();
    else slot.applied.reject(refusal);
    slot.settled.resolve();
  }
}
