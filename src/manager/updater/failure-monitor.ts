/**
 * Decides when an update has failed: it counts tasks which the update created and which ended too
 * early, against the share of slots that may fail (SwarmKit manager/orchestrator/update).
 */
import type { UpdateSettings } from '../../model/defaults.js';
import type { Clock } from '../../model/environment.js';
import type { Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { isOver, observedState } from '../../model/task-state.js';

/** Watches the tasks of one update run. */
export class FailureMonitor {
  readonly #clock: Clock;
  readonly #settings: UpdateSettings;
  readonly #slots: number;
  /** Tasks of this run, with the time they came up; undefined while they have not. */
  readonly #tasks = new Map<string, number | undefined>();
  readonly #failed = new Set<string>();

  constructor(clock: Clock, settings: UpdateSettings, slots: number) {
    this.#clock = clock;
    this.#settings = settings;
    this.#slots = slots;
  }

  /** A task created by this run; its failure counts. */
  watch(taskId: string): void {
    this.#tasks.set(taskId, undefined);
  }

  /** A task that was given up: its end is no failure. */
  forget(taskId: string): void {
    this.#tasks.delete(taskId);
  }

  /**
   * Takes in a change of a task.
   * @returns whether the share of failed slots is now above the limit
   */
  observe(task: Task): boolean {
    if (!this.#tasks.has(task.id)) return false;
    const nowMs = this.#clock.monotonicMs();
    const cameUpMs = this.#tasks.get(task.id);
    if (observedState(task) === TaskState.RUNNING && cameUpMs === undefined) {
      this.#tasks.set(task.id, nowMs);
    }
    if (!isOver(task) || this.#failed.has(task.id)) return false;
    if (cameUpMs !== undefined && nowMs - cameUpMs > this.#settings.monitorMs) return false;
    this.#failed.add(task.id);
    return this.#failed.size / this.#slots > this.#settings.maxFailureRatio;
  }
}
