/**
 * One reader's interest in logs: which nodes have to deliver, which have done so, and why the result
 * may be incomplete (SwarmKit manager/logbroker/subscription.go).
 */
import { create } from '@bufbuild/protobuf';
import { SkepError } from '../../model/errors.js';
import {
  type LogSelector,
  type LogSubscriptionOptions,
  type SubscriptionMessage,
  SubscriptionMessageSchema,
} from '../../model/gen/docker/swarmkit/v1/logbroker_pb.js';
import type { Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { ReadTransaction } from '../../store/types.js';
import { REASONS_MAX } from './constants.js';
import { LogMessageQueue } from './message-queue.js';

/** A subscription with its queue. */
export class LogSubscription {
  readonly id: string;
  readonly queue = new LogMessageQueue();
  readonly #selector: LogSelector;
  readonly #options: LogSubscriptionOptions;
  /** Nodes that take part; true once they have delivered or failed. */
  readonly #nodes = new Map<string, boolean>();
  readonly #unscheduled = new Set<string>();
  readonly #reasons: string[] = [];
  #reasonsOmitted = 0;

  constructor(id: string, selector: LogSelector, options: LogSubscriptionOptions) {
    this.id = id;
    this.#selector = selector;
    this.#options = options;
  }

  /** Whether new tasks join and the stream has no end of its own. */
  get follows(): boolean {
    return this.#options.follow;
  }

  /** Finds the tasks that match now; returns the nodes that are new to the subscription. */
  match(read: ReadTransaction): readonly string[] {
    const before = new Set(this.#nodes.keys());
    for (const nodeId of this.#selector.nodeIds) this.#addNode(nodeId);
    for (const task of this.#matchingTasks(read)) this.#addTask(task);
    return [...this.#nodes.keys()].filter((nodeId) => !before.has(nodeId));
  }

  /** Whether `task` belongs to the subscription. */
  matches(task: Task): boolean {
    return (
      this.#selector.taskIds.includes(task.id) || this.#selector.serviceIds.includes(task.serviceId)
    );
  }

  /** Whether the node takes part. */
  hasNode(nodeId: string): boolean {
    return this.#nodes.has(nodeId);
  }

  /** A node has delivered all it has, or cannot; `reason` says why. Once a node. */
  done(nodeId: string, reason?: string): void {
    if (this.#nodes.get(nodeId) !== false) return;
    this.#nodes.set(nodeId, true);
    if (reason !== undefined) this.#addReason(reason);
    this.finishIfComplete();
  }

  /** Ends the queue if nothing more is to come. */
  finishIfComplete(): void {
    if (this.follows) return;
    if ([...this.#nodes.values()].every((isDone) => isDone)) this.queue.finish();
  }

  /** What a node is told: to begin, or that the reader is gone. */
  message(close: boolean): SubscriptionMessage {
    return create(SubscriptionMessageSchema, {
      id: this.id,
      selector: this.#selector,
      options: this.#options,
      close,
    });
  }

  /** Why the stream is incomplete, in SwarmKit's words; undefined if it is complete. */
  failure(): SkepError | undefined {
    const reasons = [
      ...this.#reasons,
      ...[...this.#unscheduled].map((taskId) => `task ${taskId} has not been scheduled`),
    ];
    if (reasons.length === 0) return undefined;
    const listed = reasons.slice(0, REASONS_MAX);
    const omitted = this.#reasonsOmitted + reasons.length - listed.length;
    if (omitted > 0) listed.push(`${omitted} more`);
    return new SkepError(
      'unknown',
      'warning: incomplete log stream. some logs could not be retrieved for the following ' +
        `reasons: ${listed.join(', ')}`,
    );
  }

  #matchingTasks(read: ReadTransaction): readonly Task[] {
    const tasks: Task[] = [];
    for (const taskId of this.#selector.taskIds) {
      const task = read.get('task', taskId);
      if (task !== undefined) tasks.push(task);
    }
    for (const serviceId of this.#selector.serviceIds) {
      tasks.push(...read.find('task', { by: 'service', serviceId }));
    }
    return tasks;
  }

  #addTask(task: Task): void {
    if (task.nodeId === '') {
      this.#unscheduled.add(task.id);
      return;
    }
    this.#unscheduled.delete(task.id);
    this.#addNode(task.nodeId);
  }

  #addNode(nodeId: string): void {
    if (!this.#nodes.has(nodeId)) this.#nodes.set(nodeId, false);
  }

  #addReason(reason: string): void {
    if (this.#reasons.length < REASONS_MAX) this.#reasons.push(reason);
    else this.#reasonsOmitted++;
  }
}
