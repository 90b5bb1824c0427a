/**
 * The replicated store as the daemon runs it: a raft member on disk below the swarm directory, its
 * log and snapshots under the data key that lives in the node key's headers.
 */
import { SkepError } from '../model/errors.js';
import type { NodeIdentity } from '../rpc/identity/node-identity.js';
import { RAFT_DATA_KEY_BYTES } from '../rpc/identity/raft-keys.js';
import { ManagerTransport } from '../rpc/raft/raft-transport.js';
import {
  bootstrapRaft,
  newRaftId,
  openRaft,
  prepareRaftMember,
  raftStateExists,
} from '../store/raft-cluster.js';
import type { RaftNode } from '../store/raft-node.js';
import type { DataKey } from '../store/wal/record.js';
import { statePaths } from './options.js';
import type { NodeContext } from './running-node.js';

/** A raft member on disk, open, and what carries its messages. */
export interface StoreRuntime {
  readonly raft: RaftNode;
  readonly transport: ManagerTransport;
}

/** What a member is opened with. */
export interface StoreContext {
  readonly context: NodeContext;
  readonly identity: NodeIdentity;
  /** `host:port` at which other managers reach this one. */
  readonly address: string;
}

/** Founds the store of a new cluster with this node as its only voter, and opens it. */
export async function bootstrapStore(options: StoreContext): Promise<StoreRuntime> {
  const { context, identity, address } = options;
  await bootstrapRaft({
    directory: statePaths(context.options.stateDir).raft,
    keys: dataKeys(identity),
    environment: context.environment,
    nodeId: identity.facts().nodeId,
    address,
  });
  const runtime = await openStore(options);
  await leadership(runtime.raft);
  return runtime;
}

/** A lone voter leads as soon as its first entry is on disk. */
async function leadership(raft: RaftNode): Promise<void> {
  await new Promise<void>((resolve) => {
    let unsubscribe: (() => void) | undefined;
    let isLeading = false;
    unsubscribe = raft.onLeadership((isLeader) => {
      if (!isLeader) return;
      isLeading = true;
      unsubscribe?.();
      resolve();
    });
    if (isLeading) unsubscribe();
  });
}

/**
 * Opens the store of a manager: the one that was here before, with everything it acknowledged, or
 * an empty one under a new raft id, for which the leader has to be asked.
 * @throws SkepError data_loss, permission_denied, failed_precondition with advice
 */
export async function openStore(options: StoreContext): Promise<StoreRuntime> {
  const { context, identity, address } = options;
  const { logger, environment } = context;
  const directory = statePaths(context.options.stateDir).raft;
  const isNew = !raftStateExists(directory);
  if (isNew && identity.raftKeys() === undefined) {
    await identity.setRaftDataKey(environment.random.bytes(RAFT_DATA_KEY_BYTES));
  }
  const keys = dataKeys(identity);
  if (isNew) await prepareRaftMember({ directory, keys }, newRaftId(environment));
  const { nodeId } = identity.facts();
  const self = { raftId: 0, nodeId, address };
  const transport = new ManagerTransport({
    identity,
    environment,
    logger: logger.child({ room: 'rpc' }),
    self,
  });
  const raft = await openRaft({
    directory,
    keys,
    environment,
    logger: logger.child({ room: 'store' }),
    transport,
    onFatal: (error) => {
      // Nothing may be acknowledged any more; the next start reads what the disk really holds.
      logger.fatal({ error: error.message }, 'the raft log cannot be written');
      process.exit(74);
    },
  });
  self.raftId = raft.status().id;
  return { raft, transport };
}

/** The keys of this manager's log, the one to write with first. @throws SkepError data_loss */
export function dataKeys(identity: NodeIdentity): readonly DataKey[] {
  const keys = identity.raftKeys();
  if (keys === undefined)
    throw new SkepError(
      'data_loss',
      'the key of the raft log is missing from swarm-node.key: restore the certificates from a backup',
    );
  return keys.pending === undefined ? [keys.current] : [keys.pending, keys.current];
}
