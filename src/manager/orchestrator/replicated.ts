/**
 * Replicated services: slots 1 to N with one running task each, filled, emptied, restarted and
 * handed to the updater (SwarmKit manager/orchestrator/replicated).
 */
import type { Service, Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import {
  isInvalidNode,
  isOnNode,
  isOver,
  isWanted,
  observedState,
} from '../../model/task-state.js';
import type { ReadTransaction, StoreEvent, WriteTransaction } from '../../store/types.js';
import { type AfterCommit, commitGroups, type Group } from './commit-groups.js';
import { DownNodes } from './down-nodes.js';
import { awaitsMove, changesDrain } from './rolling-drain.js';
import { restLeftMs } from './lost-tasks.js';
import { type OrchestratorParts, ServiceOrchestrator } from './service-orchestrator.js';
import { raiseDesiredState, type SlotKey, tasksInSlot } from './task.js';

/** A slot in use, with the tasks an update must look at. */
interface UsedSlot {
  readonly slot: bigint;
  readonly tasks: readonly Task[];
}

/** Keeps replicated services at their number of replicas. */
export class ReplicatedOrchestrator extends ServiceOrchestrator {
  readonly #down: DownNodes;

  constructor(parts: OrchestratorParts) {
    super(parts, 'replicated');
    this.#down = new DownNodes(parts.environment, (nodeId) => {
      this.store.view((transaction) => this.#observeNode(transaction, nodeId));
      this.loop.trigger();
    });
  }

  override async stop(): Promise<void> {
    this.#down.stop();
    await super.stop();
  }

  protected observe(event: StoreEvent): void {
    if (event.table === 'service') {
      if (event.kind === 'remove') this.updates.cancel(event.object.id);
      else this.dirtyServices.add(event.object.id);
      if (changesDrain(event)) this.#observeTasksOf(event.object.id);
    } else if (event.table === 'cluster') {
      if (!changesDrain(event)) return;
      const services = this.store.view((transaction) => this.services(transaction));
      for (const { id } of services) this.#observeTasksOf(id);
    } else if (event.table === 'task') {
      this.#observeTask(event.object, event.kind === 'remove');
    } else if (event.table === 'node') {
      this.#down.observe(event.object, event.kind === 'remove');
      if (event.kind === 'remove' || isInvalidNode(event.object)) {
        this.store.view((transaction) => this.#observeNode(transaction, event.object.id));
      }
    }
  }

  protected observeAll(transaction: ReadTransaction): void {
    for (const node of transaction.find('node', { by: 'all' })) this.#down.observe(node, false);
    for (const service of this.services(transaction)) {
      this.dirtyServices.add(service.id);
      for (const task of transaction.find('task', { by: 'service', serviceId: service.id })) {
        if (isWanted(task) && this.#lostItsPlace(transaction, service, task))
          this.endedTasks.add(task.id);
      }
    }
  }

  protected async replaceEnded(taskIds: readonly string[]): Promise<void> {
    await commitGroups(
      this.store,
      taskIds.map((taskId) => (transaction) => {
        const task = transaction.get('task', taskId);
        if (task === undefined || !isWanted(task)) return undefined;
        const service = transaction.get('service', task.serviceId);
        if (!this.isMine(service) || !this.#lostItsPlace(transaction, service, task))
          return undefined;
        return this.supervisor.restart(transaction, service, task);
      }),
    );
  }

  protected async reconcileServices(serviceIds: readonly string[]): Promise<void> {
    for (const serviceId of serviceIds) await this.#reconcile(serviceId);
  }

  #observeTask(task: Task, removed: boolean): void {
    if (task.serviceId === '' || !isWanted(task)) return;
    this.store.view((transaction) => {
      const service = transaction.get('service', task.serviceId);
      if (!this.isMine(service)) return;
      if (removed) this.dirtyServices.add(task.serviceId);
      else if (this.#lostItsPlace(transaction, service, task)) this.endedTasks.add(task.id);
    });
  }

  #observeTasksOf(serviceId: string): void {
    const tasks = this.store.view((transaction) =>
      transaction.find('task', { by: 'service', serviceId }),
    );
    for (const task of tasks) if (isWanted(task)) this.endedTasks.add(task.id);
  }

  #observeNode(transaction: ReadTransaction, nodeId: string): void {
    for (const task of transaction.find('task', { by: 'node', nodeId })) {
      if (isWanted(task) && task.serviceId !== '') this.endedTasks.add(task.id);
    }
  }

  #lostItsPlace(transaction: ReadTransaction, service: Service, task: Task): boolean {
    if (isOver(task)) return true;
    if (task.nodeId === '') return false;
    const node = transaction.get('node', task.nodeId);
    if (!isInvalidNode(node) || this.#down.awaits(transaction, service, node)) return false;
    return !awaitsMove(transaction, service, task);
  }

  async #reconcile(serviceId: string): Promise<void> {
    const plan = this.store.view((transaction) => {
      const service = transaction.get('service', serviceId);
      return this.isMine(service) ? this.#plan(transaction, service) : undefined;
    });
    if (plan === undefined) return;
    const writes: Group[] = [];
    for (const slot of plan.fill) writes.push((transaction) => this.#fill(transaction, slot));
    for (const slot of plan.remove)
      writes.push((transaction) => this.#removeSlot(transaction, slot));
    const nowMs = this.environment.clock.nowMs();
    for (const task of plan.sweep)
      writes.push((transaction) => sweepTask(transaction, task.id, nowMs));
    // Also with nothing to keep: an update or rollback to no replicas is over at once.
    this.updates.update(plan.service, plan.keep);
    await commitGroups(this.store, writes);
  }

  #plan(transaction: ReadTransaction, service: Service) {
    const mode = service.spec?.mode;
    const replicas = mode?.case === 'replicated' ? Number(mode.value.replicas) : 0;
    const bySlot = new Map<bigint, Task[]>();
    for (const task of transaction.find('task', { by: 'service', serviceId: service.id })) {
      const slot = bySlot.get(task.slot) ?? [];
      bySlot.set(task.slot, slot);
      slot.push(task);
    }
    const used: UsedSlot[] = [];
    for (const [slot, tasks] of [...bySlot].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const updatable = this.supervisor.updatableTasks(service, tasks);
      if (updatable.length === 0) continue;
      used.push({ slot, tasks: updatable });
      bySlot.delete(slot);
    }
    const key = (slot: bigint): SlotKey => ({ serviceId: service.id, slot, nodeId: '' });
    const sorted = used.length > replicas ? inOrderOfRemoval(used).reverse() : used;
    const taken = new Set(used.map(({ slot }) => slot));
    const fill: bigint[] = [];
    for (let slot = 1n; used.length + fill.length < replicas; slot++) {
      if (!taken.has(slot)) fill.push(slot);
    }
    for (const slot of fill) bySlot.delete(slot);
    return {
      service,
      keep: sorted.slice(0, replicas).map(({ slot }) => key(slot)),
      remove: sorted.slice(replicas).map(({ slot }) => key(slot)),
      fill: fill.map(key),
      /** Tasks of slots that nothing uses any more. */
      sweep: [...bySlot.values()].flat(),
    };
  }

  #fill(transaction: WriteTransaction, slot: SlotKey): AfterCommit | undefined {
    const service = transaction.get('service', slot.serviceId);
    if (!this.isMine(service)) return undefined;
    return this.fillSlot(transaction, service, slot, TaskState.RUNNING);
  }

  #removeSlot(transaction: WriteTransaction, slot: SlotKey): void {
    for (const task of tasksInSlot(transaction, slot)) {
      raiseDesiredState(transaction, task.id, TaskState.REMOVE);
    }
  }
}

