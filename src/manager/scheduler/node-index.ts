/** All nodes of the cluster, and by what the scheduler asks for them. */
import { parseConstraints } from '../../model/constraint.js';
import { SkepError } from '../../model/errors.js';
import type { Node, Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { NODE_CLASSES_MAX } from './limits.js';
import { NodeClass } from './node-class.js';
import { NodeInfo } from './node-info.js';

const NONE: ReadonlyMap<string, NodeInfo> = new Map();

/** The nodes. */
export class NodeIndex {
  readonly #nodes = new Map<string, NodeInfo>();
  /** Nodes with wanted tasks of a service. */
  readonly #byService = new Map<string, Map<string, NodeInfo>>();
  readonly #byHostname = new Map<string, Map<string, NodeInfo>>();
  /** By what makes the class, the one used last at the end. */
  readonly #classes = new Map<string, NodeClass>();

  get(nodeId: string): NodeInfo | undefined {
    return this.#nodes.get(nodeId);
  }

  /** All nodes. */
  all(): Iterable<NodeInfo> {
    return this.#nodes.values();
  }

  /** Nodes with wanted tasks of the service, by id. */
  ofService(serviceId: string): ReadonlyMap<string, NodeInfo> {
    return this.#byService.get(serviceId) ?? NONE;
  }

  /** Takes in a node or its new description; returns whether it was not known. */
  set(node: Node): boolean {
    const known = this.#nodes.get(node.id);
    const hostname = hostnameOf(node);
    if (known !== undefined) {
      const before = hostnameOf(known.node);
      if (before !== hostname) remove(this.#byHostname, before, node.id);
      known.setNode(node);
    }
    const info =
      known ??
      new NodeInfo(node, (changed, serviceId, tasks) => this.#onLoad(changed, serviceId, tasks));
    this.#nodes.set(node.id, info);
    insert(this.#byHostname, hostname, info);
    for (const nodeClass of this.#classes.values()) nodeClass.touch(info);
    return known === undefined;
  }

  /** The node is gone. */
  delete(nodeId: string): void {
    const info = this.#nodes.get(nodeId);
    if (info === undefined) return;
    this.#nodes.delete(nodeId);
    remove(this.#byHostname, hostnameOf(info.node), nodeId);
    for (const serviceId of info.services) remove(this.#byService, serviceId, nodeId);
    for (const nodeClass of this.#classes.values()) nodeClass.forget(nodeId);
  }

  /** The nodes for tasks like `task`, up to date now. */
  classFor(task: Task): NodeClass {
    const named = this.#named(task);
    // The nodes that a constraint names are few: looking at them is cheaper than keeping a class.
    const found = named === undefined ? this.#keptClass(task) : new NodeClass(task, named);
    found.refresh();
    return found;
  }

  #keptClass(task: Task): NodeClass {
    const { constraints, platforms, preferences } = task.spec?.placement ?? {};
    const key = JSON.stringify([
      constraints ?? [],
      (platforms ?? []).map(({ os, architecture }) => [os, architecture]),
      (preferences ?? []).map(({ Preference }) => Preference.value?.spreadDescriptor ?? ''),
    ]);
    const kept = this.#classes.get(key) ?? new NodeClass(task, this.#nodes.values());
    this.#classes.delete(key);
    this.#classes.set(key, kept);
    for (const oldest of this.#classes.keys()) {
      if (this.#classes.size <= NODE_CLASSES_MAX) break;
      this.#classes.delete(oldest);
    }
    return kept;
  }

  /** The nodes that a constraint on id or hostname leaves; undefined without one. */
  #named(task: Task): Iterable<NodeInfo> | undefined {
    for (const { key, operator, value } of parsed(task.spec?.placement?.constraints ?? [])) {
      if (operator !== '==') continue;
      if (key.toLowerCase() === 'node.id') {
        const info = this.#nodes.get(value.toLowerCase());
        return info === undefined ? [] : [info];
      }
      if (key.toLowerCase() === 'node.hostname') {
        return this.#byHostname.get(value.toLowerCase())?.values() ?? [];
      }
    }
    return undefined;
  }

  #onLoad(info: NodeInfo, serviceId: string, tasks: number): void {
    if (tasks === 0) remove(this.#byService, serviceId, info.node.id);
    else insert(this.#byService, serviceId, info);
    for (const nodeClass of this.#classes.values()) nodeClass.touch(info);
  }
}

/** Constraints are compared without regard to case; ids are lower case. */
function hostnameOf(node: Node): string {
  return (node.description?.hostname ?? '').toLowerCase();
}

/** Nothing for constraints that cannot be parsed: no node meets them. */
function parsed(expressions: readonly string[]) {
  try {
    return parseConstraints(expressions);
  } catch (error) {
    if (error instanceof SkepError) return [];
    throw error;
  }
}

function insert(index: Map<string, Map<string, NodeInfo>>, key: string, info: NodeInfo): void {
  const infos = index.get(key) ?? new Map<string, NodeInfo>();
  index.set(key, infos.set(info.node.id, info));
}

function remove(index: Map<string, Map<string, NodeInfo>>, key: string, nodeId: string): void {
  const infos = index.get(key);
  if (infos?.delete(nodeId) === true && infos.size === 0) index.delete(key);
}
