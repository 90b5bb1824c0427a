/**
 * The worker-facing services of a manager as one part: built once, mounted on the RPC server by
 * {@link AgentServices.routes}, told when this manager leads and when no longer.
 */
import type { Environment } from '../model/environment.js';
import type { Logger } from '../observe/logger.js';
import type { ManagerPeer, RpcRoutes } from '../rpc/types.js';
import type { Store } from '../store/types.js';
import { registerCa } from './ca/ca-routes.js';
import { CertificateAuthority } from './ca/certificate-authority.js';
import { ClusterAccess } from './ca/cluster-access.js';
import { type ExternalAuthority, NO_EXTERNAL_AUTHORITY } from './ca/external-ca.js';
import { RootRotation } from './ca/root-rotation.js';
import { Dispatcher } from './dispatcher/dispatcher.js';
import type { SecretSource } from './drivers/secret-drivers.js';
import { registerDispatcher } from './dispatcher/dispatcher-routes.js';
import { KeyManager } from './keys/key-manager.js';
import { LogBroker } from './logs/log-broker.js';
import { registerLogBroker } from './logs/log-routes.js';
import { ResourceAllocator } from './resource/resource-allocator.js';
import { registerResourceAllocator } from './resource/resource-routes.js';
import { registerStatistics } from './statistics/statistics-routes.js';
import { TaskUsage } from './statistics/task-usage.js';

/** What the services need. */
export interface AgentServicesOptions {
  readonly store: Store;
  readonly env: Environment;
  readonly logger: Logger;
  /** From this manager's certificate (`NodeIdentity.facts().clusterId`). */
  readonly clusterId: string;
  /** This manager's node id and the `host:port` at which agents reach it. */
  readonly self: ManagerPeer;
  /** Cuts the connections of a removed node; `RpcServer.disconnectNode`. */
  readonly disconnectNode: (nodeId: string) => void;
  /** Signs in place of the cluster's key where one is set. */
  readonly external?: ExternalAuthority;
  /** Whether a node's data path answered lately; without it a silent agent means a dead node. */
  readonly silenceMs?: (nodeId: string) => number;
  /** Values of secrets that plugins hold. */
  readonly secretSource?: SecretSource;
}

/** CA, NodeCA, Dispatcher, LogBroker, ResourceAllocator and Statistics, and the gossip keys. */
export class AgentServices {
  readonly access: ClusterAccess;
  readonly authority: CertificateAuthority;
  readonly rotation: RootRotation;
  readonly dispatcher: Dispatcher;
  readonly keys: KeyManager;
  /** Also the `LogSource` of the Docker API. */
  readonly logs: LogBroker;
  readonly resources: ResourceAllocator;
  /** What tasks use of their nodes, as these tell. */
  readonly usage: TaskUsage;
  readonly #options: AgentServicesOptions;
  #leading = false;

  constructor(options: AgentServicesOptions) {
    const { store, env, logger, clusterId } = options;
    this.#options = options;
    this.access = new ClusterAccess({ store, clusterId, onRemoved: options.disconnectNode });
    const { external = NO_EXTERNAL_AUTHORITY } = options;
    const ca = { store, clusterId, env, logger };
    this.authority = new CertificateAuthority({ ...ca, external });
    this.rotation = new RootRotation(ca);
    this.dispatcher = new Dispatcher(options);
    this.keys = new KeyManager({ store, clusterId, env, logger });
    this.logs = new LogBroker({ store, env });
    this.resources = new ResourceAllocator({ store, env });
    this.usage = new TaskUsage({ store, clock: env.clock });
  }

  /** For {@link RpcServerOptions.routes}. */
  readonly routes: RpcRoutes = (router) => {
    const { store } = this.#options;
    const { access, authority, dispatcher, logs, resources, usage } = this;
    registerCa(router, { store, authority, access });
    registerDispatcher(router, { dispatcher, access });
    registerLogBroker(router, { logs, access });
    registerResourceAllocator(router, { resources, access });
    registerStatistics(router, { usage, access });
  };

  /** Begins to check callers against the store; on every manager, before the server listens. */
  start(): void {
    this.access.start();
  }

  /**
   * Takes up the leader's work. To be called when this manager leads and its store has everything
   * that was committed before: agents are told at once what they are to run, and would stop
   * whatever is missing. @throws SkepError when the store cannot be written; call `stopLeading` then
   */
  async startLeading(): Promise<void> {
    if (this.#leading) return;
    this.#leading = true;
    this.authority.start();
    this.rotation.start();
    this.logs.start();
    await this.keys.start();
    await this.dispatcher.start();
  }

  /** Lays the leader's work down. Idempotent. */
  async stopLeading(): Promise<void> {
    this.#leading = false;
    this.keys.stop();
    this.usage.clear();
    this.logs.stop();
    await Promise.all([this.dispatcher.stop(), this.authority.stop(), this.rotation.stop()]);
  }

  /** Ends everything. Idempotent. */
  async stop(): Promise<void> {
    await this.stopLeading();
    this.access.stop();
  }
}
