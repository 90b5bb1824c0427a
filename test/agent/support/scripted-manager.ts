/**
 * A manager for tests: a real connect router whose sessions, assignments and log subscriptions
 * are written by the test, and which remembers what agents told it.
 */
import { create } from '@bufbuild/protobuf';
import { createClient, createRouterTransport, ConnectError, Code } from '@connectrpc/connect';
import { NodeCA } from '../../../src/model/gen/docker/swarmkit/v1/ca_pb.js';
import {
  type AssignmentChange,
  AssignmentChange_AssignmentAction as Action,
  AssignmentChangeSchema,
  type AssignmentsMessage,
  AssignmentsMessage_Type as MessageType,
  AssignmentsMessageSchema,
  Dispatcher,
  type SessionMessage,
  SessionMessageSchema,
  type SessionRequest,
} from '../../../src/model/gen/docker/swarmkit/v1/dispatcher_pb.js';
import {
  LogBroker,
  type LogMessage,
  type SubscriptionMessage,
} from '../../../src/model/gen/docker/swarmkit/v1/logbroker_pb.js';
import type { Secret, Task } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { ResourceAllocator } from '../../../src/model/gen/docker/swarmkit/v1/resource_pb.js';
import type { TaskState, TaskStatus } from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { Membership } from '../../../src/model/gen/skep/manager/v1/manager_pb.js';
import { Statistics } from '../../../src/model/gen/skep/manager/v1/statistics_pb.js';
import type { ManagerConnection } from '../../../src/rpc/types.js';

/** Messages for one stream, written at any time. */
class Outbox<T> {
  private readonly items: T[] = [];
  private wake: (() => void) | undefined;
  private failure: ConnectError | undefined;

  push(item: T): void {
    this.items.push(item);
    this.wake?.();
  }

  fail(error: ConnectError): void {
    this.failure = error;
    this.wake?.();
  }

  async *read(signal: AbortSignal): AsyncIterable<T> {
    for (;;) {
      const item = this.items.shift();
      if (item !== undefined) {
        yield item;
        continue;
      }
      if (this.failure !== undefined) throw this.failure;
      if (signal.aborted) return;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
    }
  }
}

/** What a published log subscription brought. */
export interface Published {
  readonly messages: LogMessage[];
  closed: boolean;
}

/** The manager's side of the agent's calls. */
export class ScriptedManager {
  readonly nodeId: string;
  /** Usage told: task id and thousandths of a CPU, a list a report. */
  readonly reports: (readonly (readonly [string, number])[])[] = [];
  /** A stock manager does not know such reports. */
  knowsStatistics = true;
  /** Session requests in order. */
  readonly sessions: SessionRequest[] = [];
  /** States told, per task, in the order they came. */
  readonly statuses = new Map<string, TaskStatus[]>();
  readonly published = new Map<string, Published>();
  heartbeats = 0;
  /** Milliseconds told with each heartbeat. */
  heartbeatMs = 1000;
  /** Thrown by the next calls of updateTaskStatus. */
  readonly statusErrors: ConnectError[] = [];
  /** Whether the log broker exists. */
  hasLogBroker = true;
  private sequence = 0;
  private assignmentsOut = new Outbox<AssignmentsMessage>();
  private sessionOut = new Outbox<SessionMessage>();
  private subscriptionsOut = new Outbox<SubscriptionMessage>();
  private current: readonly (Task | Secret)[] | undefined;
  assignmentStreams = 0;
  /** Attach requests: container ids. */
  readonly attached: string[] = [];
  onAttach: (containerId: string) => string = () => '';

  constructor(nodeId: string) {
    this.nodeId = nodeId;
  }

