/**
 * The whole store as bytes (StoreSnapshot) and back. A capture costs a copy of the lists only,
 * since objects never change; encoding then happens in slices between other work. Protobuf lets
 * encoded slices of a message be joined by concatenation.
 */
import { create as createMessage, fromBinary, toBinary } from '@bufbuild/protobuf';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { SkepError } from '../model/errors.js';
import {
  type StoreSnapshot,
  StoreSnapshotSchema,
} from '../model/gen/docker/swarmkit/v1/store_pb.js';
import { SNAPSHOT_OBJECTS_PER_SLICE } from './limits.js';
import { type TableSet, tableOf } from './table.js';
import { type StoreObject, TABLE_NAMES } from './tables.js';
import type { TableName } from './types.js';

/** The state of the store at one version. */
export interface StoreCapture {
  /** Raft index of the last entry applied to it. */
  readonly version: bigint;
  readonly tables: ReadonlyMap<TableName, readonly StoreObject[]>;
}

/** The state as it is now. */
export function captureTables(tables: TableSet, version: bigint): StoreCapture {
  const captured = new Map<TableName, readonly StoreObject[]>();
  for (const name of TABLE_NAMES) captured.set(name, tableOf(tables, name).find({ by: 'all' }));
  return { version, tables: captured };
}

/** The slices of an encoded snapshot; their concatenation is a StoreSnapshot. */
export function* encodeSlices(capture: StoreCapture): Generator<Uint8Array> {
  for (const name of TABLE_NAMES) {
    const objects = capture.tables.get(name) ?? [];
    for (let at = 0; at < objects.length; at += SNAPSHOT_OBJECTS_PER_SLICE) {
      const slice = objects.slice(at, at + SNAPSHOT_OBJECTS_PER_SLICE);
      const message = createMessage(StoreSnapshotSchema, { [`${name}s`]: slice });
      yield toBinary(StoreSnapshotSchema, message);
    }
  }
}

/** Encodes a capture without holding the event loop for longer than a slice takes. */
export async function encodeSnapshot(capture: StoreCapture): Promise<Uint8Array> {
  const slices: Uint8Array[] = [];
  for (const slice of encodeSlices(capture)) {
    slices.push(slice);
    await nextTurn();
  }
  return Buffer.concat(slices);
}

/**
 * The objects of a snapshot by table.
 * @throws SkepError data_loss when the bytes are no snapshot.
 */
export function decodeSnapshot(bytes: Uint8Array): Map<TableName, readonly StoreObject[]> {
  let snapshot: StoreSnapshot;
  try {
    snapshot = fromBinary(StoreSnapshotSchema, bytes);
  } catch (error) {
    throw new SkepError('data_loss', 'store snapshot cannot be decoded', { cause: error });
  }
  const tables = new Map<TableName, readonly StoreObject[]>();
  for (const name of TABLE_NAMES) tables.set(name, snapshot[`${name}s`]);
  return tables;
}
