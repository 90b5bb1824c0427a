/**
 * Evening out the spread of a service over the nodes (`skep.rebalance=true`): one running task after
 * another goes where the scheduler would put it today, as long as that makes the spread better.
 */
import type { Service, Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { REBALANCE_LABEL } from '../../model/labels/keys.js';
import { choiceLabel } from '../../model/labels/read.js';
import { isInvalidNode, isWanted, observedState, serviceMode } from '../../model/task-state.js';
import type { ReadTransaction } from '../../store/types.js';
import type { BetterPlace } from '../scheduler/better-place.js';
import type { MoveSource } from '../updater/move-run.js';
import { isInProgress, isPaused } from '../updater/update-status.js';
import { MOVE_PATIENCE_MS } from './limits.js';

/** Whether the service wants its tasks moved. */
export function rebalances(service: Service): boolean {
  if (serviceMode(service) !== 'replicated') return false;
  return choiceLabel(REBALANCE_LABEL, service.spec?.annotations?.labels) === 'true';
}

/** Moves of a service. */
export function rebalanceMoves(parts: {
  readonly betterPlace: (service: Service, tasks: readonly Task[]) => BetterPlace | undefined;
  /** Whether a node has been there for long enough to get something. */
  readonly isStable: (nodeId: string) => boolean;
}): MoveSource {
  /** Where each task was found to stand better. */
  const targets = new Map<string, string>();
  return {
    // The next one is found only when the one before has got its place.
    parallelism: 1,
    patienceMs: MOVE_PATIENCE_MS,
    next(transaction, service, isTried) {
      const tasks = settledTasks(transaction, service);
      const found = tasks && parts.betterPlace(service, tasks);
      if (found === undefined || isTried(found.task) || !parts.isStable(found.nodeId))
        return undefined;
      targets.set(found.task.id, found.nodeId);
      return found;
    },
    isAsked(transaction, service, task) {
      if (!rebalances(service) || !isWanted(task) || observedState(task) !== TaskState.RUNNING)
        return false;
      const target = transaction.get('node', targets.get(task.id) ?? '');
      return !isInvalidNode(target) && !isInvalidNode(transaction.get('node', task.nodeId));
    },
  };
}

/** The tasks of a service of which each slot has one that runs; undefined while something else is up. */
function settledTasks(transaction: ReadTransaction, service: Service): readonly Task[] | undefined {
  if (!rebalances(service) || isInProgress(service) || isPaused(service)) return undefined;
  const mode = service.spec?.mode;
  const replicas = mode?.case === 'replicated' ? Number(mode.value.replicas) : 0;
  const tasks = transaction.find('task', { by: 'service', serviceId: service.id }).filter(isWanted);
  const slots = new Set(tasks.map(({ slot }) => slot));
  if (tasks.length !== replicas || slots.size !== replicas) return undefined;
  const areSettled = tasks.every(
    (task) =>
      observedState(task) === TaskState.RUNNING &&
      !isInvalidNode(transaction.get('node', task.nodeId)),
  );
  return areSettled ? tasks : undefined;
}
