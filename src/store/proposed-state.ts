/**
 * The store as it will be once everything this leader has proposed is applied: what the next writer
 * works on. Its objects carry the raft index of their entry as version, which they will have for
 * good. An entry leaves when it is applied; when one fails, all after it have been made on a state
 * that never came, and fail with it.
 */
import type { Draft } from './draft.js';
import { emptyTables, type Table, tableOf, type TableSet } from './table.js';
import type { ReadTransaction, Selector, TableName, Tables } from './types.js';

/** An entry on its way. */
export interface ProposedEntry {
  readonly index: bigint;
  /** The very bytes that were handed to raft; undefined while the entry still takes changes. */
  readonly request: Uint8Array | undefined;
  readonly drafts: readonly Draft[];
  /** Settles with the entry's fate. */
  readonly applied: Promise<void>;
}

/** See the file's head. */
export class ProposedState implements ReadTransaction {
  readonly #applied: TableSet;
  readonly #entries: ProposedEntry[] = [];
  /** The newest draft of each object. */
  readonly #drafts = new Map<TableName, Map<string, Draft>>();
  /** Objects of drafts by index keys; made when somebody looks for them. */
  #tables: TableSet = emptyTables();
  /** Index of the newest entry that is in doubt. */
  #doubtedThrough = 0n;
  readonly #unindexed = new Map<TableName, Set<Draft>>();

  /** @param applied the tables that are agreed upon, on which the entries are made */
  constructor(applied: TableSet) {
    this.#applied = applied;
  }

  /** The newest entry that is not applied yet. */
  get newest(): ProposedEntry | undefined {
    return this.#entries.at(-1);
  }

  get<T extends TableName>(table: T, id: string): Tables[T] | undefined {
    const draft = this.#drafts.get(table)?.get(id);
    if (draft === undefined) return tableOf(this.#applied, table).get(id);
    return draft.object as Tables[T] | undefined;
  }

  find<T extends TableName>(table: T, selector: Selector): readonly Tables[T][] {
    const applied = tableOf(this.#applied, table).find(selector);
    const drafts = this.#drafts.get(table);
    if (drafts === undefined || drafts.size === 0) return applied;
    const proposed = this.#indexed(table).find(selector);
    const found = applied.filter((object) => !drafts.has(object.id));
    if (proposed.length === 0) return found;
    return found.concat(proposed).sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** Index of the newest entry here that changes the object; undefined if none does. */
  changedBy(table: TableName, id: string): bigint | undefined {
    return this.#drafts.get(table)?.get(id)?.index;
  }

  /** Adds an entry after the others. */
  add(entry: ProposedEntry): void {
    this.#entries.push(entry);
    for (const draft of entry.drafts) this.put(draft);
  }

  /** Adds a change to the newest entry. */
  put(draft: Draft): void {
    entryOf(this.#drafts, draft.table, () => new Map()).set(draft.id, draft);
    entryOf(this.#unindexed, draft.table, () => new Set()).add(draft);
  }

  /**
   * The entry at `index` is about to be applied. Returns its changes if it is the oldest here, the same
   * bytes, handed to raft and back, and what it was made on is what is applied: then the store's rules,
   * under which it was proposed, have the same to say of it now.
   */
  take(index: bigint, request: Uint8Array): readonly Draft[] | undefined {
    const [oldest] = this.#entries;
    if (oldest?.index !== index || oldest.request !== request) {
      // Membership changes and the like change nothing here.
      if (request.length > 0) this.doubt();
      return undefined;
    }
    this.#entries.shift();
    let isFounded = index > this.#doubtedThrough;
    for (const draft of oldest.drafts) {
      this.#forget(draft);
      isFounded &&= tableOf(this.#applied, draft.table).get(draft.id) === draft.base;
    }
    return isFounded ? oldest.drafts : undefined;
  }

  /**
   * Something came in between, or an entry was refused: what is proposed was made on a state that never
   * came, perhaps, and is to be tried under the store's rules.
   */
  doubt(): void {
    this.#doubtedThrough = this.newest?.index ?? this.#doubtedThrough;
  }

  /** Whether `entry` is here: proposed and not applied. */
  has(entry: ProposedEntry): boolean {
    return this.#entries.includes(entry);
  }

  /** `entry` will not be applied here: neither it nor any later one counts any more. */
  giveUp(entry: ProposedEntry): void {
    if (!this.has(entry)) return;
    this.#entries.length = 0;
    this.#clear();
  }

  /** The newest entry was not even taken by raft: what went before it goes on. */
  drop(entry: ProposedEntry): void {
    if (this.newest !== entry) return;
    this.#entries.pop();
    this.#clear();
    for (const { drafts } of this.#entries) for (const draft of drafts) this.put(draft);
  }

  #clear(): void {
    this.#drafts.clear();
    this.#unindexed.clear();
    this.#tables = emptyTables();
  }

  #forget(draft: Draft): void {
    this.#unindexed.get(draft.table)?.delete(draft);
    const drafts = this.#drafts.get(draft.table);
    if (drafts?.get(draft.id) !== draft) return;
    drafts.delete(draft.id);
    tableOf(this.#tables, draft.table).remove(draft.id);
  }

  #indexed<T extends TableName>(name: T): Table<T> {
    const table = tableOf(this.#tables, name);
    const unindexed = this.#unindexed.get(name);
    for (const draft of unindexed ?? []) {
      const object = draft.object as Tables[T] | undefined;
      if (object === undefined) table.remove(draft.id);
      else table.put(object);
    }
    unindexed?.clear();
    return table;
  }
}

function entryOf<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}
