/**
 * Encoded fields of stored objects. An update mostly changes one field of an object, such as its
 * status; the others are encoded once and their bytes used again, for a protobuf message is the
 * sequence of its fields in any order. Objects are known by identity: what is stored came from bytes
 * and never changes.
 */
import {
  create as createMessage,
  type DescField,
  type DescMessage,
  type DescOneof,
  fromBinary,
  type Message,
  ScalarType,
  toBinary,
} from '@bufbuild/protobuf';
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { KNOWN_BYTES_MAX } from './limits.js';
import type { StoreObject } from './tables.js';

/** An object by the names of its fields and oneofs. */
export type Properties = Record<string, unknown>;

/** A field that is a message, list, map or bytes, or a oneof: what is encoded by itself. */
export interface PartShape {
  readonly name: string;
  /** Of a field that is one message. */
  readonly message: { readonly number: number; readonly schema: DescMessage } | undefined;
}

/** How the objects of a table are taken apart. `meta` is in neither: the store makes it anew. */
export interface ObjectShape {
  readonly schema: DescMessage;
  readonly parts: readonly PartShape[];
  /** Names of numbers, texts and the like; they are encoded together. */
  readonly scalars: readonly string[];
  /** An object without anything. */
  readonly empty: Readonly<Properties>;
  readonly metaNumber: number;
  /** Where each field's bytes belong, by its number: a position in `parts`, or {@link SCALARS}. */
  readonly places: ReadonlyMap<number, number>;
}

/** An object's fields as bytes; a field that is not set has none. */
export interface EncodedFields {
  readonly object: StoreObject;
  readonly scalars: Uint8Array;
  /** In the order of the shape's parts. */
  readonly parts: readonly Uint8Array[];
  /** Of all of them together. */
  readonly bytes: number;
  /** The time of its creation as a field of its meta; undefined until it is asked for. */
  readonly createdAt: Uint8Array | undefined;
}

const shapes = new Map<DescMessage, ObjectShape>();

/** The shape of a table's objects. */
export function shapeOf(schema: DescMessage): ObjectShape {
  let shape = shapes.get(schema);
  if (shape === undefined) {
    shape = newShape(schema);
    shapes.set(schema, shape);
  }
  return shape;
}

/** Place of scalars in {@link ObjectShape}.places. */
const SCALARS = -1;

function newShape(schema: DescMessage): ObjectShape {
  const parts: PartShape[] = [];
  const scalars: string[] = [];
  const places = new Map<number, number>();
  let metaNumber = 0;
  for (const member of schema.members) {
    const { localName: name } = member;
    const numbers =
      member.kind === 'oneof' ? member.fields.map((field) => field.number) : [member.number];
    if (name === 'meta') {
      [metaNumber = 0] = numbers;
      continue;
    }
    for (const number of numbers) places.set(number, isScalar(member) ? SCALARS : parts.length);
    if (isScalar(member)) scalars.push(name);
    else parts.push({ name, message: messageOf(member) });
  }
  const empty = createMessage(schema) as unknown as Properties;
  return { schema, parts, scalars, empty, metaNumber, places };
}

function isScalar(member: DescField | DescOneof): boolean {
  if (member.kind === 'oneof') return false;
  return (
    member.fieldKind === 'enum' ||
    (member.fieldKind === 'scalar' && member.scalar !== ScalarType.BYTES)
  );
}

function messageOf(member: DescField | DescOneof): PartShape['message'] {
  if (member.kind === 'oneof' || member.fieldKind !== 'message') return undefined;
  return { number: member.number, schema: member.message };
}

/** One part of an object as bytes, and as everybody reads it from them. */
export interface EncodedPart {
  readonly bytes: Uint8Array;
  readonly read: () => unknown;
}

