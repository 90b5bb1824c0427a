/**
 * Replaces tasks that ended or lost their node, as their restart policy says, and starts each
 * replacement once its delay is over and the old task has stopped (SwarmKit
 * manager/orchestrator/restart).
 */
import { DEFAULT_RESTART_DELAY_MS, durationMs } from '../../model/defaults.js';
import type { Environment } from '../../model/environment.js';
import { InvariantError, invariant } from '../../model/errors.js';
import type { Service, Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeSpec_Availability } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import { NodeStatus_State, TaskState } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { isOnNode, isOver, isWanted, observedState } from '../../model/task-state.js';
import type { Logger } from '../../observe/logger.js';
import type { ReadTransaction, Store, WriteTransaction } from '../../store/types.js';
import type { AfterCommit, Group } from './commit-groups.js';
import { OLD_TASK_TIMEOUT_MS, RETRY_DELAY_MS_MAX } from './limits.js';
import { RestartHistory } from './restart-history.js';
import { slotTopic, type Topic } from './store-topics.js';
import {
  byTimestamp,
  findCluster,
  isJob,
  isTaskDirty,
  newTask,
  placeOfTask,
  type SlotKey,
  slotOf,
  tasksInSlot,
} from './task.js';
import { Cancellation, sleep, waitUntil } from './wait-until.js';

interface PendingStart {
  readonly cancellation: Cancellation;
  /** Resolves when the task was started, or the start given up. */
  readonly done: Promise<void>;
  /** The task itself must be restarted once its own start is over. */
  restartAfterwards: boolean;
}

/** How long a task waits before it is started, and for what. */
export interface StartCondition {
  readonly delayMs: number;
  /** Wait until no earlier task of this slot runs, at most {@link OLD_TASK_TIMEOUT_MS} from now. */
  readonly freeSlot: SlotKey | undefined;
}

/** Restarts and delayed starts of all services. */
export class RestartSupervisor {
  readonly history: RestartHistory;
  readonly #store: Store;
  readonly #environment: Environment;
  readonly #logger: Logger;
  readonly #starts = new Map<string, PendingStart>();
  readonly #running = new Set<Promise<void>>();
  #stopped = false;

  constructor(options: {
    readonly store: Store;
    readonly environment: Environment;
    readonly logger: Logger;
  }) {
    this.#store = options.store;
    this.#environment = options.environment;
    this.#logger = options.logger;
    this.history = new RestartHistory(options.environment);
  }

  /** Tasks waiting for their start. */
  get pendingStarts(): number {
    return this.#starts.size;
  }

  /** Whether the task still waits for its start. */
  isStartPending(taskId: string): boolean {
    return this.#starts.has(taskId);
  }

  /** Gives up all pending starts; the next leader takes them up from the store. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const start of this.#starts.values()) start.cancellation.cancel();
    this.#starts.clear();
    await Promise.all(this.#running);
  }

  /** Gives up the pending start of a task, if there is one. */
  cancelStart(taskId: string): void {
    this.#starts.get(taskId)?.cancellation.cancel();
    this.#starts.delete(taskId);
  }

