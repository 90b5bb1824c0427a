/**
 * The manager part of a node: the replicated store, the RPC server for agents and other managers,
 * and the leader's work while this manager leads.
 */
import { createClient } from '@connectrpc/connect';
import type { ManagerAccess } from '../api/types.js';
import { AgentServices } from '../manager/agent-services.js';
import type { SecretSource } from '../manager/drivers/secret-drivers.js';
import { CfsslAuthority } from '../manager/ca/external-ca.js';
import { GroupControl } from '../manager/control/group-control.js';
import { StoreControl } from '../manager/control/store-control.js';
import { registerWrites } from '../manager/control/write-routes.js';
import { registerMembership } from '../manager/group/membership-routes.js';
import { Statistics } from '../model/gen/skep/manager/v1/statistics_pb.js';
import { RaftGroup } from '../manager/group/raft-group.js';
import { RoleManager } from '../manager/group/role-manager.js';
import { LeaderLoops } from '../manager/leader-loops.js';
import { GroupLogs, registerLogs } from '../manager/logs/group-logs.js';
import type { Environment } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import {
  NodeRole,
  RaftMemberStatus_Reachability as Reachability,
} from '../model/gen/docker/swarmkit/v1/types_pb.js';
import { Membership } from '../model/gen/skep/manager/v1/manager_pb.js';
import type { Logger } from '../observe/logger.js';
import { authorize } from '../rpc/authorization.js';
import { fromRpcError } from '../rpc/errors.js';
import type { Leadership } from '../rpc/forwarding.js';
import type { NodeIdentity } from '../rpc/identity/node-identity.js';
import { LeaderLink } from '../rpc/leader-link.js';
import { MANAGER_ROLE, type PeerIdentity } from '../rpc/peer.js';
import { RAFT_PROTOCOL } from '../rpc/raft/limits.js';
import { RpcServer } from '../rpc/server.js';
import type { RpcRoutes } from '../rpc/types.js';
import type { KnownState } from '../store/sole-member.js';
import type { HostPort } from './addresses.js';
import { KeyRotation } from './key-rotation.js';
import { checkManagerPort } from './preflight.js';
import type { StoreRuntime } from './store-runtime.js';
import type { ManagerCounts } from './swarm-errors.js';

/** Pause before the leader's work is tried again after it could not be taken up. */
const LEADING_RETRY_MS = 1000;
/** A manager that is not ready by then has a problem worth an error. */
const READY_TIMEOUT_MS = 20_000;
const READY_POLL_MS = 10;
/** Longer than the leader waits for a new member to catch up. */
const JOIN_CALL_TIMEOUT_MS = 70_000;

/** What only the leader answers; other managers pass it on. */
const LEADERS_SERVICES = [
  '/docker.swarmkit.v1.NodeCA/',
  '/docker.swarmkit.v1.Dispatcher/',
  '/docker.swarmkit.v1.LogBroker/',
  '/docker.swarmkit.v1.ResourceAllocator/',
  `/${Membership.typeName}/`,
  `/${Statistics.typeName}/`,
];

/** Parts of a manager; the store is open already. */
export interface ManagerParts {
  readonly runtime: StoreRuntime;
  readonly identity: NodeIdentity;
  readonly listen: HostPort;
  readonly advertise: HostPort;
  readonly environment: Environment;
  readonly logger: Logger;
  /** Whether a node's data path answered lately. */
  readonly silenceMs: (nodeId: string) => number;
  /** Values of secrets that plugins hold; without it tasks that refer to them are rejected. */
  readonly secretSource?: SecretSource;
}

/** How long a backup waits for a leader before it takes what is here. */
const BACKUP_WAIT_MS = 5_000;

/** A manager from start to stop. */
export class RunningManager {
  readonly access: ManagerAccess;
  readonly group: RaftGroup;
  private readonly parts: ManagerParts;
  private readonly services: AgentServices;
  private readonly server: RpcServer;
  private readonly link: LeaderLink;
  private readonly keyRotation: KeyRotation;
  private leading: { readonly loops: LeaderLoops; readonly roles: RoleManager } | undefined;
  private wantsToLead = false;
  private stopped = false;
  private hasLed = false;
  /** Taking up and laying down the leader's work never overlap. */
  private transition: Promise<void> = Promise.resolve();
  private unsubscribe: (() => void) | undefined;

