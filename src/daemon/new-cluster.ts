/**
 * The first objects of a new cluster: the cluster itself with Swarm's defaults, and the node that
 * founds it.
 */
import { clone, create } from '@bufbuild/protobuf';
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
import { DATA_PATH_FAMILY_LABEL } from '../model/labels/keys.js';
import { newClusterSpec } from '../model/new-cluster-spec.js';
import { dataPathFamily } from './data-path.js';

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
    spec: newClusterSpec(),
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
