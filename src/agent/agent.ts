/**
 * The worker side of a node: keeps a session with some manager for as long as it lives, hands its
 * messages to the node's networking and to the worker, and outlives managers, engine restarts and
 * its own death. Nothing it does depends on a manager being there.
 */
import { equals } from '@bufbuild/protobuf';
import type { Environment } from '../model/environment.js';
import { invariant, SkepError } from '../model/errors.js';
import type { SessionMessage } from '../model/gen/docker/swarmkit/v1/dispatcher_pb.js';
import {
  type NodeDescription,
  NodeDescriptionSchema,
} from '../model/gen/docker/swarmkit/v1/types_pb.js';
import { RECONNECT_SPREAD_LABEL } from '../model/labels/keys.js';
import { parseReconnectSpread } from '../model/reconnect.js';
import type { NodeNetworking } from '../network/types.js';
import type { Logger } from '../observe/logger.js';
import type { ManagerConnection } from '../rpc/types.js';
import { childAbort, lifeAbort, orAborted, sleep } from './async.js';
import { NodeAttachments } from './attachments.js';
import type { Executor } from './executor.js';
import { RPC_TIMEOUT_MS } from './limits.js';
import { LogPublisher } from './log-publisher.js';
import { runSession } from './session.js';
import { SessionBackoff } from './session-backoff.js';
import { StatusReporter } from './status-reporter.js';
import { UsageReporter } from './usage-reporter.js';
import { Worker } from './worker.js';

/** How a session with a manager went, for choosing the next manager. */
export type SessionOutcome = 'good' | 'bad';

/** What an agent needs. */
export interface AgentOptions {
  readonly nodeId: string;
  /** Where `worker/tasks` is kept. */
  readonly stateDirectory: string;
  readonly executor: Executor;
  readonly network: NodeNetworking;
  readonly environment: Environment;
  readonly logger: Logger;
  /** Connects to the best manager known. @throws SkepError unavailable */
  readonly connect: () => Promise<ManagerConnection>;
  /** Told once per session: `good` when registered, `bad` when that failed. */
  readonly observe: (connection: ManagerConnection, outcome: SessionOutcome) => void;
  /** Addresses of the other nodes, where this one is a manager. */
  readonly memberAddresses?: () => readonly string[];
  /** Each session message, after the network has it: managers, root CA, role. Must not throw. */
  readonly onSessionMessage: (message: SessionMessage) => void;
}

/** One node's agent. */
export class Agent {
  /** Addresses for plain containers on attachable networks. */
  readonly attachments: NodeAttachments;
  private readonly worker: Worker;
  private readonly reporter: StatusReporter;
  private readonly logs: LogPublisher;
  private readonly usage: UsageReporter;
  private readonly life = lifeAbort();
  private connection: ManagerConnection | undefined;
  private sessionId = '';
  private description: NodeDescription | undefined;
  private readonly backoff: SessionBackoff;
  /** Over how long the swarm's nodes spread their calls, as last told. */
  private spreadMs = 0;
  /** The session ends for a reason of this node's own: no other node calls now. */
  private isOwnEnd = false;
  private loop: Promise<void> | undefined;
  private readonly firstSession: { promise: Promise<void>; resolve: () => void };

  constructor(private readonly options: AgentOptions) {
    const { environment, logger } = options;
    this.backoff = new SessionBackoff(environment.random);
    this.worker = new Worker({
      executor: options.executor,
      environment,
      logger,
      stateDirectory: options.stateDirectory,
    });
    this.reporter = new StatusReporter(environment.clock, logger);
    this.worker.listen({
      onStatus: (task) => this.reporter.enqueue(task),
      onRemoved: (taskId) => this.reporter.forget(taskId),
    });
    this.logs = new LogPublisher(options.nodeId, this.worker, environment.clock, logger);
    this.usage = new UsageReporter(this.worker, environment.clock, logger);
    this.attachments = new NodeAttachments(() => this.connection, this.worker, environment.clock);
    let resolve: () => void = () => undefined;
    const promise = new Promise<void>((done) => {
      resolve = done;
    });
    this.firstSession = { promise, resolve };
  }

  /** Adopts what runs, then looks for a manager for ever. The network must be started already. */
  async start(): Promise<void> {
    invariant(this.loop === undefined, 'an agent starts once');
    await this.worker.start();
    this.loop = this.run();
  }

  /** Resolves once a manager has registered this node for the first time since the start. */
  ready(): Promise<void> {
    return this.firstSession.promise;
  }

  /** Node id of the manager that the session is with, if there is one and it has told its id. */
  get managerId(): string | undefined {
    return this.connection?.peer.nodeId || undefined;
  }

