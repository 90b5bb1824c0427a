/**
 * What the scheduler knows of a node: its description and the tasks it holds. What they use is kept
 * by adding and taking away, so that a change of a task costs the same on every node.
 */
import { equals } from '@bufbuild/protobuf';
import type { Node, Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { type PortConfig, ResourcesSchema } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { runsSkepd } from '../../model/agent-kind.js';
import { publishRules, scopesOverlap } from '../../model/publish-rules.js';
import { isWanted } from '../../model/task-state.js';
import { hostPorts } from '../orchestrator/task-ports.js';
import { NodeResources } from './node-resources.js';

/** What the tasks of a node use of it. */
interface Usage {
  readonly resources: NodeResources;
  /** Who has each port. */
  readonly hostPorts: Map<string, PortHolder[]>;
  activeTasks: number;
  readonly activeTasksByService: Map<string, number>;
}

/** A task that publishes a port in host mode. */
interface PortHolder {
  readonly task: Task;
  /** Where (`skep.publish.<port>.address`); undefined: on all addresses. */
  readonly scope: string | undefined;
}

/** Told of each change of the number of wanted tasks of a service on a node. */
export type LoadListener = (node: NodeInfo, serviceId: string, tasks: number) => void;

/** A node with its tasks; changes only through its methods. */
export class NodeInfo {
  #node: Node;
  readonly #tasks = new Map<string, Task>();
  readonly #onLoad: LoadListener;
  #usage: Usage;

  constructor(node: Node, onLoad: LoadListener = () => undefined) {
    this.#node = node;
    this.#onLoad = onLoad;
    this.#usage = emptyUsage(node);
  }

  get node(): Node {
    return this.#node;
  }

  /** Replaces the description; the tasks stay. */
  setNode(node: Node): void {
    const before = this.#node.description?.resources;
    this.#node = node;
    const after = node.description?.resources;
    if (before === after) return;
    if (before !== undefined && after !== undefined && equals(ResourcesSchema, before, after))
      return;
    this.#usage = emptyUsage(node);
    for (const task of this.#tasks.values()) addTo(this.#usage, task);
  }

  /** Resources not reserved by any task. */
  get resources(): NodeResources {
    return this.#usage.resources;
  }

  /** Wanted tasks of all services. */
  get activeTasks(): number {
    return this.#usage.activeTasks;
  }

  /** Wanted tasks of one service. */
  activeTasksOf(serviceId: string): number {
    return this.#usage.activeTasksByService.get(serviceId) ?? 0;
  }

  /** Services with wanted tasks. */
  get services(): Iterable<string> {
    return this.#usage.activeTasksByService.keys();
  }

  /**
   * Whether `task` cannot have this port in host mode, on an address `scope` may mean. On a node of
   * skepd a task may have the port beside the one it replaces: there it is a row of the data path.
   */
  isHostPortTaken(task: Task, port: PortConfig, scope: string | undefined): boolean {
    const holders = this.#usage.hostPorts.get(hostPortKey(port)) ?? [];
    const mayShare = runsSkepd(this.#node);
    return holders.some(
      (holder) =>
        scopesOverlap(holder.scope, scope) && !(mayShare && isSamePlace(holder.task, task)),
    );
  }

  /** Puts a task on the node, or replaces what was known of it. */
  setTask(task: Task): void {
    const known = this.#tasks.get(task.id);
    const before = this.activeTasksOf(task.serviceId);
    if (known !== undefined) takeFrom(this.#usage, known);
    this.#tasks.set(task.id, task);
    addTo(this.#usage, task);
    this.#tell(task.serviceId, before);
  }

  /** Takes a task off the node. */
  removeTask(taskId: string): void {
    const known = this.#tasks.get(taskId);
    if (known === undefined) return;
    const before = this.activeTasksOf(known.serviceId);
    this.#tasks.delete(taskId);
    takeFrom(this.#usage, known);
    this.#tell(known.serviceId, before);
  }

  #tell(serviceId: string, before: number): void {
    const tasks = this.activeTasksOf(serviceId);
    if (tasks !== before) this.#onLoad(this, serviceId, tasks);
  }
}

function emptyUsage(node: Node): Usage {
  return {
    resources: new NodeResources(node.description?.resources),
    hostPorts: new Map(),
    activeTasks: 0,
    activeTasksByService: new Map(),
  };
}

/** Host-mode ports of a task, each with the scope its service gives it. */
export function scopedHostPorts(
  task: Task,
): readonly (readonly [port: PortConfig, scope: string | undefined])[] {
  const ports = hostPorts(task);
  if (ports.length === 0) return [];
  const rules = publishRules(task.serviceAnnotations?.labels);
  return ports.map((port) => [port, rules.get(port.publishedPort)?.scope]);
}

function addTo(usage: Usage, task: Task): void {
  usage.resources.take(task.spec?.resources?.reservations, task.assignedGenericResources);
  for (const [port, scope] of scopedHostPorts(task)) {
    const key = hostPortKey(port);
    usage.hostPorts.set(key, [...(usage.hostPorts.get(key) ?? []), { task, scope }]);
  }
  if (isWanted(task)) count(usage, task.serviceId, 1);
}

/** Undoes {@link addTo} of the very same task. */
function takeFrom(usage: Usage, task: Task): void {
  usage.resources.give(task.spec?.resources?.reservations, task.assignedGenericResources);
  for (const [port] of scopedHostPorts(task)) {
    const key = hostPortKey(port);
    const left = (usage.hostPorts.get(key) ?? []).filter((holder) => holder.task !== task);
    if (left.length === 0) usage.hostPorts.delete(key);
    else usage.hostPorts.set(key, left);
  }
  if (isWanted(task)) count(usage, task.serviceId, -1);
}

function count(usage: Usage, serviceId: string, change: 1 | -1): void {
  usage.activeTasks += change;
  const tasks = (usage.activeTasksByService.get(serviceId) ?? 0) + change;
  if (tasks === 0) usage.activeTasksByService.delete(serviceId);
  else usage.activeTasksByService.set(serviceId, tasks);
}

/** Whether both are for one slot of one service (of a global service: for one node). */
function isSamePlace(a: Task, b: Task): boolean {
  return a.serviceId !== '' && a.serviceId === b.serviceId && a.slot === b.slot;
}

function hostPortKey(port: PortConfig): string {
  return `${port.protocol}/${port.publishedPort}`;
}
