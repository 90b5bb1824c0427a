/**
 * The leader's end of every agent's session (SwarmKit manager/dispatcher): who is alive, what each
 * node is to run, what it reports. Streams send the present state and are woken by the store, so a
 * slow agent costs no queue.
 */
import { create, equals, toBinary } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import type { Environment } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import {
  type AssignmentsMessage,
  AssignmentsMessage_Type,
  AssignmentsMessageSchema,
  type HeartbeatResponse,
  HeartbeatResponseSchema,
  type SessionMessage,
  type TasksMessage,
  TasksMessageSchema,
  type UpdateTaskStatusRequest,
} from '../../model/gen/docker/swarmkit/v1/dispatcher_pb.js';
import type { Node } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type NodeDescription,
  NodeDescriptionSchema,
  NodeStatus_State,
  TaskState,
  type TaskStatus,
  TaskStatusSchema,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { reconnectSpreadMs } from '../../model/reconnect.js';
import { observedState } from '../../model/task-state.js';
import type { Logger } from '../../observe/logger.js';
import { sleep } from '../../rpc/identity/sleep.js';
import type { ManagerPeer } from '../../rpc/types.js';
import type { Store, StoreEvent } from '../../store/types.js';
import type { SecretSource } from '../drivers/secret-drivers.js';
import { AssignmentSet, type WantedSecret } from './assignment-set.js';
import * as constants from './constants.js';
import { clusterPeriodMs, type HeartbeatPlan, planHeartbeat } from './heartbeat-period.js';
import { type NodeStream, NodeStreams } from './node-streams.js';
import { KeyedTurns } from './keyed-turns.js';
import { NodeWatch } from './node-watch.js';
import { isSameNews, sessionMessage } from './session-message.js';
import { type Session, SessionRegistry } from './session-registry.js';
import { StandstillWatch } from './standstill.js';
import { StatusWriter } from './status-writer.js';

/** What a dispatcher needs. */
export interface DispatcherOptions {
  readonly store: Store;
  readonly env: Environment;
  readonly logger: Logger;
  readonly clusterId: string;
  /** This manager, as agents reach it. */
  readonly self: ManagerPeer;
  /** For how long a node has been seen neither by gossip nor by its data path; default: for ever. */
  readonly silenceMs?: (nodeId: string) => number;
  /** Values of secrets that plugins hold; without it tasks that refer to them are rejected. */
  readonly secretSource?: SecretSource;
}

