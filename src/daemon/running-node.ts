/**
 * A node in a swarm: its identity, networking and agent, and its manager if it is one.
 */
import { create, equals } from '@bufbuild/protobuf';
import type Dockerode from 'dockerode';
import { Agent } from '../agent/agent.js';
import { DockerExecutor } from '../agent/docker-executor.js';
import { parseGenericResources } from '../model/generic-resources.js';
import type { Environment } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import type { SessionMessage } from '../model/gen/docker/swarmkit/v1/dispatcher_pb.js';
import {
  IssuanceStatus_State,
  NodeRole as Role,
  type NodeTLSInfo,
  NodeTLSInfoSchema,
} from '../model/gen/docker/swarmkit/v1/types_pb.js';
import type { Netlink } from '../native/datapath-types.js';
import { watchProcess } from '../native/process-watch.js';
import type { WatchfulNetwork } from './deferred-network.js';
import type { Logger } from '../observe/logger.js';
import type { NodeIdentity } from '../rpc/identity/node-identity.js';
import { CertificateRenewer } from '../rpc/identity/renewal.js';
import { sleep } from '../rpc/identity/sleep.js';
import { tlsInfoOf } from '../rpc/identity/tls-info.js';
import { ManagerConnector } from '../rpc/manager-connector.js';
import { Remotes } from '../rpc/remotes.js';
import type { ManagerConnection, ManagerPeer } from '../rpc/types.js';
import { SKEP_VERSION } from '../model/version.js';
import { KnownManagers } from './known-managers.js';
import type { LateAttachments } from './late-attachments.js';
import { ManagerWatch } from './manager-watch.js';
import { NodeRole } from './node-role.js';
import { type DaemonOptions, socketBinds, statePaths } from './options.js';
import type { RunningManager } from './running-manager.js';
import { ensureSecretsDirectory, removeSecretsDirectory } from './secrets-directory.js';

/** What every node of this host is made from. */
export interface NodeContext {
  readonly options: DaemonOptions;
  readonly engine: Dockerode;
  readonly netlink: Netlink;
  readonly attachments: LateAttachments;
  readonly environment: Environment;
  readonly logger: Logger;
}

/** Parts of one node. */
export interface NodeParts {
  readonly context: NodeContext;
  readonly identity: NodeIdentity;
  readonly network: WatchfulNetwork;
  /** Managers to begin with; sessions tell the rest. */
  readonly managers: readonly ManagerPeer[];
  /** Opens this node's store as a manager's and makes the manager; not started. */
  readonly openManager: () => Promise<RunningManager>;
  /** Where this node's own manager listens: what it advertises may lead there from outside only. */
  readonly ownManagerAddr: string;
  /** A manager that is made already, on a store that is open; not started. */
  readonly manager?: RunningManager;
}

/** How long a node that could not join waits until its managers have forgotten it. */
const WITHDRAW_TIMEOUT_MS = 5_000;

/** A node from start to stop or leave. */
export class RunningNode {
  readonly nodeId: string;
  readonly network: WatchfulNetwork;
  readonly identity: NodeIdentity;
  readonly role: NodeRole;
  private readonly parts: NodeParts;
  private readonly remotes: Remotes;
  private readonly connect: () => Promise<ManagerConnection>;
  private readonly agent: Agent;
  private readonly executor: DockerExecutor;
  private readonly managerWatch: ManagerWatch;
  private readonly renewer: CertificateRenewer;
  private readonly knownManagers: KnownManagers;
  private readonly firstMessage = settleable();
  private wantedRole: 'manager' | 'worker' | undefined;
  private wasRegistered = false;
  private unsubscribeIdentity: (() => void) | undefined;

