/**
 * A set of changes on top of the applied tables (or of what is proposed on top of them), with the store's rules: ids exist once, names are
 * unique, updates carry the stored version. The same code runs twice for each change: when it is
 * proposed, and when its entry is applied, on every manager alike. So an entry that was proposed
 * on a state that meanwhile changed is refused everywhere, never applied half.
 */
import type { Timestamp } from '@bufbuild/protobuf/wkt';
import { invariant, SkepError } from '../model/errors.js';
import { type Meta, MetaSchema } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import { descriptorOf, isSelected, type StoreObject } from './tables.js';
import type { ReadTransaction, Selector, TableName, Tables, WriteTransaction } from './types.js';

/** One change in the order it was made. */
export type Change = {
  readonly [T in TableName]:
    | { readonly kind: 'create' | 'update'; readonly table: T; readonly object: Tables[T] }
    | { readonly kind: 'remove'; readonly table: T; readonly id: string };
}[TableName];

/** Pending object, or null where the object was deleted. */
type Pending = StoreObject | null;

interface UndoStep {
  readonly table: TableName;
  readonly id: string;
  readonly before: Pending | undefined;
}

/** Where {@link Transaction.rollbackTo} goes back to. */
export interface Savepoint {
  readonly changes: number;
}

/** The version of an object as the store compares it; objects never stored have 0. */
export function versionOf(object: StoreObject): bigint {
  return object.meta?.version?.index ?? 0n;
}

/** Of the object that a change is about. */
export function idOf(change: Change): string {
  return change.kind === 'remove' ? change.id : change.object.id;
}

/** A transaction; see the file's head. */
export class Transaction implements WriteTransaction {
  readonly #base: ReadTransaction;
  readonly #now: Timestamp | undefined;
  /** Made with the first change. */
  #pending: Map<TableName, Map<string, Pending>> | undefined;
  readonly #changes: Change[] = [];
  readonly #undo: UndoStep[] = [];
  #open = true;

  /**
   * @param now time put into created_at and updated_at; undefined when an entry is applied, since
   *   then the proposer has set them.
   */
  constructor(base: ReadTransaction, now: Timestamp | undefined) {
    this.#base = base;
    this.#now = now;
  }

  /** The changes so far, in order. */
  get changes(): readonly Change[] {
    return this.#changes;
  }

  get<T extends TableName>(table: T, id: string): Tables[T] | undefined {
    const pending = this.#pending?.get(table)?.get(id);
    if (pending !== undefined) return (pending ?? undefined) as Tables[T] | undefined;
    return this.#base.get(table, id);
  }

  find<T extends TableName>(table: T, selector: Selector): readonly Tables[T][] {
    const before = this.#base.find(table, selector);
    const pending = this.#pending?.get(table);
    if (pending === undefined || pending.size === 0) return before;
    const found = before.filter((object) => !pending.has(object.id));
    for (const object of pending.values()) {
      if (object !== null && isSelected(table, object as Tables[T], selector)) {
        found.push(object as Tables[T]);
      }
    }
    return found.sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  create<T extends TableName>(table: T, object: Tables[T]): void {
    this.#checkOpen();
    invariant(object.id !== '', 'an object without id cannot be stored');
    if (this.get(table, object.id) !== undefined) {
      throw new SkepError('already_exists', 'object already exists', { details: { table } });
    }
    this.#checkName(table, object);
    this.#record('create', table, this.#stamped(object, undefined));
  }

  update<T extends TableName>(table: T, object: Tables[T]): void {
    this.#checkOpen();
    const stored = this.get(table, object.id);
    if (stored === undefined) {
      throw new SkepError('not_found', 'object does not exist', { details: { table } });
    }
    if (versionOf(stored) !== versionOf(object)) {
      throw new SkepError('unknown', 'update out of sequence', { details: { table } });
    }
    this.#checkName(table, object);
    this.#record('update', table, this.#stamped(object, stored));
  }

  delete(table: TableName, id: string): void {
    this.#checkOpen();
    if (this.get(table, id) === undefined) {
      throw new SkepError('not_found', 'object does not exist', { details: { table } });
    }
    this.#setPending(table, id, null);
    this.#changes.push({ kind: 'remove', table, id });
  }

  /** Marks a point to come back to. */
  savepoint(): Savepoint {
    return { changes: this.#changes.length };
  }

  /** Forgets the changes made after `savepoint`. */
  rollbackTo(savepoint: Savepoint): void {
    while (this.#changes.length > savepoint.changes) {
      this.#changes.pop();
      const step = this.#undo.pop();
      invariant(step !== undefined, 'each change has its undo step');
      const pending = this.#pending?.get(step.table);
      if (step.before === undefined) pending?.delete(step.id);
      else pending?.set(step.id, step.before);
    }
  }

  /** Ends the transaction: a callback that kept it can change nothing any more. */
  close(): void {
    this.#open = false;
  }

  #checkOpen(): void {
    invariant(this.#open, 'a write transaction is used only within its callback');
  }

  #checkName<T extends TableName>(table: T, object: Tables[T]): void {
    const descriptor = descriptorOf(table);
    if (!descriptor.uniqueNames) return;
    const name = descriptor.name(object);
    if (name === '') return;
    for (const other of this.find(table, { by: 'name', name })) {
      if (other.id === object.id) continue;
      throw new SkepError('already_exists', 'name conflicts with an existing object', {
        details: { table },
      });
    }
  }

  /** A shallow copy of `object` with the times of this transaction and the version it is based on. */
  #stamped<T extends TableName>(object: Tables[T], stored: Tables[T] | undefined): Tables[T] {
    if (this.#now === undefined) return object;
    const createdAt = stored?.meta?.createdAt ?? this.#now;
    const meta: Meta = { $typeName: MetaSchema.typeName, createdAt, updatedAt: this.#now };
    if (stored?.meta?.version !== undefined) meta.version = stored.meta.version;
    return { ...object, meta };
  }

  #record<T extends TableName>(kind: 'create' | 'update', table: T, object: Tables[T]): void {
    this.#setPending(table, object.id, object);
    this.#changes.push({ kind, table, object } as Change);
  }

  #setPending(table: TableName, id: string, value: Pending): void {
    this.#pending ??= new Map();
    let pending = this.#pending.get(table);
    if (pending === undefined) {
      pending = new Map();
      this.#pending.set(table, pending);
    }
    this.#undo.push({ table, id, before: pending.get(id) });
    pending.set(id, value);
  }
}