/** Runs on the leader, from `start` to `stop`; calls at other times are refused as aborted. */
export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #store: Store;
  readonly #sessions: SessionRegistry;
  readonly #writer: StatusWriter;
  readonly #watch: NodeWatch;
  readonly #sessionStreams = new NodeStreams();
  readonly #taskStreams = new NodeStreams();
  readonly #secretTurns = new KeyedTurns(constants.SECRET_QUESTIONS_MAX);
  /** Nodes that were unknown when this leader began and have not come back. */
  readonly #unknown = new Set<string>();
  /** Registrations under way, by node. */
  readonly #registering = new Map<string, number>();
  #nodeCount = 0;
  #standstills: StandstillWatch | undefined;
  /** Until then, monotonic, nodes are waited for: this manager stood still. */
  #pardonUntilMs = 0;
  #state: 'stopped' | 'starting' | 'running' = 'stopped';
  #unsubscribe: (() => void) | undefined;

  constructor(options: DispatcherOptions) {
    const { store, env, logger, self, clusterId } = options;
    this.#options = options;
    this.#store = store;
    this.#writer = new StatusWriter({ store, env, logger, managerNodeId: self.nodeId });
    this.#watch = new NodeWatch({
      store,
      env,
      logger,
      writer: this.#writer,
      clusterId,
      silenceMs: options.silenceMs ?? (() => Number.POSITIVE_INFINITY),
    });
    this.#sessions = new SessionRegistry({
      env,
      moreGraceMs: (nodeId) => this.#moreGraceMs(nodeId),
      onSilent: (nodeId) => this.#onSilent(nodeId),
    });
  }

  /**
   * Takes up work; to be called once this manager leads and its store has all that was committed.
   * Nodes count as unknown until they report. @throws SkepError when the store cannot be written
   */
  async start(): Promise<void> {
    if (this.#state !== 'stopped') return;
    this.#state = 'starting';
    const { result: nodes, unsubscribe } = this.#store.viewAndSubscribe(
      (read) => read.find('node', { by: 'all' }),
      (events) => this.#onEvents(events),
    );
    this.#unsubscribe = unsubscribe;
    this.#nodeCount = nodes.length;
    const { clock } = this.#options.env;
    this.#standstills = new StandstillWatch(clock, (ms) => this.#onStoodStill(ms));
    try {
      await this.#markUnknown(nodes);
      this.#state = 'running';
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** Ends all sessions: agents look for another manager. Idempotent. */
  async stop(): Promise<void> {
    this.#state = 'stopped';
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    this.#watch.stop();
    this.#standstills?.stop();
    this.#pardonUntilMs = 0;
    this.#unknown.clear();
    this.#sessions.closeAll(new SkepError('aborted', 'dispatcher is stopped'));
    await this.#writer.idle();
  }

  /** Open streams, for tests and metrics. */
  get streamCount(): number {
    return this.#sessionStreams.count + this.#taskStreams.count;
  }

  /** Session: registers the node and tells it of its cluster, at once and on each change. */
  async *session(
    nodeId: string,
    addr: string,
    request: { readonly sessionId: string; readonly description?: NodeDescription | undefined },
    signal: AbortSignal,
  ): AsyncGenerator<SessionMessage> {
    const session = await this.#openSession(nodeId, addr, request);
    const stream = this.#sessionStreams.open(nodeId, [signal, session.ended]);
    const { clusterId, self } = this.#options;
    let last: SessionMessage | undefined;
    do {
      const message = this.#store.view((read) =>
        sessionMessage(read, {
          ...{ sessionId: session.sessionId, nodeId, clusterId, self },
          nodeCount: this.#nodeCount,
        }),
      );
      if (message === undefined) throw new SkepError('not_found', 'node not found');
      if (last === undefined || !isSameNews(last, message)) yield message;
      last = message;
    } while (await stream.flag.wait(stream.signal));
    throwEnd(stream.signal);
  }

  /** Heartbeat: the period until the next. @throws SkepError `node not registered` … */
  heartbeat(nodeId: string, sessionId: string): HeartbeatResponse {
    this.#checkRunning();
    this.#sessions.get(nodeId, sessionId);
    const { periodMs, graceMs } = this.#plan(nodeId);
    this.#sessions.expect(nodeId, graceMs);
    return create(HeartbeatResponseSchema, { period: durationFromMs(periodMs) });
  }

  /** UpdateTaskStatus; resolves once the reports are stored. */
  async updateTaskStatus(nodeId: string, request: UpdateTaskStatusRequest): Promise<void> {
    this.#checkRunning();
    this.#sessions.get(nodeId, request.sessionId);
    if (request.updates.length > constants.TASK_UPDATES_MAX) {
      throw new SkepError('invalid_argument', 'too many task updates in one call');
    }
    const updates = new Map<string, TaskStatus>();
    this.#store.view((read) => {
      for (const { taskId, status } of request.updates) {
        const task = read.get('task', taskId);
        // The task may have been deleted meanwhile.
        if (status === undefined || task === undefined) continue;
        if (task.nodeId !== nodeId) {
          throw new SkepError('permission_denied', 'cannot update a task not assigned this node');
        }
        checkStatus(status);
        updates.set(taskId, status);
      }
    });
    if (updates.size > 0) await this.#writer.writeTasks(updates);
  }

  /** Assignments: everything first, then changes, numbered so that a gap shows. */
  async *assignments(
    nodeId: string,
    sessionId: string,
    signal: AbortSignal,
  ): AsyncGenerator<AssignmentsMessage> {
    const stream = this.#openTaskStream(nodeId, sessionId, signal);
    const set = new AssignmentSet(nodeId);
    let sequence = 0;
    do {
      this.#store.view((read) => {
        for (const taskId of stream.dirtyTasks) set.look(taskId, read);
      });
      stream.dirtyTasks.clear();
      for (const wanted of set.takeWanted()) void this.#fetchSecret(set, wanted, stream);
      const isFirst = sequence === 0;
      if (isFirst && set.isIncomplete) continue;
      const changes = set.take();
      if (!isFirst && changes.length === 0) continue;
      yield create(AssignmentsMessageSchema, {
        type: isFirst ? AssignmentsMessage_Type.COMPLETE : AssignmentsMessage_Type.INCREMENTAL,
        appliesTo: isFirst ? '' : String(sequence),
        resultsIn: String(sequence + 1),
        changes,
      });
      sequence++;
    } while (await this.#nextBatch(stream));
    throwEnd(stream.signal);
  }

  /** Tasks, the deprecated way of assignments: the whole list on each change. */
  async *tasks(
    nodeId: string,
    sessionId: string,
    signal: AbortSignal,
  ): AsyncGenerator<TasksMessage> {
    const stream = this.#openTaskStream(nodeId, sessionId, signal);
    do {
      stream.dirtyTasks.clear();
      const tasks = this.#store.view((read) => read.find('task', { by: 'node', nodeId }));
      yield create(TasksMessageSchema, {
        tasks: tasks.filter((task) => observedState(task) >= TaskState.ASSIGNED),
      });
    } while (await this.#nextBatch(stream));
    throwEnd(stream.signal);
  }

  /**
   * Asks a plugin for what a task needs, while others go on; a task without it is rejected by its
   * node. Never rejects.
   */
  async #fetchSecret(set: AssignmentSet, wanted: WantedSecret, stream: NodeStream): Promise<void> {
    const { secretSource, logger } = this.#options;
    const { secret, task } = wanted;
    const driver = secret.spec?.driver?.name ?? '';
    try {
      const { spec } = secret;
      if (secretSource === undefined || spec === undefined)
        throw new SkepError('failed_precondition', 'this manager asks no plugins for secrets');
      const answer = await this.#secretTurns.run(driver, async () =>
        stream.signal.aborted ? undefined : await secretSource.fetch(spec, task),
      );
      if (answer !== undefined) set.provide(wanted, answer.data, answer.isForTaskOnly);
    } catch (error) {
      const text = SkepError.from(error).message;
      logger.error({ secretId: secret.id, taskId: task.id, driver, error: text }, 'no secret');
      set.giveUp(wanted);
    }
    stream.flag.set();
  }

  #checkRunning(): void {
    if (this.#state !== 'running') throw new SkepError('aborted', 'dispatcher is stopped');
  }

  #plan(nodeId: string): HeartbeatPlan {
    const { clusterId, env } = this.#options;
    return this.#store.view((read) => {
      const cluster = read.get('cluster', clusterId);
      return planHeartbeat(cluster, read.get('node', nodeId), this.#nodeCount, env.random);
    });
  }

  async #openSession(
    nodeId: string,
    addr: string,
    request: { readonly sessionId: string; readonly description?: NodeDescription | undefined },
  ): Promise<Session> {
    this.#checkRunning();
    const { description } = request;
    checkDescription(description);
    const resumed = this.#resumable(nodeId, request.sessionId);
    if (resumed === undefined) this.#sessions.checkRate(nodeId);
    const node = this.#store.view((read) => read.get('node', nodeId));
    if (node === undefined) throw new SkepError('not_found', 'node not found');
    if (resumed !== undefined && isUnchanged(node, addr, description)) return resumed;
    // The write passes raft: once it is applied here, so is all that was committed before, and an
    // assignment made from the store is complete.
    await this.#whileRegistering(nodeId, () =>
      this.#writer.writeNode(nodeId, {
        state: NodeStatus_State.READY,
        message: '',
        addr,
        ...(description === undefined ? {} : { description }),
      }),
    );
    this.#checkRunning();
    this.#unknown.delete(nodeId);
    this.#watch.forget(nodeId);
    if (resumed !== undefined && !resumed.ended.aborted) return resumed;
    this.#options.logger.info({ nodeId, addr }, 'node registered');
    return this.#sessions.open(nodeId, this.#plan(nodeId).graceMs);
  }

  /** However slow the disk is, a node that is registering does not count as down meanwhile. */
  async #whileRegistering(nodeId: string, write: () => Promise<void>): Promise<void> {
    this.#registering.set(nodeId, (this.#registering.get(nodeId) ?? 0) + 1);
    this.#sessions.expect(nodeId, this.#plan(nodeId).graceMs);
    try {
      await write();
    } finally {
      const left = (this.#registering.get(nodeId) ?? 1) - 1;
      if (left === 0) this.#registering.delete(nodeId);
      else this.#registering.set(nodeId, left);
    }
  }

  #resumable(nodeId: string, sessionId: string): Session | undefined {
    if (sessionId === '' || !this.#sessions.has(nodeId)) return undefined;
    try {
      return this.#sessions.get(nodeId, sessionId);
    } catch (error) {
      // An old session id: the node registers anew.
      if (error instanceof SkepError) return undefined;
      throw error;
    }
  }

  #openTaskStream(nodeId: string, sessionId: string, signal: AbortSignal): NodeStream {
    this.#checkRunning();
    const session = this.#sessions.get(nodeId, sessionId);
    const stream = this.#taskStreams.open(nodeId, [signal, session.ended]);
    for (const task of this.#store.view((read) => read.find('task', { by: 'node', nodeId }))) {
      stream.dirtyTasks.add(task.id);
    }
    return stream;
  }

  /** Waits for changes, then a little more, so that bursts travel together. */
  async #nextBatch(stream: NodeStream): Promise<boolean> {
    if (!(await stream.flag.wait(stream.signal))) return false;
    if (stream.dirtyTasks.size < constants.ASSIGNMENT_BATCH_MAX) {
      const { clock } = this.#options.env;
      // The only error is the signal's, which is looked at next.
      await sleep(constants.ASSIGNMENT_BATCH_MS, clock, stream.signal).catch(() => undefined);
    }
    return !stream.signal.aborted;
  }

  async #markUnknown(nodes: readonly Node[]): Promise<void> {
    const cluster = this.#store.view((read) => read.get('cluster', this.#options.clusterId));
    const periods = constants.HEARTBEAT_GRACE_PERIODS * constants.UNKNOWN_GRACE_FACTOR;
    // Also our own agents get the long grace, as long as gossip hears of them: they may be in the middle
    // of a retry pause.
    const graceMs = clusterPeriodMs(cluster) * periods + this.#spreadMs();
    const writes: Promise<void>[] = [];
    for (const node of nodes) {
      if (node.status?.state === NodeStatus_State.DOWN) {
        this.#watch.watchDown(node.id);
        continue;
      }
      this.#unknown.add(node.id);
      this.#sessions.expect(node.id, graceMs);
      this.#watch.lookFor(node.id, constants.MESSAGE_UNKNOWN_HEARTBEAT_FAILURE);
      const state = NodeStatus_State.UNKNOWN;
      const message = constants.MESSAGE_LEADERSHIP_CHANGE;
      writes.push(this.#writer.writeNode(node.id, { state, message }));
    }
    await Promise.all(writes);
  }

  /** How long it takes until all nodes have called, if all do anew. */
  #spreadMs(): number {
    return reconnectSpreadMs(this.#nodeCount) * constants.RECONNECT_SPREAD_FACTOR;
  }

  /** Nobody is down because this manager did not listen; nodes may have to connect anew, too. */
  #onStoodStill(durationMs: number): void {
    const { env, logger } = this.#options;
    const cluster = this.#store.view((read) => read.get('cluster', this.#options.clusterId));
    const graceMs = clusterPeriodMs(cluster) * constants.HEARTBEAT_GRACE_PERIODS;
    this.#pardonUntilMs = env.clock.monotonicMs() + graceMs + this.#spreadMs();
    logger.warn({ durationMs: Math.round(durationMs) }, 'this manager stood still');
  }

  /** For how much longer a node is waited for whose grace is over; 0: not at all. */
  #moreGraceMs(nodeId: string): number {
    if (this.#registering.has(nodeId)) return this.#plan(nodeId).graceMs;
    const leftMs = this.#pardonUntilMs - this.#options.env.clock.monotonicMs();
    if (leftMs <= 0) return 0;
    // Gossip and data path go on while this process stands still, and know who is gone.
    return this.#watch.isLost(nodeId) ? 0 : Math.min(leftMs, constants.LAST_CHANCE_MS);
  }

  #onSilent(nodeId: string): void {
    const message = this.#unknown.delete(nodeId)
      ? constants.MESSAGE_UNKNOWN_HEARTBEAT_FAILURE
      : constants.MESSAGE_HEARTBEAT_FAILURE;
    this.#watch.silent(nodeId, message);
  }

  #onEvents(events: readonly StoreEvent[]): void {
    for (const event of events) {
      if (event.table === 'task') {
        this.#wakeTaskStreams(event.object.nodeId, event.object.id);
        const before = event.kind === 'update' ? event.old.nodeId : event.object.nodeId;
        if (before !== event.object.nodeId) this.#wakeTaskStreams(before, event.object.id);
      } else if (event.table === 'cluster') {
        this.#sessionStreams.wakeAll();
      } else if (event.table === 'node') {
        this.#onNodeEvent(event);
      }
    }
  }

  #onNodeEvent(event: Extract<StoreEvent, { table: 'node' }>): void {
    const { id } = event.object;
    if (event.kind === 'create') this.#nodeCount++;
    if (event.kind === 'remove') {
      this.#nodeCount--;
      this.#unknown.delete(id);
      this.#watch.forget(id);
      this.#sessions.close(id, new SkepError('not_found', 'node not found'));
    }
    const old = event.kind === 'update' ? event.old : undefined;
    if (managerAddr(event.object) !== managerAddr(old)) this.#sessionStreams.wakeAll();
    for (const stream of this.#sessionStreams.of(id)) stream.flag.set();
  }

  #wakeTaskStreams(nodeId: string, taskId: string): void {
    for (const stream of this.#taskStreams.of(nodeId)) {
      stream.dirtyTasks.add(taskId);
      stream.flag.set();
    }
  }
}