  /**
   * Shuts `task` down and, if its policy allows, creates its replacement in the same slot; none
   * when an update has put an up-to-date task there already.
   * @returns what to do once `transaction` is stored
   */
  restart(transaction: WriteTransaction, service: Service, task: Task): AfterCommit | undefined {
    const pending = this.#starts.get(task.id);
    if (pending !== undefined) {
      // It failed before it was even started: replace it after its delay, not in a tight loop.
      if (!pending.restartAfterwards) {
        pending.restartAfterwards = true;
        this.#track(this.#restartAfter(pending, task.id));
      }
      return undefined;
    }
    invariant(isWanted(task), 'a task to restart was not told to stop before');
    transaction.update('task', { ...task, desiredState: TaskState.SHUTDOWN });
    if (!this.history.allowsRestart(service, task)) return undefined;
    const slot = slotOf(service, task);
    if (hasSuccessor(transaction, service, slot, task)) return undefined;
    const replacement = newTask(this.#environment, {
      cluster: findCluster(transaction),
      service,
      slot,
      desiredState: TaskState.READY,
    });
    transaction.create('task', replacement);
    const node = transaction.get('node', task.nodeId);
    // The delay keeps a task that fails from being started over and over. These have not failed.
    const wasTakenAway =
      node?.spec?.availability === NodeSpec_Availability.DRAIN ||
      node?.status?.state === NodeStatus_State.DOWN ||
      observedState(task) === TaskState.ORPHANED;
    const delayMs = durationMs(task.spec?.restart?.delay) ?? DEFAULT_RESTART_DELAY_MS;
    return () => {
      this.history.record(slot, replacement);
      void this.startLater(replacement.id, { delayMs: wasTakenAway ? 0 : delayMs, freeSlot: slot });
    };
  }

  /**
   * Moves a task from desired READY to RUNNING (COMPLETE for jobs) when `condition` is met.
   * Resolves when that is done or given up.
   */
  startLater(taskId: string, condition: StartCondition): Promise<void> {
    this.cancelStart(taskId);
    const cancellation = new Cancellation();
    const done = this.#startLater(taskId, condition, cancellation);
    const start: PendingStart = { cancellation, done, restartAfterwards: false };
    this.#starts.set(taskId, start);
    this.#track(
      done.finally(() => {
        if (this.#starts.get(taskId) === start) this.#starts.delete(taskId);
      }),
    );
    return done;
  }

  /** Moves a task from desired READY to RUNNING (COMPLETE for jobs) within `transaction`. */
  startNow(transaction: WriteTransaction, taskId: string): void {
    const task = transaction.get('task', taskId);
    if (task === undefined || task.desiredState >= TaskState.RUNNING) return;
    const service = transaction.get('service', task.serviceId);
    if (service === undefined) return;
    const desiredState = isJob(service) ? TaskState.COMPLETE : TaskState.RUNNING;
    transaction.update('task', { ...task, desiredState });
  }

  /**
   * The tasks of a slot that an update must look at: those that should run; or, when there is
   * none, the newest one if it ended and must not be restarted, so that a new spec brings the slot
   * to life again. Nothing for a slot that is to be filled anew.
   */
  updatableTasks(service: Service, slot: readonly Task[]): readonly Task[] {
    const wanted = slot.filter(isWanted);
    if (wanted.length > 0) return wanted;
    const newest = [...slot].sort(byTimestamp).at(-1);
    if (newest === undefined) return [];
    // A task that was taken away (drain, constraint) has not used up its policy; one that ended has.
    const state = observedState(newest);
    const ended =
      state === TaskState.COMPLETE || state === TaskState.FAILED || state === TaskState.REJECTED;
    return ended && !this.history.allowsRestart(service, newest) ? [newest] : [];
  }

  async #startLater(
    taskId: string,
    condition: StartCondition,
    cancellation: Cancellation,
  ): Promise<void> {
    const deadline = new Cancellation();
    const timer = this.#environment.clock.setTimer(OLD_TASK_TIMEOUT_MS, () => deadline.cancel());
    const forget = cancellation.onCancel(() => deadline.cancel());
    try {
      await sleep(this.#environment.clock, condition.delayMs, cancellation);
      const slot = condition.freeSlot;
      if (slot !== undefined && !cancellation.cancelled) {
        await waitUntil(this.#store, {
          reached: (transaction) => isFree(transaction, slot),
          topics: (transaction) => [slotTopic(slot), ...nodesOfStopping(transaction, slot)],
          cancellation: deadline,
        });
      }
    } finally {
      timer.cancel();
      forget();
    }
    if (cancellation.cancelled) return;
    await this.#write(cancellation, (transaction) => this.startNow(transaction, taskId));
  }

  async #restartAfter(pending: PendingStart, taskId: string): Promise<void> {
    await pending.done;
    if (pending.cancellation.cancelled) return;
    // The finished start must be out of the map, or the restart would wait for it once more.
    if (this.#starts.get(taskId) === pending) this.#starts.delete(taskId);
    await this.#write(pending.cancellation, (transaction) => {
      const task = transaction.get('task', taskId);
      if (task === undefined || !isWanted(task)) return undefined;
      const service = transaction.get('service', task.serviceId);
      return service && this.restart(transaction, service, task);
    });
  }

  /** Writes until it succeeds; on lost leadership the supervisor is stopped and gives up. */
  async #write(cancellation: Cancellation, write: Group): Promise<void> {
    while (!cancellation.cancelled && !this.#stopped) {
      try {
        const afterCommit = await this.#store.update(write);
        afterCommit?.();
        return;
      } catch (error) {
        if (error instanceof InvariantError) throw error;
        const message = error instanceof Error ? error.message : String(error);
        this.#logger.warn({ error: message }, 'a task could not be started; trying again');
        await sleep(this.#environment.clock, RETRY_DELAY_MS_MAX, cancellation);
      }
    }
  }

  #track(work: Promise<void>): void {
    this.#running.add(work);
    void work.finally(() => this.#running.delete(work));
  }
}

/** Whether the slot has another task, as the service now asks for, that runs or is to run. */
function hasSuccessor(
  transaction: ReadTransaction,
  service: Service,
  slot: SlotKey,
  task: Task,
): boolean {
  return tasksInSlot(transaction, slot).some((other) => {
    if (other.id === task.id || !isWanted(other) || isOver(other)) return false;
    return !isTaskDirty(service, other, ...placeOfTask(transaction, other));
  });
}

/** Whether no task of the slot that was told to stop can still run. */
function isFree(transaction: ReadTransaction, slot: SlotKey): boolean {
  return stoppingTasks(transaction, slot).every((task) => {
    const node = transaction.get('node', task.nodeId);
    return node === undefined || node.status?.state === NodeStatus_State.DOWN;
  });
}

function stoppingTasks(transaction: ReadTransaction, slot: SlotKey): readonly Task[] {
  return tasksInSlot(transaction, slot).filter((task) => !isWanted(task) && isOnNode(task));
}

function nodesOfStopping(transaction: ReadTransaction, slot: SlotKey): readonly Topic[] {
  return stoppingTasks(transaction, slot).map(({ nodeId }): Topic => `node ${nodeId}`);
}
