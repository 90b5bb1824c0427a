/**
 * The replicated store as the daemon runs it: a raft member on disk below the swarm directory, its
 * log and snapshots under the data key that lives in the node key's headers.
 */
import { SkepError } from '../model/errors.js';
import type { NodeIdentity } from '../rpc/identity/node-identity.js';
import { bootstrapRaft, openRaft } from '../store/raft-cluster.js';
import type { DataKey } from '../store/wal/record.js';
import type { NodeRecord } from './node-state.js';
import { statePaths } from './options.js';
import type { StoreRuntime } from './running-manager.js';
import type { NodeContext } from './running-node.js';

/** Founds the store of a new cluster with this node as its only voter, and opens it. */
export async function bootstrapStore(
  context: NodeContext,
  identity: NodeIdentity,
  record: NodeRecord,
): Promise<StoreRuntime> {
  await bootstrapRaft({
    directory: statePaths(context.options.stateDir).raft,
    keys: dataKeys(identity),
    environment: context.environment,
    nodeId: identity.facts().nodeId,
    address: record.value.AdvertiseAddr,
  });
  const runtime = await openStore(context, identity);
  await leadership(runtime);
  return runtime;
}

/** A lone voter leads as soon as its first entry is on disk. */
async function leadership(runtime: StoreRuntime): Promise<void> {
  await new Promise<void>((resolve) => {
    let unsubscribe: (() => void) | undefined;
    let isLeading = false;
    unsubscribe = runtime.onLeadership((isLeader) => {
      if (!isLeader) return;
      isLeading = true;
      unsubscribe?.();
      resolve();
    });
    if (isLeading) unsubscribe();
  });
}

/**
 * Opens the store of a manager that was here before, with everything it acknowledged.
 * @throws SkepError data_loss, permission_denied, failed_precondition with advice
 */
export async function openStore(
  context: NodeContext,
  identity: NodeIdentity,
): Promise<StoreRuntime> {
  const { logger, options, environment } = context;
  const node = await openRaft({
    directory: statePaths(options.stateDir).raft,
    keys: dataKeys(identity),
    environment,
    logger: logger.child({ room: 'store' }),
    onFatal: (error) => {
      // Nothing may be acknowledged any more; the next start reads what the disk really holds.
      logger.fatal({ error: error.message }, 'the raft log cannot be written');
      process.exit(74);
    },
  });
  return {
    store: node.store,
    raftId: BigInt(node.status().id),
    onLeadership: (listener) => node.onLeadership((isLeader) => listener(isLeader)),
    knownState: async () => {
      try {
        await node.readBarrier();
      } catch (error) {
        const { message } = SkepError.from(error);
        logger.warn({ error: message }, 'without a leader: a backup holds what this manager knows');
      }
      return node.knownState();
    },
    rotateDataKey: async (key) => node.rotateDataKey(key),
    close: async () => node.close(),
  };
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
