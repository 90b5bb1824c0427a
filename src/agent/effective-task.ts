/**
 * The task as the engine is to see it, made from the one the manager sent. Pure.
 */
import { clone } from '@bufbuild/protobuf';
import type { SocketBinds } from '../model/engine-socket.js';
import { type Task, TaskSchema } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import { Mount_Type as MountType } from '../model/gen/docker/swarmkit/v1/types_pb.js';
import { containerSpec } from './container-config.js';

/** A copy in which binds of the engine's socket are binds of skepd's, unless labels keep them. */
export function effectiveTask(task: Task, sockets: SocketBinds): Task {
  const copy = clone(TaskSchema, task);
  const spec = containerSpec(copy);
  for (const mount of spec.mounts) {
    if (mount.type !== MountType.BIND) continue;
    mount.source = sockets.source(mount.source, spec.labels, copy.serviceAnnotations?.labels);
  }
  return copy;
}