  /** Ends the session for a new one, in which the node describes itself anew. */
  reconnect(): void {
    this.isOwnEnd = true;
    this.connection?.close();
  }

  /** Ends the session; containers go on running. Idempotent. */
  async stop(): Promise<void> {
    await this.endSessions();
    await this.worker.stop();
  }

  /** Leaves the cluster: ends the session, removes all tasks, then stops. */
  async leave(): Promise<void> {
    await this.endSessions();
    await this.worker.leave();
    await this.worker.stop();
  }

  private async endSessions(): Promise<void> {
    this.life.abort();
    this.connection?.close();
    await this.loop;
  }

  private async run(): Promise<void> {
    const { environment, logger } = this.options;
    while (!this.life.signal.aborted) {
      try {
        await this.session();
      } catch (error) {
        if (this.life.signal.aborted) return;
        const { code, message } = SkepError.from(error);
        logger.warn({ code, error: message }, 'session with the manager ended');
        if (this.isExpelled(message)) this.options.network.expelled();
      }
      const pauseMs = this.backoff.nextMs(this.isOwnEnd ? 0 : this.spreadMs);
      await sleep(environment.clock, pauseMs, this.life.signal).catch(() => undefined);
    }
  }

  /** SwarmKit's text (ca/auth.go); it comes from a manager, over mutual TLS. */
  private isExpelled(message: string): boolean {
    return message.endsWith(`node ${this.options.nodeId} was removed from swarm`);
  }

  private async session(): Promise<void> {
    const { environment, logger, connect, observe } = this.options;
    const dialled = connect();
    // A connection that comes up after the agent was stopped must not stay open.
    dialled.then(
      (late) => {
        if (this.life.signal.aborted) late.close();
      },
      () => undefined,
    );
    const connection = await orAborted(dialled, this.life.signal);
    this.connection = connection;
    let registered = false;
    try {
      await runSession(
        {
          connection,
          clock: environment.clock,
          logger,
          worker: this.worker,
          reporter: this.reporter,
          logs: this.logs,
          usage: this.usage,
          describe: () => this.describe(),
          sameDescription: (a, b) => equals(NodeDescriptionSchema, a, b),
          previousSessionId: this.sessionId,
          onMessage: (message) => this.onMessage(message),
          onAssigned: () => this.onAssigned(),
          onDescriptionChanged: () => {
            this.isOwnEnd = true;
          },
          onRegistered: (sessionId) => {
            registered = true;
            this.sessionId = sessionId;
            this.backoff.reset();
            this.isOwnEnd = false;
            observe(connection, 'good');
            this.firstSession.resolve();
            logger.info({ nodeId: this.options.nodeId }, 'registered with a manager');
          },
        },
        this.life.signal,
      );
    } finally {
      if (!registered && !this.life.signal.aborted) observe(connection, 'bad');
      this.connection = undefined;
      this.options.network.followSession(undefined);
      connection.close();
    }
  }

  /**
   * This node now, or as it was when the engine last answered: an engine that is away or hangs
   * is no reason to leave the cluster, its containers may well run on.
   */
  private async describe(): Promise<NodeDescription> {
    const limit = childAbort(this.life.signal);
    const { clock } = this.options.environment;
    const timer = clock.setTimer(RPC_TIMEOUT_MS, () => limit.controller.abort());
    try {
      this.description = await orAborted(this.options.executor.describe(), limit.controller.signal);
    } catch (error) {
      if (this.description === undefined || this.life.signal.aborted) throw error;
      const text = SkepError.from(error).message;
      this.options.logger.info({ error: text }, 'node description not readable, the last is used');
    } finally {
      timer.cancel();
      limit.release();
    }
    return this.description;
  }

  private onAssigned(): void {
    this.options.network.followSession(new Set(this.worker.tasks().map(({ id }) => id)));
  }

  private async onMessage(message: SessionMessage): Promise<void> {
    const { node } = message;
    if (node !== undefined) {
      this.spreadMs = parseReconnectSpread(node.spec?.annotations?.labels[RECONNECT_SPREAD_LABEL]);
      // A manager of very many nodes is not asked by all of them every few seconds.
      this.connection?.allowSilence(this.spreadMs);
      try {
        await this.options.network.configure({
          node,
          keys: message.networkBootstrapKeys,
          managerAddresses: message.managers.map((m) => hostOf(m.peer?.addr ?? '')),
          memberAddresses: this.options.memberAddresses?.() ?? [],
        });
      } catch (error) {
        // Tasks without networks still run; those with fail with the network's own text.
        const text = SkepError.from(error).message;
        this.options.logger.error({ error: text }, 'node networking not configured');
      }
    }
    this.options.onSessionMessage(message);
  }
}

/** `host:port` or `[v6]:port` without its port. */
function hostOf(address: string): string {
  return address.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
}
