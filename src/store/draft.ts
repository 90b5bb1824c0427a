/**
 * A change on its way, as every manager will read it from its entry. What the caller did not touch of an
 * object is shared with the one it is based on, which came from bytes itself and never changes; only
 * the rest is decoded. So what a caller does to its objects later is not in them, and neither time nor
 * memory goes into copies of what stays.
 */
import { create as createMessage, fromBinary } from '@bufbuild/protobuf';
import { MetaSchema } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import { VersionSchema } from '../model/gen/docker/swarmkit/v1/types_pb.js';
import type { EncodedChange } from './encoded-change.js';
import { deepFreeze } from './freeze.js';
import { descriptorOf, type StoreObject } from './tables.js';
import type { Change } from './transaction.js';
import type { TableName } from './types.js';

type Properties = Record<string, unknown>;

/** See the file's head. */
export class Draft {
  readonly table: TableName;
  readonly id: string;
  /** Index of its entry, which will be the object's version. */
  readonly index: bigint;
  readonly #freeze: boolean;
  readonly #kind: Change['kind'];
  readonly #base: StoreObject | undefined;
  /** Names of what is shared with the base. */
  readonly #shared: readonly string[];
  /** Encoded rest of the object; undefined once it is decoded, and for removals. */
  #bytes: Uint8Array | undefined;
  #change: Change | undefined;
  #object: StoreObject | undefined;

  constructor(encoded: EncodedChange, index: bigint, freeze: boolean) {
    const { change } = encoded;
    this.table = change.table;
    this.index = index;
    this.#freeze = freeze;
    this.#kind = change.kind;
    this.#base = encoded.base;
    this.#shared = encoded.shared;
    if (change.kind === 'remove') {
      this.id = change.id;
      this.#change = change;
      return;
    }
    this.id = change.object.id;
    this.#bytes = encoded.rest;
  }

  /**
   * The change with the version it is based on, as its entry holds it. Decoded when first asked for: best
   * while the disk writes.
   */
  get change(): Change {
    if (this.#change !== undefined) return this.#change;
    const object = this.#decoded();
    this.#change = { kind: this.#kind, table: this.table, object } as Change;
    return this.#change;
  }

  /** The object as it will be; undefined when it is removed. */
  get object(): StoreObject | undefined {
    const { change } = this;
    if (change.kind === 'remove') return undefined;
    if (this.#object === undefined) {
      const object = withVersion(change.object, this.index);
      this.#object = this.#freeze ? deepFreeze(object) : object;
    }
    return this.#object;
  }

  #decoded(): StoreObject {
    const object = fromBinary(descriptorOf(this.table).schema, this.#bytes ?? new Uint8Array(0));
    const base = this.#base as unknown as Readonly<Properties>;
    for (const name of this.#shared) (object as unknown as Properties)[name] = base[name];
    this.#bytes = undefined;
    return object;
  }
}

/** A copy of a decoded object with its version to be. */
function withVersion<O extends StoreObject>(object: O, index: bigint): O {
  const meta = { ...(object.meta ?? createMessage(MetaSchema)) };
  meta.version = createMessage(VersionSchema, { index });
  return { ...object, meta };
}
