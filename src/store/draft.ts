/**
 * A change on its way, as every manager will read it from its entry. What the caller did not touch of an
 * object is shared with the one it is based on, which came from bytes itself and never changes; only
 * the rest is decoded. So what a caller does to its objects later is not in them, and neither time nor
 * memory goes into copies of what stays.
 */
import { create as createMessage, fromBinary, toBinary } from '@bufbuild/protobuf';
import { MetaSchema } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import { VersionSchema } from '../model/gen/docker/swarmkit/v1/types_pb.js';
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
  readonly #shared: string[] = [];
  /** Encoded rest of the object; undefined once it is decoded, and for removals. */
  #bytes: Uint8Array | undefined;
  #change: Change | undefined;
  #object: StoreObject | undefined;

  /** @param base the object as the caller found it, if the store had it before this entry */
  constructor(change: Change, base: StoreObject | undefined, index: bigint, freeze: boolean) {
    this.table = change.table;
    this.index = index;
    this.#freeze = freeze;
    this.#kind = change.kind;
    this.#base = base;
    if (change.kind === 'remove') {
      this.id = change.id;
      this.#change = change;
      return;
    }
    this.id = change.object.id;
    this.#bytes = this.#encodeRest(change.object);
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

  #encodeRest(object: StoreObject): Uint8Array {
    const { schema } = descriptorOf(this.table);
    if (this.#base === undefined) return toBinary(schema, object);
    const ours = object as unknown as Readonly<Properties>;
    const theirs = this.#base as unknown as Readonly<Properties>;
    const empty = createMessage(schema) as unknown as Readonly<Properties>;
    const rest = { ...object } as unknown as Properties;
    for (const { localName: name } of schema.members) {
      // Applying an entry writes the version into its own object's.
      if (name === 'meta' || ours[name] === undefined || ours[name] !== theirs[name]) continue;
      this.#shared.push(name);
      rest[name] = empty[name];
    }
    return toBinary(schema, rest as unknown as StoreObject);
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
