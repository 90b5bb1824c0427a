/**
 * An entry that still takes changes: transactions of one turn of the event loop are gathered in it, so
 * that raft, log, disk and network have one thing to do instead of many. It counts as proposed from its
 * first change on: the place in the log that it will have is known.
 */
import { type Deferred, deferred } from './deferred.js';
import type { Draft } from './draft.js';
import { EMPTY_REQUEST_BYTES, type EncodedAction, encodeRequest } from './entry-codec.js';
import { BATCH_CHANGES_MAX, TRANSACTION_BYTES_MAX } from './limits.js';
import type { ProposedEntry } from './proposed-state.js';
import type { LogPlace, Proposal, Proposer } from './proposer.js';

/** See the file's head. */
export class OpenEntry implements ProposedEntry {
  readonly drafts: Draft[] = [];
  readonly #requestId: bigint;
  readonly #place: LogPlace;
  readonly #actions: EncodedAction[] = [];
  readonly #outcome: Deferred<void> = deferred();
  readonly #settled: Deferred<void> = deferred();
  #bytes = EMPTY_REQUEST_BYTES;
  #request: Uint8Array | undefined;

  constructor(requestId: bigint, place: LogPlace) {
    this.#requestId = requestId;
    this.#place = place;
  }

  get index(): bigint {
    return this.#place.index;
  }

  get request(): Uint8Array | undefined {
    return this.#request;
  }

  get applied(): Promise<void> {
    return this.#outcome.promise;
  }

  /** Resolves, and never rejects, once nothing is to be expected of this entry any more. */
  get settled(): Promise<void> {
    return this.#settled.promise;
  }

  /** Whether so many changes more keep within an entry's limits. */
  hasRoom(changes: number, bytes: number): boolean {
    const count = this.drafts.length + changes;
    return count <= BATCH_CHANGES_MAX && this.#bytes + bytes <= TRANSACTION_BYTES_MAX;
  }

  /** Takes changes and their encoded actions. */
  add(drafts: readonly Draft[], actions: readonly EncodedAction[], bytes: number): void {
    this.drafts.push(...drafts);
    this.#actions.push(...actions);
    this.#bytes += bytes;
  }

  /** Does the part of applying that needs nothing but the entry. */
  decode(): void {
    for (const draft of this.drafts) void draft.change;
  }

  /** Hands the entry to raft. It takes no changes after that. */
  propose(proposer: Proposer): Proposal {
    this.#request = encodeRequest(this.#requestId, this.#actions);
    this.#actions.length = 0;
    const proposal = proposer.propose(this.#request, this.#place);
    proposal.applied.then(this.#outcome.resolve, this.#outcome.reject);
    void proposal.settled.then(this.#settled.resolve);
    return proposal;
  }
}