/** Deletes a task nothing needs any more, or has it stopped first; a lost one goes once its addresses have rested. */
function sweepTask(transaction: WriteTransaction, taskId: string, nowMs: number): void {
  const task = transaction.get('task', taskId);
  if (task === undefined) return;
  const mayGo = !isOnNode(task) && restLeftMs(transaction, task, nowMs) === 0;
  if (!mayGo) raiseDesiredState(transaction, taskId, TaskState.REMOVE);
  else transaction.delete('task', taskId);
}

/**
 * Slots in the order in which scaling down takes them: those without a settled task first, then
 * the nth copies on a node with the highest n, then those not running, then the highest numbers.
 */
export function inOrderOfRemoval(slots: readonly UsedSlot[]): UsedSlot[] {
  const isRunning = ({ tasks }: UsedSlot): boolean =>
    tasks.some((task) => observedState(task) === TaskState.RUNNING);
  const bySlot = (a: UsedSlot, b: UsedSlot): number => (a.slot < b.slot ? -1 : 1);
  const runningFirst = [...slots].sort(
    (a, b) => Number(isRunning(b)) - Number(isRunning(a)) || bySlot(a, b),
  );
  const copies = new Map<string, number>();
  const ranked = runningFirst.map((slot) => {
    const nodeId = slot.tasks.length === 1 ? (slot.tasks[0]?.nodeId ?? '') : '';
    if (nodeId === '') return { slot, copy: Infinity };
    const copy = (copies.get(nodeId) ?? 0) + 1;
    copies.set(nodeId, copy);
    return { slot, copy };
  });
  const order = (a: (typeof ranked)[number], b: (typeof ranked)[number]): number => {
    if (a.copy !== b.copy) return b.copy - a.copy;
    return Number(isRunning(a.slot)) - Number(isRunning(b.slot)) || bySlot(b.slot, a.slot);
  };
  return ranked.sort(order).map(({ slot }) => slot);
}
