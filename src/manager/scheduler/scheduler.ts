/**
 * Gives pending tasks a node (SwarmKit manager/scheduler). Tasks that come in are placed at once;
 * tasks no node could take are tried again, debounced, when the cluster changes. Everything known
 * of nodes and tasks follows from the store, by single changes: a pass costs the tasks it places and
 * the nodes it looks at for them.
 */
import { create } from '@bufbuild/protobuf';
import { timestampNow } from '../../model/defaults.js';
import type { Node, Service, Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState, TaskStatusSchema } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { isOver, isWanted, observedState } from '../../model/task-state.js';
import type { ReadTransaction, StoreEvent, WriteTransaction } from '../../store/types.js';
import { commitGroups, type Group } from '../orchestrator/commit-groups.js';
import { LeaderLoop, type LeaderLoopOptions } from '../orchestrator/leader-loop.js';
import { ReconcileLoop } from '../orchestrator/reconcile-loop.js';
import { withObservedState } from '../orchestrator/task.js';
import { type BetterPlace, findBetterPlace } from './better-place.js';
import { changesContainerPolicy, forbiddenTask } from '../orchestrator/container-policy.js';
import { hasDependencies, unmetDependency } from './dependencies.js';
import { hostPorts } from '../orchestrator/task-ports.js';
import { admits, admitsStatically, explain } from './filters.js';
import { RETRY_MAX_DELAY_MS, RETRY_QUIET_PERIOD_MS } from './limits.js';
import { FailureLog } from './failure-log.js';
import { NodeIndex } from './node-index.js';
import type { NodeInfo } from './node-info.js';
import { placementTree } from './placement-tree.js';

const RETRY = { quietPeriodMs: RETRY_QUIET_PERIOD_MS, maxDelayMs: RETRY_MAX_DELAY_MS };

/** What a pass decided about a task. */
type Decision =
  | { readonly kind: 'assign'; readonly task: Task; readonly message: string }
  /** No node; `err` says why. */
  | { readonly kind: 'wait'; readonly task: Task; readonly err: string }
  /** Told to stop before it got a node. */
  | { readonly kind: 'end'; readonly task: Task };

/** The scheduler of the cluster. */
export class Scheduler extends LeaderLoop {
  /** Makes all that wait due again. */
  readonly #retryLoop: ReconcileLoop;
  readonly #nodes = new NodeIndex();
  readonly #failures = new FailureLog();
  /** Node of each task that uses one. */
  readonly #places = new Map<string, string>();
  /** Pending tasks, those with a fixed node included. */
  readonly #waiting = new Map<string, Task>();
  /** Those of them to look at in the next pass. */
  readonly #due = new Set<string>();
  /** Those whose service is to begin after others. */
  readonly #dependent = new Set<string>();

  constructor(options: LeaderLoopOptions) {
    super(options, 'scheduler');
    this.#retryLoop = new ReconcileLoop({
      environment: options.environment,
      logger: options.logger.child({ loop: 'schedulerRetry' }),
      pass: () => {
        for (const taskId of this.#waiting.keys()) this.#due.add(taskId);
        if (this.#due.size > 0) this.loop.trigger();
        return Promise.resolve();
      },
    });
  }

  /** Tasks without a node. */
  get waitingTasks(): number {
    return this.#waiting.size;
  }

  /**
   * A task that would stand better on another node, see {@link findBetterPlace}; `tasks` are the running
   * ones of `service`.
   */
  betterPlace(service: Service, tasks: readonly Task[]): BetterPlace | undefined {
    const nowMs = this.environment.clock.monotonicMs();
    return findBetterPlace(this.#nodes, service, tasks, (task) =>
      this.#failures.failingNodes(task, nowMs),
    );
  }

