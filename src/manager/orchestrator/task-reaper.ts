/**
 * Deletes tasks: those told to go once nothing runs of them any more, those of deleted services,
 * and old ones beyond the history limit of their slot (SwarmKit manager/orchestrator/taskreaper).
 */
import { DEFAULT_TASK_HISTORY_RETENTION_LIMIT } from '../../model/defaults.js';
import type { Timer } from '../../model/environment.js';
import type { Service, Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { isOver, isWanted, observedState } from '../../model/task-state.js';
import type { ReadTransaction, StoreEvent, WriteTransaction } from '../../store/types.js';
import { commitGroups, type Group } from './commit-groups.js';
import { REAP_BATCH_MAX, REAP_DELAY_MS } from './limits.js';
import { LeaderLoop, type LeaderLoopOptions } from './leader-loop.js';
import { restLeftMs } from './lost-tasks.js';
import { AT_ONCE, type Debounce } from './reconcile-loop.js';
import {
  byTimestamp,
  findCluster,
  raiseDesiredState,
  type SlotKey,
  slotKeyText,
  slotOf,
  tasksInSlot,
} from './task.js';

const COLLECT: Debounce = { quietPeriodMs: REAP_DELAY_MS, maxDelayMs: REAP_DELAY_MS };

/** Keeps the store free of tasks nobody needs. */
export class TaskReaper extends LeaderLoop {
  /** Slots that got a further task. */
  readonly #dirtySlots = new Map<string, SlotKey>();
  /** Tasks to delete if nothing runs of them. */
  readonly #goneTasks = new Set<string>();
  /** Services that were deleted. */
  readonly #goneServices = new Set<string>();
  /** Lost tasks to delete once their addresses have rested, see {@link restLeftMs}. */
  readonly #restingTasks = new Set<string>();
  #restTimer: Timer | undefined;

  constructor(options: LeaderLoopOptions) {
    super(options, 'taskReaper');
  }

  override async stop(): Promise<void> {
    this.#restTimer?.cancel();
    await super.stop();
  }

  protected override due(): Debounce | undefined {
    // What a user deleted stops at once; history can wait for company.
    if (this.#goneServices.size > 0) return AT_ONCE;
    const waiting = this.#dirtySlots.size + this.#goneTasks.size;
    if (waiting > REAP_BATCH_MAX) return AT_ONCE;
    return waiting > 0 ? COLLECT : undefined;
  }

  protected observeAll(transaction: ReadTransaction): void {
    for (const task of transaction.find('task', { by: 'all' })) {
      if (task.serviceId !== '') {
        const service = transaction.get('service', task.serviceId);
        if (service === undefined) this.#goneServices.add(task.serviceId);
        else this.#markSlot(service, task);
      }
      if (isReadyToGo(task)) this.#goneTasks.add(task.id);
    }
  }

  protected observe(event: StoreEvent): void {
    if (event.table === 'service' && event.kind === 'remove') {
      this.#goneServices.add(event.object.id);
    }
    if (event.table !== 'task' || event.kind === 'remove') return;
    if (isReadyToGo(event.object)) this.#goneTasks.add(event.object.id);
    if (event.kind !== 'create' || event.object.serviceId === '') return;
    const { serviceId } = event.object;
    const service = this.store.view((transaction) => transaction.get('service', serviceId));
    if (service === undefined) this.#goneServices.add(serviceId);
    else this.#markSlot(service, event.object);
  }

  #markSlot(service: Service, task: Task): void {
    const slot = slotOf(service, task);
    this.#dirtySlots.set(slotKeyText(slot), slot);
  }

  protected async pass(): Promise<void> {
    const services = [...this.#goneServices].sort();
    const slots = [...this.#dirtySlots.values()];
    const tasks = [...this.#goneTasks].sort();
    const resting = this.store.view((transaction) => this.#resting(transaction, tasks));
    const nowMs = this.environment.clock.nowMs();
    const writes: Group[] = [];
    const again: SlotKey[] = [];
    this.store.view((transaction) => {
      for (const serviceId of services) {
        for (const task of transaction.find('task', { by: 'service', serviceId })) {
          writes.push((write) => void raiseDesiredState(write, task.id, TaskState.REMOVE));
        }
      }
      for (const slot of slots) {
        const { surplus, settled } = surplusTasks(transaction, slot, nowMs);
        for (const task of surplus) writes.push((write) => deleteIfOver(write, task.id));
        if (!settled) again.push(slot);
      }
    });
    for (const taskId of tasks) {
      if (!resting.has(taskId)) writes.push((write) => deleteIfReady(write, taskId));
    }
    for (const id of services) this.#goneServices.delete(id);
    for (const slot of slots) this.#dirtySlots.delete(slotKeyText(slot));
    for (const id of tasks) this.#goneTasks.delete(id);
    try {
      await commitGroups(this.store, writes);
    } catch (error) {
      for (const id of services) this.#goneServices.add(id);
      for (const slot of slots) this.#dirtySlots.set(slotKeyText(slot), slot);
      for (const id of tasks) this.#goneTasks.add(id);
      throw error;
    }
    // Looked at again with the next change, not in a loop.
    for (const slot of again) this.#dirtySlots.set(slotKeyText(slot), slot);
    this.#awaitRest(resting);
  }

  /** Those whose addresses still rest, with how long, milliseconds. */
  #resting(transaction: ReadTransaction, taskIds: readonly string[]): Map<string, number> {
    const nowMs = this.environment.clock.nowMs();
    const resting = new Map<string, number>();
    for (const id of taskIds) {
      const task = transaction.get('task', id);
      const leftMs = task === undefined ? 0 : restLeftMs(transaction, task, nowMs);
      if (leftMs > 0) resting.set(id, leftMs);
    }
    return resting;
  }

  #awaitRest(resting: ReadonlyMap<string, number>): void {
    if (resting.size === 0) return;
    for (const id of resting.keys()) this.#restingTasks.add(id);
    // Those already waiting end sooner; then all are looked at again.
    this.#restTimer ??= this.environment.clock.setTimer(Math.min(...resting.values()), () => {
      this.#restTimer = undefined;
      for (const id of this.#restingTasks) this.#goneTasks.add(id);
      this.#restingTasks.clear();
      this.loop.trigger();
    });
  }
}

/** Whether nothing runs of a task that was told to go. */
function isReadyToGo(task: Task): boolean {
  const state = observedState(task);
  if (task.serviceId === '' && state >= TaskState.ORPHANED) return true;
  if (task.desiredState !== TaskState.REMOVE) return false;
  return state < TaskState.ASSIGNED || state >= TaskState.COMPLETE;
}

const deleteIfReady = (transaction: WriteTransaction, taskId: string): void => {
  const task = transaction.get('task', taskId);
  if (task !== undefined && isReadyToGo(task)) transaction.delete('task', taskId);
};

const deleteIfOver = (transaction: WriteTransaction, taskId: string): void => {
  const task = transaction.get('task', taskId);
  if (task !== undefined && isHistory(task)) transaction.delete('task', taskId);
};

/** Whether a task only stands for the past. */
function isHistory(task: Task): boolean {
  return !isWanted(task) && (isOver(task) || observedState(task) < TaskState.ASSIGNED);
}

/**
 * The oldest tasks of a slot beyond its limit.
 * `settled` is false when more must go once they have stopped.
 */
function surplusTasks(
  transaction: ReadTransaction,
  slot: SlotKey,
  nowMs: number,
): { readonly surplus: readonly Task[]; readonly settled: boolean } {
  const service = transaction.get('service', slot.serviceId);
  const limit = historyLimit(transaction, service);
  if (service === undefined || limit < 0) return { surplus: [], settled: true };
  const tasks = tasksInSlot(transaction, slot);
  const excess = tasks.length - limit;
  if (excess <= 0) return { surplus: [], settled: true };
  const oldest = tasks.filter(isHistory).sort(byTimestamp).slice(0, excess);
  const surplus = oldest.filter((task) => restLeftMs(transaction, task, nowMs) === 0);
  return { surplus, settled: surplus.length === excess };
}

/** Tasks kept a slot; negative keeps all. */
function historyLimit(transaction: ReadTransaction, service: Service | undefined): number {
  const maxAttempts = service?.spec?.task?.restart?.maxAttempts ?? 0n;
  if (maxAttempts > 0n) return Number(maxAttempts) + 1;
  const orchestration = findCluster(transaction)?.spec?.orchestration;
  if (orchestration === undefined) return DEFAULT_TASK_HISTORY_RETENTION_LIMIT;
  return Number(orchestration.taskHistoryRetentionLimit);
}
