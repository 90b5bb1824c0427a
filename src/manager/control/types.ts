/**
 * SwarmKit's Control API as seen inside a manager: validated reads and writes of cluster objects.
 * The Docker API (src/api) resolves names and prefixes to ids, converts JSON and filters lists;
 * every rule about what a cluster may contain lives behind this interface (reference: SwarmKit
 * manager/controlapi). Errors are SkepError with SwarmKit's own texts.
 */
import type {
  Cluster,
  Config,
  Network,
  Node,
  Secret,
  Service,
  Task,
} from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import type {
  ClusterSpec,
  ConfigSpec,
  NetworkSpec,
  NodeSpec,
  SecretSpec,
  ServiceSpec,
} from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import type {
  LogSubscriptionOptions,
  LogSelector,
  LogMessage,
} from '../../model/gen/docker/swarmkit/v1/logbroker_pb.js';

/** What `swarm update` rotates besides the spec. */
export interface ClusterRotation {
  readonly workerJoinToken: boolean;
  readonly managerJoinToken: boolean;
  readonly managerUnlockKey: boolean;
}

/** Validated access to the cluster's objects; on the leader. */
export interface Control {
  /** The one cluster object. */
  getCluster(): Cluster;
  /** @throws SkepError invalid_argument; unknown `update out of sequence` */
  updateCluster(version: bigint, spec: ClusterSpec, rotation: ClusterRotation): Promise<Cluster>;

  listNodes(): readonly Node[];
  /** @throws SkepError not_found `node %s not found` */
  getNode(id: string): Node;
  updateNode(id: string, version: bigint, spec: NodeSpec): Promise<Node>;
  removeNode(id: string, options: { readonly force: boolean }): Promise<void>;

  listNetworks(): readonly Network[];
  getNetwork(id: string): Network;
  /** Resolves once stored; allocation follows. */
  createNetwork(spec: NetworkSpec): Promise<Network>;
  removeNetwork(id: string): Promise<void>;

  listServices(): readonly Service[];
  getService(id: string): Service;
  createService(spec: ServiceSpec): Promise<Service>;
  updateService(
    id: string,
    version: bigint,
    spec: ServiceSpec,
    options: { readonly rollback: 'none' | 'previous' },
  ): Promise<Service>;
  removeService(id: string): Promise<void>;

  listTasks(): readonly Task[];
  getTask(id: string): Task;

  listSecrets(): readonly Secret[];
  /** Without its data. */
  getSecret(id: string): Secret;
  createSecret(spec: SecretSpec): Promise<Secret>;
  updateSecret(id: string, version: bigint, spec: SecretSpec): Promise<Secret>;
  removeSecret(id: string): Promise<void>;

  listConfigs(): readonly Config[];
  getConfig(id: string): Config;
  createConfig(spec: ConfigSpec): Promise<Config>;
  updateConfig(id: string, version: bigint, spec: ConfigSpec): Promise<Config>;
  removeConfig(id: string): Promise<void>;
}

/** SwarmKit's Logs service: lines of all matching tasks, merged as they arrive. Ends by `signal` or when all are delivered. */
export interface LogSource {
  subscribe(
    selector: LogSelector,
    options: LogSubscriptionOptions,
    signal: AbortSignal,
  ): AsyncIterable<LogMessage>;
}