  constructor(parts: NodeParts) {
    const { context, identity } = parts;
    const { environment, logger, options } = context;
    this.parts = parts;
    this.network = parts.network;
    this.identity = identity;
    this.nodeId = identity.facts().nodeId;
    const paths = statePaths(options.stateDir);
    this.knownManagers = new KnownManagers(paths.knownManagers, logger);
    this.remotes = new Remotes(environment.random, [
      ...parts.managers,
      ...this.knownManagers.read(),
    ]);
    this.role = new NodeRole({
      identity,
      open: parts.openManager,
      managers: () => this.remoteManagers(),
      raftDirectory: paths.raft,
      environment,
      logger,
    });
    if (parts.manager !== undefined) this.role.adopt(parts.manager);
    const connector = new ManagerConnector({
      remotes: this.remotes,
      identity,
      env: environment,
      dialAddr: (peer) => (peer.nodeId === this.nodeId ? parts.ownManagerAddr : undefined),
      isGone: ({ nodeId }) => nodeId !== '' && this.managerWatch.isGone(nodeId),
      addressOf: (nodeId) => parts.network.addressOf(nodeId),
    });
    this.managerWatch = new ManagerWatch({
      clock: environment.clock,
      logger,
      silenceMs: (nodeId) => parts.network.silenceMs(nodeId),
      managerId: () => this.agent.managerId,
      reconnect: () => this.agent.reconnect(),
    });
    const connect = async () => connector.connect();
    this.connect = connect;
    this.executor = new DockerExecutor({
      docker: context.engine,
      network: parts.network,
      environment,
      logger,
      nodeId: this.nodeId,
      version: SKEP_VERSION,
      secretsDirectory: options.secretsDir,
      sockets: socketBinds(options),
      preferOfflineImage: process.env['DOCKER_SERVICE_PREFER_OFFLINE_IMAGE'] === '1',
      genericResources: parseGenericResources(options.nodeGenericResource),
      tlsInfo: () => nodeTlsInfo(identity),
      watchProcess,
    });
    this.agent = new Agent({
      nodeId: this.nodeId,
      stateDirectory: paths.swarm,
      executor: this.executor,
      network: parts.network,
      environment,
      logger: logger.child({ room: 'agent' }),
      connect,
      memberAddresses: () => this.manager?.otherAddresses() ?? [],
      observe: (connection, outcome) => this.remotes.observe(connection.peer.addr, outcome),
      onSessionMessage: (message) => this.onSessionMessage(message),
    });
    this.renewer = new CertificateRenewer({ identity, connect, env: environment, logger });
  }

  /**
   * Starts networking, executor, agent and, on one that was a manager before, its manager; does not
   * wait for others.
   */
  async start(options: { readonly withManager: boolean }): Promise<void> {
    const { context, network } = this.parts;
    await ensureSecretsDirectory(context.options.secretsDir);
    // Opening the packet side holds everything up for a while, which no raft member may be.
    await network.start();
    if (options.withManager) await this.role.open();
    context.attachments.bind(this.agent.attachments);
    this.executor.start();
    await this.agent.start();
    this.managerWatch.start();
    this.agent.ready().then(
      () => {
        this.wasRegistered = true;
      },
      () => undefined,
    );
    this.renewer.start();
    const { identity } = this.parts;
    const unsubscribers = [identity.onRenewalRequest(() => this.renewNow()), this.reportRoots()];
    this.unsubscribeIdentity = () => {
      for (const unsubscribe of unsubscribers) unsubscribe();
    };
  }

  /** This node's manager, while it has one. */
  get manager(): RunningManager | undefined {
    return this.role.manager;
  }

  /** True once a manager has registered this node since the start. */
  isRegistered(): boolean {
    return this.wasRegistered;
  }

  /** Resolves once a manager has registered this node. */
  async registered(): Promise<void> {
    await this.agent.ready();
  }

  /** Resolves once networking knows what a manager told about the cluster. */
  async configured(): Promise<void> {
    await this.firstMessage.promise;
  }

  /** Managers known to this node. */
  remoteManagers(): readonly ManagerPeer[] {
    return this.remotes.list().map(({ peer }) => peer);
  }

  /** Stops everything of ours; containers and packets go on. */
  async stop(): Promise<void> {
    this.parts.context.attachments.bind(undefined);
    this.unsubscribeIdentity?.();
    this.managerWatch.stop();
    await this.renewer.stop();
    await this.agent.stop();
    await this.executor.stop();
    await this.network.stop();
    await this.role.stop();
    await this.knownManagers.idle();
  }

