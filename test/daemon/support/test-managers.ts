/**
 * Managers of one swarm in this process, each with its own state on disk, certificate and port on
 * the loopback address; without agents.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';
import { RunningManager } from '../../../src/daemon/running-manager.js';
import { foundingNode, newClusterObject } from '../../../src/daemon/new-cluster.js';
import { type NewCluster, newCluster } from '../../../src/manager/ca/bootstrap.js';
import { NodeSchema } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeSpec_Availability } from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import { NodeRole } from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { silentLogger } from '../../../src/observe/logger.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import { NodeIdentity } from '../../../src/rpc/identity/node-identity.js';
import { ManagerTransport } from '../../../src/rpc/raft/raft-transport.js';
import type { TlsIdentity } from '../../../src/rpc/types.js';
import {
  bootstrapRaft,
  newRaftId,
  openRaft,
  prepareRaftMember,
  raftStateExists,
} from '../../../src/store/raft-cluster.js';
import type { RaftNode } from '../../../src/store/raft-node.js';
import { testIdentity } from '../../rpc/test-cluster.js';
import { TEST_KEYS } from '../../store/state-directory.js';
import { create } from '@bufbuild/protobuf';

/** A manager and where it keeps its state. */
export interface TestManager {
  readonly nodeId: string;
  readonly address: string;
  readonly directory: string;
  readonly tls: TlsIdentity;
  readonly raft: RaftNode;
  readonly running: RunningManager;
}

/** What is unlike the usual for many nodes. */
export interface TestManagersOptions {
  /** Default true: a caller that changes a stored object fails at once. */
  readonly freezeObjects?: boolean;
  /** Length of the prefixes of networks; default 24. */
  readonly subnetSize?: number;
}

/** Makes managers of one swarm, and ends them all after the test. */
export class TestManagers {
  readonly founding: NewCluster;
  readonly #root: string;
  readonly #running = new Set<TestManager>();
  readonly #options: TestManagersOptions;

  private constructor(founding: NewCluster, root: string, options: TestManagersOptions) {
    this.founding = founding;
    this.#root = root;
    this.#options = options;
  }

  /** A swarm without managers yet. */
  static async start(
    t: Pick<Test, 'teardown'>,
    options: TestManagersOptions = {},
  ): Promise<TestManagers> {
    const founding = await newCluster({
      env: systemEnvironment,
      availability: NodeSpec_Availability.ACTIVE,
    });
    const root = mkdtempSync(join(tmpdir(), 'skep-managers-'));
    const managers = new TestManagers(founding, root, options);
    t.teardown(async () => {
      await Promise.all([...managers.#running].map(async ({ running }) => running.stop()));
      rmSync(root, { recursive: true, force: true });
    });
    return managers;
  }

  /** The first manager, leading. */
  async found(): Promise<TestManager> {
    const { node, identity, clusterId } = this.founding;
    const address = await freeAddress();
    const directory = join(this.#root, node.id);
    const raftId = await bootstrapRaft({
      directory: join(directory, 'raft'),
      keys: TEST_KEYS,
      environment: systemEnvironment,
      nodeId: node.id,
      address,
    });
    const first = await this.open(node.id, address, identity);
    await until('leadership', () => first.raft.isLeader);
    const cluster = newClusterObject({
      cluster: this.founding,
      addressPools: [],
      subnetSize: this.#options.subnetSize ?? 24,
      dataPathPort: 4789,
    });
    await first.raft.store.update((write) => {
      write.create('cluster', { ...cluster, id: clusterId });
      write.create('node', foundingNode(node, BigInt(raftId), address));
    });
    await first.running.start();
    await first.running.whenReady();
    return first;
  }

  /** A manager with its certificate, known to the swarm behind `known`, that listens and is no member. */
  async candidate(nodeId: string, known: TestManager): Promise<TestManager> {
    const manager = await this.silent(nodeId, known);
    await manager.running.start();
    return manager;
  }

  /** The same before it starts: it does not answer on its address. */
  async silent(nodeId: string, known: TestManager): Promise<TestManager> {
    await this.addNode(nodeId, known);
    const tls = await testIdentity(this.founding, nodeId, 'manager');
    return await this.open(nodeId, await freeAddress(), tls);
  }

  /** Puts a node into the store that is to be a manager. */
  async addNode(nodeId: string, known: TestManager): Promise<void> {
    await known.raft.store.update((write) => {
      if (write.get('node', nodeId) !== undefined) return;
      write.create(
        'node',
        create(NodeSchema, {
          id: nodeId,
          role: NodeRole.MANAGER,
          spec: { desiredRole: NodeRole.MANAGER },
        }),
      );
    });
  }

  /** Opens the state of `nodeId`, an empty one if there is none; not started. */
  async open(nodeId: string, address: string, tls: TlsIdentity): Promise<TestManager> {
    const directory = join(this.#root, nodeId);
    const options = { directory: join(directory, 'raft'), keys: TEST_KEYS };
    const identity = await NodeIdentity.create(directory, tls);
    if (!raftStateExists(options.directory)) {
      await prepareRaftMember(options, newRaftId(systemEnvironment));
    }
    const self = { raftId: 0, nodeId, address };
    const transport = new ManagerTransport({
      identity,
      environment: systemEnvironment,
      logger: silentLogger,
      self,
    });
    const raft = await openRaft({
      ...options,
      environment: systemEnvironment,
      logger: silentLogger,
      freezeObjects: this.#options.freezeObjects ?? true,
      transport,
      onFatal: (error) => {
        throw error;
      },
    });
    self.raftId = raft.status().id;
    const [host = '', port = ''] = address.split(':');
    const running = new RunningManager({
      runtime: { raft, transport },
      identity,
      listen: { host, port: Number(port) },
      advertise: { host, port: Number(port) },
      environment: systemEnvironment,
      logger: silentLogger,
      silenceMs: () => 0,
    });
    const manager = { nodeId, address, directory, tls, raft, running };
    this.#running.add(manager);
    return manager;
  }

  /** Three managers, the first of which leads. */
  async three(): Promise<readonly [TestManager, TestManager, TestManager]> {
    const first = await this.found();
    const second = await this.candidate('second', first);
    await second.running.join(first.address, true);
    const third = await this.candidate('third', first);
    // Through a follower, which passes it on.
    await third.running.join(second.address, true);
    return [first, second, third];
  }
}

/** Resolves once `probe` holds; fails after a generous while. */
export async function until(what: string, probe: () => boolean): Promise<void> {
  const untilMs = Date.now() + 15_000;
  while (!probe()) {
    if (Date.now() > untilMs) throw new Error(`timed out waiting for ${what}`);
    await new Promise((resolve) => {
      setTimeout(resolve, 10);
    });
  }
}

/** A loopback address with a port that was free just now. */
export async function freeAddress(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => {
    server.close(resolve);
  });
  return `127.0.0.1:${port}`;
}
