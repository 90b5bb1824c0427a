/**
 * Drain as a rolling move (`skep.drain=rolling`): running tasks of replicated services stay on the
 * drained node until each is moved within the service's update config. Everything else leaves at once,
 * as in SwarmKit: tasks that do not run yet, those of other modes, and all when the node goes down.
 */
import type { Node, Service, Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeSpec_Availability } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import { NodeStatus_State, TaskState } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { DRAIN_LABEL } from '../../model/labels/keys.js';
import { choiceLabel } from '../../model/labels/read.js';
import { isWanted, observedState, serviceMode } from '../../model/task-state.js';
import type { ReadTransaction, StoreEvent } from '../../store/types.js';
import type { MoveSource } from '../updater/move-run.js';
import { findCluster } from './task.js';

/** Whether tasks of the service leave drained nodes one after another. */
export function drainsGently(transaction: ReadTransaction, service: Service): boolean {
  if (serviceMode(service) !== 'replicated') return false;
  const cluster = findCluster(transaction)?.spec?.annotations?.labels;
  return choiceLabel(DRAIN_LABEL, service.spec?.annotations?.labels, cluster) === 'rolling';
}

/** Whether the node is to be emptied and is there to do so in good order. */
export function isDrained(node: Node | undefined): boolean {
  return (
    node?.spec?.availability === NodeSpec_Availability.DRAIN &&
    node.status?.state !== NodeStatus_State.DOWN
  );
}

/** Whether `task` stays on the drained node it runs on until it is moved. */
export function awaitsMove(transaction: ReadTransaction, service: Service, task: Task): boolean {
  if (!isWanted(task) || observedState(task) !== TaskState.RUNNING) return false;
  return isDrained(transaction.get('node', task.nodeId)) && drainsGently(transaction, service);
}

/** Whether the change is one of how tasks leave drained nodes. */
export function changesDrain(event: StoreEvent): boolean {
  if (event.kind !== 'update') return false;
  if (event.table !== 'service' && event.table !== 'cluster') return false;
  const of = ({ spec }: typeof event.object) => spec?.annotations?.labels[DRAIN_LABEL];
  return of(event.old) !== of(event.object);
}

/** The tasks of `service` that await a move, lowest slot first. */
export function drainMoves(service: Service): MoveSource {
  return {
    parallelism: Number(service.spec?.update?.parallelism ?? 1n),
    next(transaction, current, isTried) {
      if (!drainsGently(transaction, current)) return undefined;
      let first: Task | undefined;
      for (const task of transaction.find('task', { by: 'service', serviceId: current.id })) {
        if (first !== undefined && first.slot <= task.slot) continue;
        if (awaitsMove(transaction, current, task) && !isTried(task)) first = task;
      }
      return first && { task: first };
    },
    isAsked: awaitsMove,
  };
}
