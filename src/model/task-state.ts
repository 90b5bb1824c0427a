/**
 * The life of a task as predicates. A task has an observed state, which only its agent (or, before
 * assignment, the leader) moves forward, and a desired state, which only the leader raises.
 */
import type { Node, Service, Task } from './gen/docker/swarmkit/v1/objects_pb.js';
import { NodeSpec_Availability } from './gen/docker/swarmkit/v1/specs_pb.js';
import { NodeStatus_State, TaskState } from './gen/docker/swarmkit/v1/types_pb.js';

/** How a service decides which tasks it has. */
export type ServiceMode = 'replicated' | 'global' | 'replicatedJob' | 'globalJob';

/** The service's mode; undefined when its spec has none. */
export function serviceMode(service: Service): ServiceMode | undefined {
  return service.spec?.mode.case;
}

/** The state last observed. */
export function observedState(task: Task): TaskState {
  return task.status?.state ?? TaskState.NEW;
}

/** Whether the leader still wants the task (it was not told to stop or to go). */
export function isWanted(task: Task): boolean {
  return task.desiredState <= TaskState.COMPLETE;
}

/** Whether the task is over: it ended, was stopped, refused or lost, and holds nothing any more. */
export function isOver(task: Task): boolean {
  return observedState(task) > TaskState.RUNNING;
}

/** Whether an agent may hold something for the task: it was assigned and is not over. */
export function isOnNode(task: Task): boolean {
  const state = observedState(task);
  return state >= TaskState.ASSIGNED && state <= TaskState.RUNNING;
}

/** Whether tasks must leave the node: it is gone, down or drained. */
export function isInvalidNode(node: Node | undefined): boolean {
  return (
    node === undefined ||
    node.status?.state === NodeStatus_State.DOWN ||
    node.spec?.availability === NodeSpec_Availability.DRAIN
  );
}