  /** A connection as src/rpc makes them. */
  connect(): ManagerConnection {
    const closed = new AbortController();
    const transport = createRouterTransport(
      (router) => {
        router.service(Dispatcher, {
          session: (request, context) => this.session(request, context.signal),
          heartbeat: () => {
            this.heartbeats += 1;
            return { period: { seconds: 0n, nanos: this.heartbeatMs * 1e6 } };
          },
          updateTaskStatus: ({ updates }) => {
            const failure = this.statusErrors.shift();
            if (failure !== undefined) throw failure;
            for (const { taskId, status } of updates) {
              if (status === undefined) continue;
              this.statuses.set(taskId, [...(this.statuses.get(taskId) ?? []), status]);
            }
            return {};
          },
          assignments: (_request, context) => this.assignments(context.signal),
        });
        if (this.hasLogBroker) {
          router.service(LogBroker, {
            listenSubscriptions: (_request, context) => this.subscriptionsOut.read(context.signal),
            publishLogs: async (messages) => {
              for await (const message of messages) {
                const entry = this.published.get(message.subscriptionId) ?? {
                  messages: [],
                  closed: false,
                };
                entry.messages.push(...message.messages);
                entry.closed ||= message.close;
                this.published.set(message.subscriptionId, entry);
              }
              return {};
            },
          });
        }
        if (this.knowsStatistics) {
          router.service(Statistics, {
            report: ({ tasks }) => {
              this.reports.push(tasks.map(({ taskId, milliCpus }) => [taskId, milliCpus]));
              return {};
            },
          });
        }
        router.service(ResourceAllocator, {
          attachNetwork: ({ containerId }) => {
            this.attached.push(containerId);
            return { attachmentId: this.onAttach(containerId) };
          },
          detachNetwork: () => ({}),
        });
      },
      { transport: { interceptors: [] } },
    );
    return {
      peer: { nodeId: 'manager', addr: '192.0.2.1:2377' },
      dispatcher: createClient(Dispatcher, transport),
      logBroker: createClient(LogBroker, transport),
      resourceAllocator: createClient(ResourceAllocator, transport),
      statistics: createClient(Statistics, transport),
      membership: createClient(Membership, transport),
      nodeCa: createClient(NodeCA, transport),
      closed: closed.signal,
      close: () => closed.abort(new ConnectError('closed', Code.Canceled)),
      allowSilence: () => undefined,
    };
  }

  /** Replaces everything assigned; a COMPLETE at the next subscription, or now as changes. */
  assign(...items: readonly (Task | Secret)[]): void {
    this.current = items;
    const changes = items.map((item) => change(item, Action.UPDATE));
    this.send(MessageType.COMPLETE, changes);
  }

  /** Sends an incremental message. */
  change(...items: readonly (Task | Secret)[]): void {
    this.send(
      MessageType.INCREMENTAL,
      items.map((item) => change(item, Action.UPDATE)),
    );
  }

  /** Takes items away. */
  remove(...items: readonly (Task | Secret)[]): void {
    this.send(
      MessageType.INCREMENTAL,
      items.map((item) => change(item, Action.REMOVE)),
    );
  }

  /** Sends a message that does not follow the one before. */
  breakSequence(): void {
    this.sequence += 5;
    this.change();
  }

  /** Asks for logs. */
  subscribe(message: SubscriptionMessage): void {
    this.subscriptionsOut.push(message);
  }

  /** Ends all streams, as a manager that goes. */
  dropSessions(): void {
    this.sessionOut.fail(new ConnectError('dispatcher is stopped', Code.Aborted));
  }

  /** The latest state told of a task. */
  stateOf(taskId: string): TaskState | undefined {
    return this.statuses.get(taskId)?.at(-1)?.state;
  }

  private send(type: MessageType, changes: AssignmentChange[]): void {
    const appliesTo = String(this.sequence);
    this.sequence += 1;
    const resultsIn = String(this.sequence);
    this.assignmentsOut.push(
      create(AssignmentsMessageSchema, { type, appliesTo, resultsIn, changes }),
    );
  }

  private async *session(
    request: SessionRequest,
    signal: AbortSignal,
  ): AsyncIterable<SessionMessage> {
    this.sessions.push(request);
    this.sessionOut = new Outbox();
    this.sessionOut.push(
      create(SessionMessageSchema, {
        sessionId: `session-${this.sessions.length}`,
        node: { id: this.nodeId },
        managers: [{ peer: { nodeId: 'manager', addr: '192.0.2.1:2377' }, weight: 1n }],
      }),
    );
    yield* this.sessionOut.read(signal);
  }

  private async *assignments(signal: AbortSignal): AsyncIterable<AssignmentsMessage> {
    this.assignmentStreams += 1;
    if (this.assignmentStreams > 1) {
      // A new stream begins with everything there is.
      this.assignmentsOut = new Outbox();
      if (this.current !== undefined) this.assign(...this.current);
    }
    yield* this.assignmentsOut.read(signal);
  }
}

function change(item: Task | Secret, action: Action): AssignmentChange {
  const kind = item.$typeName === 'docker.swarmkit.v1.Task' ? 'task' : 'secret';
  return create(AssignmentChangeSchema, {
    assignment: { item: { case: kind, value: item } as never },
    action,
  });
}
