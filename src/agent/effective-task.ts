/**
 * The task as the engine is to see it, made from the one the manager sent. Pure.
 */
import type { SocketBinds } from '../model/engine-socket.js';
import type { Task } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import { Mount_Type as MountType } from '../model/gen/docker/swarmkit/v1/types_pb.js';
import { expandTask, type NodeFacts } from '../model/template/expansion.js';
import { containerSpec } from './container-config.js';

/**
 * A copy with its templates filled in, in which binds of the engine's socket are binds of skepd's,
 * unless labels keep them.
 * @throws SkepError invalid_argument for a template that cannot be filled in
 */
export function effectiveTask(task: Task, node: NodeFacts, sockets: SocketBinds): Task {
  const copy = expandTask(task, node);
  const spec = containerSpec(copy);
  for (const mount of spec.mounts) {
    if (mount.type !== MountType.BIND) continue;
    mount.source = sockets.source(mount.source, spec.labels, copy.serviceAnnotations?.labels);
  }
  return copy;
}
