/**
 * Moving tasks of one service to other nodes, within its update config: each is replaced as by an
 * update, start-first or stop-first. Which ones, a {@link MoveSource} says; where to, the scheduler.
 * Nothing of it shows in the update status, and a move that fails is no reason to roll back: the
 * service is left alone for a while.
 */
import { updateSettings } from '../../model/defaults.js';
import type { Timer } from '../../model/environment.js';
import type { Service, Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  TaskState,
  UpdateConfig_FailureAction as FailureAction,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { isWanted, observedState } from '../../model/task-state.js';
import type { ReadTransaction, WriteTransaction } from '../../store/types.js';
import { findCluster, newTask, slotKeyText, slotOf, tasksInSlot } from '../orchestrator/task.js';
import { Cancellation, waitUntil } from '../orchestrator/wait-until.js';
import { FailureMonitor } from './failure-monitor.js';
import { RollingRun, type RunParts, shutDown } from './rolling-run.js';

/** A task that is to be moved. */
export interface TaskToMove {
  readonly task: Task;
  /** Where its replacement goes if it can; otherwise, and without one, the scheduler chooses. */
  readonly nodeId?: string;
}

/** Which tasks are to be moved. */
export interface MoveSource {
  /** Tasks to be moved at once at most; 0: all. */
  readonly parallelism: number;
  /** Start-first: the task stays if its replacement has not got a node within this; undefined: it waits. */
  readonly patienceMs?: number;
  /** The next task of `service` to be moved; `isTried`: those of this run are left out. */
  next(
    transaction: ReadTransaction,
    service: Service,
    isTried: (task: Task) => boolean,
  ): TaskToMove | undefined;
  /** Whether `task` is still to leave; if not, its replacement is given up as long as it does not run. */
  isAsked(transaction: ReadTransaction, service: Service, task: Task): boolean;
}

/** What came of a run of moves. */
export type MoveOutcome = 'moved' | 'nothing' | 'failed';

/** A move under way. */
interface Move {
  /** Id of the task that leaves. */
  readonly from: string;
  /** Id of its replacement. */
  readonly to: string;
}

/** One run of moves. */
export class MoveRun extends RollingRun {
  readonly #source: MoveSource;
  /** Slots begun by this run, by {@link slotKeyText}. */
  readonly #tried = new Set<string>();
  #hasFailed = false;
  #hasMoved = false;

  constructor(parts: RunParts, service: Service, source: MoveSource) {
    super(parts, service, updateSettings(service.spec?.update));
    this.#source = source;
  }

  /** What came of it: `failed` if a task that was moved has ended too early, or got no node. */
  get outcome(): MoveOutcome {
    if (this.#hasFailed) return 'failed';
    return this.#hasMoved ? 'moved' : 'nothing';
  }

  goesOnFor(): boolean {
    return true;
  }

  /** Moves tasks until the source names none, then watches for the monitoring period. */
  async run(): Promise<void> {
    const monitor = new FailureMonitor(
      this.parts.environment.clock,
      // The first one that fails is enough: what runs is not bettered by trying on.
      { ...this.settings, maxFailureRatio: 0 },
      1,
    );
    const unwatch = this.watchFailures(monitor, () => {
      this.#hasFailed = true;
      if (this.settings.failureAction !== FailureAction.CONTINUE) this.halted.cancel();
    });
    const { parallelism } = this.#source;
    const workers = parallelism === 0 ? this.#slots() : Math.min(parallelism, this.#slots());
    try {
      await this.roll(
        workers,
        () => this.#next(),
        (next) => this.#move(next, monitor),
      );
      if (this.#hasMoved) await this.monitorToTheEnd();
    } finally {
      unwatch();
    }
  }

  #slots(): number {
    const mode = this.service.spec?.mode;
    return mode?.case === 'replicated' ? Number(mode.value.replicas) : 0;
  }

  #next(): TaskToMove | undefined {
    return this.parts.store.view((transaction) => {
      const service = transaction.get('service', this.service.id);
      if (service === undefined) return undefined;
      const key = (task: Task) => slotKeyText(slotOf(service, task));
      const isTried = (other: Task): boolean => this.#tried.has(key(other));
      const next = this.#source.next(transaction, service, isTried);
      if (next !== undefined) this.#tried.add(key(next.task));
      return next;
    });
  }

  async #move(next: TaskToMove, monitor: FailureMonitor): Promise<void> {
    const { task } = next;
    const { store, supervisor } = this.parts;
    const move = await store.update((transaction) => this.#begin(transaction, next, monitor));
    if (move === undefined) return;
    this.#hasMoved = true;
    // Started by the supervisor also if this run is cancelled meanwhile.
    void supervisor.startLater(move.to, {
      delayMs: 0,
      freeSlot: this.isStartFirst ? undefined : slotOf(this.service, task),
    });
    const over = new Cancellation();
    const forget = this.cancellation.onCancel(() => over.cancel());
    const patience = this.#patience(move, over);
    await waitUntil(store, {
      reached: (transaction) => this.#isSettled(transaction, move),
      topics: () => [`task ${move.to}`, `task ${move.from}`, `node ${task.nodeId}`],
      cancellation: over,
    });
    forget();
    patience?.cancel();
    if (this.isStartFirst) {
      await store.update((transaction) => {
        if (finish(transaction, move) === 'given up') monitor.forget(move.to);
      });
    }
  }

  #begin(
    transaction: WriteTransaction,
    { task: { id }, nodeId = '' }: TaskToMove,
    monitor: FailureMonitor,
  ): Move | undefined {
    const { environment } = this.parts;
    const task = transaction.get('task', id);
    const service = transaction.get('service', this.service.id);
    if (task === undefined || service === undefined || this.cancellation.cancelled)
      return undefined;
    if (!this.#source.isAsked(transaction, service, task)) return undefined;
    const slot = slotOf(service, task);
    // One that is there already is somebody else's.
    if (tasksInSlot(transaction, slot).filter(isWanted).length !== 1) return undefined;
    const cluster = findCluster(transaction);
    const replacement = newTask(environment, {
      cluster,
      service,
      slot: { ...slot, nodeId },
      desiredState: TaskState.READY,
    });
    transaction.create('task', replacement);
    monitor.watch(replacement.id);
    if (!this.isStartFirst) shutDown(transaction, [task]);
    return { from: task.id, to: replacement.id };
  }

  /** Ends the wait for a replacement that gets no node. */
  #patience(move: Move, over: Cancellation): Timer | undefined {
    const { patienceMs } = this.#source;
    if (patienceMs === undefined || !this.isStartFirst) return undefined;
    return this.parts.environment.clock.setTimer(patienceMs, () => {
      const replacement = this.parts.store.view((read) => read.get('task', move.to));
      if (replacement === undefined || observedState(replacement) >= TaskState.ASSIGNED) return;
      this.#hasFailed = true;
      over.cancel();
    });
  }

  #isSettled(transaction: ReadTransaction, { from, to }: Move): boolean {
    const replacement = transaction.get('task', to);
    if (replacement === undefined || !isWanted(replacement)) return true;
    if (observedState(replacement) >= TaskState.RUNNING) return true;
    if (!this.isStartFirst) return false;
    const task = transaction.get('task', from);
    const service = transaction.get('service', this.service.id);
    if (task === undefined || service === undefined) return true;
    return !this.#source.isAsked(transaction, service, task);
  }
}

/** Start-first: one of the two stays, the one that serves. */
function finish(transaction: WriteTransaction, { from, to }: Move): 'moved' | 'given up' {
  const [task, replacement] = [transaction.get('task', from), transaction.get('task', to)];
  const isUp = (one: Task | undefined): one is Task =>
    one !== undefined && isWanted(one) && observedState(one) === TaskState.RUNNING;
  if (isUp(replacement)) {
    if (task !== undefined) shutDown(transaction, [task]);
    return 'moved';
  }
  // A replacement that has failed was told to stop already.
  if (!isUp(task) || replacement === undefined || !isWanted(replacement)) return 'moved';
  shutDown(transaction, [replacement]);
  return 'given up';
}
