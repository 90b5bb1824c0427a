/**
 * Jobs: tasks that run until they complete, a number of them (replicated job) or one on every node
 * (global job). Each update of a job is a new iteration, which runs the whole job again (SwarmKit
 * manager/orchestrator/jobs).
 */
import type { Service, Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { isInvalidNode, isOver, isWanted, observedState } from '../../model/task-state.js';
import type { ReadTransaction, StoreEvent, WriteTransaction } from '../../store/types.js';
import { type AfterCommit, commitGroups, type Group } from './commit-groups.js';
import { cronOf } from './cron-jobs.js';
import { placeOn } from './global.js';
import { placementChanged } from './node-change.js';
import { type OrchestratorParts, ServiceOrchestrator } from './service-orchestrator.js';
import { raiseDesiredState, type SlotKey, slotKeyText, slotOf } from './task.js';

/** What both kinds of jobs share: iterations, and when to look at a job again. */
abstract class JobOrchestrator extends ServiceOrchestrator {
  /** The slots to begin now, given the slots that are taken in this iteration. */
  protected abstract slotsToFill(
    transaction: ReadTransaction,
    service: Service,
    slots: ReadonlyMap<string, readonly Task[]>,
  ): readonly SlotKey[];

  /** What to do with a wanted task that did not complete and whose node is of no use. */
  protected abstract moveAway(
    transaction: WriteTransaction,
    service: Service,
    task: Task,
  ): AfterCommit | undefined;

  protected observe(event: StoreEvent): void {
    if (event.table === 'service') {
      if (event.kind !== 'remove') this.dirtyServices.add(event.object.id);
    } else if (event.table === 'task') {
      this.#observeTask(event.object, event.kind === 'remove');
    } else if (event.table === 'node') {
      if (event.kind === 'update' && !placementChanged(event.old, event.object)) return;
      this.store.view((transaction) => this.observeAll(transaction));
    }
  }

  protected observeAll(transaction: ReadTransaction): void {
    for (const service of this.services(transaction)) {
      this.dirtyServices.add(service.id);
      for (const task of transaction.find('task', { by: 'service', serviceId: service.id })) {
        if (needsReplacement(transaction, task)) this.endedTasks.add(task.id);
      }
    }
  }

  protected async replaceEnded(taskIds: readonly string[]): Promise<void> {
    const groups = taskIds.map(
      (taskId): Group =>
        (transaction) => {
          const task = transaction.get('task', taskId);
          const service = task && transaction.get('service', task.serviceId);
          if (task === undefined || !this.isMine(service)) return undefined;
          if (!needsReplacement(transaction, task)) return undefined;
          if (isInvalidNode(transaction.get('node', task.nodeId)) && task.nodeId !== '') {
            return this.moveAway(transaction, service, task);
          }
          return this.supervisor.restart(transaction, service, task);
        },
    );
    await commitGroups(this.store, groups);
  }

  protected async reconcileServices(serviceIds: readonly string[]): Promise<void> {
    const groups: Group[] = [];
    this.store.view((transaction) => {
      for (const serviceId of serviceIds) {
        const service = transaction.get('service', serviceId);
        if (this.isMine(service)) this.#plan(transaction, service, groups);
      }
    });
    await commitGroups(this.store, groups);
  }

  #observeTask(task: Task, removed: boolean): void {
    if (task.serviceId === '' || (!removed && !isOver(task))) return;
    this.store.view((transaction) => {
      if (!this.isMine(transaction.get('service', task.serviceId))) return;
      this.dirtyServices.add(task.serviceId);
      if (!removed && needsReplacement(transaction, task)) this.endedTasks.add(task.id);
    });
  }

  #plan(transaction: ReadTransaction, service: Service, groups: Group[]): void {
    const iteration = service.jobStatus?.jobIteration?.index ?? 0n;
    // A scheduled job waits for its first time.
    if (iteration === 0n && cronOf(service) !== undefined) return;
    const slots = new Map<string, Task[]>();
    for (const task of transaction.find('task', { by: 'service', serviceId: service.id })) {
      if ((task.jobIteration?.index ?? 0n) !== iteration) {
        groups.push((write) => void raiseDesiredState(write, task.id, TaskState.REMOVE));
        continue;
      }
      if (task.nodeId !== '' && transaction.get('node', task.nodeId) === undefined) {
        if (isOver(task) && observedState(task) !== TaskState.COMPLETE) {
          groups.push((write) => void raiseDesiredState(write, task.id, TaskState.REMOVE));
        }
      }
      const key = slotKeyText(slotOf(service, task));
      const slot = slots.get(key) ?? [];
      slots.set(key, slot);
      slot.push(task);
    }
    // Slots with a task that runs, completed, or failed as often as it may.
    for (const [key, tasks] of slots) {
      if (this.supervisor.updatableTasks(service, tasks).length === 0) slots.delete(key);
    }
    for (const slot of this.slotsToFill(transaction, service, slots)) {
      groups.push((write) => this.#fill(write, slot, iteration));
    }
  }

  #fill(transaction: WriteTransaction, slot: SlotKey, iteration: bigint): AfterCommit | undefined {
    const service = transaction.get('service', slot.serviceId);
    if (!this.isMine(service)) return undefined;
    if ((service.jobStatus?.jobIteration?.index ?? 0n) !== iteration) return undefined;
    // The node may have changed since the plan; its event found no task here to move away.
    const { nodeId } = slot;
    if (nodeId !== '' && placeOn(service, transaction.get('node', nodeId)) !== 'run') {
      return undefined;
    }
    return this.fillSlot(transaction, service, slot, TaskState.COMPLETE);
  }
}

