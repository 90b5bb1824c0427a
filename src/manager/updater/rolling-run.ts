/**
 * Replacing tasks of one service slot by slot, within an update config: what an update and a move
 * have in common. Workers take slots one by one; a failure stops them, not the slots under way.
 */
import type { UpdateSettings } from '../../model/defaults.js';
import type { Environment } from '../../model/environment.js';
import type { Service, Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { UpdateConfig_UpdateOrder as UpdateOrder } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { TaskState } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import type { Logger } from '../../observe/logger.js';
import type { Store, StoreEvent, WriteTransaction } from '../../store/types.js';
import type { RestartSupervisor } from '../orchestrator/restart-supervisor.js';
import { subscribeTo } from '../orchestrator/store-topics.js';
import { raiseDesiredState } from '../orchestrator/task.js';
import { Cancellation, sleep } from '../orchestrator/wait-until.js';
import type { FailureMonitor } from './failure-monitor.js';

/** Added to the delay when that is longer than the monitoring period, so that the last task is watched. */
const MONITOR_BEYOND_DELAY_MS = 1000;

/** What a run needs. */
export interface RunParts {
  readonly store: Store;
  readonly environment: Environment;
  readonly logger: Logger;
  readonly supervisor: RestartSupervisor;
}

/** One run over slots of one service, until it is done or cancelled. */
export abstract class RollingRun {
  /** As it was when the run began. */
  readonly service: Service;
  /** Set by {@link cancel}. */
  readonly cancellation = new Cancellation();
  protected readonly parts: RunParts;
  protected readonly settings: UpdateSettings;
  /** Set by a failure: no further slot is begun. */
  protected readonly halted = new Cancellation();

  constructor(parts: RunParts, service: Service, settings: UpdateSettings) {
    this.parts = parts;
    this.service = service;
    this.settings = settings;
  }

  /** Stops where it is; what works on the run then settles soon. */
  cancel(): void {
    this.cancellation.cancel();
  }

  /** Whether the run may go on when `service`, of an equal spec, is to be looked at. */
  abstract goesOnFor(service: Service): boolean;

  protected get isStartFirst(): boolean {
    return this.settings.order === UpdateOrder.START_FIRST;
  }

  protected get isOver(): boolean {
    return this.halted.cancelled || this.cancellation.cancelled;
  }

  /** Has so many workers each take what `next` gives them, and rest for the delay after each. */
  protected async roll<T>(
    workers: number,
    next: () => T | undefined,
    work: (item: T) => Promise<void>,
  ): Promise<void> {
    const worker = async (): Promise<void> => {
      while (!this.isOver) {
        const item = next();
        if (item === undefined) return;
        await work(item);
        await sleep(this.parts.environment.clock, this.settings.delayMs, this.cancellation);
      }
    };
    await Promise.all(Array.from({ length: workers }, worker));
  }

  /** Waits out the monitoring period of the last slot, or until something has failed. */
  protected async monitorToTheEnd(): Promise<void> {
    const { delayMs, monitorMs } = this.settings;
    if (this.isOver) return;
    const durationMs = delayMs >= monitorMs ? delayMs + MONITOR_BEYOND_DELAY_MS : monitorMs;
    const over = new Cancellation();
    const forget = [this.halted, this.cancellation].map((end) => end.onCancel(() => over.cancel()));
    await sleep(this.parts.environment.clock, durationMs, over);
    for (const unsubscribe of forget) unsubscribe();
  }

  /** Calls `fail` with the task with which `monitor` finds that too much has failed. */
  protected watchFailures(monitor: FailureMonitor, fail: (taskId: string) => void): () => void {
    return subscribeTo(this.parts.store, [`tasksOf ${this.service.id}`], (events) => {
      for (const event of events) {
        const task = updatedTask(event);
        if (task === undefined) continue;
        if (this.isOver) return;
        if (monitor.observe(task)) fail(task.id);
      }
    });
  }
}

/** Tells tasks to stop. */
export function shutDown(transaction: WriteTransaction, tasks: readonly Task[]): void {
  for (const task of tasks) raiseDesiredState(transaction, task.id, TaskState.SHUTDOWN);
}

function updatedTask(event: StoreEvent): Task | undefined {
  return event.table === 'task' && event.kind === 'update' ? event.object : undefined;
}
