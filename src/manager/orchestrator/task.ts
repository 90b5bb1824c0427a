/**
 * Tasks of a service: how a new one is made, when one is out of date, and the slots they stand in
 * (SwarmKit manager/orchestrator/task.go, slot.go).
 */
import { create, equals } from '@bufbuild/protobuf';
import { taskTimestampMs, timestampNow, timestampToMs } from '../../model/defaults.js';
import { nodeMeetsExpressions } from '../../model/constraint.js';
import type { Environment } from '../../model/environment.js';
import {
  type Cluster,
  EndpointSchema,
  type Node,
  type Service,
  type Task,
  TaskSchema,
} from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { type TaskSpec, TaskSpecSchema } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  PlacementSchema,
  TaskState,
  TaskStatusSchema,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { runsSkepd } from '../../model/agent-kind.js';
import { newId } from '../../model/ids.js';
import { isOnNode, isWanted, observedState, serviceMode } from '../../model/task-state.js';
import type { ReadTransaction, WriteTransaction } from '../../store/types.js';
import { serviceSettingsText, taskSettingsText } from './container-policy.js';
import { hasOtherAddresses } from './fixed-addresses.js';
import { canFollowPorts, hasWantedEndpoint, needsSkepd, type TasksOnNode } from './task-ports.js';

/** Where a task of a service stands: a slot number (replicated) or a node (global). */
export interface SlotKey {
  readonly serviceId: string;
  /** 0 for global services. */
  readonly slot: bigint;
  /** Empty for replicated services. */
  readonly nodeId: string;
}

/** One string a slot, for maps. */
export function slotKeyText(key: SlotKey): string {
  return `${key.serviceId}/${key.slot}/${key.nodeId}`;
}

/** Whether tasks of the service are bound to nodes rather than to slot numbers. */
export function isPerNode(service: Service): boolean {
  const mode = serviceMode(service);
  return mode === 'global' || mode === 'globalJob';
}

/** Whether tasks of the service are meant to end. */
export function isJob(service: Service): boolean {
  const mode = serviceMode(service);
  return mode === 'replicatedJob' || mode === 'globalJob';
}

/** The slot `task` stands in. */
export function slotOf(service: Service, task: Task): SlotKey {
  return isPerNode(service)
    ? { serviceId: service.id, slot: 0n, nodeId: task.nodeId }
    : { serviceId: service.id, slot: task.slot, nodeId: '' };
}

/** All tasks in a slot, in order of id. */
export function tasksInSlot(transaction: ReadTransaction, key: SlotKey): readonly Task[] {
  if (key.nodeId === '') {
    return transaction.find('task', { by: 'slot', serviceId: key.serviceId, slot: key.slot });
  }
  return transaction
    .find('task', { by: 'node', nodeId: key.nodeId })
    .filter((task) => task.serviceId === key.serviceId);
}

/** Where a task runs, as {@link isTaskDirty} takes it. */
export function placeOfTask(
  transaction: ReadTransaction,
  task: Task,
): [node: Node | undefined, onNode: TasksOnNode] {
  const { nodeId } = task;
  return [transaction.get('node', nodeId), () => transaction.find('task', { by: 'node', nodeId })];
}

/** The cluster object, if it exists already. */
export function findCluster(transaction: ReadTransaction): Cluster | undefined {
  return transaction.find('cluster', { by: 'all' })[0];
}

/** A new task of `service`, to stand in `slot` (and on its node, if it names one). */
export function newTask(
  environment: Environment,
  options: {
    readonly cluster: Cluster | undefined;
    readonly service: Service;
    readonly slot: SlotKey;
    readonly desiredState: TaskState;
  },
): Task {
  const { cluster, service, slot, desiredState } = options;
  const logDriver = service.spec?.task?.logDriver ?? cluster?.spec?.taskDefaults?.logDriver;
  const endpoint = create(EndpointSchema);
  if (service.spec?.endpoint !== undefined) endpoint.spec = service.spec.endpoint;
  return {
    ...create(TaskSchema),
    id: newId(environment.random),
    serviceId: service.id,
    serviceAnnotations: service.spec?.annotations,
    spec: service.spec?.task,
    specVersion: service.specVersion,
    slot: slot.slot,
    nodeId: slot.nodeId,
    status: create(TaskStatusSchema, {
      state: TaskState.NEW,
      timestamp: timestampNow(environment.clock),
      message: 'created',
    }),
    endpoint,
    desiredState,
    logDriver,
    jobIteration: isJob(service) ? service.jobStatus?.jobIteration : undefined,
  };
}

/**
 * Writes a higher desired state; a state already reached or passed stays.
 * @returns whether the task was changed
 */
export function raiseDesiredState(
  transaction: WriteTransaction,
  taskId: string,
  desiredState: TaskState,
): boolean {
  const task = transaction.get('task', taskId);
  if (task === undefined || task.desiredState >= desiredState) return false;
  transaction.update('task', { ...task, desiredState });
  return true;
}

/** Writes the observed state of a task that no agent speaks for. */
export function withObservedState(
  environment: Environment,
  task: Task,
  status: { readonly state: TaskState; readonly message: string; readonly err: string },
): Task {
  // When a manager took in what an agent said before goes with that.
  const { appliedAt: _before, ...old } = task.status ?? create(TaskStatusSchema);
  return {
    ...task,
    status: { ...old, ...status, timestamp: timestampNow(environment.clock) },
  };
}