  constructor(parts: ManagerParts) {
    const { runtime, identity, environment: env, logger } = parts;
    const { raft, transport } = runtime;
    const { store } = raft;
    const { nodeId, clusterId } = identity.facts();
    this.parts = parts;
    this.group = new RaftGroup({ raft, transport, environment: env, logger });
    this.link = new LeaderLink({ identity, env });
    const external = new CfsslAuthority(() => identity.current());
    const { secretSource } = parts;
    const drivers = secretSource === undefined ? {} : { secretSource };
    this.services = new AgentServices({
      store,
      env,
      logger,
      clusterId,
      external,
      self: { nodeId, addr: this.address },
      disconnectNode: (id) => {
        this.server.disconnectNode(id);
      },
      silenceMs: parts.silenceMs,
      ...drivers,
    });
    const { group, link } = this;
    const local = new StoreControl({
      store,
      environment: env,
      managers: group,
      external,
      ...drivers,
    });
    this.access = {
      control: new GroupControl({ local, group, link, environment: env }),
      store,
      logs: new GroupLogs({ local: this.services.logs, group, link }),
      agreed: (timeoutMs) => group.agreed(timeoutMs),
    };
    this.server = new RpcServer({
      identity,
      routes: this.routes(local),
      leadership: this.leadership(),
      protocols: new Map([[RAFT_PROTOCOL, transport.accept]]),
      env,
      logger,
    });
    transport.bind(raft, (peer) => this.isManager(peer));
    this.keyRotation = new KeyRotation({
      store,
      identity,
      rotateLog: async (key) => raft.rotateDataKey(key),
      environment: env,
      logger,
    });
  }

  /** Listens for agents and managers, and follows leadership. @throws SkepError when the port is taken */
  async start(): Promise<void> {
    const { listen, runtime } = this.parts;
    checkManagerPort(listen.port);
    this.services.start();
    await this.server.listen(listen.host, listen.port);
    this.keyRotation.start();
    const unsubscribers = [
      runtime.raft.onLeadership((isLeader) => {
        this.wantsToLead = isLeader;
        this.server.leaderChanged();
        this.follow();
      }),
      runtime.raft.onLeaderChange(() => this.server.leaderChanged()),
    ];
    this.unsubscribe = () => {
      for (const unsubscribe of unsubscribers) unsubscribe();
    };
  }

  /** Whether this manager's log says that it is a member; if not, it has to `join`. */
  get isMember(): boolean {
    return this.parts.runtime.raft.isMember;
  }

  /** Whether this is the swarm's only manager. */
  get isAlone(): boolean {
    const { raft } = this.parts.runtime;
    return raft.isMember && raft.members().length === 1;
  }

  /**
   * Asks the managers at `addr` to make this one a member, and waits until it has their state. A node
   * that `isNew` in the swarm is forgotten there if they refuse.
   * @throws SkepError failed_precondition when they refuse; unavailable; deadline_exceeded
   */
  async join(addr: string, isNew: boolean): Promise<void> {
    const { raft } = this.parts.runtime;
    const client = createClient(Membership, await this.link.to(addr));
    try {
      const request = { raftId: BigInt(raft.status().id), address: this.address, isNew };
      await client.join(request, { timeoutMs: JOIN_CALL_TIMEOUT_MS });
    } catch (error) {
      throw fromRpcError(error);
    }
    await this.whenReady();
  }

  /** Resolves once this manager answers. @throws SkepError deadline_exceeded */
  async whenReady(): Promise<void> {
    const { clock } = this.parts.environment;
    const deadlineMs = clock.monotonicMs() + READY_TIMEOUT_MS;
    while (!this.isReady()) {
      if (this.stopped || clock.monotonicMs() > deadlineMs)
        throw new SkepError('deadline_exceeded', 'the manager did not become ready in time');
      await new Promise<void>((resolve) => {
        clock.setTimer(READY_POLL_MS, resolve);
      });
    }
  }

  /** True while this manager has the cluster's state, leads or not; with its work begun if it leads alone. */
  isReady(): boolean {
    const { raft } = this.parts.runtime;
    if (this.stopped || !raft.isMember) return false;
    if (this.isAlone) return this.hasLed;
    const { clusterId } = this.parts.identity.facts();
    return raft.store.view((read) => read.get('cluster', clusterId)) !== undefined;
  }