/** Whether a returning node has nothing to tell that is not stored already. */
function isUnchanged(node: Node, addr: string, description: NodeDescription | undefined): boolean {
  if (node.status?.state !== NodeStatus_State.READY || node.status.addr !== addr) return false;
  if (description === undefined) return true;
  const { description: stored } = node;
  return stored !== undefined && equals(NodeDescriptionSchema, stored, description);
}

function managerAddr(node: Node | undefined): string {
  return node?.managerStatus?.addr ?? '';
}

/** Ends a stream with the error of its session, or of whoever displaced it. */
function throwEnd(signal: AbortSignal): never {
  if (signal.reason instanceof SkepError) throw signal.reason;
  throw new SkepError('canceled', 'context canceled');
}

function checkDescription(description: NodeDescription | undefined): void {
  if (description === undefined) return;
  const bytes = toBinary(NodeDescriptionSchema, description).length;
  if (bytes > constants.NODE_DESCRIPTION_BYTES_MAX) {
    throw new SkepError('invalid_argument', 'node description is too large');
  }
}

function checkStatus(status: TaskStatus): void {
  if (TaskState[status.state] === undefined) {
    throw new SkepError('invalid_argument', 'unknown task state');
  }
  if (toBinary(TaskStatusSchema, status).length > constants.TASK_STATUS_BYTES_MAX) {
    throw new SkepError('invalid_argument', 'task status is too large');
  }
}
