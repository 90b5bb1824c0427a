/**
 * Who the raft members are: the link between raft ids, node ids and addresses. It travels in
 * membership changes and in front of the store's data in each snapshot.
 */
import { SkepError } from '../model/errors.js';
import type { NodeId } from '../raft/types.js';

/** A manager taking part in the quorum. */
export interface RaftMember {
  readonly raftId: NodeId;
  /** The swarm's id of the node. */
  readonly nodeId: string;
  /** Where its managers' port is reached, `host:port`. */
  readonly address: string;
}

const LENGTH_BYTES = 4;

/** A member as the context of a membership change. */
export function encodeMember(member: RaftMember): Uint8Array {
  const { raftId, nodeId, address } = member;
  return Buffer.from(JSON.stringify({ raftId, nodeId, address }));
}

/** @throws SkepError data_loss when the bytes are no member. */
export function decodeMember(bytes: Uint8Array): RaftMember {
  const { raftId, nodeId, address } = parse(bytes) as Partial<RaftMember>;
  const isValid =
    Number.isSafeInteger(raftId) && typeof nodeId === 'string' && typeof address === 'string';
  if (!isValid || raftId === undefined) {
    throw new SkepError('data_loss', 'a raft membership change does not name its member');
  }
  return { raftId, nodeId, address };
}

/** What a snapshot carries: the members, then the store. */
export interface SnapshotContent {
  readonly members: readonly RaftMember[];
  readonly store: Uint8Array;
}

/** Length of the members (4), the members as JSON, the store's snapshot. */
export function encodeSnapshotContent(content: SnapshotContent): Uint8Array {
  const members = Buffer.from(JSON.stringify(content.members));
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32LE(members.length);
  return Buffer.concat([length, members, content.store]);
}

/** @throws SkepError data_loss when the bytes are no snapshot content. */
export function decodeSnapshotContent(data: Uint8Array): SnapshotContent {
  const view = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const end = view.length < LENGTH_BYTES ? Infinity : LENGTH_BYTES + view.readUInt32LE(0);
  const members = end > view.length ? undefined : parse(view.subarray(LENGTH_BYTES, end));
  if (!Array.isArray(members)) {
    throw new SkepError('data_loss', 'a raft snapshot does not name its members');
  }
  return {
    members: members.map((member) => decodeMember(Buffer.from(JSON.stringify(member)))),
    store: view.subarray(end),
  };
}

function parse(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString());
  } catch (error) {
    throw new SkepError('data_loss', 'raft membership data cannot be read', { cause: error });
  }
}
