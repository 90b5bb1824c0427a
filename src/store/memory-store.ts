/**
 * The replicated store's state machine and its front: applied objects in memory, changes proposed
 * as raft entries through a {@link Proposer} and applied in log order by `applyEntry`. Everything
 * visible here is agreed upon; apply is deterministic and alike on every manager.
 */
import { createHash } from 'node:crypto';
import { type Timestamp, timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { Environment } from '../model/environment.js';
import { invariant, SkepError } from '../model/errors.js';
import { Draft } from './draft.js';
import { actionsBytes, decodeRequest, EMPTY_REQUEST_BYTES, encodeRequest } from './entry-codec.js';
import { type EncodedChange, encodeChange, withVersion } from './encoded-change.js';
import { deepFreeze } from './freeze.js';
import { KnownFields } from './known-fields.js';
import {
  BATCH_CHANGES_MAX,
  PROPOSED_BYTES_MAX,
  PROPOSED_ENTRIES_MAX,
  TRANSACTION_BYTES_MAX,
  WAITING_WRITERS_MAX,
} from './limits.js';
import { OpenEntry } from './open-entry.js';
import { type ProposedEntry, ProposedState } from './proposed-state.js';
import { type EntryTarget, LocalProposer, type Proposer } from './proposer.js';
import {
  captureTables,
  decodeSnapshot,
  encodeSlices,
  type StoreCapture,
} from './store-snapshot.js';
import { emptyTables, readerOf, type Table, tableOf, type TableSet } from './table.js';
import { type StoreObject, TABLE_NAMES } from './tables.js';
import { type Change, idOf, Transaction, versionOf } from './transaction.js';
import type {
  ReadTransaction,
  Store,
  StoreEvent,
  StoreListener,
  TableName,
  WriteTransaction,
} from './types.js';
import { WriterWindow } from './writer-window.js';

/** What a {@link MemoryStore} is made of. */
export interface MemoryStoreOptions {
  /** Times of objects and ids of requests come from here. */
  readonly environment: Environment;
  readonly proposer: Proposer;
  /** Freezes stored objects, so that a caller changing one fails at once. For tests. */
  readonly freezeObjects?: boolean;
}

/** What an applied change leaves in its table. */
interface DecodedChange {
  readonly table: TableName;
  readonly id: string;
  /** Undefined where it was removed. */
  readonly object: StoreObject | undefined;
}

/** SwarmKit's implementation of the same name, see the file's head. */
export class MemoryStore implements Store, EntryTarget {
  readonly #environment: Environment;
  readonly #proposer: Proposer;
  readonly #freezeObjects: boolean;
  readonly #writers = new WriterWindow({
    waitingMax: WAITING_WRITERS_MAX,
    entriesMax: PROPOSED_ENTRIES_MAX,
    bytesMax: PROPOSED_BYTES_MAX,
  });
  readonly #listeners = new Set<StoreListener>();
  readonly #tables: TableSet = emptyTables();
  readonly #reader = readerOf(this.#tables);
  readonly #proposed: ProposedState;
  readonly #known = new KnownFields();
  /** The entry that transactions of this turn go into. */
  #open: OpenEntry | undefined;
  #version = 0n;
  /** Time of the last transaction. */
  #nowMs = 0;
  #now: Timestamp = Object.freeze(timestampFromMs(0));
  /** Of the last request; begins anywhere, so that those of other managers and starts differ. */
  #requestId: bigint;

  constructor(options: MemoryStoreOptions) {
    this.#environment = options.environment;
    this.#proposer = options.proposer;
    this.#requestId = Buffer.from(options.environment.random.bytes(8)).readBigUInt64LE();
    this.#freezeObjects = options.freezeObjects ?? false;
    this.#proposed = new ProposedState(this.#tables);
  }

  view<R>(read: (transaction: ReadTransaction) => R): R {
    return read(this.#reader);
  }

  version(): bigint {
    return this.#version;
  }

  /** Number of objects in a table. */
  count(table: TableName): number {
    return this.#tables[table].size;
  }

  async update<R>(write: (transaction: WriteTransaction) => R): Promise<R> {
    await this.#writers.enter();
    const seen = this.#proposed.newest;
    let applied: Promise<void> | undefined;
    let result: R;
    try {
      const transaction = this.#begin();
      result = write(transaction);
      transaction.close();
      const { changes } = transaction;
      if (changes.length > 0) applied = this.#propose(this.#encode(changes));
    } catch (error) {
      this.#writers.leave();
      await confirm(seen);
      throw error;
    }
    this.#writers.leave();
    await (applied ?? confirm(seen));
    return result;
  }

  /** Proposes what was gathered in this turn so far; to be called before another entry is. */
  flush(): void {
    const open = this.#open;
    if (open === undefined) return;
    this.#open = undefined;
    const { index, settled } = open.propose(this.#proposer);
    if (index === undefined) this.#proposed.drop(open);
    // The first to hear of it: nobody may build on what will not come.
    void settled.then(() => this.#settle(open, open.transactions, open.bytes));
  }

  async batch(
    writes: readonly ((transaction: WriteTransaction) => void)[],
  ): Promise<readonly (Error | undefined)[]> {
    const outcomes: (Error | undefined)[] = Array.from({ length: writes.length });
    let next = 0;
    while (next < writes.length) next = await this.#batchEntry(writes, next, outcomes);
    return outcomes;
  }

  subscribe(listener: StoreListener): () => void {
    invariant(!this.#listeners.has(listener), 'a listener subscribes once');
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  viewAndSubscribe<R>(
    read: (transaction: ReadTransaction) => R,
    listener: StoreListener,
  ): { readonly result: R; readonly unsubscribe: () => void } {
    const result = this.view(read);
    return { result, unsubscribe: this.subscribe(listener) };
  }

  /**
   * Applies the raft entry at `index`. Empty requests only move the version on. Returns the error
   * of an entry that breaks the store's rules, which then changes nothing, on any manager.
   */
  applyEntry(index: bigint, request: Uint8Array): SkepError | undefined {
    invariant(index > this.#version, `entry ${index} applied after ${this.#version}`);
    const drafts = this.#proposed.take(index, request);
    this.#version = index;
    if (drafts !== undefined) {
      this.#notify(this.#commit(drafts));
      return undefined;
    }
    if (request.length === 0) return undefined;
    const changes = decodeRequest(request);
    const transaction = new Transaction(this.#reader, undefined);
    try {
      for (const change of changes) replay(transaction, change);
    } catch (error) {
      if (!(error instanceof SkepError)) throw error;
      this.#proposed.doubt();
      return error;
    }
    this.#notify(this.#commit(changes.map((change) => this.#decoded(change, index))));
    return undefined;
  }

  /** The present state, for a snapshot; cheap, to be encoded later. */
  capture(): StoreCapture {
    return captureTables(this.#tables, this.#version);
  }

  /**
   * Replaces the state by a snapshot of the given version; subscribers see the difference.
   * @throws SkepError data_loss when `bytes` is no snapshot; the state is then unchanged.
   */
  restore(bytes: Uint8Array, version: bigint): void {
    const tables = decodeSnapshot(bytes);
    this.#proposed.doubt();
    const events: StoreEvent[] = [];
    for (const name of TABLE_NAMES) this.#restoreTable(name, tables.get(name) ?? [], events);
    this.#version = version;
    this.#notify(events);
  }

  /** SHA-256 over version and objects, in hex; equal on managers with equal state. */
  stateHash(): string {
    const hash = createHash('sha256').update(String(this.#version));
    for (const slice of encodeSlices(this.capture())) hash.update(slice);
    return hash.digest('hex');
  }

  #begin(): Transaction {
    const nowMs = this.#environment.clock.nowMs();
    if (nowMs !== this.#nowMs) {
      this.#nowMs = nowMs;
      // Goes into objects as it is.
      this.#now = Object.freeze(timestampFromMs(nowMs));
    }
    return new Transaction(this.#proposed, this.#now);
  }

  /**
   * Gets changes agreed upon. Those of one turn of the event loop share an entry, as long as no two
   * of them change the same object: each of its versions has an entry of its own.
   */
  #propose(changes: readonly EncodedChange[]): Promise<void> {
    const bytes = actionsBytes(changes);
    if (EMPTY_REQUEST_BYTES + bytes > TRANSACTION_BYTES_MAX) throw requestTooLarge(bytes);
    const full = this.#open;
    if (full !== undefined && !this.#admits(full, changes, bytes)) {
      this.flush();
      // What was refused is what these changes were made on.
      if (this.#proposed.newest !== full) return full.applied;
    }
    const open = this.#open ?? this.#openEntry();
    if (open === undefined) return this.#proposeAlone(changes);
    const drafts = this.#draftsOf(changes, open.index);
    for (const draft of drafts) this.#proposed.put(draft);
    open.add(drafts, changes, bytes);
    this.#writers.proposed(bytes);
    return open.applied;
  }

  #admits(open: OpenEntry, changes: readonly EncodedChange[], bytes: number): boolean {
    if (!open.hasRoom(changes.length, bytes)) return false;
    return !changes.some(({ change }) => {
      return this.#proposed.changedBy(change.table, idOf(change)) === open.index;
    });
  }

  /** Begins an entry for transactions of this turn; none where entries cannot be shared. */
  #openEntry(): OpenEntry | undefined {
    const place = this.#proposer.nextPlace;
    if (place === undefined) return undefined;
    const open = new OpenEntry(this.#newRequestId(), place);
    this.#open = open;
    this.#proposed.add(open);
    // Once all that is ready to run now has run.
    process.nextTick(() => {
      if (this.#open === open) this.flush();
      // After the proposer has sent and written it.
      process.nextTick(() => open.decode());
    });
    return open;
  }

  #proposeAlone(changes: readonly EncodedChange[]): Promise<void> {
    const request = encodeRequest(this.#newRequestId(), changes);
    const { index, applied, settled } = this.#proposer.propose(request);
    // Refused, or applied at once by a proposer without a quorum.
    if (index === undefined || index <= this.#version) return applied;
    this.#writers.proposed(request.length);
    const entry = { index, request, applied, drafts: this.#draftsOf(changes, index) };
    this.#proposed.add(entry);
    void settled.then(() => this.#settle(entry, 1, request.length));
    return applied;
  }

  /** The fate of `entry`, with so many transactions of so many bytes, is known. */
  #settle(entry: ProposedEntry, transactions: number, bytes: number): void {
    if (this.#proposed.has(entry)) {
      // It was not applied: what is still open was made on it, and is over as well.
      this.flush();
      this.#proposed.giveUp(entry);
    }
    this.#writers.settled(transactions, bytes);
  }

  #encode(changes: readonly Change[]): EncodedChange[] {
    return changes.map((change) => {
      const base = this.#proposed.get(change.table, idOf(change));
      return encodeChange(change, base, this.#known);
    });
  }

  #draftsOf(changes: readonly EncodedChange[], index: bigint): Draft[] {
    return changes.map((change) => new Draft(change, index, this.#freezeObjects));
  }

  #newRequestId(): bigint {
    this.#requestId = BigInt.asUintN(64, this.#requestId + 1n);
    return this.#requestId;
  }

  /** Proposes one entry from `writes[from]` on; returns the position after those it took. */
  async #batchEntry(
    writes: readonly ((transaction: WriteTransaction) => void)[],
    from: number,
    outcomes: (Error | undefined)[],
  ): Promise<number> {
    await this.#writers.enter();
    const seen = this.#proposed.newest;
    let applied: Promise<void> | undefined;
    let next = from;
    const taken: number[] = [];
    try {
      const collected = this.#collect(writes, from, outcomes, taken);
      next = collected.next;
      const { changes } = collected;
      if (changes.length > 0) applied = this.#propose(changes);
    } finally {
      this.#writers.leave();
    }
    const [basis, own] = await Promise.all([failureOf(confirm(seen)), failureOf(applied)]);
    // What groups without a change of their own found rests on what they saw.
    if (basis !== undefined) outcomes.fill(basis, from, next);
    for (const index of taken) outcomes[index] = own;
    const failure = own ?? basis;
    // Without a leader the rest fails alike; going on would only wait for each deadline.
    if (failure?.code === 'unavailable' || failure?.code === 'deadline_exceeded') {
      outcomes.fill(failure, next);
      return writes.length;
    }
    return next;
  }

  /** Runs groups until an entry is full. A group that no longer fits runs again in the next. */
  #collect(
    writes: readonly ((transaction: WriteTransaction) => void)[],
    from: number,
    outcomes: (Error | undefined)[],
    taken: number[],
  ): {
    readonly next: number;
    readonly changes: readonly EncodedChange[];
  } {
    const transaction = this.#begin();
    const changes: EncodedChange[] = [];
    let bytes = EMPTY_REQUEST_BYTES;
    let next = from;
    for (; next < writes.length && changes.length < BATCH_CHANGES_MAX; next++) {
      const savepoint = transaction.savepoint();
      try {
        writes[next]?.(transaction);
      } catch (error) {
        transaction.rollbackTo(savepoint);
        if (!(error instanceof Error)) throw error;
        outcomes[next] = error;
        continue;
      }
      const added = this.#encode(transaction.changes.slice(savepoint.changes));
      const addedBytes = actionsBytes(added);
      if (EMPTY_REQUEST_BYTES + addedBytes > TRANSACTION_BYTES_MAX) {
        transaction.rollbackTo(savepoint);
        outcomes[next] = requestTooLarge(addedBytes);
        continue;
      }
      const fits =
        changes.length + added.length <= BATCH_CHANGES_MAX &&
        bytes + addedBytes <= TRANSACTION_BYTES_MAX;
      if (!fits && changes.length > 0) {
        transaction.rollbackTo(savepoint);
        break;
      }
      changes.push(...added);
      bytes += addedBytes;
      if (added.length > 0) taken.push(next);
    }
    transaction.close();
    return { next, changes };
  }

  #commit(changes: readonly DecodedChange[]): StoreEvent[] {
    const events: StoreEvent[] = [];
    for (const { table, id, object } of changes) {
      const old =
        object === undefined
          ? this.#tables[table].remove(id)
          : tableOf(this.#tables, table).put(object);
      if (this.#listeners.size === 0) continue;
      if (object === undefined) events.push({ kind: 'remove', table, object: old } as StoreEvent);
      else if (old === undefined) events.push({ kind: 'create', table, object } as StoreEvent);
      else events.push({ kind: 'update', table, object, old } as StoreEvent);
    }
    return events;
  }

  /** Gives a decoded object its version; it is ours until here and nobody's after. */
  #decoded(change: Change, index: bigint): DecodedChange {
    const { table } = change;
    if (change.kind === 'remove') return { table, id: change.id, object: undefined };
    const object = withVersion<StoreObject>(change.object, index);
    return { table, id: object.id, object: this.#freezeObjects ? deepFreeze(object) : object };
  }

  #restoreTable(name: TableName, objects: readonly StoreObject[], events: StoreEvent[]): void {
    const table: Table<TableName> = tableOf(this.#tables, name);
    const kept = new Set(objects.map((object) => object.id));
    for (const object of table.find({ by: 'all' })) {
      if (kept.has(object.id)) continue;
      table.remove(object.id);
      events.push({ kind: 'remove', table: name, object } as StoreEvent);
    }
    for (const object of objects) {
      const current = table.get(object.id);
      if (current !== undefined && versionOf(current) === versionOf(object)) continue;
      if (this.#freezeObjects) deepFreeze(object);
      const old = table.put(object);
      events.push(
        (old === undefined
          ? { kind: 'create', table: name, object }
          : { kind: 'update', table: name, object, old }) as StoreEvent,
      );
    }
  }

  /** All listeners hear of the changes, also when one fails; then its error comes out. */
  #notify(events: readonly StoreEvent[]): void {
    if (events.length === 0) return;
    const failures: unknown[] = [];
    for (const listener of [...this.#listeners]) {
      if (!this.#listeners.has(listener)) continue;
      try {
        listener(events, this.#version);
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, 'a store listener failed');
  }
}

/**
 * Waits until what a writer saw is agreed upon; itself it has proposed nothing.
 * @throws SkepError as the entry failed; the writer may safely try again
 */
async function confirm(seen: ProposedEntry | undefined): Promise<void> {
  const failure = await failureOf(seen?.applied);
  if (failure === undefined) return;
  throw new SkepError(failure.code, failure.message, { details: { proposed: false } });
}

/** What `outcome` rejects with; undefined if it does not. */
async function failureOf(outcome: Promise<void> | undefined): Promise<SkepError | undefined> {
  try {
    await outcome;
    return undefined;
  } catch (error) {
    return SkepError.from(error);
  }
}

/** SwarmKit's ErrRequestTooLarge. */
function requestTooLarge(bytes: number): SkepError {
  return new SkepError('invalid_argument', "raft: raft message is too large and can't be sent", {
    details: { bytes, bytesMax: TRANSACTION_BYTES_MAX },
  });
}

/** Does a decoded change again under the store's rules. */
function replay(transaction: Transaction, change: Change): void {
  switch (change.kind) {
    case 'create':
      return transaction.create(change.table, change.object);
    case 'update':
      return transaction.update(change.table, change.object);
    default:
      return transaction.delete(change.table, change.id);
  }
}

/** A store without raft that applies at once, and its proposer; for tests and simulations. */
export function createLocalStore(
  environment: Environment,
  options: { readonly freezeObjects?: boolean } = {},
): { readonly store: MemoryStore; readonly proposer: LocalProposer } {
  const proposer = new LocalProposer();
  const store = new MemoryStore({ environment, proposer, ...options });
  proposer.attach(store);
  return { store, proposer };
}
