/**
 * How often each slot was restarted, to hold the restart policy's limits. It is not stored: a new
 * leader rebuilds it from the tasks it finds (SwarmKit restart supervisor).
 */
import {
  DEFAULT_RESTART_CONDITION,
  durationMs,
  taskTimestampMs,
  timestampToMs,
} from '../../model/defaults.js';
import type { Environment } from '../../model/environment.js';
import type { Service, Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  RestartPolicy_RestartCondition,
  TaskState,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { observedState } from '../../model/task-state.js';
import { isJob, type SlotKey, slotKeyText, slotOf } from './task.js';

interface SlotHistory {
  /** Spec the counts belong to; a new spec starts from zero. */
  specVersion: bigint | undefined;
  totalRestarts: number;
  /** Creation times of replacements, oldest first; kept only for policies with a window. */
  restartTimesMs: number[];
}

/** Restarts of all slots of all services under the present spec. */
export class RestartHistory {
  readonly #environment: Environment;
  readonly #services = new Map<string, Map<string, SlotHistory>>();

  constructor(environment: Environment) {
    this.#environment = environment;
  }

  /** Notes that `replacement` took over the slot. */
  record(slot: SlotKey, replacement: Task): void {
    const policy = replacement.spec?.restart;
    if (policy === undefined || policy.maxAttempts === 0n) return;
    const service = this.#services.get(slot.serviceId) ?? new Map<string, SlotHistory>();
    this.#services.set(slot.serviceId, service);
    const specVersion = replacement.specVersion?.index;
    let history = service.get(slotKeyText(slot));
    if (history === undefined || history.specVersion !== specVersion) {
      history = { specVersion, totalRestarts: 0, restartTimesMs: [] };
      service.set(slotKeyText(slot), history);
    }
    history.totalRestarts += 1;
    if ((durationMs(policy.window) ?? 0) === 0) return;
    const createdMs = timestampToMs(replacement.meta?.createdAt);
    history.restartTimesMs.push(createdMs ?? this.#environment.clock.nowMs());
    // Only the newest `maxAttempts` can ever decide.
    const surplus = history.restartTimesMs.length - Number(policy.maxAttempts);
    if (surplus > 0) history.restartTimesMs.splice(0, surplus);
  }

  /** Forgets a deleted service. */
  forget(serviceId: string): void {
    this.#services.delete(serviceId);
  }

  /** Whether the restart policy lets `task`, which ended, be replaced. */
  allowsRestart(service: Service, task: Task): boolean {
    const policy = task.spec?.restart;
    const condition = policy?.condition ?? DEFAULT_RESTART_CONDITION;
    if (condition === RestartPolicy_RestartCondition.NONE) return false;
    const onFailureOnly = condition === RestartPolicy_RestartCondition.ON_FAILURE || isJob(service);
    if (onFailureOnly && observedState(task) === TaskState.COMPLETE) return false;
    if (policy === undefined || policy.maxAttempts === 0n) return true;
    const history = this.#services.get(service.id)?.get(slotKeyText(slotOf(service, task)));
    if (history === undefined || history.specVersion !== task.specVersion?.index) return true;
    const windowMs = durationMs(policy.window) ?? 0;
    const endedMs = taskTimestampMs(task);
    if (windowMs === 0 || endedMs === undefined) {
      return history.totalRestarts < Number(policy.maxAttempts);
    }
    const recent = history.restartTimesMs.filter(
      (atMs) => atMs > endedMs - windowMs && atMs < endedMs,
    );
    return recent.length < Number(policy.maxAttempts);
  }
}
