/**
 * The store as it will be once everything this leader has proposed is applied: what the next writer
 * works on. Its objects carry the raft index of their entry as version, which they will have for
 * good. An entry leaves when it is applied; when one fails, all after it have been made on a state
 * that never came, and fail with it.
 */
import { create as createMessage } from '@bufbuild/protobuf';
import { MetaSchema } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import { VersionSchema } from '../model/gen/docker/swarmkit/v1/types_pb.js';
import { decodeRequest } from './entry-codec.js';
import { deepFreeze } from './freeze.js';
import { emptyTables, tableOf, type TableSet } from './table.js';
import type { StoreObject } from './tables.js';
import type { Change } from './transaction.js';
import type { ReadTransaction, Selector, TableName, Tables } from './types.js';

/** An entry on its way. */
export interface ProposedEntry {
  readonly index: bigint;
  /** The very bytes that were handed to raft. */
  readonly request: Uint8Array;
  /** Settles with the entry's fate. */
  readonly applied: Promise<void>;
}

/** See the file's head. */
export class ProposedState implements ReadTransaction {
  readonly #applied: TableSet;
  readonly #freezeObjects: boolean;
  readonly #entries: ProposedEntry[] = [];
  /**
   * Changes of the first of them, with the versions they are based on. From the bytes, as on every
   * other manager: what a caller changes in its objects later is not in them.
   */
  readonly #changes: (readonly Change[])[] = [];
  /** Objects that entries under way create or update, as the last of them leaves them. */
  #tables: TableSet = emptyTables();
  /** The newest entry that changes an object; removed ones are here and in no table. */
  readonly #marks = new Map<TableName, Map<string, bigint>>();

  /**
   * @param applied the tables that are agreed upon, on which the entries are made
   * @param freezeObjects see MemoryStoreOptions
   */
  constructor(applied: TableSet, freezeObjects: boolean) {
    this.#applied = applied;
    this.#freezeObjects = freezeObjects;
  }

  /** The newest entry that is not applied yet. */
  get newest(): ProposedEntry | undefined {
    return this.#entries.at(-1);
  }

  get<T extends TableName>(table: T, id: string): Tables[T] | undefined {
    this.read();
    const isProposed = this.#marks.get(table)?.has(id) === true;
    return tableOf(isProposed ? this.#tables : this.#applied, table).get(id);
  }

  find<T extends TableName>(table: T, selector: Selector): readonly Tables[T][] {
    this.read();
    const applied = tableOf(this.#applied, table).find(selector);
    const marks = this.#marks.get(table);
    if (marks === undefined || marks.size === 0) return applied;
    const proposed = tableOf(this.#tables, table).find(selector);
    const found = applied.filter((object) => !marks.has(object.id));
    if (proposed.length === 0) return found;
    return found.concat(proposed).sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** Adds an entry after the others. */
  add(entry: ProposedEntry): void {
    this.#entries.push(entry);
  }

  /** Decodes what was added. Done when first needed; better earlier, while the disk writes. */
  read(): void {
    while (this.#changes.length < this.#entries.length) {
      const entry = this.#entries[this.#changes.length];
      if (entry === undefined) return;
      const changes = decodeRequest(entry.request);
      this.#changes.push(changes);
      for (const change of changes) this.#put(change, entry.index);
    }
  }

  /**
   * The entry at `index` is about to be applied. Returns its changes if it is the oldest here: the
   * same bytes, handed to raft and back.
   */
  take(index: bigint, request: Uint8Array): readonly Change[] | undefined {
    const [oldest] = this.#entries;
    if (oldest?.index !== index || oldest.request !== request) return undefined;
    this.read();
    this.#entries.shift();
    const changes = this.#changes.shift();
    for (const change of changes ?? []) {
      const { table } = change;
      const id = change.kind === 'remove' ? change.id : change.object.id;
      const marks = this.#marks.get(table);
      if (marks?.get(id) !== index) continue;
      marks.delete(id);
      tableOf(this.#tables, table).remove(id);
    }
    return changes;
  }

  /** `entry` is decided; if it was not applied, neither it nor any later one counts any more. */
  settle(entry: ProposedEntry): void {
    if (!this.#entries.includes(entry)) return;
    this.#entries.length = 0;
    this.#changes.length = 0;
    this.#tables = emptyTables();
    this.#marks.clear();
  }

  #put(change: Change, index: bigint): void {
    const { table } = change;
    let marks = this.#marks.get(table);
    if (marks === undefined) {
      marks = new Map();
      this.#marks.set(table, marks);
    }
    if (change.kind === 'remove') {
      marks.set(change.id, index);
      tableOf(this.#tables, table).remove(change.id);
      return;
    }
    marks.set(change.object.id, index);
    const object = withVersion(change.object, index);
    tableOf(this.#tables, table).put(this.#freezeObjects ? deepFreeze(object) : object);
  }
}

/** A copy of a decoded object with its version to be. */
function withVersion<O extends StoreObject>(object: O, index: bigint): O {
  const meta = { ...(object.meta ?? createMessage(MetaSchema)) };
  meta.version = createMessage(VersionSchema, { index });
  return { ...object, meta };
}
