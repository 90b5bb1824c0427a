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
  #transactions = 0;
  #bytes = 0;
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

  /** How many transactions it holds. */
  get transactions(): number {
    return this.#transactions;
  }

  /** Bytes of their changes. */
  get bytes(): number {
    return this.#bytes;
  }

  get applied(): Promise<void> {
    return this.#outcome.promise;
  }

  /** Whether so many changes more keep within an entry's limits. */
  hasRoom(changes: number, bytes: number): boolean {
    const count = this.drafts.length + changes;
    const total = EMPTY_REQUEST_BYTES + this.#bytes + bytes;
    return count <= BATCH_CHANGES_MAX && total <= TRANSACTION_BYTES_MAX;
  }

  /** Takes the changes of one transaction and their encoded actions. */
  add(drafts: readonly Draft[], actions: readonly EncodedAction[], bytes: number): void {
    this.drafts.push(...drafts);
    this.#actions.push(...actions);
    this.#transactions += 1;
    this.#bytes += bytes;
  }

  /** Makes the objects that applying will store. */
  decode(): void {
    for (const draft of this.drafts) void draft.object;
  }

  /** Hands the entry to raft. It takes no changes after that. */
  propose(proposer: Proposer): Proposal {
    this.#request = encodeRequest(this.#requestId, this.#actions);
    this.#actions.length = 0;
    const proposal = proposer.propose(this.#request, this.#place);
    proposal.applied.then(this.#outcome.resolve, this.#outcome.reject);
    return proposal;
  }
}