  override async stop(): Promise<void> {
    await Promise.all([this.#retryLoop.stop(), super.stop()]);
  }

  protected observeAll(transaction: ReadTransaction): void {
    for (const node of transaction.find('node', { by: 'all' })) this.#setNode(node);
    for (const task of transaction.find('task', { by: 'all' })) this.#setTask(task);
  }

  protected observe(event: StoreEvent): void {
    if (this.#dependent.size > 0 && mayFree(event)) this.#retry();
    if (changesContainerPolicy(event)) this.#retry();
    if (event.table === 'node') {
      if (event.kind === 'remove') {
        this.#nodes.delete(event.object.id);
        this.#failures.forgetNode(event.object.id);
      } else this.#setNode(event.object);
      this.#retry();
    } else if (event.table === 'task') {
      if (event.kind === 'remove') this.#forgetTask(event.object.id);
      else this.#setTask(event.object);
      if (event.kind === 'update') this.#observeFailure(event.old, event.object);
    }
  }

  #retry(): void {
    if (this.#waiting.size > 0) this.#retryLoop.trigger(RETRY);
  }

  #setNode(node: Node): void {
    if (!this.#nodes.set(node)) return;
    // Tasks can outlive the object of their node, and be there before it.
    const tasks = this.store.view((transaction) =>
      transaction.find('task', { by: 'node', nodeId: node.id }),
    );
    for (const task of tasks) this.#setTask(task);
  }

  #setTask(task: Task): void {
    const state = observedState(task);
    // A task told to stop before the allocator saw it must end, too.
    if (state < TaskState.PENDING && isWanted(task)) return;
    if (isOver(task)) return this.#forgetTask(task.id);
    if (state <= TaskState.PENDING) {
      const isNew = this.#waiting.get(task.id)?.desiredState !== task.desiredState;
      this.#wait(task.id, task);
      if (!isNew) return;
      this.#due.add(task.id);
      this.loop.trigger();
      return;
    }
    this.#wait(task.id, undefined);
    this.#place(task);
  }

  /** Sets what is known of a waiting task; undefined: it waits no more. */
  #wait(taskId: string, task: Task | undefined): void {
    if (task !== undefined) {
      this.#waiting.set(taskId, task);
      if (hasDependencies(task)) this.#dependent.add(taskId);
      return;
    }
    this.#waiting.delete(taskId);
    this.#due.delete(taskId);
    this.#dependent.delete(taskId);
  }

  #forgetTask(taskId: string): void {
    this.#wait(taskId, undefined);
    const nodeId = this.#places.get(taskId);
    if (nodeId === undefined) return;
    this.#places.delete(taskId);
    this.#nodes.get(nodeId)?.removeTask(taskId);
    this.#retry();
  }

