/** What the scheduler knows of a node: its description, the tasks it holds and their failures. */
import type { Node, Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { PortConfig } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { runsSkepd } from '../../model/agent-kind.js';
import { publishRules, scopesOverlap } from '../../model/publish-rules.js';
import { isWanted } from '../../model/task-state.js';
import { hostPorts } from '../orchestrator/task-ports.js';
import { FAILING_SPECS_MAX, FAILURE_WINDOW_MS } from './limits.js';
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

/** A node with its tasks; changes only through its methods. */
export class NodeInfo {
  #node: Node;
  readonly #tasks = new Map<string, Task>();
  /** Times of failures by spec, on the monotonic clock, oldest first. */
  readonly #failures = new Map<string, number[]>();
  /** Derived from the tasks; undefined when it must be computed anew. */
  #usage: Usage | undefined;

  constructor(node: Node) {
    this.#node = node;
  }

  get node(): Node {
    return this.#node;
  }

  /** Replaces the description; the tasks stay. */
  setNode(node: Node): void {
    this.#node = node;
    this.#usage = undefined;
  }

  /** Resources not reserved by any task. */
  get resources(): NodeResources {
    return this.#use().resources;
  }

  /** Wanted tasks of all services. */
  get activeTasks(): number {
    return this.#use().activeTasks;
  }

  /** Wanted tasks of one service. */
  activeTasksOf(serviceId: string): number {
    return this.#use().activeTasksByService.get(serviceId) ?? 0;
  }

  /**
   * Whether `task` cannot have this port in host mode, on an address `scope` may mean. On a node of
   * skepd a task may have the port beside the one it replaces: there it is a row of the data path.
   */
  isHostPortTaken(task: Task, port: PortConfig, scope: string | undefined): boolean {
    const holders = this.#use().hostPorts.get(hostPortKey(port)) ?? [];
    const mayShare = runsSkepd(this.#node);
    return holders.some(
      (holder) =>
        scopesOverlap(holder.scope, scope) && !(mayShare && isSamePlace(holder.task, task)),
    );
  }

  /** Puts a task on the node, or replaces what was known of it. */
  setTask(task: Task): void {
    const known = this.#tasks.has(task.id);
    this.#tasks.set(task.id, task);
    if (known) this.#usage = undefined;
    else if (this.#usage !== undefined) addTo(this.#usage, task);
  }

  /** Takes a task off the node. */
  removeTask(taskId: string): void {
    if (this.#tasks.delete(taskId)) this.#usage = undefined;
  }

  /** Remembers that a task of this spec failed here. */
  recordFailure(task: Task, nowMs: number): void {
    const key = specKey(task);
    const recent = (this.#failures.get(key) ?? []).filter(
      (atMs) => nowMs - atMs < FAILURE_WINDOW_MS,
    );
    // Re-inserted, so that the map stays in order of the last failure.
    this.#failures.delete(key);
    this.#failures.set(key, [...recent, nowMs]);
    for (const oldest of this.#failures.keys()) {
      if (this.#failures.size <= FAILING_SPECS_MAX) break;
      this.#failures.delete(oldest);
    }
  }

  /** Failures of tasks of this spec within the last {@link FAILURE_WINDOW_MS}. */
  recentFailures(task: Task, nowMs: number): number {
    const times = this.#failures.get(specKey(task));
    if (times === undefined) return 0;
    return times.filter((atMs) => nowMs - atMs <= FAILURE_WINDOW_MS).length;
  }

  #use(): Usage {
    if (this.#usage !== undefined) return this.#usage;
    const usage: Usage = {
      resources: new NodeResources(this.#node.description?.resources),
      hostPorts: new Map(),
      activeTasks: 0,
      activeTasksByService: new Map(),
    };
    for (const task of this.#tasks.values()) addTo(usage, task);
    this.#usage = usage;
    return usage;
  }
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
  if (!isWanted(task)) return;
  usage.activeTasks += 1;
  const ofService = usage.activeTasksByService.get(task.serviceId) ?? 0;
  usage.activeTasksByService.set(task.serviceId, ofService + 1);
}

/** Whether both are for one slot of one service (of a global service: for one node). */
function isSamePlace(a: Task, b: Task): boolean {
  return a.serviceId !== '' && a.serviceId === b.serviceId && a.slot === b.slot;
}

function hostPortKey(port: PortConfig): string {
  return `${port.protocol}/${port.publishedPort}`;
}

function specKey(task: Task): string {
  return `${task.serviceId}/${task.specVersion?.index ?? ''}`;
}
