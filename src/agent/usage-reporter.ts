/**
 * Tells the manager what tasks use of this node's CPUs, for services that are scaled by it
 * (`skep.autoscale.*`); says nothing while there is no task of such a service, and nothing more to a
 * manager that does not know the call, as stock ones.
 */
import { isMeasured } from '../model/autoscale.js';
import type { Clock } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import type { Task } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../model/gen/docker/swarmkit/v1/types_pb.js';
import { isWanted, observedState } from '../model/task-state.js';
import type { Logger } from '../observe/logger.js';
import { fromRpcError } from '../rpc/errors.js';
import type { ManagerConnection } from '../rpc/types.js';
import { orAborted, sleep } from './async.js';
import { RPC_TIMEOUT_MS, USAGE_PERIOD_MS, USAGE_TASKS_MAX } from './limits.js';
import type { Worker } from './worker.js';

interface Reading {
  /** CPU time since the container's start, nanoseconds. */
  readonly cpuNs: number;
  /** Monotonic milliseconds. */
  readonly atMs: number;
}

/** Measures and tells. */
export class UsageReporter {
  readonly #worker: Pick<Worker, 'tasks' | 'controllerOf'>;
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** By task id. */
  #readings = new Map<string, Reading>();

  constructor(worker: Pick<Worker, 'tasks' | 'controllerOf'>, clock: Clock, logger: Logger) {
    this.#worker = worker;
    this.#clock = clock;
    this.#logger = logger;
  }

  /** Measures and tells until `signal` aborts. @throws SkepError then */
  async run(statistics: ManagerConnection['statistics'], signal: AbortSignal): Promise<never> {
    for (;;) {
      await sleep(this.#clock, USAGE_PERIOD_MS, signal);
      const tasks = await this.#measure(signal);
      if (tasks.length === 0) continue;
      try {
        await statistics.report({ tasks }, { signal, timeoutMs: RPC_TIMEOUT_MS });
      } catch (thrown) {
        // The next report says it all again; no reason to end a session.
        const { code, message } = fromRpcError(thrown);
        this.#logger.debug({ code, error: message }, 'usage of tasks not told');
        if (code === 'unimplemented')
          return await orAborted(new Promise<never>(() => undefined), signal);
      }
    }
  }

  async #measure(signal: AbortSignal): Promise<{ taskId: string; milliCpus: number }[]> {
    const readings = new Map<string, Reading>();
    const usage: { taskId: string; milliCpus: number }[] = [];
    for (const { id } of this.#worker.tasks().filter(isAsked).slice(0, USAGE_TASKS_MAX)) {
      const cpuNs = await this.#read(id, signal);
      if (cpuNs === undefined) continue;
      const now = { cpuNs, atMs: this.#clock.monotonicMs() };
      readings.set(id, now);
      const before = this.#readings.get(id);
      const milliCpus = before && milliCpusBetween(before, now);
      if (milliCpus !== undefined) usage.push({ taskId: id, milliCpus });
    }
    this.#readings = readings;
    return usage;
  }

  async #read(taskId: string, signal: AbortSignal): Promise<number | undefined> {
    try {
      return await this.#worker.controllerOf(taskId)?.cpuTimeNs(signal);
    } catch (error) {
      if (signal.aborted) throw error;
      const text = SkepError.from(error).message;
      this.#logger.debug({ taskId, error: text }, 'usage of a task not readable');
      return undefined;
    }
  }
}

function isAsked(task: Task): boolean {
  if (!isWanted(task) || observedState(task) !== TaskState.RUNNING) return false;
  return isMeasured(task.serviceAnnotations?.labels);
}

function milliCpusBetween(before: Reading, now: Reading): number | undefined {
  const elapsedMs = now.atMs - before.atMs;
  const usedNs = now.cpuNs - before.cpuNs;
  return elapsedMs <= 0 || usedNs < 0 ? undefined : Math.round(usedNs / (elapsedMs * 1000));
}