  #place(task: Task): void {
    const before = this.#places.get(task.id);
    if (before !== undefined && before !== task.nodeId) {
      this.#nodes.get(before)?.removeTask(task.id);
    }
    this.#places.set(task.id, task.nodeId);
    this.#nodes.get(task.nodeId)?.setTask(task);
  }

  #observeFailure(old: Task, task: Task): void {
    const state = observedState(task);
    if (state !== TaskState.FAILED && state !== TaskState.REJECTED) return;
    if (observedState(old) === state) return;
    const nowMs = this.environment.clock.monotonicMs();
    if (this.#nodes.get(task.nodeId) !== undefined) this.#failures.record(task, nowMs);
  }

  protected async pass(): Promise<void> {
    const decisions: Decision[] = [];
    const groups = new Map<string, Task[]>();
    const due = [...this.#due].sort();
    this.#due.clear();
    for (const taskId of due) {
      const task = this.#waiting.get(taskId);
      if (task === undefined) continue;
      if (!isWanted(task)) decisions.push({ kind: 'end', task });
      else if (task.nodeId !== '' && !this.#mayGoElsewhere(task))
        this.#decidePreassigned(task, decisions);
      else {
        // Tasks of one spec are placed together; alone those without a spec version, and those with
        // ports of the host, since only the task of the same slot may share one.
        const version = task.specVersion?.index;
        const isAlone = version === undefined || hostPorts(task).length > 0;
        const key = isAlone ? task.id : `${task.serviceId}/${version}`;
        const group = groups.get(key) ?? [];
        groups.set(key, group);
        group.push(task);
      }
    }
    for (const group of groups.values()) this.#decideGroup(group, decisions);
    try {
      await this.#commit(decisions);
    } catch (error) {
      for (const taskId of due) if (this.#waiting.has(taskId)) this.#due.add(taskId);
      throw error;
    }
  }

  /** The node of a replicated task, which is to move there, is a wish. */
  #mayGoElsewhere(task: Task): boolean {
    const node = this.#nodes.get(task.nodeId);
    return task.slot !== 0n && (node === undefined || !admits(node, task));
  }

  /** Why tasks like this one get no node, whatever nodes there are; undefined if they may have one. */
  #mustWait(task: Task): string | undefined {
    return this.store.view(
      (transaction) => forbiddenTask(transaction, task) ?? unmetDependency(transaction, task),
    );
  }

  #decidePreassigned(task: Task, decisions: Decision[]): void {
    const node = this.#nodes.get(task.nodeId);
    if (node === undefined) return;
    const unmet = this.#mustWait(task);
    if (unmet !== undefined || !admits(node, task)) {
      decisions.push({ kind: 'wait', task, err: unmet ?? explain([node], task) });
      return;
    }
    const message = 'scheduler confirmed task can run on preassigned node';
    decisions.push({ kind: 'assign', task: this.#assigned(task, node), message });
  }

  #decideGroup(group: Task[], decisions: Decision[]): void {
    group.sort((a, b) => Number(a.slot - b.slot));
    const [sample] = group;
    if (sample === undefined) return;
    const unmet = this.#mustWait(sample);
    if (unmet !== undefined) {
      for (const task of group) decisions.push({ kind: 'wait', task, err: unmet });
      return;
    }
    const nowMs = this.environment.clock.monotonicMs();
    const tree = placementTree(this.#nodes, sample, this.#failures.failingNodes(sample, nowMs));
    const message = 'scheduler assigned task to node';
    let err: string | undefined;
    for (const task of group) {
      const node = err === undefined ? tree.next() : undefined;
      if (node !== undefined) {
        decisions.push({ kind: 'assign', task: this.#assigned(task, node), message });
        continue;
      }
      err ??= noSuitableNode(explain(this.#nodes.all(), sample));
      decisions.push({ kind: 'wait', task, err });
    }
  }

  /** The task on its node, which counts it from now on. */
  #assigned(task: Task, node: NodeInfo): Task {
    const assignedGenericResources = [...node.resources.choose(task.spec?.resources?.reservations)];
    const assigned = { ...task, nodeId: node.node.id, assignedGenericResources };
    this.#place(assigned);
    return assigned;
  }

  async #commit(decisions: readonly Decision[]): Promise<void> {
    const refused = new Set<string>();
    const groups = decisions.map(
      (decision): Group =>
        (transaction) => {
          refused.delete(decision.task.id);
          if (!this.#apply(transaction, decision)) refused.add(decision.task.id);
        },
    );
    try {
      await commitGroups(this.store, groups);
    } catch (error) {
      for (const decision of decisions) this.#undo(decision);
      throw error;
    }
    for (const decision of decisions) {
      if (refused.has(decision.task.id)) this.#undo(decision);
    }
    if (refused.size > 0) this.#retry();
  }

  /** Takes a task off the node it was not given after all. */
  #undo(decision: Decision): void {
    const { id } = decision.task;
    const stored = this.store.view((transaction) => transaction.get('task', id));
    if (stored === undefined) this.#forgetTask(id);
    else if (observedState(stored) === TaskState.PENDING && decision.kind === 'assign') {
      this.#forgetTask(id);
      this.#wait(id, stored);
    }
  }

  /** Returns false when the decision no longer holds. */
  #apply(transaction: WriteTransaction, decision: Decision): boolean {
    const task = transaction.get('task', decision.task.id);
    if (task === undefined || observedState(task) > TaskState.PENDING) return false;
    if (decision.kind === 'end') {
      if (isWanted(task)) return false;
      const over = { state: TaskState.SHUTDOWN, message: 'shutdown', err: '' };
      transaction.update('task', withObservedState(this.environment, task, over));
      return true;
    }
    if (!isWanted(task) || observedState(task) !== TaskState.PENDING) return false;
    if (decision.kind === 'wait') {
      const { err } = decision;
      if (task.status?.err === err) return true;
      const message = task.status?.message ?? '';
      const waiting = { state: TaskState.PENDING, message, err };
      transaction.update('task', withObservedState(this.environment, task, waiting));
      return true;
    }
    const { nodeId, assignedGenericResources } = decision.task;
    const node = transaction.get('node', nodeId);
    // The node may have changed since it was chosen, without its event having come through.
    if (node === undefined || !admitsStatically(node, task)) return false;
    if (forbiddenTask(transaction, task) !== undefined) return false;
    const status = create(TaskStatusSchema, {
      state: TaskState.ASSIGNED,
      timestamp: timestampNow(this.environment.clock),
      message: decision.message,
    });
    transaction.update('task', { ...task, nodeId, assignedGenericResources, status });
    return true;
  }
}

/** Whether a service may be up now, or not be waited for any more. */
function mayFree(event: StoreEvent): boolean {
  if (event.table === 'service') return true;
  if (event.table !== 'task' || event.kind === 'remove') return event.table === 'task';
  const state = observedState(event.object);
  return state === TaskState.RUNNING || state === TaskState.COMPLETE;
}

function noSuitableNode(explanation: string): string {
  return explanation === '' ? 'no suitable node' : `no suitable node (${explanation})`;
}
