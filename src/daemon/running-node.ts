/**
 * A node in a swarm: its identity, networking and agent, and its manager if it is one.
 */
import { create, equals } from '@bufbuild/protobuf';
import type Dockerode from 'dockerode';
import { Agent } from '../agent/agent.js';
import { DockerExecutor } from '../agent/docker-executor.js';
import type { Environment } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import type { SessionMessage } from '../model/gen/docker/swarmkit/v1/dispatcher_pb.js';
import {
  IssuanceStatus_State,
  type NodeTLSInfo,
  NodeTLSInfoSchema,
} from '../model/gen/docker/swarmkit/v1/types_pb.js';
import type { Netlink } from '../native/datapath-types.js';
import type { WatchfulNetwork } from './deferred-network.js';
import type { Logger } from '../observe/logger.js';
import type { NodeIdentity } from '../rpc/identity/node-identity.js';
import { CertificateRenewer } from '../rpc/identity/renewal.js';
import { tlsInfoOf } from '../rpc/identity/tls-info.js';
import { ManagerConnector } from '../rpc/manager-connector.js';
import { Remotes } from '../rpc/remotes.js';
import type { ManagerPeer } from '../rpc/types.js';
import { SKEP_VERSION } from '../model/version.js';
import type { LateAttachments } from './late-attachments.js';
import { type DaemonOptions, socketBinds, statePaths } from './options.js';
import type { RunningManager } from './running-manager.js';
import { ensureSecretsDirectory } from './secrets-directory.js';

/** What every node of this host is made from. */
export interface NodeContext {
  readonly options: DaemonOptions;
  readonly engine: Dockerode;
  readonly netlink: Netlink;
  readonly attachments: LateAttachments;
  readonly environment: Environment;
  readonly logger: Logger;
}

/** Parts of one node; the manager, if any, is started already. */
export interface NodeParts {
  readonly context: NodeContext;
  readonly identity: NodeIdentity;
  readonly network: WatchfulNetwork;
  /** Managers to begin with; sessions tell the rest. */
  readonly managers: readonly ManagerPeer[];
  readonly manager?: RunningManager;
}

/** A node from start to stop or leave. */
export class RunningNode {
  readonly nodeId: string;
  readonly network: WatchfulNetwork;
  readonly manager: RunningManager | undefined;
  readonly identity: NodeIdentity;
  private readonly parts: NodeParts;
  private readonly remotes: Remotes;
  private readonly agent: Agent;
  private readonly executor: DockerExecutor;
  private readonly renewer: CertificateRenewer;
  private wasRegistered = false;
  private unsubscribeIdentity: (() => void) | undefined;

  constructor(parts: NodeParts) {
    const { context, identity } = parts;
    const { environment, logger, options } = context;
    this.parts = parts;
    this.network = parts.network;
    this.manager = parts.manager;
    this.identity = identity;
    this.nodeId = identity.facts().nodeId;
    this.remotes = new Remotes(environment.random, parts.managers);
    const connector = new ManagerConnector({ remotes: this.remotes, identity, env: environment });
    const connect = async () => connector.connect();
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
      tlsInfo: () => nodeTlsInfo(identity),
    });
    this.agent = new Agent({
      nodeId: this.nodeId,
      stateDirectory: statePaths(options.stateDir).swarm,
      executor: this.executor,
      network: parts.network,
      environment,
      logger: logger.child({ room: 'agent' }),
      connect,
      observe: (connection, outcome) => this.remotes.observe(connection.peer.addr, outcome),
      onSessionMessage: (message) => this.onSessionMessage(message),
    });
    this.renewer = new CertificateRenewer({ identity, connect, env: environment, logger });
  }

  /** Starts networking, executor and agent; does not wait for a manager. */
  async start(): Promise<void> {
    const { context, network } = this.parts;
    await ensureSecretsDirectory(context.options.secretsDir);
    await network.start();
    context.attachments.bind(this.agent.attachments);
    this.executor.start();
    await this.agent.start();
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

  /** True once a manager has registered this node since the start. */
  isRegistered(): boolean {
    return this.wasRegistered;
  }

  /** Resolves once a manager has registered this node. */
  async registered(): Promise<void> {
    await this.agent.ready();
  }

  /** Managers known to this node. */
  remoteManagers(): readonly ManagerPeer[] {
    return this.remotes.list().map(({ peer }) => peer);
  }

  /** Stops everything of ours; containers and packets go on. */
  async stop(): Promise<void> {
    this.parts.context.attachments.bind(undefined);
    this.unsubscribeIdentity?.();
    await this.renewer.stop();
    await this.agent.stop();
    await this.executor.stop();
    await this.network.stop();
    await this.manager?.stop();
  }

  /** Leaves the swarm: removes tasks and networking; the caller wipes the state directory. */
  async leave(): Promise<void> {
    this.parts.context.attachments.bind(undefined);
    this.unsubscribeIdentity?.();
    await this.renewer.stop();
    // A manager goes with its agent: it would only see its own node fall silent.
    await Promise.all([this.agent.leave(), this.manager?.stop()]);
    await this.executor.stop();
    await this.network.leave();
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
    if (managers.length > 0) this.remotes.replace(managers);
    const state = message.node?.certificate?.status?.state;
    if (state === IssuanceStatus_State.ROTATE) this.renewNow();
    if (message.RootCA.length === 0) return;
    identity.replaceRoot(Buffer.from(message.RootCA).toString()).catch((error: unknown) => {
      context.logger.error(
        { error: SkepError.from(error).message },
        'the new root certificate could not be stored',
      );
    });
  }
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
