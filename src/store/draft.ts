/** A change on its way, with the object that its entry will store. */
import type { EncodedChange } from './encoded-change.js';
import { deepFreeze } from './freeze.js';
import type { StoreObject } from './tables.js';
import { type Change, idOf } from './transaction.js';
import type { TableName } from './types.js';

/** See the file's head. */
export class Draft {
  readonly table: TableName;
  readonly id: string;
  readonly kind: Change['kind'];
  /** Index of its entry, which will be the object's version. */
  readonly index: bigint;
  /** What the change is based on. */
  readonly base: StoreObject | undefined;
  readonly #freeze: boolean;
  #decode: EncodedChange['decode'] | undefined;
  #object: StoreObject | undefined;

  constructor({ change, base, decode }: EncodedChange, index: bigint, freeze: boolean) {
    this.table = change.table;
    this.id = idOf(change);
    this.kind = change.kind;
    this.index = index;
    this.base = base;
    this.#freeze = freeze;
    this.#decode = decode;
  }

  /**
   * The object as it will be; undefined when it is removed. Decoded when first asked for: best while the
   * disk writes.
   */
  get object(): StoreObject | undefined {
    const decode = this.#decode;
    if (decode === undefined) return this.#object;
    this.#decode = undefined;
    const object = decode(this.index);
    this.#object = this.#freeze ? deepFreeze(object) : object;
    return this.#object;
  }
}