/** Encodes one part of an object. */
export function encodePart(shape: ObjectShape, part: PartShape, value: unknown): EncodedPart {
  if (value === undefined) return NOTHING;
  const { name, message } = part;
  if (message === undefined) {
    const bytes = encodeSome(shape, { [name]: value });
    return { bytes, read: () => decodeSome(shape, bytes)[name] };
  }
  const { number, schema } = message;
  const payload = toBinary(schema, value as Message);
  return { bytes: encodeField(number, payload), read: () => fromBinary(schema, payload) };
}

/** Encodes the scalars of an object. */
export function encodeScalars(shape: ObjectShape, object: Readonly<Properties>): Uint8Array {
  const some: Properties = {};
  for (const name of shape.scalars) some[name] = object[name];
  return encodeSome(shape, some);
}

/** The scalars in these bytes, all others at their defaults. */
export function decodeScalars(shape: ObjectShape, bytes: Uint8Array): Readonly<Properties> {
  const read = decodeSome(shape, bytes);
  return Object.fromEntries(shape.scalars.map((name) => [name, read[name]]));
}

function encodeSome({ schema, empty }: ObjectShape, some: Readonly<Properties>): Uint8Array {
  return toBinary(schema, { ...empty, ...some } as unknown as Message);
}

function decodeSome({ schema }: ObjectShape, bytes: Uint8Array): Readonly<Properties> {
  return fromBinary(schema, bytes);
}

/** A field that is a message of these bytes. */
export function encodeField(number: number, message: Uint8Array): Uint8Array {
  return new BinaryWriter().tag(number, WireType.LengthDelimited).bytes(message).finish();
}

const NOTHING: EncodedPart = { bytes: new Uint8Array(0), read: () => undefined };

/** Takes the bytes of a whole object apart; undefined if there are fields that we do not know. */
export function splitFields(
  shape: ObjectShape,
  object: StoreObject,
  whole: Uint8Array,
): EncodedFields | undefined {
  const parts = shape.parts.map(() => NOTHING.bytes);
  const scalars: Uint8Array[] = [];
  const reader = new BinaryReader(whole);
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const [number, wireType] = reader.tag();
    reader.skip(wireType, number);
    if (number === shape.metaNumber) continue;
    const place = shape.places.get(number);
    if (place === undefined) return undefined;
    const field = whole.subarray(start, reader.pos);
    if (place === SCALARS) scalars.push(field);
    else parts[place] = joined(parts[place] ?? NOTHING.bytes, field);
  }
  return {
    object,
    scalars: Buffer.concat(scalars),
    parts,
    bytes: whole.length,
    createdAt: undefined,
  };
}

/** Two pieces of the same bytes, mostly one after the other: those of a list's members. */
function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
  if (first.length === 0) return second;
  const isNext = first.byteOffset + first.length === second.byteOffset;
  if (!isNext) return Buffer.concat([first, second]);
  return new Uint8Array(first.buffer, first.byteOffset, first.length + second.length);
}

/** Fields of objects that were changed lately; those of others are forgotten. */
export class KnownFields {
  /** By id of the object. When `#recent` is full it takes the place of `#older`. */
  #recent = new Map<string, EncodedFields>();
  #older = new Map<string, EncodedFields>();
  #recentBytes = 0;

  /** The fields of `object`, if they are known. */
  of(object: StoreObject): EncodedFields | undefined {
    const recent = this.#recent.get(object.id);
    if (recent?.object === object) return recent;
    const older = this.#older.get(object.id);
    return older?.object === object ? older : undefined;
  }

  /** Remembers them in place of those of an earlier version. */
  keep(fields: EncodedFields): void {
    if (this.#recentBytes >= KNOWN_BYTES_MAX / 2) {
      this.#older = this.#recent;
      this.#recent = new Map();
      this.#recentBytes = 0;
    }
    const { id } = fields.object;
    this.#recentBytes += fields.bytes - (this.#recent.get(id)?.bytes ?? 0);
    this.#recent.set(id, fields);
  }
}
