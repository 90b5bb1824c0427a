/**
 * Changes of a transaction to and from the bytes of one raft entry (InternalRaftRequest). Actions
 * are encoded one by one, so that an entry knows its size while it grows, and in pieces, so that bytes
 * known from before can be used again.
 */
import { create as createMessage, fromBinary, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { SkepError } from '../model/errors.js';
import {
  InternalRaftRequestSchema,
  type StoreAction,
  StoreActionKind,
  StoreActionSchema,
} from '../model/gen/docker/swarmkit/v1/store_pb.js';
import { descriptorOf, type StoreObject } from './tables.js';
import type { Change } from './transaction.js';
import type { TableName } from './types.js';

/** Field numbers of InternalRaftRequest. */
const FIELD_ID = 1;
const FIELD_ACTION = 2;
/** Field number of a StoreAction's kind. */
const FIELD_KIND = 1;

/** A request's field with one StoreAction, in pieces, to be copied once: into the request. */
export interface EncodedAction {
  readonly pieces: readonly Uint8Array[];
  /** All of them together. */
  readonly bytes: number;
}

/** A creation or update of an object whose message is these parts, one after the other. */
export function encodeAction(
  kind: Change['kind'],
  table: TableName,
  parts: readonly Uint8Array[],
): EncodedAction {
  const pieces = parts.filter(({ length }) => length > 0);
  const objectBytes = bytesOf(pieces);
  const field = targetField(table);
  const code = actionKind(kind);
  const actionBytes =
    tagBytes(FIELD_KIND) +
    varintBytes(code) +
    tagBytes(field) +
    varintBytes(objectBytes) +
    objectBytes;
  const head = new BinaryWriter()
    .tag(FIELD_ACTION, WireType.LengthDelimited)
    .uint32(actionBytes)
    .tag(FIELD_KIND, WireType.Varint)
    .int32(code)
    .tag(field, WireType.LengthDelimited)
    .uint32(objectBytes)
    .finish();
  pieces.unshift(head);
  return { pieces, bytes: head.length + objectBytes };
}

/** A removal: an object with nothing but its id, which is all it needs. */
export function encodeRemoval(table: TableName, id: string): EncodedAction {
  const { schema } = descriptorOf(table);
  const object: StoreObject = createMessage(schema);
  object.id = id;
  return encodeAction('remove', table, [toBinary(schema, object)]);
}

/** The length of `pieces` together. */
export function bytesOf(pieces: readonly Uint8Array[]): number {
  let bytes = 0;
  for (const piece of pieces) bytes += piece.length;
  return bytes;
}

function targetField(table: TableName): number {
  const field = StoreActionSchema.field[table];
  return field.number;
}

function actionKind(kind: Change['kind']): StoreActionKind {
  switch (kind) {
    case 'create':
      return StoreActionKind.STORE_ACTION_CREATE;
    case 'update':
      return StoreActionKind.STORE_ACTION_UPDATE;
    case 'remove':
      return StoreActionKind.STORE_ACTION_REMOVE;
  }
}

/** Encoded actions as one request. */
export function encodeRequest(id: bigint, actions: readonly EncodedAction[]): Uint8Array {
  const head = new BinaryWriter().tag(FIELD_ID, WireType.Varint).uint64(id).finish();
  const request = new Uint8Array(head.length + actionsBytes(actions));
  request.set(head);
  let at = head.length;
  for (const { pieces } of actions) {
    for (const piece of pieces) {
      request.set(piece, at);
      at += piece.length;
    }
  }
  return request;
}

/** Bytes that actions add to a request. */
export function actionsBytes(actions: readonly EncodedAction[]): number {
  return actions.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** Bytes of a request without actions, at most. */
export const EMPTY_REQUEST_BYTES = 11;

/** Bytes that a whole number in [0, 2^53) takes. */
export function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest > 0x7f; rest = Math.floor(rest / 0x80)) bytes += 1;
  return bytes;
}

/** Bytes of a field's tag. */
function tagBytes(field: number): number {
  return varintBytes(field << 3);
}

/**
 * The changes of a request.
 * @throws SkepError data_loss when the bytes are no request of ours.
 */
export function decodeRequest(bytes: Uint8Array): Change[] {
  let actions: readonly StoreAction[];
  try {
    actions = fromBinary(InternalRaftRequestSchema, bytes).action;
  } catch (error) {
    throw new SkepError('data_loss', 'raft entry is not a store request', { cause: error });
  }
  return actions.map(changeOf);
}

function changeOf(action: StoreAction): Change {
  const { target } = action;
  if (target.case === undefined) {
    throw new SkepError('data_loss', 'store action without an object');
  }
  switch (action.action) {
    case StoreActionKind.STORE_ACTION_CREATE:
      return { kind: 'create', table: target.case, object: target.value } as Change;
    case StoreActionKind.STORE_ACTION_UPDATE:
      return { kind: 'update', table: target.case, object: target.value } as Change;
    case StoreActionKind.STORE_ACTION_REMOVE:
      return { kind: 'remove', table: target.case, id: target.value.id };
    default:
      throw new SkepError('data_loss', 'store action of an unknown kind');
  }
}
