/**
 * A swarm membership for tests: a manager in this process with the real store, control and
 * allocator, without consensus, certificates or a data path.
 */
import { create } from '@bufbuild/protobuf';
import { newClusterObject } from '../../../src/daemon/new-cluster.js';
import { Allocator } from '../../../src/manager/allocator/allocator.js';
import { StoreControl } from '../../../src/manager/control/store-control.js';
import type { LogSource } from '../../../src/manager/control/types.js';
import { SkepError } from '../../../src/model/errors.js';
import { newId } from '../../../src/model/ids.js';
import {
  type Network,
  NetworkSchema,
  NodeSchema,
} from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  NodeSpec_Availability,
  NodeSpec_Membership,
} from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  NodeRole,
  NodeStatus_State,
  RaftMemberStatus_Reachability,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { silentLogger } from '../../../src/observe/logger.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import type {
  AttachmentAllocator,
  NetworkSight,
  NodeNetworking,
} from '../../../src/network/types.js';
import { MemoryStore } from '../../../src/store/memory-store.js';
import { LocalProposer } from '../../../src/store/proposer.js';
import { alreadyInSwarm, noManager } from '../../../src/api/swarm-errors.js';
import { managerLeaves, notInSwarm } from '../../../src/daemon/swarm-errors.js';
import type {
  InitRequest,
  JoinRequest,
  LocalNodeState,
  ManagerAccess,
  SwarmMembership,
  SwarmStatus,
} from '../../../src/api/types.js';
import { ENGINE_ADDRESS } from './private-engine.js';

interface Manager {
  readonly nodeId: string;
  readonly store: MemoryStore;
  readonly access: ManagerAccess;
  readonly allocator: Allocator;
}

const noLogs: LogSource = {
  async *subscribe() {
    // Ends at once: no lines.
  },
};

/** Membership of one node, with knobs. */
export class TestMembership implements SwarmMembership {
  /** Networks that were asked for with ensureAttachable, and the answers to give by name. */
  readonly ensured: string[] = [];
  engineIdOf: (network: Network) => Promise<string> = (network) =>
    Promise.resolve(`engine-${network.id}`);
  logs: LogSource = noLogs;
  joins: JoinRequest[] = [];
  private state: LocalNodeState = 'inactive';
  private running: Manager | undefined;
  private readonly hostname: string;

  constructor(hostname: string) {
    this.hostname = hostname;
  }

  status(): SwarmStatus {
    const running = this.running;
    return {
      state: this.state,
      nodeId: running?.nodeId ?? (this.state === 'active' ? 'worker' : ''),
      nodeAddr: this.state === 'active' ? ENGINE_ADDRESS : '',
      controlAvailable: running !== undefined,
      error: '',
      remoteManagers:
        running === undefined ? [] : [{ nodeId: running.nodeId, addr: `${ENGINE_ADDRESS}:2377` }],
    };
  }

  async init(request: InitRequest): Promise<string> {
    if (this.running !== undefined) throw alreadyInSwarm();
    const proposer = new LocalProposer();
    const store = new MemoryStore({
      environment: systemEnvironment,
      proposer,
      freezeObjects: true,
    });
    proposer.attach(store);
    const nodeId = newId(systemEnvironment.random);
    await fillStore(store, nodeId, this.hostname, request);
    const managers = { isMember: (id: string) => id === nodeId, canRemove: () => false };
    const control = new StoreControl({ store, environment: systemEnvironment, managers });
    const allocator = new Allocator({
      store,
      environment: systemEnvironment,
      logger: silentLogger,
    });
    allocator.start();
    const currentLogs = () => this.logs;
    this.running = {
      nodeId,
      store,
      allocator,
      access: {
        control,
        store,
        agreed: () => Promise.resolve(),
        get logs() {
          return currentLogs();
        },
      },
    };
    this.state = 'active';
    return nodeId;
  }

  join(request: JoinRequest): Promise<void> {
    this.joins.push(request);
    this.state = 'active';
    return Promise.resolve();
  }

  /** Makes this a worker, as if it had joined one. */
  async becomeWorker(): Promise<void> {
    await this.close();
    this.state = 'active';
  }

