/**
 * Membership changes as the data of log entries, by their first byte: of one member, its kind, node
 * id (8) and context (rest); a joint change, its transition (1), then each change with its length (4)
 * before it; the end of a joint configuration, nothing more.
 */
import { SkepError } from '../model/errors.js';
import type { ConfChange, JointChange, MemberChange } from './types.js';

const MEMBER_KINDS = ['addVoter', 'addLearner', 'removeMember', 'updateMember'] as const;
const JOINT = 4;
const LEAVE_JOINT = 5;
const TRANSITIONS = ['auto', 'implicit', 'explicit'] as const;
const CONTEXT_OFFSET = 9;
const CHANGES_OFFSET = 2;
const LENGTH_BYTES = 4;

/** The bytes of an entry's data. */
export function encodeConfChange(change: ConfChange): Uint8Array {
  switch (change.kind) {
    case 'joint':
      return encodeJoint(change);
    case 'leaveJoint':
      return Uint8Array.of(LEAVE_JOINT);
    default:
      return encodeMemberChange(change);
  }
}

function encodeMemberChange(change: MemberChange): Buffer {
  const bytes = Buffer.alloc(CONTEXT_OFFSET + change.context.length);
  bytes.writeUInt8(MEMBER_KINDS.indexOf(change.kind), 0);
  bytes.writeBigUInt64BE(BigInt(change.nodeId), 1);
  bytes.set(change.context, CONTEXT_OFFSET);
  return bytes;
}

function encodeJoint({ transition, changes }: JointChange): Uint8Array {
  const pieces: Uint8Array[] = [Uint8Array.of(JOINT, TRANSITIONS.indexOf(transition))];
  for (const change of changes) {
    const bytes = encodeMemberChange(change);
    const length = Buffer.alloc(LENGTH_BYTES);
    length.writeUInt32BE(bytes.length);
    pieces.push(length, bytes);
  }
  return Buffer.concat(pieces);
}

/** @throws SkepError data_loss when the bytes are no membership change. */
export function decodeConfChange(data: Uint8Array): ConfChange {
  const view = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  if (view[0] === JOINT) return decodeJoint(view);
  if (view[0] === LEAVE_JOINT && view.length === 1) return { kind: 'leaveJoint' };
  return decodeMemberChange(view);
}

function decodeMemberChange(view: Buffer): MemberChange {
  const kind = view.length < CONTEXT_OFFSET ? undefined : MEMBER_KINDS[view.readUInt8(0)];
  const nodeId = kind === undefined ? 0 : Number(view.readBigUInt64BE(1));
  if (kind === undefined || !Number.isSafeInteger(nodeId) || nodeId === 0) throw noChange();
  return { kind, nodeId, context: view.subarray(CONTEXT_OFFSET) };
}

function decodeJoint(view: Buffer): JointChange {
  const transition = TRANSITIONS[view[1] ?? TRANSITIONS.length];
  if (transition === undefined) throw noChange();
  const changes: MemberChange[] = [];
  for (let at = CHANGES_OFFSET; at < view.length; ) {
    if (view.length < at + LENGTH_BYTES) throw noChange();
    const start = at + LENGTH_BYTES;
    at = start + view.readUInt32BE(at);
    if (at > view.length) throw noChange();
    changes.push(decodeMemberChange(view.subarray(start, at)));
  }
  return { kind: 'joint', transition, changes };
}

function noChange(): SkepError {
  return new SkepError('data_loss', 'raft entry is not a membership change');
}
