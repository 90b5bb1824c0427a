/**
 * Tasks that run follow their service: its published ports where that needs no new task, and its
 * publishing rules at once.
 */
import { equals } from '@bufbuild/protobuf';
import { runsSkepd } from '../../model/agent-kind.js';
import {
  EndpointSchema,
  type Service,
  type Task,
} from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeStatus_State, TaskState } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { isOnNode, observedState } from '../../model/task-state.js';
import type { ReadTransaction, StoreEvent } from '../../store/types.js';
import { followsPorts, placeOfTask } from '../orchestrator/task.js';
import { withServiceEndpoint } from '../orchestrator/task-ports.js';
import { isServiceAllocated } from './service-allocation.js';

/**
 * The task as it should be now that its service is what it is; undefined when it is so already, or
 * has to be replaced for it, or its service has no endpoint yet.
 */
export function followedTask(transaction: ReadTransaction, task: Task): Task | undefined {
  if (task.serviceId === '' || !isOnNode(task)) return undefined;
  const service = transaction.get('service', task.serviceId);
  if (service === undefined || !isServiceAllocated(transaction, service)) return undefined;
  const [node, onNode] = placeOfTask(transaction, task);
  if (!runsSkepd(node)) return undefined;
  return withServiceEndpoint(service, task, followsPorts(service, task, node, onNode));
}

/** Whether a change of a service can concern its running tasks; status changes do not. */
export function concernsTasks(event: Extract<StoreEvent, { table: 'service' }>): boolean {
  if (event.kind !== 'update') return event.kind === 'create';
  const { old, object } = event;
  return old.specVersion?.index !== object.specVersion?.index || !sameEndpoints(old, object);
}

/** Whether a task comes to its node by this change: its service may have changed meanwhile. */
export function entersNode(event: Extract<StoreEvent, { table: 'task' }>): boolean {
  if (event.kind === 'remove' || !isOnNode(event.object)) return false;
  return event.kind === 'create' || !isOnNode(event.old);
}

function sameEndpoints(a: Service, b: Service): boolean {
  if (a.endpoint === undefined || b.endpoint === undefined) return a.endpoint === b.endpoint;
  return equals(EndpointSchema, a.endpoint, b.endpoint);
}

/**
 * Whether a task leaves the books while nobody knows what became of it: it was given up with its node,
 * or removed while the node is down or gone.
 */
export function isLost(
  transaction: ReadTransaction,
  event: Extract<StoreEvent, { table: 'task' }>,
): boolean {
  const before = event.kind === 'update' ? event.old : event.object;
  if (event.kind === 'create' || !isOnNode(before)) return false;
  if (event.kind === 'update') return observedState(event.object) === TaskState.ORPHANED;
  const node = transaction.get('node', before.nodeId);
  return node === undefined || node.status?.state === NodeStatus_State.DOWN;
}
