/**
 * A change as it goes into a raft entry, by fields: those that its caller did not touch of the object it
 * is based on are the base's own bytes, and the stored object will have the base's own values there. Only
 * what was touched is encoded, and decoded again for the stored object: what a caller does to its objects
 * later is not in it, and neither time nor memory goes into copies of what stays.
 */
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { bytesOf, type EncodedAction, encodeAction, encodeRemoval } from './entry-codec.js';
import {
  decodeScalars,
  type EncodedFields,
  encodePart,
  encodeScalars,
  type KnownFields,
  type ObjectShape,
  type Properties,
  shapeOf,
  splitFields,
} from './known-fields.js';
import { encodeCreatedAt, encodeMeta, metaOf } from './meta-codec.js';
import { descriptorOf, type StoreObject } from './tables.js';
import type { Change } from './transaction.js';

/** See the file's head. */
export interface EncodedChange extends EncodedAction {
  readonly change: Change;
  /** The object as the store has it or will have it before this change. */
  readonly base: StoreObject | undefined;
  /**
   * Makes the object that the entry at `index` stores, the same that every other manager reads from it;
   * undefined for removals. To be called once.
   */
  readonly decode: (index: bigint) => StoreObject | undefined;
}

/** @param base see {@link EncodedChange} */
export function encodeChange(
  change: Change,
  base: StoreObject | undefined,
  known: KnownFields,
): EncodedChange {
  const { kind, table } = change;
  if (kind === 'remove') {
    return encoded(change, base, encodeRemoval(table, change.id), () => undefined);
  }
  const shape = shapeOf(descriptorOf(table).schema);
  const before = base && known.of(base);
  const byFields = before && encodeUpdate(shape, change, before, known);
  return byFields ?? encodeWhole(shape, change, base, known);
}

type Put = Exclude<Change, { kind: 'remove' }>;

/** Written out: adding to a copy of the action takes as long as encoding it. */
function encoded(
  change: Change,
  base: StoreObject | undefined,
  { pieces, bytes }: EncodedAction,
  decode: EncodedChange['decode'],
): EncodedChange {
  return { pieces, bytes, change, base, decode };
}

function encodeWhole(
  shape: ObjectShape,
  change: Put,
  base: StoreObject | undefined,
  known: KnownFields,
): EncodedChange {
  const { kind, table, object } = change;
  const { schema } = descriptorOf(table);
  const whole = toBinary(schema, object);
  const decode = (index: bigint): StoreObject => {
    const stored = withVersion<StoreObject>(fromBinary(schema, whole), index);
    const fields = splitFields(shape, stored, whole);
    if (fields !== undefined) known.keep(fields);
    return stored;
  };
  return encoded(change, base, encodeAction(kind, table, [whole]), decode);
}

/** Whether each message that the base has is there: what is gone cannot be told from what stays. */
function hasShapeOf(shape: ObjectShape, object: StoreObject, base: StoreObject): boolean {
  const ours = object as unknown as Readonly<Properties>;
  const theirs = base as unknown as Readonly<Properties>;
  if (ours['$unknown'] !== undefined || theirs['$unknown'] !== undefined) return false;
  return shape.parts.every(({ name }) => ours[name] !== undefined || theirs[name] === undefined);
}

/** A field that is not the base's own, and how everybody else reads it. */
interface Touched {
  readonly name: string;
  readonly read: () => unknown;
}

/** By fields; undefined where the object is to be encoded as a whole. */
function encodeUpdate(
  shape: ObjectShape,
  change: Put,
  before: EncodedFields,
  known: KnownFields,
): EncodedChange | undefined {
  const { kind, table, object } = change;
  if (!hasShapeOf(shape, object, before.object)) return undefined;
  const ours = object as unknown as Readonly<Properties>;
  const theirs = before.object as unknown as Readonly<Properties>;
  const touched: Touched[] = [];
  const parts = [...before.parts];
  shape.parts.forEach((part, at) => {
    const value = ours[part.name];
    if (value === theirs[part.name]) return;
    const encoded = encodePart(shape, part, value);
    parts[at] = encoded.bytes;
    touched.push({ name: part.name, read: encoded.read });
  });
  const hasSameScalars = shape.scalars.every((name) => ours[name] === theirs[name]);
  const scalars = hasSameScalars ? before.scalars : encodeScalars(shape, ours);
  const { createdAt, updatedAt, version } = object.meta ?? {};
  if (createdAt === undefined || updatedAt === undefined) return undefined;
  const isSince = createdAt === before.object.meta?.createdAt;
  const createdAtBytes = (isSince ? before.createdAt : undefined) ?? encodeCreatedAt(createdAt);
  const meta = encodeMeta(shape.metaNumber, version?.index ?? 0n, createdAtBytes, updatedAt);
  const decode = (index: bigint): StoreObject => {
    const stored: Properties = { ...theirs };
    for (const { name, read } of touched) stored[name] = read();
    if (!hasSameScalars) Object.assign(stored, decodeScalars(shape, scalars));
    stored['meta'] = metaOf(index, createdAt, updatedAt);
    const made = stored as unknown as StoreObject;
    const bytes = bytesOf(parts) + scalars.length;
    known.keep({ object: made, scalars, parts, bytes, createdAt: createdAtBytes });
    return made;
  };
  const action = encodeAction(kind, table, [scalars, ...meta, ...parts]);
  return encoded(change, before.object, action, decode);
}

/** Gives an object read from an entry the version it has in the store. */
export function withVersion<O extends StoreObject>(object: O, index: bigint): O {
  object.meta = metaOf(index, object.meta?.createdAt, object.meta?.updatedAt);
  return object;
}
