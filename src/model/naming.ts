/** Names made from ids, as SwarmKit makes them (api/naming). */
import type { Task } from './gen/docker/swarmkit/v1/objects_pb.js';

/**
 * Name of a task and of its container: `service.slot.task`, or `service.node.task` for a task
 * without a slot (global services).
 */
export function taskName(task: Task): string {
  const given = task.annotations?.name ?? '';
  if (given !== '') return given;
  const service = task.serviceAnnotations?.name ?? '';
  const place = task.slot === 0n ? task.nodeId : task.slot.toString();
  return `${service}.${place}.${task.id}`;
}
