/**
 * The first objects of a new cluster: the cluster itself with Swarm's defaults, and the node that
 * founds it.
 */
import { clone, create } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import type { NewCluster } from '../manager/ca/bootstrap.js';
import {
  type Cluster,
  ClusterSchema,
  type Node,
  NodeSchema,
} from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import { ClusterSpecSchema } from '../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  AnnotationsSchema,
  ManagerStatusSchema,
  RaftMemberStatus_Reachability,
} from '../model/gen/docker/swarmkit/v1/types_pb.js';
import { DATA_PATH_FAMILY_LABEL } from '../model/labels.js';
import { dataPathFamily } from './data-path.js';

/** Swarm's defaults (reference: SwarmKit manager.go, defaultClusterObject). */
const TASK_HISTORY_RETENTION_LIMIT = 5n;
const SNAPSHOT_INTERVAL_ENTRIES = 10_000n;
const LOG_ENTRIES_FOR_SLOW_FOLLOWERS = 500n;
const HEARTBEAT_TICK = 1;
const ELECTION_TICK = 10;
const HEARTBEAT_PERIOD_MS = 5000;
const NODE_CERTIFICATE_EXPIRY_MS = 90 * 24 * 3600 * 1000;

/** The cluster object before the user's spec is applied. */
export function newClusterObject(options: {
  readonly cluster: NewCluster;
  readonly addressPools: readonly string[];
  readonly subnetSize: number;
  readonly dataPathPort: number;
}): Cluster {
  return create(ClusterSchema, {
    id: options.cluster.clusterId,
    rootCa: options.cluster.rootCa,
    defaultAddressPool: [...options.addressPools],
    subnetSize: options.subnetSize,
    VXLANUDPPort: options.dataPathPort,
    spec: {
      annotations: { name: 'default' },
      orchestration: { taskHistoryRetentionLimit: TASK_HISTORY_RETENTION_LIMIT },
      raft: {
        snapshotInterval: SNAPSHOT_INTERVAL_ENTRIES,
        keepOldSnapshots: 0n,
        logEntriesForSlowFollowers: LOG_ENTRIES_FOR_SLOW_FOLLOWERS,
        heartbeatTick: HEARTBEAT_TICK,
        electionTick: ELECTION_TICK,
      },
      dispatcher: { heartbeatPeriod: durationFromMs(HEARTBEAT_PERIOD_MS) },
      caConfig: { nodeCertExpiry: durationFromMs(NODE_CERTIFICATE_EXPIRY_MS) },
      taskDefaults: {},
      encryptionConfig: { autoLockManagers: false },
    },
  });
}

/**
 * Writes into the cluster's labels which addresses nodes that join need for their tunnels, where that is
 * not the default: labels are seen by whoever inspects the swarm.
 */
export function noteDataPathFamily(cluster: Cluster, dataPathAddress: string): void {
  const spec = (cluster.spec ??= create(ClusterSpecSchema));
  const { labels } = (spec.annotations ??= create(AnnotationsSchema));
  const family = dataPathFamily(dataPathAddress);
  if (family === 'ipv4') delete labels[DATA_PATH_FAMILY_LABEL];
  else labels[DATA_PATH_FAMILY_LABEL] = family;
}

/** The founding node as a manager that leads. */
export function foundingNode(node: Node, raftId: bigint, managerAddr: string): Node {
  const copy = clone(NodeSchema, node);
  copy.managerStatus = create(ManagerStatusSchema, {
    raftId,
    addr: managerAddr,
    leader: true,
    reachability: RaftMemberStatus_Reachability.REACHABLE,
  });
  return copy;
}
