/**
 * Chooses nodes for the tasks of one spec: spread evenly over the branches the placement
 * preferences make of the cluster, and within a branch over its nodes (SwarmKit
 * manager/scheduler: decision_tree.go, scheduleNTasksOnNodes). Nodes are looked at only as far as
 * they are needed.
 */
import type { Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { admits } from './filters.js';
import type { Branch, NodeClass } from './node-class.js';
import type { NodeIndex } from './node-index.js';
import type { NodeInfo } from './node-info.js';

/** Gives out nodes one by one. The caller puts a task on each before asking for the next. */
export interface NodeSource {
  /** Wanted tasks of the service on all nodes of the branch. */
  tasks: number;
  next(): NodeInfo | undefined;
}

interface Question {
  readonly task: Task;
  readonly nodes: NodeIndex;
  readonly nodeClass: NodeClass;
  /** Nodes on which such tasks failed too often, and how often. */
  readonly failing: ReadonlyMap<string, number>;
}

/**
 * A source of nodes for tasks like `task`, in the order they should be used; only those that have the
 * values `within` of the first placement preferences.
 */
export function placementTree(
  nodes: NodeIndex,
  task: Task,
  failing: ReadonlyMap<string, number>,
  within: readonly string[] = [],
): NodeSource {
  const nodeClass = nodes.classFor(task);
  const question = { task, nodes, nodeClass, failing };
  const busy = new Map<Branch, NodeInfo[]>();
  for (const [nodeId, info] of nodes.ofService(task.serviceId)) {
    const branch = nodeClass.branchOf(nodeId);
    if (branch === undefined) continue;
    const infos = busy.get(branch) ?? [];
    busy.set(branch, infos);
    infos.push(info);
  }
  const branches = nodeClass.branches.filter(({ path }) =>
    within.every((value, level) => value === path[level]),
  );
  return buildTree(branches, 0, busy, question);
}

function buildTree(
  branches: readonly Branch[],
  level: number,
  busy: ReadonlyMap<Branch, readonly NodeInfo[]>,
  question: Question,
): NodeSource {
  const [first] = branches;
  if (first === undefined) return NOTHING;
  if (level === first.path.length) return new Leaf(first, busy.get(first) ?? [], question);
  const groups = new Map<string, Branch[]>();
  for (const branch of branches) {
    const value = branch.path[level] ?? '';
    const group = groups.get(value) ?? [];
    groups.set(value, group);
    group.push(branch);
  }
  const sorted = [...groups].sort(([a], [b]) => (a < b ? -1 : 1));
  return new Fork(sorted.map(([, group]) => buildTree(group, level + 1, busy, question)));
}

const NOTHING: NodeSource = { tasks: 0, next: () => undefined };

/** Branches by the value of a label; a node without the label is in the branch of ''. */
class Fork implements NodeSource {
  tasks: number;
  readonly #open: Set<NodeSource>;

  constructor(branches: readonly NodeSource[]) {
    this.tasks = branches.reduce((sum, branch) => sum + branch.tasks, 0);
    this.#open = new Set(branches);
  }

  next(): NodeInfo | undefined {
    while (this.#open.size > 0) {
      let least: NodeSource | undefined;
      for (const branch of this.#open) {
        if (least === undefined || branch.tasks < least.tasks) least = branch;
      }
      if (least === undefined) return undefined;
      const node = least.next();
      if (node !== undefined) {
        this.tasks += 1;
        return node;
      }
      this.#open.delete(least);
    }
    return undefined;
  }
}

/**
 * Nodes in order of preference. A first round stays on each node until the next one is better,
 * which evens them out; later rounds give one task a node.
 */
class Leaf implements NodeSource {
  tasks: number;
  readonly #question: Question;
  /** The nodes of the first round, as far as they were looked at. */
  readonly #seen: NodeInfo[] = [];
  readonly #unseen: Iterator<NodeInfo, undefined>;
  readonly #full = new Set<NodeInfo>();
  #allSeen = false;
  #position = 0;
  #current: NodeInfo | undefined;

  constructor(branch: Branch, busy: readonly NodeInfo[], question: Question) {
    const { serviceId } = question.task;
    this.#question = question;
    this.tasks = busy.reduce((sum, node) => sum + node.activeTasksOf(serviceId), 0);
    this.#unseen = inOrder(branch, busy, question);
  }

  next(): NodeInfo | undefined {
    if (this.#current !== undefined) this.#advance(this.#current);
    for (let tried = 0; !this.#allSeen || tried < this.#seen.length; tried++, this.#position++) {
      const node = this.#at(this.#position) ?? this.#seen[this.#position % this.#seen.length];
      if (node === undefined || this.#full.has(node)) continue;
      if (admits(node, this.#question.task)) {
        this.#current = node;
        this.tasks += 1;
        return node;
      }
      this.#full.add(node);
    }
    this.#current = undefined;
    return undefined;
  }

  /** The node at a position of the first round. */
  #at(position: number): NodeInfo | undefined {
    while (this.#seen.length <= position && !this.#allSeen) {
      const { value } = this.#unseen.next();
      if (value === undefined) this.#allSeen = true;
      else this.#seen.push(value);
    }
    return this.#seen[position];
  }

  /** Where to go after `current` got a task. */
  #advance(current: NodeInfo): void {
    const following = this.#at(this.#position + 1);
    if (following === undefined || comparePreference(following, current, this.#question) < 0) {
      this.#position += 1;
    }
  }
}

/** The nodes of a branch that can take the task, best first, as it is before any gets one. */
function* inOrder(
  branch: Branch,
  busy: readonly NodeInfo[],
  question: Question,
): Generator<NodeInfo, undefined> {
  const { task, nodes, failing } = question;
  const later = new Set(busy.map(({ node }) => node.id));
  for (const nodeId of branch.order) {
    if (failing.has(nodeId)) later.add(nodeId);
    if (later.has(nodeId)) continue;
    const info = nodes.get(nodeId);
    if (info !== undefined && admits(info, task)) yield info;
  }
  const rest = [...later].flatMap((nodeId) => nodes.get(nodeId) ?? []);
  rest.sort((a, b) => comparePreference(a, b, question) || (a.node.id < b.node.id ? -1 : 1));
  for (const info of rest) if (admits(info, task)) yield info;
  return undefined;
}

/**
 * Negative when `a` is the better place: fewer recent failures, if one of them has too many; then
 * fewer tasks of the service; then fewer tasks.
 */
function comparePreference(a: NodeInfo, b: NodeInfo, { task, failing }: Question): number {
  const failures = (failing.get(a.node.id) ?? 0) - (failing.get(b.node.id) ?? 0);
  if (failures !== 0) return failures;
  const ofService = a.activeTasksOf(task.serviceId) - b.activeTasksOf(task.serviceId);
  return ofService || a.activeTasks - b.activeTasks;
}
