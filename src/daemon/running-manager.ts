/**
 * The manager part of a node: the replicated store, the RPC server for agents, and the leader's
 * work while this manager leads.
 */
import { AgentServices } from '../manager/agent-services.js';
import { CfsslAuthority } from '../manager/ca/external-ca.js';
import type { ManagerGroup } from '../manager/control/node-control.js';
import { StoreControl } from '../manager/control/store-control.js';
import { LeaderLoops } from '../manager/leader-loops.js';
import type { ManagerAccess } from '../api/types.js';
import type { Environment } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import type { Logger } from '../observe/logger.js';
import type { NodeIdentity } from '../rpc/identity/node-identity.js';
import { RpcServer } from '../rpc/server.js';
import type { KnownState } from '../store/sole-member.js';
import type { Store } from '../store/types.js';
import type { DataKey } from '../store/wal/record.js';
import type { HostPort } from './addresses.js';
import { KeyRotation } from './key-rotation.js';
import { checkManagerPort } from './preflight.js';

/** Pause before the leader's work is tried again after it could not be taken up. */
const LEADING_RETRY_MS = 1000;
/** A manager that does not lead by then has a problem worth an error. */
const READY_TIMEOUT_MS = 20_000;
const READY_POLL_MS = 10;

/** The replicated store as the daemon runs it. */
export interface StoreRuntime {
  readonly store: Store;
  /** This member's raft id. */
  readonly raftId: bigint;
  /** Calls at once with the present state, then at each change; returns the unsubscriber. */
  onLeadership(listener: (isLeader: boolean) => void): () => void;
  /** A copy of the store, up to date if there is a leader. */
  knownState(): Promise<KnownState>;
  /** Encrypts all of the log with another key; see `RaftNode.rotateDataKey`. */
  rotateDataKey(key: DataKey): Promise<void>;
  /** Ends after what was acknowledged is durable. */
  close(): Promise<void>;
}

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
}

/** A manager from start to stop. */
export class RunningManager {
  readonly access: ManagerAccess;
  private readonly parts: ManagerParts;
  private readonly services: AgentServices;
  private readonly server: RpcServer;
  private readonly keyRotation: KeyRotation;
  private loops: LeaderLoops | undefined;
  private wantsToLead = false;
  private stopped = false;
  private ready = false;
  /** Taking up and laying down the leader's work never overlap. */
  private transition: Promise<void> = Promise.resolve();
  private unsubscribe: (() => void) | undefined;

  constructor(parts: ManagerParts) {
    const { runtime, identity, environment: env, logger, advertise } = parts;
    const { store } = runtime;
    const { nodeId, clusterId } = identity.facts();
    this.parts = parts;
    const external = new CfsslAuthority(() => identity.current());
    this.services = new AgentServices({
      store,
      env,
      logger,
      clusterId,
      external,
      self: { nodeId, addr: `${advertise.host}:${advertise.port}` },
      disconnectNode: (id) => {
        this.server.disconnectNode(id);
      },
      // Managers cannot form a quorum yet: one that joined would be a node without a use.
      admitsManagers: false,
      silenceMs: parts.silenceMs,
    });
    this.server = new RpcServer({ identity, routes: this.services.routes, env, logger });
    this.keyRotation = new KeyRotation({
      store,
      identity,
      rotateLog: async (key) => runtime.rotateDataKey(key),
      environment: env,
      logger,
    });
    // One manager: it is the whole group, and nothing of the group can be removed.
    const managers: ManagerGroup = { isMember: (id) => id === nodeId, canRemove: () => false };
    this.access = {
      control: new StoreControl({ store, environment: env, managers, external }),
      store,
      logs: this.services.logs,
    };
  }

  /** Listens for agents and follows leadership. @throws SkepError when the port is taken */
  async start(): Promise<void> {
    const { listen, runtime } = this.parts;
    checkManagerPort(listen.port);
    this.services.start();
    await this.server.listen(listen.host, listen.port);
    this.keyRotation.start();
    this.unsubscribe = runtime.onLeadership((isLeader) => {
      this.wantsToLead = isLeader;
      this.follow();
    });
  }

  /** Resolves once this manager leads and answers. @throws SkepError deadline_exceeded */
  async whenReady(): Promise<void> {
    const { clock } = this.parts.environment;
    const deadlineMs = clock.monotonicMs() + READY_TIMEOUT_MS;
    while (!this.ready) {
      if (this.stopped || clock.monotonicMs() > deadlineMs)
        throw new SkepError('deadline_exceeded', 'the manager did not become ready in time');
      await new Promise<void>((resolve) => {
        clock.setTimer(READY_POLL_MS, resolve);
      });
    }
  }

  /** True while this manager leads and answers. */
  isReady(): boolean {
    return this.ready;
  }

  /** A copy of the store, for a backup. */
  async knownState(): Promise<KnownState> {
    return this.parts.runtime.knownState();
  }

  /** Stops leading, serving and writing, in this order. Idempotent. */
  async stop(): Promise<void> {
    if (this.stopped) return;
    this.stopped = true;
    this.unsubscribe?.();
    await this.keyRotation.stop();
    this.wantsToLead = false;
    this.follow();
    await this.transition;
    await this.services.stop();
    await this.server.stop();
    await this.parts.runtime.close();
  }

  /** Brings the leader's work in line with leadership, one transition after the other. */
  private follow(): void {
    this.transition = this.transition.then(async () => {
      if (this.wantsToLead && this.loops === undefined) await this.lead();
      else if (!this.wantsToLead && this.loops !== undefined) await this.layDown();
    });
  }

  private async lead(): Promise<void> {
    const { environment, logger, runtime } = this.parts;
    const loops = new LeaderLoops({ store: runtime.store, environment, logger });
    this.loops = loops;
    try {
      loops.start();
      await this.services.startLeading();
      this.ready = true;
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
    this.ready = false;
    await this.services.stopLeading();
    await this.loops?.stop();
    this.loops = undefined;
  }
}
