/**
 * {@link Control} over the replicated store: puts the controls of each kind of object together.
 */
import type { Environment } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
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
import type { Store } from '../../store/types.js';
import type { SecretSource } from '../drivers/secret-drivers.js';
import { ClusterObjectControl } from './cluster-control.js';
import { type ExternalAuthority, NO_EXTERNAL_AUTHORITY } from '../ca/external-ca.js';
import { NetworkControl } from './network-control.js';
import { type ManagerGroup, NodeControl } from './node-control.js';
import { ConfigControl, SecretControl } from './secret-control.js';
import { ServiceControl } from './service-control.js';
import type { ClusterRotation, Control } from './types.js';

/** What the Control API of a manager needs. */
export interface StoreControlOptions {
  readonly store: Store;
  readonly environment: Environment;
  readonly managers: ManagerGroup;
  /** Default: none can be reached. */
  readonly external?: ExternalAuthority;
  /** Default: any secret driver may be named. */
  readonly secretSource?: SecretSource;
}

/** The Control API of a leading manager. */
export class StoreControl implements Control {
  private readonly store: Store;
  private readonly cluster: ClusterObjectControl;
  private readonly nodes: NodeControl;
  private readonly networks: NetworkControl;
  private readonly services: ServiceControl;
  private readonly secrets: SecretControl;
  private readonly configs: ConfigControl;

  constructor(options: StoreControlOptions) {
    const { store, environment } = options;
    this.store = store;
    const external = options.external ?? NO_EXTERNAL_AUTHORITY;
    this.cluster = new ClusterObjectControl(store, environment, external);
    this.nodes = new NodeControl(store, environment, options.managers);
    this.networks = new NetworkControl(store, environment);
    this.services = new ServiceControl(store, environment);
    this.secrets = new SecretControl(store, environment, options.secretSource);
    this.configs = new ConfigControl(store, environment);
  }

  getCluster(): Cluster {
    return this.cluster.get();
  }

  updateCluster(version: bigint, spec: ClusterSpec, rotation: ClusterRotation): Promise<Cluster> {
    return this.cluster.update(version, spec, rotation);
  }

  listNodes(): readonly Node[] {
    return this.nodes.list();
  }

  getNode(id: string): Node {
    return this.nodes.get(id);
  }

  updateNode(id: string, version: bigint, spec: NodeSpec): Promise<Node> {
    return this.nodes.update(id, version, spec);
  }

  removeNode(id: string, options: { readonly force: boolean }): Promise<void> {
    return this.nodes.remove(id, options);
  }

  listNetworks(): readonly Network[] {
    return this.networks.list();
  }

  getNetwork(id: string): Network {
    return this.networks.get(id);
  }

  createNetwork(spec: NetworkSpec): Promise<Network> {
    return this.networks.create(spec);
  }

  removeNetwork(id: string): Promise<void> {
    return this.networks.remove(id);
  }

  listServices(): readonly Service[] {
    return this.services.list();
  }

  getService(id: string): Service {
    return this.services.get(id);
  }

  createService(spec: ServiceSpec): Promise<Service> {
    return this.services.create(spec);
  }

  updateService(
    id: string,
    version: bigint,
    spec: ServiceSpec,
    options: { readonly rollback: 'none' | 'previous' },
  ): Promise<Service> {
    return this.services.update(id, version, spec, options);
  }

  removeService(id: string): Promise<void> {
    return this.services.remove(id);
  }

  listTasks(): readonly Task[] {
    return this.store.view((read) => read.find('task', { by: 'all' }));
  }

  getTask(id: string): Task {
    const task = this.store.view((read) => read.get('task', id));
    if (task === undefined) throw new SkepError('not_found', `task ${id} not found`);
    return task;
  }

  listSecrets(): readonly Secret[] {
    return this.secrets.list();
  }

  getSecret(id: string): Secret {
    return this.secrets.get(id);
  }

  createSecret(spec: SecretSpec): Promise<Secret> {
    return this.secrets.create(spec);
  }

  updateSecret(id: string, version: bigint, spec: SecretSpec): Promise<Secret> {
    return this.secrets.update(id, version, spec);
  }

  removeSecret(id: string): Promise<void> {
    return this.secrets.remove(id);
  }

  listConfigs(): readonly Config[] {
    return this.configs.list();
  }

  getConfig(id: string): Config {
    return this.configs.get(id);
  }

  createConfig(spec: ConfigSpec): Promise<Config> {
    return this.configs.create(spec);
  }

  updateConfig(id: string, version: bigint, spec: ConfigSpec): Promise<Config> {
    return this.configs.update(id, version, spec);
  }

  removeConfig(id: string): Promise<void> {
    return this.configs.remove(id);
  }
}