  /** A copy of the store, for a backup; up to date if there is a leader. */
  async knownState(): Promise<KnownState> {
    const { raft } = this.parts.runtime;
    try {
      await raft.readBarrier(BACKUP_WAIT_MS);
    } catch (error) {
      const { message } = SkepError.from(error);
      const text = 'without a leader: a backup holds what this manager knows';
      this.parts.logger.warn({ error: message }, text);
    }
    return raft.knownState();
  }

  /** Addresses of the other nodes, as they last reported them. */
  otherAddresses(): readonly string[] {
    const { nodeId } = this.parts.identity.facts();
    const nodes = this.parts.runtime.raft.store.view((read) => read.find('node', { by: 'all' }));
    const others = nodes.filter(({ id }) => id !== nodeId);
    return others.map(({ status }) => status?.addr ?? '').filter((address) => address !== '');
  }

  /** The managers as the leader last saw them. */
  counts(): ManagerCounts {
    const { raft } = this.parts.runtime;
    const nodes = raft.store.view((read) => read.find('node', { by: 'all' }));
    const states = nodes.flatMap(({ managerStatus }) => managerStatus?.reachability ?? []);
    const reachable = states.filter((state) => state === Reachability.REACHABLE).length;
    return { isActive: this.isReady(), reachable, unreachable: states.length - reachable };
  }

  /** Stops leading, serving and writing, in this order; another manager leads at once. Idempotent. */
  async stop(): Promise<void> {
    if (this.stopped) return;
    this.stopped = true;
    this.unsubscribe?.();
    await this.keyRotation.stop();
    this.wantsToLead = false;
    this.group.stop();
    this.parts.runtime.raft.transferLeadership();
    this.follow();
    await this.transition;
    await this.services.stop();
    this.link.close();
    await this.server.stop();
    await this.parts.runtime.raft.close();
    this.parts.runtime.transport.stop();
  }

  private get address(): string {
    const { host, port } = this.parts.advertise;
    return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  }

  private routes(control: StoreControl): RpcRoutes {
    const { services, group } = this;
    const { logger, environment } = this.parts;
    const { clock } = environment;
    const { store } = this.parts.runtime.raft;
    const { access, logs } = services;
    return (router) => {
      services.routes(router);
      registerLogs(router, { logs, access });
      registerMembership(router, { group, store, access, control, logger, clock });
      registerWrites(router, { control, access, isLeading: () => group.leader() === 'here' });
    };
  }

  private leadership(): Leadership {
    return {
      leader: () => this.group.leader(),
      isLeadersCall: (path) => LEADERS_SERVICES.some((service) => path.startsWith(service)),
      isManager: (peer) => this.isManager(peer),
    };
  }

  /** Whether the peer's certificate, and the store as far as it is known here, say that it is a manager. */
  private isManager(peer: PeerIdentity): boolean {
    try {
      const nodeId = authorize(peer, this.services.access, [MANAGER_ROLE]);
      const { store } = this.parts.runtime.raft;
      const node = store.view((read) => read.get('node', nodeId));
      // Certificates outlive a demotion; a manager that joins knows nobody yet.
      return node === undefined || node.role === NodeRole.MANAGER;
    } catch {
      return false;
    }
  }

  /** Brings the leader's work in line with leadership, one transition after the other. */
  private follow(): void {
    this.transition = this.transition.then(async () => {
      if (this.wantsToLead && this.leading === undefined) await this.lead();
      else if (!this.wantsToLead && this.leading !== undefined) await this.layDown();
    });
  }

  private async lead(): Promise<void> {
    const { environment, logger, runtime, identity } = this.parts;
    const { store } = runtime.raft;
    const loops = new LeaderLoops({
      store,
      environment,
      logger,
      usage: this.services.usage,
    });
    const { nodeId } = identity.facts();
    const roles = new RoleManager({ store, group: this.group, nodeId, environment, logger });
    this.leading = { loops, roles };
    try {
      loops.start();
      roles.start();
      await this.services.startLeading();
      this.hasLed = true;
      logger.info({}, 'this manager leads');
    } catch (error) {
      logger.error({ error: SkepError.from(error).message }, 'the leader’s work could not start');
      await this.layDown();
      environment.clock.setTimer(LEADING_RETRY_MS, () => {
        if (!this.stopped) this.follow();
      });
    }
  }

  private async layDown(): Promise<void> {
    await this.services.stopLeading();
    await this.leading?.roles.stop();
    await this.leading?.loops.stop();
    this.leading = undefined;
  }
}
