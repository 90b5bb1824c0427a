/**
 * The one cluster object: its spec, its settings in labels, and join tokens (SwarmKit
 * controlapi/cluster.go). Readers get it without keys.
 */
import { clone, create } from '@bufbuild/protobuf';
import { durationMs } from '../../model/defaults.js';
import type { Environment } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import {
  type Cluster,
  ClusterSchema,
  MetaSchema,
} from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type ClusterSpec,
  ClusterSpecSchema,
} from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  AnnotationsSchema,
  RootCASchema,
  VersionSchema,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { DATA_PATH_FAMILY_LABEL } from '../../model/labels/keys.js';
import type { ReadTransaction, Store } from '../../store/types.js';
import { checkSkepLabels, invalid } from './annotations.js';
import { rotateJoinTokens } from '../ca/cluster-root.js';
import { desiredRoot } from '../ca/desired-root.js';
import type { ExternalAuthority } from '../ca/external-ca.js';
import { unlockKeysFor } from '../ca/unlock-keys.js';
import { CERTIFICATE_EXPIRY_MIN_MS } from './limits.js';
import { isNegative } from './task-validation.js';
import type { ClusterRotation } from './types.js';

/** Name of the cluster object. */
const CLUSTER_NAME = 'default';

/** Reads and writes of the cluster object. */
export class ClusterObjectControl {
  constructor(
    private readonly store: Store,
    private readonly environment: Environment,
    private readonly external: ExternalAuthority,
  ) {}

  get(): Cluster {
    return withoutKeys(this.store.view(theCluster));
  }

  async update(version: bigint, spec: ClusterSpec, rotation: ClusterRotation): Promise<Cluster> {
    checkClusterSpec(spec);
    const before = this.store.view(theCluster);
    const tools = { env: this.environment, external: this.external };
    const rootCa = await desiredRoot(before, spec.caConfig, tools);
    await this.store.update((write) => {
      const cluster = clone(ClusterSchema, theCluster(write));
      // The root was judged as it was: a change meanwhile is one that the caller does not know.
      if (cluster.meta?.version?.index !== before.meta?.version?.index) throw outOfSequence();
      if (rootCa !== undefined) cluster.rootCa = clone(RootCASchema, rootCa);
      cluster.meta ??= create(MetaSchema);
      cluster.meta.version = create(VersionSchema, { index: version });
      cluster.spec = withDataPathFamily(spec, cluster.spec);
      cluster.unlockKeys = unlockKeysFor(
        cluster,
        rotation.managerUnlockKey,
        this.environment.random,
      );
      write.update('cluster', this.rotated(cluster, rotation));
    });
    return this.get();
  }

  private rotated(cluster: Cluster, rotation: ClusterRotation): Cluster {
    const which = { worker: rotation.workerJoinToken, manager: rotation.managerJoinToken };
    if (!which.worker && !which.manager) return cluster;
    return rotateJoinTokens(cluster, which, this.environment.random);
  }
}

/** The spec with the label that is set at the swarm's founding. @throws SkepError invalid_argument if changed */
function withDataPathFamily(spec: ClusterSpec, before: ClusterSpec | undefined): ClusterSpec {
  const copy = clone(ClusterSpecSchema, spec);
  const founded = before?.annotations?.labels[DATA_PATH_FAMILY_LABEL];
  const { labels } = (copy.annotations ??= create(AnnotationsSchema));
  if ((labels[DATA_PATH_FAMILY_LABEL] ?? founded) !== founded)
    throw invalid(`label ${DATA_PATH_FAMILY_LABEL} is set when the swarm is founded`);
  if (founded !== undefined) labels[DATA_PATH_FAMILY_LABEL] = founded;
  return copy;
}

function outOfSequence(): SkepError {
  return new SkepError('unknown', 'update out of sequence', { details: { table: 'cluster' } });
}

/** The cluster object. @throws SkepError not_found before there is one */
export function theCluster(read: ReadTransaction): Cluster {
  const [cluster] = read.find('cluster', { by: 'name', name: CLUSTER_NAME });
  if (cluster === undefined) throw new SkepError('not_found', 'cluster default not found');
  return cluster;
}

/** @throws SkepError invalid_argument */
export function checkClusterSpec(spec: ClusterSpec): void {
  const expiryMs = durationMs(spec.caConfig?.nodeCertExpiry);
  if (expiryMs !== undefined && expiryMs < CERTIFICATE_EXPIRY_MIN_MS) {
    throw invalid('minimum certificate expiry time is: 1h0m0s');
  }
  if (isNegative(spec.dispatcher?.heartbeatPeriod)) {
    throw invalid('heartbeat time period cannot be a negative duration');
  }
  if (spec.annotations?.name !== CLUSTER_NAME) {
    throw invalid('modification of cluster name is not allowed');
  }
  checkSkepLabels('cluster', spec.annotations);
}

/** A copy as readers may see it (SwarmKit's redactClusters): tokens stay, keys do not. */
function withoutKeys(cluster: Cluster): Cluster {
  const copy = clone(ClusterSchema, cluster);
  copy.networkBootstrapKeys = [];
  copy.encryptionKeyLamportClock = 0n;
  copy.unlockKeys = [];
  if (copy.rootCa !== undefined) {
    copy.rootCa.caKey = new Uint8Array();
    if (copy.rootCa.rootRotation !== undefined) copy.rootCa.rootRotation.caKey = new Uint8Array();
  }
  const config = copy.spec?.caConfig;
  if (config !== undefined) {
    // Whoever sends the spec back must not seem to ask for that root again.
    config.signingCaKey = new Uint8Array();
    config.signingCaCert = new Uint8Array();
  }
  return copy;
}