/**
 * Whether the task differs from what its service now asks for, so that it has to be replaced.
 * @param node where it runs
 * @param onNode the tasks of that node, for host-mode ports that one of them has
 */
export function isTaskDirty(
  service: Service,
  task: Task,
  node: Node | undefined,
  onNode: TasksOnNode = () => [],
): boolean {
  if (mustLeaveNode(service, task, node)) return true;
  const wantedVersion = service.specVersion?.index;
  if (wantedVersion !== undefined && wantedVersion === task.specVersion?.index) return false;
  if (hasOtherAddresses(service, task, node)) return true;
  const fit = specFit(service, task, node);
  if (fit === 'differs') return true;
  // As in SwarmKit: constraints that the node meets hide a change of the ports.
  if (fit === 'constraints met' && !runsSkepd(node)) return false;
  return !hasWantedEndpoint(service, task) && !canFollowPorts(service, task, node, onNode);
}

/** Whether the task's ports are behind its service's and can be changed where it runs. */
export function isFollowing(
  service: Service,
  task: Task,
  node: Node | undefined,
  onNode: TasksOnNode,
): boolean {
  if (hasWantedEndpoint(service, task)) return false;
  return followsPorts(service, task, node, onNode);
}

/** Whether the task's ports may be changed where it runs: nothing else about it is out of date. */
export function followsPorts(
  service: Service,
  task: Task,
  node: Node | undefined,
  onNode: TasksOnNode,
): boolean {
  if (!isWanted(task) || specFit(service, task, node) === 'differs') return false;
  return canFollowPorts(service, task, node, onNode);
}

/** A stock engine cannot keep to the rules of a published port. */
function mustLeaveNode(service: Service, task: Task, node: Node | undefined): boolean {
  if (node === undefined || !isOnNode(task) || runsSkepd(node)) return false;
  return needsSkepd(service.spec?.annotations?.labels);
}

function specFit(
  service: Service,
  task: Task,
  node: Node | undefined,
): 'same' | 'constraints met' | 'differs' {
  const wanted = service.spec?.task ?? create(TaskSpecSchema);
  const actual = task.spec ?? create(TaskSpecSchema);
  if (serviceSettingsText(service.spec) !== taskSettingsText(task)) return 'differs';
  if (onlyConstraintsDiffer(wanted, actual)) {
    const expressions = wanted.placement?.constraints ?? [];
    if (node !== undefined && nodeMeetsExpressions(expressions, node)) return 'constraints met';
  }
  return isSameSpec(withPullOptionsOf(wanted, actual, task), actual) ? 'same' : 'differs';
}

/**
 * Whether two specs mean the same: mounts go by their targets, and the docker CLI sorts them by source
 * at every `service update`, whatever was asked for.
 */
function isSameSpec(a: TaskSpec, b: TaskSpec): boolean {
  return equals(TaskSpecSchema, withSortedMounts(a), withSortedMounts(b));
}

function withSortedMounts(spec: TaskSpec): TaskSpec {
  if (spec.runtime.case !== 'container' || spec.runtime.value.mounts.length < 2) return spec;
  const mounts = [...spec.runtime.value.mounts].sort((a, b) => (a.target < b.target ? -1 : 1));
  return { ...spec, runtime: { case: 'container', value: { ...spec.runtime.value, mounts } } };
}

function onlyConstraintsDiffer(wanted: TaskSpec, actual: TaskSpec): boolean {
  const empty = create(PlacementSchema);
  const [wantedPlacement, placement] = [wanted.placement ?? empty, actual.placement ?? empty];
  if (equals(PlacementSchema, wantedPlacement, placement)) return false;
  const same = { ...wantedPlacement, constraints: placement.constraints };
  if (!equals(PlacementSchema, same, placement)) return false;
  return isSameSpec({ ...wanted, placement: actual.placement }, actual);
}

/** Registry credentials alone are no reason to replace a task that has its image already. */
function withPullOptionsOf(wanted: TaskSpec, actual: TaskSpec, task: Task): TaskSpec {
  const state = observedState(task);
  const hasImage = isWanted(task) && state >= TaskState.READY && state <= TaskState.RUNNING;
  if (!hasImage) return wanted;
  if (wanted.runtime.case !== 'container' || actual.runtime.case !== 'container') return wanted;
  const pullOptions = actual.runtime.value.pullOptions;
  const value = { ...wanted.runtime.value, pullOptions };
  return { ...wanted, runtime: { case: 'container', value } };
}

/** Oldest first, by when the observed state was last set; ties by id. */
export function byTimestamp(a: Task, b: Task): number {
  const difference = (taskTimestampMs(a) ?? 0) - (taskTimestampMs(b) ?? 0);
  return difference || (a.id < b.id ? -1 : 1);
}

/** Oldest first, by creation; ties by id. */
export function byCreation(a: Task, b: Task): number {
  const difference =
    (timestampToMs(a.meta?.createdAt) ?? 0) - (timestampToMs(b.meta?.createdAt) ?? 0);
  return difference || (a.id < b.id ? -1 : 1);
}
