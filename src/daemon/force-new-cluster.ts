/**
 * `docker swarm init --force-new-cluster`: a manager goes on alone with all it knows. Certificates,
 * services, tasks and workers stay; the other managers are workers from then on, should they come
 * back.
 */
import { rmSync } from 'node:fs';
import { clone, create } from '@bufbuild/protobuf';
import type { InitRequest } from '../api/types.js';
import { unlockKeysFor } from '../manager/ca/unlock-keys.js';
import { theCluster } from '../manager/control/cluster-control.js';
import {
  type Cluster,
  ClusterSchema,
  NodeSchema,
} from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeSpecSchema } from '../model/gen/docker/swarmkit/v1/specs_pb.js';
import { NodeRole } from '../model/gen/docker/swarmkit/v1/types_pb.js';
import type { NodeIdentity } from '../rpc/identity/node-identity.js';
import { forceSoleMember } from '../store/sole-member.js';
import type { WriteTransaction } from '../store/types.js';
import { foundingNode } from './new-cluster.js';
import type { NodeRecord } from './node-state.js';
import { statePaths } from './options.js';
import type { NodeContext, RunningNode } from './running-node.js';
import { nodeParts, startManagerNode } from './start-node.js';
import { dataKeys, openStore } from './store-runtime.js';

/** In the objects of a cluster that has one manager from now on: nobody else is one. */
export function onlyManager(
  write: WriteTransaction,
  self: { readonly nodeId: string; readonly address: string; readonly raftId: bigint },
): void {
  for (const node of write.find('node', { by: 'all' })) {
    if (node.id === self.nodeId) {
      write.update('node', foundingNode(node, self.raftId, self.address));
      continue;
    }
    if (node.role !== NodeRole.MANAGER && node.spec?.desiredRole !== NodeRole.MANAGER) continue;
    const copy = clone(NodeSchema, node);
    copy.role = NodeRole.WORKER;
    copy.spec ??= create(NodeSpecSchema);
    copy.spec.desiredRole = NodeRole.WORKER;
    delete copy.managerStatus;
    write.update('node', copy);
  }
}

/**
 * The cluster object with the request's settings. What has no "unset" in such a request is kept:
 * taken literally, a zero would rotate the root, and a missing `--autolock` would put the keys of a
 * manager that locks on its disk in clear.
 */
export function forcedCluster(old: Cluster, wanted: Cluster): Cluster {
  const cluster = clone(ClusterSchema, wanted);
  const { caConfig, encryptionConfig } = cluster.spec ?? {};
  if (caConfig !== undefined) caConfig.forceRotate ||= old.spec?.caConfig?.forceRotate ?? 0n;
  if (encryptionConfig !== undefined)
    encryptionConfig.autoLockManagers ||= old.spec?.encryptionConfig?.autoLockManagers ?? false;
  return cluster;
}

/**
 * Rewrites the raft state of this manager, which must not run, and starts it as a cluster of its
 * own. @throws SkepError as the opening of raft state does
 */
export async function forceNewCluster(
  context: NodeContext,
  record: NodeRecord,
  identity: NodeIdentity,
  request: InitRequest,
): Promise<RunningNode> {
  const { environment, options } = context;
  const { nodeId } = identity.facts();
  const address = record.value.AdvertiseAddr;
  await forceSoleMember(
    { directory: statePaths(options.stateDir).raft, keys: dataKeys(identity) },
    {
      environment,
      nodeId,
      address,
      change: (write, raftId) => onlyManager(write, { nodeId, address, raftId: BigInt(raftId) }),
    },
  );
  // The managers of before are none of this cluster's any more.
  rmSync(statePaths(options.stateDir).knownManagers, { force: true });
  const parts = nodeParts({ context, record, identity });
  const runtime = await openStore(parts);
  const node = await startManagerNode(parts, runtime);
  await runtime.raft.store.update((write) => {
    const old = theCluster(write);
    const cluster = forcedCluster(old, request.applySpec(old));
    cluster.unlockKeys = unlockKeysFor(cluster, false, environment.random);
    write.update('cluster', cluster);
  });
  return node;
}
