/**
 * Changes of a transaction to and from the bytes of one raft entry (InternalRaftRequest). Actions
 * are encoded one by one, so that an entry knows its size while it grows.
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
import { descriptorOf } from './tables.js';
import type { Change } from './transaction.js';
import type { TableName, Tables } from './types.js';

/** Field numbers of InternalRaftRequest. */
const FIELD_ID = 1;
const FIELD_ACTION = 2;

/** One change as an encoded StoreAction. A removal carries the id only. */
export function encodeAction(change: Change): Uint8Array {
  const action = {
    $typeName: StoreActionSchema.typeName,
    action: actionKind(change.kind),
    target: {
      case: change.table,
      value: change.kind === 'remove' ? emptyObject(change.table, change.id) : change.object,
    },
  } as StoreAction;
  return toBinary(StoreActionSchema, action);
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

/** An object with nothing but its id, which is all a removal needs. */
function emptyObject<T extends TableName>(table: T, id: string): Tables[T] {
  const object: Tables[T] = createMessage(descriptorOf(table).schema);
  object.id = id;
  return object;
}

/** Encoded actions as one request. */
export function encodeRequest(id: bigint, actions: readonly Uint8Array[]): Uint8Array {
  const writer = new BinaryWriter();
  writer.tag(FIELD_ID, WireType.Varint).uint64(id);
  for (const action of actions) writer.tag(FIELD_ACTION, WireType.LengthDelimited).bytes(action);
  return writer.finish();
}

/** Bytes that actions add to a request. */
export function actionsBytes(actions: readonly Uint8Array[]): number {
  return actions.reduce((sum, { length }) => sum + 1 + varintBytes(length) + length, 0);
}

/** Bytes of a request without actions, at most. */
export const EMPTY_REQUEST_BYTES = 11;

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest > 0x7f; rest >>>= 7) bytes += 1;
  return bytes;
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