/** Runs a number of tasks to completion, so many at a time. Slots count from 0. */
export class ReplicatedJobOrchestrator extends JobOrchestrator {
  constructor(parts: OrchestratorParts) {
    super(parts, 'replicatedJob');
  }

  protected slotsToFill(
    _transaction: ReadTransaction,
    service: Service,
    slots: ReadonlyMap<string, readonly Task[]>,
  ): readonly SlotKey[] {
    const mode = service.spec?.mode;
    if (mode?.case !== 'replicatedJob') return [];
    const { maxConcurrent, totalCompletions } = mode.value;
    const running = [...slots.values()].filter((tasks) => tasks.some(isInFlight)).length;
    const room = Number(maxConcurrent) - running;
    const fill: SlotKey[] = [];
    for (let slot = 0n; slot < totalCompletions && fill.length < room; slot++) {
      const key = { serviceId: service.id, slot, nodeId: '' };
      if (!slots.has(slotKeyText(key))) fill.push(key);
    }
    return fill;
  }

  protected moveAway(transaction: WriteTransaction, service: Service, task: Task) {
    return this.supervisor.restart(transaction, service, task);
  }
}

/** Runs one task to completion on every node that meets the constraints, now or later. */
export class GlobalJobOrchestrator extends JobOrchestrator {
  constructor(parts: OrchestratorParts) {
    super(parts, 'globalJob');
  }

  protected slotsToFill(
    transaction: ReadTransaction,
    service: Service,
    slots: ReadonlyMap<string, readonly Task[]>,
  ): readonly SlotKey[] {
    return transaction
      .find('node', { by: 'all' })
      .filter((node) => placeOn(service, node) === 'run')
      .map(({ id }) => ({ serviceId: service.id, slot: 0n, nodeId: id }))
      .filter((key) => !slots.has(slotKeyText(key)));
  }

  protected moveAway(transaction: WriteTransaction, _service: Service, task: Task) {
    raiseDesiredState(transaction, task.id, TaskState.SHUTDOWN);
    return undefined;
  }
}

/** Whether a task is to complete and has not yet. */
function isInFlight(task: Task): boolean {
  return isWanted(task) && observedState(task) !== TaskState.COMPLETE;
}

/** Whether a task that is to complete failed, or its node is of no use. */
function needsReplacement(transaction: ReadTransaction, task: Task): boolean {
  if (!isInFlight(task)) return false;
  if (isOver(task)) return true;
  return task.nodeId !== '' && isInvalidNode(transaction.get('node', task.nodeId));
}
