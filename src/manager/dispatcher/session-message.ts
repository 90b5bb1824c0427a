/** What a session tells a node: itself, the managers, the gossip keys, the root certificate. */
import { clone, create, equals } from '@bufbuild/protobuf';
import {
  type SessionMessage,
  SessionMessageSchema,
} from '../../model/gen/docker/swarmkit/v1/dispatcher_pb.js';
import {
  type Cluster,
  type Node,
  NodeSchema,
} from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeSpecSchema } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  AnnotationsSchema,
  NodeRole,
  type WeightedPeer,
  WeightedPeerSchema,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { timestampToMs } from '../../model/defaults.js';
import { runsSkepd } from '../../model/agent-kind.js';
import {
  DATA_PATH_FAMILY_LABEL,
  DNS_TTL_LABEL,
  FENCE_AFTER_LABEL,
  RECONNECT_SPREAD_LABEL,
  REMOVED_NODES_LABEL,
} from '../../model/labels/keys.js';
import { reconnectSpreadMs } from '../../model/reconnect.js';
import { REMOVED_NODES_TOLD_MAX } from './constants.js';
import type { ReadTransaction } from '../../store/types.js';
import { OBSERVATION_WEIGHT } from '../../rpc/limits.js';
import type { ManagerPeer } from '../../rpc/types.js';

/** Labels of the cluster that agents act by. */
const AGENT_SETTINGS = [DNS_TTL_LABEL, FENCE_AFTER_LABEL, DATA_PATH_FAMILY_LABEL] as const;

/** The session message of `nodeId` now; undefined once the node or the cluster is gone. */
export function sessionMessage(
  read: ReadTransaction,
  options: {
    sessionId: string;
    nodeId: string;
    clusterId: string;
    self: ManagerPeer;
    nodeCount: number;
  },
): SessionMessage | undefined {
  const node: Node | undefined = read.get('node', options.nodeId);
  const cluster: Cluster | undefined = read.get('cluster', options.clusterId);
  if (node === undefined || cluster === undefined) return undefined;
  return create(SessionMessageSchema, {
    sessionId: options.sessionId,
    node: withClusterSettings(node, cluster, options.nodeCount),
    managers: weightedManagers(read, options.self),
    networkBootstrapKeys: cluster.networkBootstrapKeys,
    RootCA: cluster.rootCa?.caCert ?? new Uint8Array(),
  });
}

/**
 * The node as its agent sees it: with the labels of the cluster that agents act by, since a session
 * has no other place for them. Stock agents get theirs unchanged.
 */
function withClusterSettings(node: Node, cluster: Cluster, nodeCount: number): Node {
  if (!runsSkepd(node)) return node;
  const labels = cluster.spec?.annotations?.labels ?? {};
  const settings = AGENT_SETTINGS.filter((key) => labels[key] !== undefined);
  const copy = clone(NodeSchema, node);
  copy.spec ??= create(NodeSpecSchema);
  copy.spec.annotations ??= create(AnnotationsSchema);
  const told = copy.spec.annotations.labels;
  for (const key of settings) told[key] = labels[key] ?? '';
  told[DATA_PATH_FAMILY_LABEL] ??= 'ipv4';
  const spreadMs = reconnectSpreadMs(nodeCount);
  if (spreadMs > 0) told[RECONNECT_SPREAD_LABEL] = String(spreadMs);
  const removed = removedNodes(cluster);
  if (removed.length > 0) told[REMOVED_NODES_LABEL] = removed.join(',');
  return copy;
}

/** Nodes whose certificates do not count any more; if very many those that would count longest. */
function removedNodes({ blacklistedCertificates }: Cluster): readonly string[] {
  const expiryMs = (id: string): number =>
    timestampToMs(blacklistedCertificates[id]?.expiry) ?? Infinity;
  const ids = Object.keys(blacklistedCertificates);
  if (ids.length > REMOVED_NODES_TOLD_MAX) {
    ids.sort((a, b) => (expiryMs(a) < expiryMs(b) ? 1 : -1)).splice(REMOVED_NODES_TOLD_MAX);
  }
  return ids.sort();
}

/**
 * The managers by their store entries. This manager is always among them: an agent forgets managers
 * that are not listed, the one it talks to included.
 */
export function weightedManagers(read: ReadTransaction, self: ManagerPeer): WeightedPeer[] {
  const peers = new Map<string, string>([[self.nodeId, self.addr]]);
  for (const node of read.find('node', { by: 'role', role: NodeRole.MANAGER })) {
    const addr = node.managerStatus?.addr ?? '';
    if (addr !== '') peers.set(node.id, addr);
  }
  return [...peers].map(([nodeId, addr]) =>
    create(WeightedPeerSchema, { peer: { nodeId, addr }, weight: BigInt(OBSERVATION_WEIGHT) }),
  );
}

/** Whether two messages tell an agent the same; what it reported itself is no news to it. */
export function isSameNews(a: SessionMessage, b: SessionMessage): boolean {
  return equals(SessionMessageSchema, withoutReports(a), withoutReports(b));
}

function withoutReports(message: SessionMessage): SessionMessage {
  if (message.node === undefined) return message;
  const { status: _s, description: _d, meta: _m, managerStatus: _ms, ...node } = message.node;
  return { ...message, node };
}
