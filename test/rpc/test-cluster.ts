/**
 * A manager for tests: in-memory store, certificates, all agent services, and the real TLS server on
 * a loopback port. Parts that a test wants to drive itself are reachable.
 */
import { create } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { AgentServices } from '../../src/manager/agent-services.js';
import { type NewCluster, newCluster } from '../../src/manager/ca/bootstrap.js';
import { issueNodeCertificate } from '../../src/rpc/identity/root-ca.js';
import { newCertificateRequest } from '../../src/rpc/identity/keys.js';
import type { Environment } from '../../src/model/environment.js';
import { type Cluster, ClusterSchema } from '../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeSpec_Availability } from '../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import { silentLogger } from '../../src/observe/logger.js';
import { systemEnvironment } from '../../src/observe/system-environment.js';
import { RpcServer, type RpcServerOptions } from '../../src/rpc/server.js';
import type { IdentitySource, ManagerPeer, TlsIdentity } from '../../src/rpc/types.js';
import { createLocalStore, type MemoryStore } from '../../src/store/memory-store.js';

/** An identity source that a test changes by hand. */
export class TestIdentity implements IdentitySource {
  readonly #listeners = new Set<(identity: TlsIdentity) => void>();
  #identity: TlsIdentity;

  constructor(identity: TlsIdentity) {
    this.#identity = identity;
  }

  current(): TlsIdentity {
    return this.#identity;
  }

  subscribe(listener: (identity: TlsIdentity) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  change(identity: TlsIdentity): void {
    this.#identity = identity;
    for (const listener of this.#listeners) listener(identity);
  }
}

/** Everything of the test's manager. */
export interface TestCluster {
  readonly store: MemoryStore;
  readonly founding: NewCluster;
  readonly services: AgentServices;
  readonly server: RpcServer;
  readonly serverIdentity: TestIdentity;
  readonly env: Environment;
  /** As agents reach it. */
  readonly peer: ManagerPeer;
  readonly addr: string;
  cluster(): Cluster;
  workerToken(): string;
  /** A certificate of this cluster, for a node the store need not know. */
  identity(nodeId: string, role?: 'worker' | 'manager'): Promise<TlsIdentity>;
  stop(): Promise<void>;
}

/** What a test may change. */
export interface TestClusterOptions {
  readonly env?: Environment;
  readonly heartbeatPeriodMs?: number;
  readonly server?: Partial<RpcServerOptions>;
  readonly silenceMs?: (nodeId: string) => number;
  readonly host?: string;
  readonly port?: number;
}

/** Starts a leading manager; `stop` ends all of it. */
export async function startTestCluster(options: TestClusterOptions = {}): Promise<TestCluster> {
  const env = options.env ?? systemEnvironment;
  const founding = await newCluster({ env, availability: NodeSpec_Availability.ACTIVE });
  const { store } = createLocalStore(env, { freezeObjects: true });
  await store.update((write) => {
    write.create('node', founding.node);
    write.create('cluster', clusterObject(founding, options.heartbeatPeriodMs));
  });
  const serverIdentity = new TestIdentity(founding.identity);
  const self = { nodeId: founding.node.id, addr: '' };
  const services: AgentServices = new AgentServices({
    store,
    env,
    logger: silentLogger,
    clusterId: founding.clusterId,
    self,
    disconnectNode: (nodeId) => server.disconnectNode(nodeId),
    ...(options.silenceMs === undefined ? {} : { silenceMs: options.silenceMs }),
  });
  const server = new RpcServer({
    identity: serverIdentity,
    routes: services.routes,
    env: systemEnvironment,
    logger: silentLogger,
    ...options.server,
  });
  services.start();
  const { port } = await server.listen(options.host ?? '127.0.0.1', options.port ?? 0);
  const addr = `127.0.0.1:${port}`;
  self.addr = addr;
  await services.startLeading();
  const cluster = (): Cluster => {
    const found = store.view((read) => read.get('cluster', founding.clusterId));
    if (found === undefined) throw new Error('no cluster');
    return found;
  };
  return {
    store,
    founding,
    services,
    server,
    serverIdentity,
    env,
    peer: self,
    addr,
    cluster,
    workerToken: () => cluster().rootCa?.joinTokens?.worker ?? '',
    identity: (nodeId, role = 'worker') => testIdentity(founding, nodeId, role),
    async stop() {
      await services.stop();
      await server.stop();
    },
  };
}

/** A certificate of the cluster that `founding` began. */
export async function testIdentity(
  founding: NewCluster,
  nodeId: string,
  role: 'worker' | 'manager',
  clusterId = founding.clusterId,
): Promise<TlsIdentity> {
  const request = await newCertificateRequest();
  const root = {
    certificatePem: Buffer.from(founding.rootCa.caCert).toString(),
    privateKeyPem: Buffer.from(founding.rootCa.caKey).toString(),
  };
  const certificatePem = await issueNodeCertificate(
    root,
    { csrPem: request.csrPem, nodeId, role, clusterId, lifetimeMs: 3_600_000 },
    systemEnvironment,
  );
  return {
    rootCaPem: root.certificatePem,
    certificatePem,
    privateKeyPem: request.privateKeyPem,
  };
}

function clusterObject(founding: NewCluster, heartbeatPeriodMs = 5000): Cluster {
  return create(ClusterSchema, {
    id: founding.clusterId,
    spec: {
      annotations: { name: 'default' },
      dispatcher: { heartbeatPeriod: durationFromMs(heartbeatPeriodMs) },
    },
    rootCa: founding.rootCa,
  });
}
