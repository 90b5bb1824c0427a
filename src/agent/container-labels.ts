/**
 * Labels of a task's container, as Docker sets them (executor/container): other tools find swarm
 * containers by them, and so does the agent after a restart.
 */
import type { Task } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import { taskName } from '../model/naming.js';

const PREFIX = 'com.docker.swarm';
/** Label with the task's id. */
export const TASK_ID_LABEL = `${PREFIX}.task.id`;
/** Label with this node's id. */
export const NODE_ID_LABEL = `${PREFIX}.node.id`;

/** Labels of the container: the service's own, then the swarm ones, which win. */
export function containerLabels(
  task: Task,
  own: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  return {
    ...own,
    [`${PREFIX}.task`]: '',
    [TASK_ID_LABEL]: task.id,
    [`${PREFIX}.task.name`]: taskName(task),
    [NODE_ID_LABEL]: task.nodeId,
    [`${PREFIX}.service.id`]: task.serviceId,
    [`${PREFIX}.service.name`]: task.serviceAnnotations?.name ?? '',
  };
}
