/**
 * A node that was down comes back: a task of it goes on where its replacement does not run yet, so that
 * nothing healthy is stopped for nothing. Stock Swarm stops it in any case.
 */
import type { Node, Service, Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeSpec_Availability } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import { TaskState } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { isOnNode, isWanted, observedState } from '../../model/task-state.js';
import type { WriteTransaction } from '../../store/types.js';
import {
  byCreation,
  isJob,
  isPerNode,
  isTaskDirty,
  placeOfTask,
  raiseDesiredState,
  slotOf,
  tasksInSlot,
} from './task.js';

/**
 * To be called in the transaction that notes the node's return, before its agent is told any task: of
 * one that was told to stop the agent has not heard as long as the node was down.
 */
export function keepReturningTasks(write: WriteTransaction, node: Node): void {
  if (node.spec?.availability === NodeSpec_Availability.DRAIN) return;
  // Of several in one slot the newest stays.
  const tasks = [...write.find('task', { by: 'node', nodeId: node.id })].sort(byCreation).reverse();
  for (const task of tasks) {
    const service = write.get('service', task.serviceId);
    if (service === undefined || !isLeftBehind(task) || isJob(service)) continue;
    keep(write, service, task);
  }
}

/** Told to stop while it ran; whatever else ended it would have been reported, or asked for its removal. */
function isLeftBehind(task: Task): boolean {
  return task.desiredState === TaskState.SHUTDOWN && observedState(task) === TaskState.RUNNING;
}

/** Only reserved addresses are given to a successor while the task still has them. */
function shareAddress(one: Task, other: Task): boolean {
  const keys = (task: Task): readonly string[] =>
    task.networks.flatMap(({ network, addresses }) =>
      addresses.map((address) => `${network?.id} ${address}`),
    );
  const taken = new Set(keys(one));
  return keys(other).some((key) => taken.has(key));
}

function keep(write: WriteTransaction, service: Service, task: Task): void {
  if (isTaskDirty(service, task, ...placeOfTask(write, task))) return;
  const successors = tasksInSlot(write, slotOf(service, task)).filter(isWanted);
  if (successors.some((other) => observedState(other) === TaskState.RUNNING)) return;
  // They have what the labels of the service say, and the node was given up for it.
  if (successors.some((other) => shareAddress(other, task))) return;
  // A slot that nothing is to fill was given up; a node's own is filled when it is back.
  if (successors.length === 0 && !isPerNode(service)) return;
  write.update('task', { ...task, desiredState: TaskState.RUNNING });
  for (const other of successors) {
    if (isOnNode(other)) raiseDesiredState(write, other.id, TaskState.SHUTDOWN);
    else write.delete('task', other.id);
  }
}