  async leave(options: { readonly force: boolean }): Promise<void> {
    if (this.state === 'inactive') throw notInSwarm();
    if (this.running !== undefined && !options.force) {
      throw managerLeaves({ isActive: true, reachable: 1, unreachable: 0 });
    }
    await this.close();
  }

  manager(): ManagerAccess {
    if (this.running === undefined) throw noManager(this.state, false);
    return this.running.access;
  }

  unlockKey(): Promise<string> {
    return Promise.resolve('');
  }

  unlock(): Promise<void> {
    this.manager();
    return Promise.reject(new SkepError('already_exists', 'swarm is not locked'));
  }

  backup(): Promise<void> {
    this.manager();
    return Promise.reject(new SkepError('unimplemented', 'there is nothing on disk here'));
  }

  /** The store of the running manager. */
  get store(): MemoryStore {
    if (this.running === undefined) throw new Error('no manager runs');
    return this.running.store;
  }

  async close(): Promise<void> {
    const { running } = this;
    this.running = undefined;
    this.state = 'inactive';
    await running?.allocator.stop();
  }

  /** Set: this node can ask the cluster for attachable networks. */
  findAttachable?: (nameOrId: string) => Promise<Network | undefined>;

  readonly attachments: AttachmentAllocator = {
    attach: () => Promise.reject(new Error('not used')),
    detach: () => Promise.reject(new Error('not used')),
  };

  /** Set: there is a data path to look at. */
  networkSight?: NetworkSight;

  get sight(): NetworkSight {
    if (this.networkSight === undefined) throw notInSwarm();
    return this.networkSight;
  }

  readonly network: NodeNetworking = {
    followSession: () => undefined,
    expelled: () => undefined,
    start: () => Promise.resolve(),
    stop: () => Promise.resolve(),
    configure: () => Promise.resolve(),
    leave: () => Promise.resolve(),
    prepareTask: () => Promise.reject(new Error('not used')),
    activate: () => Promise.resolve(),
    setReadiness: () => Promise.resolve(),
    drain: () => Promise.resolve(),
    deactivate: () => Promise.resolve(),
    republish: () => Promise.resolve(),
    ensureAttachable: (network) => {
      this.ensured.push(network.spec?.annotations?.name ?? network.id);
      return this.engineIdOf(network);
    },
  };
}

async function fillStore(
  store: MemoryStore,
  nodeId: string,
  hostname: string,
  request: InitRequest,
): Promise<void> {
  const { random } = systemEnvironment;
  const cluster = newClusterObject({
    cluster: {
      clusterId: newId(random),
      rootCa: {
        caKey: Buffer.from('a key'),
        joinTokens: { worker: 'SWMTKN-1-w-w', manager: 'SWMTKN-1-m-m' },
      },
    } as never,
    addressPools: request.defaultAddrPool.length > 0 ? request.defaultAddrPool : ['10.0.0.0/8'],
    subnetSize: request.subnetSize || 24,
    dataPathPort: request.dataPathPort || 4789,
  });
  await store.update((write) => {
    write.create('cluster', request.applySpec(cluster));
    write.create(
      'node',
      create(NodeSchema, {
        id: nodeId,
        spec: {
          annotations: {},
          desiredRole: NodeRole.MANAGER,
          membership: NodeSpec_Membership.ACCEPTED,
          availability: NodeSpec_Availability.ACTIVE,
        },
        role: NodeRole.MANAGER,
        description: {
          hostname,
          platform: { architecture: 'x86_64', os: 'linux' },
          resources: { nanoCpus: 2_000_000_000n, memoryBytes: 1_073_741_824n },
          engine: { engineVersion: '20.10.24', plugins: [{ type: 'Network', name: 'overlay' }] },
        },
        status: { state: NodeStatus_State.READY, addr: ENGINE_ADDRESS },
        managerStatus: {
          leader: true,
          reachability: RaftMemberStatus_Reachability.REACHABLE,
          addr: `${ENGINE_ADDRESS}:2377`,
        },
      }),
    );
    if (write.find('network', { by: 'name', name: 'ingress' }).length > 0) return;
    write.create(
      'network',
      create(NetworkSchema, {
        id: newId(random),
        spec: {
          annotations: { name: 'ingress' },
          ingress: true,
          driverConfig: { name: 'overlay' },
          ipam: {},
        },
      }),
    );
  });
}
