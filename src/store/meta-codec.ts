/**
 * The meta of stored objects, which the store makes anew with every version: as bytes and as object. Times
 * are encoded once, for they stay or are shared by the transactions of a millisecond.
 */
import { toBinary } from '@bufbuild/protobuf';
import { type Timestamp, TimestampSchema } from '@bufbuild/protobuf/wkt';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { type Meta, MetaSchema } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import { type Version, VersionSchema } from '../model/gen/docker/swarmkit/v1/types_pb.js';
import { bytesOf, varintBytes } from './entry-codec.js';

const { version: VERSION, createdAt: CREATED_AT, updatedAt: UPDATED_AT } = MetaSchema.field;
const { index: INDEX } = VersionSchema.field;

/** The meta of the version at `index`. Written out: a copy of an empty one takes a hundred times longer. */
export function metaOf(
  index: bigint,
  createdAt: Timestamp | undefined,
  updatedAt: Timestamp | undefined,
): Meta {
  const version: Version = { $typeName: VersionSchema.typeName, index };
  const meta: Meta = { $typeName: MetaSchema.typeName, version };
  if (createdAt !== undefined) meta.createdAt = createdAt;
  if (updatedAt !== undefined) meta.updatedAt = updatedAt;
  return meta;
}

/** A time as field `createdAt` of a meta. */
export function encodeCreatedAt(time: Timestamp): Uint8Array {
  return encodeTime(CREATED_AT.number, time);
}

function encodeTime(number: number, time: Timestamp): Uint8Array {
  const bytes = toBinary(TimestampSchema, time);
  return new BinaryWriter().tag(number, WireType.LengthDelimited).bytes(bytes).finish();
}

let lastUpdate: { readonly time: Timestamp; readonly bytes: Uint8Array } | undefined;

function encodeUpdatedAt(time: Timestamp): Uint8Array {
  if (lastUpdate?.time !== time) lastUpdate = { time, bytes: encodeTime(UPDATED_AT.number, time) };
  return lastUpdate.bytes;
}

/** The pieces of a meta, as field `number` of its object, which is based on the version at `index`. */
export function encodeMeta(
  number: number,
  index: bigint,
  createdAt: Uint8Array,
  updatedAt: Timestamp,
): readonly Uint8Array[] {
  const times = [createdAt, encodeUpdatedAt(updatedAt)];
  // Below 2^53, as all indexes; each tag has one byte.
  const versionBytes = 1 + varintBytes(Number(index));
  const head = new BinaryWriter()
    .tag(number, WireType.LengthDelimited)
    .uint32(2 + versionBytes + bytesOf(times))
    .tag(VERSION.number, WireType.LengthDelimited)
    .uint32(versionBytes)
    .tag(INDEX.number, WireType.Varint)
    .uint64(index)
    .finish();
  return [head, ...times];
}
