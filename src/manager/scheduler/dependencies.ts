/**
 * Services that begin after others (`skep.depends_on`): until a service has had its first task on a
 * node, its tasks get none while a service it names is not up.
 */
import type { Service, Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { serviceNames } from '../../model/labels/check.js';
import { DEPENDS_ON_LABEL } from '../../model/labels/keys.js';
import { isWanted, observedState } from '../../model/task-state.js';
import type { ReadTransaction } from '../../store/types.js';

const STACK_LABEL = 'com.docker.stack.namespace';

/** Whether the service of this task names others at all. */
export function hasDependencies(task: Task): boolean {
  return task.serviceAnnotations?.labels[DEPENDS_ON_LABEL] !== undefined;
}

/** Why tasks like `task` must wait; undefined when they need not. */
export function unmetDependency(transaction: ReadTransaction, task: Task): string | undefined {
  const labels = task.serviceAnnotations?.labels ?? {};
  const names = serviceNames(labels[DEPENDS_ON_LABEL] ?? '') ?? [];
  if (names.length === 0) return undefined;
  const own = transaction.find('task', { by: 'service', serviceId: task.serviceId });
  if (own.some((other) => observedState(other) >= TaskState.ASSIGNED)) return undefined;
  for (const name of names) {
    const service = findService(transaction, name, labels[STACK_LABEL]);
    if (service === undefined) return `waits for service ${name}, which does not exist`;
    const [up, wanted] = progress(transaction, service);
    if (up < wanted) return `waits for service ${name}: ${up} of ${wanted} tasks`;
  }
  return undefined;
}

/** Within a stack names are those of its file. */
function findService(
  transaction: ReadTransaction,
  name: string,
  stack: string | undefined,
): Service | undefined {
  const inStack = stack === undefined ? [] : [`${stack}_${name}`];
  for (const candidate of [...inStack, name]) {
    const [service] = transaction.find('service', { by: 'name', name: candidate });
    if (service !== undefined) return service;
  }
  return undefined;
}

/** Tasks that run and are healthy, or for jobs are complete, and how many there are to be. */
function progress(transaction: ReadTransaction, service: Service): [up: number, wanted: number] {
  const tasks = transaction.find('task', { by: 'service', serviceId: service.id });
  const running = tasks.filter(
    (task) => isWanted(task) && observedState(task) === TaskState.RUNNING,
  );
  const iteration = service.jobStatus?.jobIteration?.index ?? 0n;
  const ofIteration = tasks.filter((task) => (task.jobIteration?.index ?? 0n) === iteration);
  const complete = ofIteration.filter((task) => observedState(task) === TaskState.COMPLETE);
  const mode = service.spec?.mode;
  switch (mode?.case) {
    case 'replicated':
      return [running.length, Number(mode.value.replicas)];
    case 'global':
      return [running.length, Math.max(1, tasks.filter(isWanted).length)];
    case 'replicatedJob':
      return [complete.length, Number(mode.value.totalCompletions)];
    case 'globalJob':
      return [complete.length, Math.max(1, ofIteration.filter(isWanted).length)];
    case undefined:
      return [0, 0];
  }
}
