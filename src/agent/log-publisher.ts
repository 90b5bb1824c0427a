/**
 * Sends container logs to managers that ask for them. Each subscription runs by itself, at a
 * bounded rate, and never holds up tasks: what the manager does not take waits in the engine.
 */
import { create } from '@bufbuild/protobuf';
import type { Clock } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import {
  type LogMessage,
  LogMessageSchema,
  type LogSelector,
  LogStream,
  type PublishLogsMessage,
  PublishLogsMessageSchema,
  type SubscriptionMessage,
} from '../model/gen/docker/swarmkit/v1/logbroker_pb.js';
import type { Task } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../model/gen/docker/swarmkit/v1/types_pb.js';
import type { Logger } from '../observe/logger.js';
import { fromRpcError } from '../rpc/errors.js';
import type { ManagerConnection } from '../rpc/types.js';
import { childAbort, orAborted, sleep } from './async.js';
import type { LogLine } from './executor.js';
import { LOG_BATCH_MAX, LOG_RATE_BYTES_PER_S, LOG_SUBSCRIPTIONS_MAX } from './limits.js';
import { MergedQueue } from './merged-queue.js';
import type { Worker } from './worker.js';

const NANO = 1_000_000_000n;
/** How long the rate limit may run ahead: one second's worth. */
const BURST_MS = 1000;

/** Whether a subscription means a task (SwarmKit: any of the three kinds fits). */
export function selects(selector: LogSelector | undefined, task: Task, nodeId: string): boolean {
  if (selector === undefined) return false;
  return (
    selector.taskIds.includes(task.id) ||
    selector.serviceIds.includes(task.serviceId) ||
    selector.nodeIds.includes(nodeId)
  );
}

/** Serves the log subscriptions of one node. */
export class LogPublisher {
  constructor(
    private readonly nodeId: string,
    private readonly worker: Worker,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  /**
   * Listens until `signal` aborts. A manager without a log broker is fine.
   * @throws SkepError when the stream breaks
   */
  async run(broker: ManagerConnection['logBroker'], signal: AbortSignal): Promise<never> {
    const running = new Map<string, AbortController>();
    try {
      for await (const message of broker.listenSubscriptions({}, { signal })) {
        this.handle(broker, message, running, signal);
      }
      throw new SkepError('unavailable', 'log subscriptions ended by the manager');
    } catch (thrown) {
      const error = fromRpcError(thrown);
      if (error.code !== 'unimplemented') throw error;
      this.logger.info({}, 'manager has no log broker');
      return await orAborted(new Promise<never>(() => undefined), signal);
    } finally {
      for (const controller of running.values()) controller.abort();
    }
  }

  private handle(
    broker: ManagerConnection['logBroker'],
    message: SubscriptionMessage,
    running: Map<string, AbortController>,
    signal: AbortSignal,
  ): void {
    if (message.close) {
      running.get(message.id)?.abort();
      return;
    }
    if (running.has(message.id)) return;
    if (running.size >= LOG_SUBSCRIPTIONS_MAX) {
      this.logger.warn({ subscription: message.id }, 'too many log subscriptions');
      return;
    }
    const { controller, release } = childAbort(signal);
    running.set(message.id, controller);
    this.publish(broker, message, controller.signal)
      .catch((thrown: unknown) => {
        if (controller.signal.aborted) return;
        const text = fromRpcError(thrown).message;
        this.logger.warn({ subscription: message.id, error: text }, 'log publishing failed');
      })
      .finally(() => {
        running.delete(message.id);
        release();
      });
  }

  private async publish(
    broker: ManagerConnection['logBroker'],
    subscription: SubscriptionMessage,
    signal: AbortSignal,
  ): Promise<void> {
    const queue = new MergedQueue<LogMessage>(LOG_BATCH_MAX * 4);
    const { controller: life, release } = childAbort(signal);
    const sources = new Set<string>();
    const add = (task: Task): void => {
      if (sources.has(task.id) || !hasLog(task)) return;
      if (!selects(subscription.selector, task, this.nodeId)) return;
      sources.add(task.id);
      queue.source(this.lines(task, subscription, life.signal));
    };
    const following = subscription.options?.follow === true;
    const unlisten = following
      ? this.worker.listen({ onStatus: add, onRemoved: () => undefined })
      : undefined;
    for (const task of this.worker.tasks()) add(task);
    if (!following) queue.closeWhenDone();
    try {
      await broker.publishLogs(this.frames(subscription.id, queue, life.signal), {
        signal: life.signal,
      });
    } finally {
      unlisten?.();
      life.abort();
      release();
    }
  }

  private async *frames(
    subscriptionId: string,
    queue: MergedQueue<LogMessage>,
    signal: AbortSignal,
  ): AsyncIterable<PublishLogsMessage> {
    let paidUntilMs = this.clock.monotonicMs();
    for (;;) {
      const messages = await queue.take(LOG_BATCH_MAX, signal);
      if (messages.length === 0) break;
      yield create(PublishLogsMessageSchema, { subscriptionId, messages });
      const bytes = messages.reduce((sum, message) => sum + message.data.length, 0);
      const nowMs = this.clock.monotonicMs();
      paidUntilMs = Math.max(paidUntilMs, nowMs) + (bytes * 1000) / LOG_RATE_BYTES_PER_S;
      if (paidUntilMs - nowMs > BURST_MS) {
        await sleep(this.clock, paidUntilMs - nowMs - BURST_MS, signal);
      }
    }
    yield create(PublishLogsMessageSchema, { subscriptionId, close: true });
  }

  private async *lines(
    task: Task,
    subscription: SubscriptionMessage,
    signal: AbortSignal,
  ): AsyncIterable<LogMessage> {
    const controller = this.worker.controllerOf(task.id);
    if (controller === undefined || subscription.options === undefined) return;
    try {
      for await (const line of controller.logs(subscription.options, signal)) {
        yield logMessage(task, this.nodeId, line);
      }
    } catch (error) {
      // One task's log (no container, driver that cannot be read) must not end the others.
      const text = SkepError.from(error).message;
      if (!signal.aborted) this.logger.warn({ taskId: task.id, error: text }, 'log not readable');
    }
  }
}

/** A container exists from READY on; one that was refused has none. */
function hasLog(task: Task): boolean {
  const state = task.status?.state ?? TaskState.NEW;
  return state >= TaskState.STARTING && state !== TaskState.REJECTED;
}

function logMessage(task: Task, nodeId: string, line: LogLine): LogMessage {
  return create(LogMessageSchema, {
    context: { serviceId: task.serviceId, nodeId, taskId: task.id },
    timestamp: { seconds: line.timestampNs / NANO, nanos: Number(line.timestampNs % NANO) },
    stream: line.stream === 'stdout' ? LogStream.STDOUT : LogStream.STDERR,
    data: line.data,
    attrs: line.attributes.map(([key, value]) => ({ key, value })),
  });
}