  /**
   * Tells the managers that this node cannot take up the swarm it has just joined, so that they forget
   * it. In vain where none answers soon, or a stock one does.
   */
  async withdraw(): Promise<void> {
    const { environment, logger } = this.parts.context;
    const call = async (): Promise<void> => {
      const connection = await this.connect();
      try {
        await connection.membership.withdraw({}, { timeoutMs: WITHDRAW_TIMEOUT_MS });
      } finally {
        connection.close();
      }
    };
    const answered = new AbortController();
    try {
      await Promise.race([call(), sleep(WITHDRAW_TIMEOUT_MS, environment.clock, answered.signal)]);
    } catch (error) {
      const { message } = SkepError.from(error);
      logger.info({ error: message }, 'the managers did not take this node off their list');
    } finally {
      answered.abort();
    }
  }

  /** Leaves the swarm: removes tasks and networking; the caller wipes the state directory. */
  async leave(): Promise<void> {
    this.parts.context.attachments.bind(undefined);
    this.unsubscribeIdentity?.();
    this.managerWatch.stop();
    await this.renewer.stop();
    // A manager goes with its agent: it would only see its own node fall silent.
    await Promise.all([this.agent.leave(), this.role.stop()]);
    await this.knownManagers.idle();
    await this.executor.stop();
    await this.removeSecrets();
    await this.network.leave();
  }

  /** The directory of secrets goes, unless a container that could not be removed has files from it. */
  private async removeSecrets(): Promise<void> {
    const { options, logger } = this.parts.context;
    const directory = options.secretsDir;
    try {
      if (await removeSecretsDirectory(directory)) return;
      logger.warn({ directory }, 'files of secrets are left');
    } catch (error) {
      const { message } = SkepError.from(error);
      logger.warn({ directory, error: message }, 'the directory of secrets could not be removed');
    }
  }

  /** A node that trusts another root, or is certified by another, says so at once in a new session. */
  private reportRoots(): () => void {
    const { identity } = this.parts;
    let known = nodeTlsInfo(identity);
    return identity.subscribe(() => {
      const now = nodeTlsInfo(identity);
      if (equals(NodeTLSInfoSchema, known, now)) return;
      known = now;
      this.agent.reconnect();
    });
  }

  private renewNow(): void {
    this.renewer.renewNow().catch((error: unknown) => {
      const { message } = SkepError.from(error);
      this.parts.context.logger.warn({ error: message }, 'renewing the node certificate failed');
    });
  }

  private onSessionMessage(message: SessionMessage): void {
    const { identity, context } = this.parts;
    const managers = message.managers.flatMap(({ peer }) =>
      peer === undefined ? [] : [{ nodeId: peer.nodeId, addr: peer.addr }],
    );
    if (managers.length > 0) {
      this.remotes.replace(managers);
      this.knownManagers.note(managers);
    }
    this.firstMessage.resolve();
    const state = message.node?.certificate?.status?.state;
    if (state === IssuanceStatus_State.ROTATE) this.renewNow();
    if (message.node !== undefined) this.followRole(message.node.role);
    if (message.RootCA.length === 0) return;
    identity.replaceRoot(Buffer.from(message.RootCA).toString()).catch((error: unknown) => {
      context.logger.error(
        { error: SkepError.from(error).message },
        'the new root certificate could not be stored',
      );
    });
  }

  /** Another role than the certificate's: the next certificate has it. */
  private followRole(wanted: Role): void {
    const role = wanted === Role.MANAGER ? 'manager' : 'worker';
    const { identity, context } = this.parts;
    this.wantedRole = role;
    if (role === identity.facts().role) return;
    context.logger.info({ role }, 'this node gets another role');
    this.renewer.renewNow().then(
      () => {
        // A renewal that was under way may have asked before the role changed.
        const isOld = identity.facts().role !== role && this.wantedRole === role;
        if (isOld) this.followRole(wanted);
      },
      (error: unknown) => {
        const text = SkepError.from(error).message;
        context.logger.warn({ error: text }, 'no certificate for the new role yet');
      },
    );
  }
}

function settleable(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

/** The node's trust root as managers see it (`Description.TLSInfo`). */
function nodeTlsInfo(identity: NodeIdentity): NodeTLSInfo {
  const { trustRoot, issuer } = tlsInfoOf(identity.current());
  return create(NodeTLSInfoSchema, {
    trustRoot: Buffer.from(trustRoot),
    certIssuerSubject: issuer.subject,
    certIssuerPublicKey: issuer.publicKey,
  });
}
