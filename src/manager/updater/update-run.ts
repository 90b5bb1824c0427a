/**
 * One rolling update or rollback of one service, from its first slot to the end of the monitoring
 * period. Workers take slots off a queue; a failure stops the queue, not the slots under way
 * (SwarmKit manager/orchestrator/update).
 */
import { updateSettings } from '../../model/defaults.js';
import { InvariantError } from '../../model/errors.js';
import type { Service, Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  TaskState,
  UpdateConfig_FailureAction as FailureAction,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { isOnNode, isOver, isWanted, observedState } from '../../model/task-state.js';
import type { ReadTransaction } from '../../store/types.js';
import { RETRY_DELAY_MS_MAX } from '../orchestrator/limits.js';
import {
  byCreation,
  findCluster,
  isFollowing,
  isTaskDirty,
  newTask,
  placeOfTask,
  type SlotKey,
  tasksInSlot,
} from '../orchestrator/task.js';
import { sleep, waitUntil } from '../orchestrator/wait-until.js';
import { FailureMonitor } from './failure-monitor.js';
import { RollingRun, type RunParts, shutDown } from './rolling-run.js';
import {
  isInProgress,
  isPaused,
  isRollingBack,
  withRollbackStarted,
  withUpdateCompleted,
  withUpdatePaused,
  withUpdateStarted,
} from './update-status.js';

/** What a worker decided to do with a slot. */
type SlotPlan =
  | { readonly kind: 'nothing' }
  /** `task` is as wanted already; `others` must go. */
  | { readonly kind: 'useExisting'; readonly task: Task; readonly others: readonly Task[] }
  | { readonly kind: 'replace'; readonly task: Task; readonly others: readonly Task[] };

/** One update of one service. Runs from {@link run} until done or {@link cancel}. */
export class UpdateRun extends RollingRun {
  #failed = false;
  /** Resolves once a failure's consequence is stored; resolved while there was none. */
  #failureStored: Promise<void> = Promise.resolve();

  constructor(parts: RunParts, service: Service) {
    const { spec } = service;
    super(parts, service, updateSettings(isRollingBack(service) ? spec?.rollback : spec?.update));
  }

  /** Not once the failure action was taken: the run only lets slots under way finish. */
  goesOnFor(service: Service): boolean {
    return !this.#failed || isPaused(service);
  }

  /** Brings the dirty ones of `slots` up to date. */
  async run(slots: readonly SlotKey[]): Promise<void> {
    if (isPaused(this.service)) return;
    const { dirty, following, isOutOfDate } = this.#look(slots);
    if (dirty.length + following.length === 0) {
      if (isInProgress(this.service)) await this.#complete();
      return;
    }
    const { environment } = this.parts;
    // What an interrupted move has left in a slot is tidied up without calling that an update.
    if (isOutOfDate) await this.#writeService((service) => withUpdateStarted(environment, service));
    const monitor = new FailureMonitor(
      environment.clock,
      this.settings,
      dirty.length || following.length,
    );
    const unwatch = this.#watchFailures(monitor);
    try {
      await this.#update(dirty, monitor);
      const late = await this.#portsFollowed(following);
      await this.#update(late, monitor);
      // Ports that were changed in place leave nothing to watch.
      if (dirty.length + late.length > 0) await this.monitorToTheEnd();
    } finally {
      unwatch();
      // Before that nobody may take this update for one that can go on.
      await this.#failureStored;
    }
    if (!this.cancellation.cancelled && !this.halted.cancelled) await this.#complete();
  }

  async #update(dirty: readonly SlotKey[], monitor: FailureMonitor): Promise<void> {
    const { parallelism } = this.settings;
    const queue = [...dirty];
    await this.roll(
      parallelism === 0 ? dirty.length : Math.min(parallelism, dirty.length),
      () => queue.shift(),
      (slot) => this.#updateSlot(slot, monitor),
    );
  }

  /** Slots to be rolled, and those whose ports the allocator changes in place. */
  #look(slots: readonly SlotKey[]): {
    readonly dirty: readonly SlotKey[];
    readonly following: readonly SlotKey[];
    /** Whether any task is not as the service asks for. */
    readonly isOutOfDate: boolean;
  } {
    return this.parts.store.view((transaction) => {
      const following = slots.filter((slot) => this.#isFollowing(transaction, slot));
      const outOfDate = new Set(slots.filter((slot) => this.#isOutOfDate(transaction, slot)));
      const isCrowded = (slot: SlotKey) => this.#tasksIn(transaction, slot).length > 1;
      const dirty = slots.filter((slot) => outOfDate.has(slot) || isCrowded(slot));
      return { dirty, following, isOutOfDate: outOfDate.size + following.length > 0 };
    });
  }

  #isOutOfDate(transaction: ReadTransaction, slot: SlotKey): boolean {
    return this.#tasksIn(transaction, slot).some((task) => this.#isTaskDirty(transaction, task));
  }

  #isFollowing(transaction: ReadTransaction, slot: SlotKey): boolean {
    return this.#tasksIn(transaction, slot).some((task) =>
      isFollowing(this.service, task, ...placeOfTask(transaction, task)),
    );
  }

  #tasksIn(transaction: ReadTransaction, slot: SlotKey): readonly Task[] {
    return this.parts.supervisor.updatableTasks(this.service, tasksInSlot(transaction, slot));
  }

  #isTaskDirty(transaction: ReadTransaction, task: Task): boolean {
    return isTaskDirty(this.service, task, ...placeOfTask(transaction, task));
  }

  /**
   * Waits until the allocator has changed the ports of these slots' tasks.
   * @returns those that must be rolled after all, because a port was taken meanwhile
   */
  async #portsFollowed(slots: readonly SlotKey[]): Promise<readonly SlotKey[]> {
    if (slots.length === 0) return [];
    await waitUntil(this.parts.store, {
      reached: (transaction) => !slots.some((slot) => this.#isFollowing(transaction, slot)),
      topics: () => [`tasksOf ${this.service.id}`, 'hostPorts'],
      cancellation: this.cancellation,
    });
    return this.cancellation.cancelled ? [] : this.#look(slots).dirty;
  }

  async #updateSlot(slot: SlotKey, monitor: FailureMonitor): Promise<void> {
    const startFirst = this.isStartFirst;
    const { store, supervisor } = this.parts;
    const plan = await store.update((transaction): SlotPlan => {
      if (this.cancellation.cancelled) return { kind: 'nothing' };
      const plan = this.#planSlot(transaction, slot);
      if (plan.kind === 'nothing') return plan;
      if (plan.kind === 'replace') {
        transaction.create('task', plan.task);
        monitor.watch(plan.task.id);
      }
      // Start-first keeps up what serves or is about to; a task that waits for a node, or is over,
      // serves nobody and would only compete with its successor for room.
      shutDown(transaction, startFirst ? plan.others.filter((t) => !isOnNode(t)) : plan.others);
      return plan;
    });
    if (plan.kind === 'nothing') return;
    const { task, others } = plan;
    if (task.desiredState < TaskState.RUNNING) {
      // Not before the stop of the others is stored: until then the slot looks free. Also if this
      // update was cancelled meanwhile, since nobody else will start what it made.
      const freeSlot = startFirst ? undefined : slot;
      await this.#orCancelled(supervisor.startLater(task.id, { delayMs: 0, freeSlot }));
    }
    if (plan.kind === 'useExisting' && (!startFirst || others.length === 0)) return;
    await waitUntil(store, {
      reached: (transaction) => {
        const now = transaction.get('task', task.id);
        // One that lost its node was replaced by the restart supervisor; the node may stay away for
        // a day, and the update must not wait for it.
        if (now === undefined || !isWanted(now)) return true;
        return observedState(now) >= TaskState.RUNNING;
      },
      topics: () => [`task ${task.id}`],
      cancellation: this.cancellation,
    });
    if (!startFirst || this.cancellation.cancelled) return;
    await store.update((transaction) => {
      const now = transaction.get('task', task.id);
      if (now === undefined || isOver(now) || !isWanted(now)) return;
      shutDown(transaction, others);
    });
  }

  #planSlot(transaction: ReadTransaction, slot: SlotKey): SlotPlan {
    const { environment } = this.parts;
    const service = this.service;
    if (transaction.get('service', service.id) === undefined) return { kind: 'nothing' };
    // The slot is read anew: since the run began, its tasks may have been restarted or removed.
    const tasks = this.#tasksIn(transaction, slot);
    if (tasks.length === 0) return { kind: 'nothing' };
    const clean = tasks.filter((task) => isWanted(task) && !this.#isTaskDirty(transaction, task));
    clean.sort(byCreation);
    const existing =
      clean.findLast((task) => observedState(task) === TaskState.RUNNING) ??
      clean.find((task) => task.desiredState >= TaskState.RUNNING) ??
      clean.at(-1);
    if (existing !== undefined) {
      const others = tasks.filter((task) => task !== existing);
      return { kind: 'useExisting', task: existing, others };
    }
    const task = newTask(environment, {
      cluster: findCluster(transaction),
      service,
      slot,
      desiredState: TaskState.READY,
    });
    return { kind: 'replace', task, others: tasks };
  }

  #orCancelled(work: Promise<void>): Promise<void> {
    if (this.cancellation.cancelled) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const forget = this.cancellation.onCancel(() => resolve());
      work.then(() => {
        forget();
        resolve();
      }, reject);
    });
  }

  #watchFailures(monitor: FailureMonitor): () => void {
    if (this.settings.failureAction === FailureAction.CONTINUE) return () => undefined;
    return this.watchFailures(monitor, (taskId) => this.#fail(taskId));
  }

  #fail(taskId: string): void {
    this.halted.cancel();
    const cause = `due to failure or early termination of task ${taskId}`;
    const rollBack = this.settings.failureAction === FailureAction.ROLLBACK;
    const write = async (): Promise<void> => {
      if (!rollBack) {
        await this.#writeService((service) => withUpdatePaused(service, `update paused ${cause}`));
      } else if (isRollingBack(this.service)) {
        // A rollback is never rolled back.
        await this.#writeService((service) =>
          withUpdatePaused(service, `rollback paused ${cause}`),
        );
      } else {
        await this.#failureHandled(taskId);
        await this.#rollBack(`update rolled back ${cause}`);
      }
      this.#failed = true;
    };
    this.#failureStored = this.#untilStored(write);
  }

  /** Repeats `write` until it succeeds; otherwise the update would stay halted without a word. */
  async #untilStored(write: () => Promise<void>): Promise<void> {
    while (!this.cancellation.cancelled) {
      try {
        await write();
        return;
      } catch (error) {
        if (error instanceof InvariantError) throw error;
        this.#logFailure(error);
        await sleep(this.parts.environment.clock, RETRY_DELAY_MS_MAX, this.cancellation);
      }
    }
  }

  /**
   * Waits until the failed task is replaced as the failed spec says: the replacement is then out of
   * date for the rollback, which brings it back and watches it like every other slot.
   */
  async #failureHandled(taskId: string): Promise<void> {
    const { store, supervisor } = this.parts;
    await waitUntil(store, {
      reached: (transaction) => {
        const task = transaction.get('task', taskId);
        return task === undefined || !isWanted(task) || supervisor.isStartPending(taskId);
      },
      topics: () => [`task ${taskId}`],
      cancellation: this.cancellation,
    });
  }

  async #rollBack(message: string): Promise<void> {
    await this.#writeService((service) => {
      const rolledBack = withRollbackStarted(service, message);
      if (rolledBack === undefined) {
        const error = 'cannot roll back service because no previous spec is available';
        this.parts.logger.error({ serviceId: service.id }, error);
      }
      return rolledBack ?? service;
    });
  }

  #complete(): Promise<void> {
    const { environment } = this.parts;
    return this.#writeService((service) =>
      isInProgress(service) ? withUpdateCompleted(environment, service) : service,
    );
  }

  async #writeService(change: (service: Service) => Service): Promise<void> {
    await this.parts.store.update((transaction) => {
      const service = transaction.get('service', this.service.id);
      if (service === undefined || this.cancellation.cancelled) return;
      const changed = change(service);
      if (changed !== service) transaction.update('service', changed);
    });
  }

  #logFailure(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    const serviceId = this.service.id;
    this.parts.logger.warn({ serviceId, error: message }, 'update status not stored; trying again');
  }
}
