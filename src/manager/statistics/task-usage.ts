/**
 * What tasks use of their nodes' CPUs, as the nodes tell the leader: in memory, for a short time, only
 * for tasks that run where the teller says and whose service asks for it.
 */
import { isMeasured } from '../../model/autoscale.js';
import type { Clock } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import type { TaskUsage as Usage } from '../../model/gen/skep/manager/v1/statistics_pb.js';
import { isOnNode } from '../../model/task-state.js';
import type { Store } from '../../store/types.js';
import { MILLI_CPUS_MAX, USAGE_FRESH_MS, USAGE_TASKS_MAX } from './limits.js';

interface Measurement {
  readonly milliCpus: number;
  /** Monotonic milliseconds. */
  readonly atMs: number;
}

/** The latest measurements. */
export class TaskUsage {
  readonly #store: Store;
  readonly #clock: Clock;
  /** By task id, the oldest first. */
  readonly #latest = new Map<string, Measurement>();

  constructor(options: { readonly store: Store; readonly clock: Clock }) {
    this.#store = options.store;
    this.#clock = options.clock;
  }

  /** Tasks of which something is known. */
  get size(): number {
    return this.#latest.size;
  }

  /**
   * Takes in what a node tells; tasks that are not its own, or that nobody asked about, are left out.
   * @throws SkepError invalid_argument for more than {@link USAGE_TASKS_MAX} tasks
   */
  report(nodeId: string, tasks: readonly Pick<Usage, 'taskId' | 'milliCpus'>[]): void {
    if (tasks.length > USAGE_TASKS_MAX)
      throw new SkepError('invalid_argument', `more than ${USAGE_TASKS_MAX} tasks in one report`);
    const atMs = this.#clock.monotonicMs();
    this.#store.view((transaction) => {
      for (const { taskId, milliCpus } of tasks) {
        const task = transaction.get('task', taskId);
        if (task?.nodeId !== nodeId || !isOnNode(task) || milliCpus > MILLI_CPUS_MAX) continue;
        const service = transaction.get('service', task.serviceId);
        if (!isMeasured(service?.spec?.annotations?.labels)) continue;
        this.#latest.delete(taskId);
        this.#latest.set(taskId, { milliCpus, atMs });
      }
    });
    this.#forgetOld();
  }

  /** Thousandths of one CPU that the task used lately; undefined if that is not known. */
  milliCpus(taskId: string): number | undefined {
    const known = this.#latest.get(taskId);
    if (known === undefined || this.#clock.monotonicMs() - known.atMs > USAGE_FRESH_MS)
      return undefined;
    return known.milliCpus;
  }

  /** Forgets everything: this manager no longer leads. */
  clear(): void {
    this.#latest.clear();
  }

  #forgetOld(): void {
    const oldestMs = this.#clock.monotonicMs() - USAGE_FRESH_MS;
    for (const [taskId, { atMs }] of this.#latest) {
      if (atMs >= oldestMs) return;
      this.#latest.delete(taskId);
    }
  }
}
