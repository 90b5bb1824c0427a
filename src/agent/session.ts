/**
 * One session with one manager: registration, heartbeats, assignments, task states, and log
 * subscriptions beside each other. Whichever of them fails ends the session; the agent then
 * makes a new one (SwarmKit agent/session.go).
 */
import type { Clock } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import {
  AssignmentsMessage_Type as MessageType,
  type SessionMessage,
} from '../model/gen/docker/swarmkit/v1/dispatcher_pb.js';
import type { NodeDescription } from '../model/gen/docker/swarmkit/v1/types_pb.js';
import type { Logger } from '../observe/logger.js';
import { fromRpcError } from '../rpc/errors.js';
import type { ManagerConnection } from '../rpc/types.js';
import { childAbort, orAborted, sleep } from './async.js';
import {
  DESCRIPTION_PERIOD_MS,
  HEARTBEAT_DEFAULT_MS,
  HEARTBEAT_MAX_MS,
  HEARTBEAT_MIN_MS,
  RPC_TIMEOUT_MS,
} from './limits.js';
import type { LogPublisher } from './log-publisher.js';
import type { StatusReporter } from './status-reporter.js';
import type { UsageReporter } from './usage-reporter.js';
import type { Worker } from './worker.js';

/** What a session works with. */
export interface SessionOptions {
  readonly connection: ManagerConnection;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly worker: Worker;
  readonly reporter: StatusReporter;
  readonly logs: LogPublisher;
  readonly usage: UsageReporter;
  /** This node as it is now; asked again from time to time. */
  readonly describe: () => Promise<NodeDescription>;
  /** Whether two descriptions say the same. */
  readonly sameDescription: (a: NodeDescription, b: NodeDescription) => boolean;
  /** Id of the session before, to be resumed; empty for none. */
  readonly previousSessionId: string;
  /** Each session message, in order; assignments wait for the first. */
  readonly onMessage: (message: SessionMessage) => Promise<void>;
  /** Registered: the id of this session. */
  readonly onRegistered: (sessionId: string) => void;
  /** The session ends because this node describes itself otherwise now. */
  readonly onDescriptionChanged: () => void;
  /** An assignment has been applied. */
  readonly onAssigned: () => void;
}

/** Runs a session until it breaks. @throws SkepError with the reason; canceled by `signal` */
export async function runSession(options: SessionOptions, signal: AbortSignal): Promise<never> {
  const { controller: life, release } = childAbort(signal);
  const onClosed = (): void => life.abort();
  options.connection.closed.addEventListener('abort', onClosed, { once: true });
  if (options.connection.closed.aborted) life.abort();
  try {
    return await new Session(options, life.signal).run();
  } catch (thrown) {
    if (!signal.aborted && options.connection.closed.aborted) {
      throw fromRpcError(options.connection.closed.reason);
    }
    throw fromRpcError(thrown);
  } finally {
    options.connection.closed.removeEventListener('abort', onClosed);
    life.abort();
    release();
  }
}

class Session {
  constructor(
    private readonly options: SessionOptions,
    private readonly signal: AbortSignal,
  ) {}

  async run(): Promise<never> {
    const { connection, previousSessionId } = this.options;
    const description = await this.options.describe();
    const stream = connection.dispatcher.session(
      { description, sessionId: previousSessionId },
      { signal: this.signal },
    );
    const messages = stream[Symbol.asyncIterator]();
    const first = await this.firstMessage(messages);
    const sessionId = first.sessionId;
    this.options.onRegistered(sessionId);
    await this.options.onMessage(first);
    for (const task of this.options.worker.tasks()) this.options.reporter.enqueue(task);
    const { dispatcher, logBroker, statistics } = connection;
    return Promise.race([
      this.follow(messages),
      this.heartbeat(sessionId),
      this.assignments(sessionId),
      this.options.reporter.run(dispatcher, sessionId, this.signal),
      this.options.logs.run(logBroker, this.signal),
      this.options.usage.run(statistics, this.signal),
      this.watchDescription(description),
    ]);
  }

  private async firstMessage(messages: AsyncIterator<SessionMessage>): Promise<SessionMessage> {
    const { controller, release } = childAbort(this.signal);
    const timer = this.options.clock.setTimer(RPC_TIMEOUT_MS, () => controller.abort());
    try {
      const first = await orAborted(messages.next(), controller.signal);
      if (first.done === true) throw new SkepError('unavailable', 'session ended at once');
      return first.value;
    } catch (thrown) {
      if (controller.signal.aborted && !this.signal.aborted) {
        throw new SkepError('deadline_exceeded', 'session initiation timed out');
      }
      throw fromRpcError(thrown);
    } finally {
      timer.cancel();
      release();
    }
  }

  private async follow(messages: AsyncIterator<SessionMessage>): Promise<never> {
    for (;;) {
      const next = await messages.next();
      if (next.done === true) throw new SkepError('unavailable', 'session closed by the manager');
      await this.options.onMessage(next.value);
    }
  }

  private async heartbeat(sessionId: string): Promise<never> {
    const { dispatcher } = this.options.connection;
    for (;;) {
      const answer = await dispatcher.heartbeat(
        { sessionId },
        { signal: this.signal, timeoutMs: RPC_TIMEOUT_MS },
      );
      const { period } = answer;
      const periodMs =
        period === undefined
          ? HEARTBEAT_DEFAULT_MS
          : Number(period.seconds) * 1000 + period.nanos / 1e6;
      const boundedMs = Math.min(Math.max(periodMs, HEARTBEAT_MIN_MS), HEARTBEAT_MAX_MS);
      await sleep(this.options.clock, boundedMs, this.signal);
    }
  }

  private async assignments(sessionId: string): Promise<never> {
    const { dispatcher } = this.options.connection;
    for (;;) {
      const stream = dispatcher.assignments({ sessionId }, { signal: this.signal });
      let sequence: string | undefined;
      let gap = false;
      for await (const message of stream) {
        const complete = message.type === MessageType.COMPLETE;
        if (!complete && message.appliesTo !== sequence) {
          // A message was lost on the way: only a new COMPLETE tells where we are.
          this.options.logger.warn({ sequence }, 'assignment sequence broken, subscribing again');
          gap = true;
          break;
        }
        sequence = message.resultsIn;
        this.options.worker.apply(message);
        this.options.onAssigned();
      }
      if (!gap) throw new SkepError('unavailable', 'assignments ended by the manager');
    }
  }

  private async watchDescription(registered: NodeDescription): Promise<never> {
    for (;;) {
      await sleep(this.options.clock, DESCRIPTION_PERIOD_MS, this.signal);
      const current = await this.options.describe();
      if (!this.options.sameDescription(registered, current)) {
        this.options.onDescriptionChanged();
        throw new SkepError('aborted', 'node description changed');
      }
    }
  }
}
