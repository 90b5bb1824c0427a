/** Which changes of a node can matter to the tasks on it. */
import { equals } from '@bufbuild/protobuf';
import type { Node } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeSpecSchema } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import { NodeDescriptionSchema } from '../../model/gen/docker/swarmkit/v1/types_pb.js';

/** Whether the node can do other things than before: role, address, spec or description. */
export function capabilitiesChanged(old: Node, node: Node): boolean {
  if (old.role !== node.role || old.status?.addr !== node.status?.addr) return true;
  const sameSpec = same(old.spec, node.spec, (a, b) => equals(NodeSpecSchema, a, b));
  return (
    !sameSpec ||
    !same(old.description, node.description, (a, b) => equals(NodeDescriptionSchema, a, b))
  );
}

/** As {@link capabilitiesChanged}, or it went down or came back. */
export function placementChanged(old: Node, node: Node): boolean {
  return old.status?.state !== node.status?.state || capabilitiesChanged(old, node);
}

function same<M>(a: M | undefined, b: M | undefined, equal: (a: M, b: M) => boolean): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a === b || equal(a, b);
}
