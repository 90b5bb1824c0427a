/**
 * Counts of tasks for `docker service ls` (`?status=true`): SwarmKit's ListServiceStatuses.
 * Running counts what is observed, desired what should be; of a job only the current run counts.
 */
import type { Service, Task } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../model/gen/docker/swarmkit/v1/types_pb.js';
import type { JsonFields } from './convert/common.js';

/** `ServiceStatus` of one service, from all its tasks. */
export function serviceStatusFields(service: Service, tasks: readonly Task[]): JsonFields {
  const mode = service.spec?.mode;
  const isJob = mode?.case === 'replicatedJob' || mode?.case === 'globalJob';
  const iteration = service.jobStatus?.jobIteration?.index ?? 0n;
  const counted = isJob
    ? tasks.filter((task) => (task.jobIteration?.index ?? 0n) === iteration)
    : tasks;
  const count = (condition: (task: Task) => boolean) => counted.filter(condition).length;
  const stateOf = (task: Task) => task.status?.state ?? TaskState.NEW;
  let desired: bigint | number = 0;
  switch (mode?.case) {
    case 'replicated':
      desired = mode.value.replicas;
      break;
    case 'replicatedJob':
      desired = mode.value.maxConcurrent;
      break;
    case 'global':
      desired = count((task) => task.desiredState === TaskState.RUNNING);
      break;
    case 'globalJob':
      desired = count(
        (task) => task.desiredState === TaskState.COMPLETE && stateOf(task) !== TaskState.COMPLETE,
      );
      break;
    case undefined:
      break;
  }
  return {
    RunningTasks: count((task) => stateOf(task) === TaskState.RUNNING),
    DesiredTasks: desired,
    CompletedTasks: isJob ? count((task) => stateOf(task) === TaskState.COMPLETE) : 0,
  };
}
