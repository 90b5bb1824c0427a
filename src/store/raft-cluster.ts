/**
 * The doors of this room for a manager: begin a new cluster, prepare to join one, open what exists.
 */
import type { Environment } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import type { NodeId } from '../raft/types.js';
import { encodeSnapshotContent } from './members.js';
import { newRaftId } from './raft-id.js';
import { RaftNode, type RaftNodeOptions } from './raft-node.js';
import { settleReplacement } from './sole-member.js';
import {
  createStorage,
  openStorage,
  storageExists,
  type StorageOptions,
} from './wal/raft-storage.js';

/** Index and term of the snapshot that a new cluster begins with. */
const FIRST_POSITION = { index: 1, term: 1 };

/** Draws the raft id of a new member. */
export { newRaftId } from './raft-id.js';

/** Whether raft state exists in this directory. */
export { storageExists as raftStateExists };

/**
 * Creates the state of a new cluster whose only voter is this node; to be opened afterwards.
 * Returns the raft id, drawn at random.
 * @throws SkepError already_exists when there is state already.
 */
export async function bootstrapRaft(
  options: StorageOptions & {
    readonly environment: Environment;
    /** The swarm's id of this node. */
    readonly nodeId: string;
    /** Where other managers reach this one, `host:port`. */
    readonly address: string;
  },
): Promise<NodeId> {
  const { nodeId, address } = options;
  const raftId = newRaftId(options.environment);
  const data = encodeSnapshotContent({
    members: [{ raftId, nodeId, address }],
    store: new Uint8Array(0),
  });
  const conf = { voters: [raftId], learners: [] };
  await createStorage(options, raftId, { ...FIRST_POSITION, conf, data });
  return raftId;
}

/**
 * Creates the empty state of a member that an existing cluster is about to add under `raftId`; it
 * gets everything from the leader. A raft id must never be used with empty state again.
 * @throws SkepError already_exists when there is state already.
 */
export async function prepareRaftMember(options: StorageOptions, raftId: NodeId): Promise<void> {
  await createStorage(options, raftId, undefined);
}

/**
 * Opens existing state and starts the node: the store then holds everything that is known to be
 * agreed upon. An only voter leads within one flush; `onLeadership` tells when.
 * @throws SkepError not_found | data_loss | permission_denied | failed_precondition, see
 *   `openStorage`.
 */
export async function openRaft(
  options: StorageOptions & Omit<RaftNodeOptions, 'storage'>,
): Promise<RaftNode> {
  settleReplacement(options.directory);
  let node: RaftNode | undefined;
  let early: SkepError | undefined;
  const storage = await openStorage(options, (error) => {
    early = error;
    // The node hears of it by its next write as well; whoever comes first ends it.
    if (node !== undefined) node.storageFailed(error);
  });
  if (early !== undefined) throw SkepError.from(early);
  node = new RaftNode({ ...options, storage });
  node.start();
  return node;
}
