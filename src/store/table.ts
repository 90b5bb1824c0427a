/**
 * One table of applied objects with its indexes. It knows nothing of transactions: what is put
 * here is already agreed upon.
 */
import { SortedIds } from './sorted-ids.js';
import { descriptorOf, indexKeys, isSelected, selectorKey } from './tables.js';
import type { ReadTransaction, Selector, TableName, Tables } from './types.js';

/** Objects of one type by id and by index key. */
export class Table<T extends TableName> {
  readonly #name: T;
  readonly #objects = new Map<string, Tables[T]>();
  readonly #ids = SortedIds.empty();
  readonly #index = new Map<string, SortedIds>();

  constructor(name: T) {
    this.#name = name;
  }

  get size(): number {
    return this.#objects.size;
  }

  get(id: string): Tables[T] | undefined {
    return this.#objects.get(id);
  }

  /** Stores `object`, in place of one with the same id; returns the one replaced. */
  put(object: Tables[T]): Tables[T] | undefined {
    const old = this.#objects.get(object.id);
    this.#objects.set(object.id, object);
    if (old !== undefined && descriptorOf(this.#name).sharesKeys(old, object)) return old;
    const newKeys = indexKeys(this.#name, object);
    if (old === undefined) {
      this.#ids.add(object.id);
    } else {
      for (const key of indexKeys(this.#name, old)) {
        if (!newKeys.delete(key)) this.#unindex(key, object.id);
      }
    }
    for (const key of newKeys) this.#bucket(key).add(object.id);
    return old;
  }

  /** Takes the object out and returns it. */
  remove(id: string): Tables[T] | undefined {
    const old = this.#objects.get(id);
    if (old === undefined) return undefined;
    this.#objects.delete(id);
    this.#ids.remove(id);
    for (const key of indexKeys(this.#name, old)) this.#unindex(key, id);
    return old;
  }

  /** All selected objects in ascending order of id. */
  find(selector: Selector): Tables[T][] {
    const key = selectorKey(selector);
    if (key !== undefined) return this.#objectsOf(this.#index.get(key)?.values ?? []);
    if (selector.by === 'idPrefix') return this.#objectsOf(this.#ids.withPrefix(selector.prefix));
    const all = this.#objectsOf(this.#ids.values);
    if (selector.by === 'all') return all;
    return all.filter((object) => isSelected(this.#name, object, selector));
  }

  #objectsOf(ids: readonly string[]): Tables[T][] {
    const objects: Tables[T][] = [];
    for (const id of ids) {
      const object = this.#objects.get(id);
      if (object !== undefined) objects.push(object);
    }
    return objects;
  }

  #bucket(key: string): SortedIds {
    let bucket = this.#index.get(key);
    if (bucket === undefined) {
      bucket = SortedIds.empty();
      this.#index.set(key, bucket);
    }
    return bucket;
  }

  #unindex(key: string, id: string): void {
    const bucket = this.#index.get(key);
    if (bucket === undefined) return;
    bucket.remove(id);
    if (bucket.size === 0) this.#index.delete(key);
  }
}

/** All tables. */
export type TableSet = { readonly [T in TableName]: Table<T> };

/** A set of empty tables. */
export function emptyTables(): TableSet {
  return {
    node: new Table('node'),
    service: new Table('service'),
    task: new Table('task'),
    network: new Table('network'),
    cluster: new Table('cluster'),
    secret: new Table('secret'),
    config: new Table('config'),
    resource: new Table('resource'),
    extension: new Table('extension'),
    volume: new Table('volume'),
  };
}

/** The table of that name, typed for it. */
export function tableOf<T extends TableName>(tables: TableSet, name: T): Table<T> {
  return tables[name];
}

/** The tables as a view. */
export function readerOf(tables: TableSet): ReadTransaction {
  return {
    get: (table, id) => tableOf(tables, table).get(id),
    find: (table, selector) => tableOf(tables, table).find(selector),
  };
}
