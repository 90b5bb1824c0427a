/** Membership changes as the data of log entries: kind (1 byte), node id (8), context (rest). */
import { SkepError } from '../model/errors.js';
import type { ConfChange } from './types.js';

const KINDS = ['addVoter', 'addLearner', 'removeMember', 'updateMember'] as const;
const CONTEXT_OFFSET = 9;

/** The bytes of an entry's data. */
export function encodeConfChange(change: ConfChange): Uint8Array {
  const bytes = Buffer.alloc(CONTEXT_OFFSET + change.context.length);
  bytes.writeUInt8(KINDS.indexOf(change.kind), 0);
  bytes.writeBigUInt64BE(BigInt(change.nodeId), 1);
  bytes.set(change.context, CONTEXT_OFFSET);
  return bytes;
}

/** @throws SkepError data_loss when the bytes are no membership change. */
export function decodeConfChange(data: Uint8Array): ConfChange {
  const view = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const kind = view.length < CONTEXT_OFFSET ? undefined : KINDS[view.readUInt8(0)];
  const nodeId = kind === undefined ? 0 : Number(view.readBigUInt64BE(1));
  if (kind === undefined || !Number.isSafeInteger(nodeId) || nodeId === 0) {
    throw new SkepError('data_loss', 'raft entry is not a membership change');
  }
  return { kind, nodeId, context: data.subarray(CONTEXT_OFFSET) };
}
