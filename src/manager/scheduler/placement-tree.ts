/**
 * Chooses nodes for the tasks of one spec: spread evenly over the branches the placement
 * preferences make of the cluster, and within a branch over its nodes (SwarmKit
 * manager/scheduler: decision_tree.go, scheduleNTasksOnNodes).
 */
import type { Node, Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { admits } from './filters.js';
import { NODE_FAILURES_MAX } from './limits.js';
import type { NodeInfo } from './node-info.js';

/** Gives out nodes one by one. The caller puts a task on each before asking for the next. */
interface NodeSource {
  /** Wanted tasks of the service on all nodes of the branch. */
  tasks: number;
  next(): NodeInfo | undefined;
}

/** A source of nodes for tasks like `task`, in the order they should be used. */
export function placementTree(
  nodes: readonly NodeInfo[],
  task: Task,
  nowMs: number,
): { next(): NodeInfo | undefined } {
  const descriptors = (task.spec?.placement?.preferences ?? []).flatMap(({ Preference }) =>
    Preference.case === 'spread' ? [Preference.value.spreadDescriptor] : [],
  );
  return buildTree(nodes, descriptors.map(labelReader).filter(isDefined), { task, nowMs });
}

type LabelReader = (node: Node) => string;

interface Question {
  readonly task: Task;
  readonly nowMs: number;
}

/** Only labels can be spread over; any other descriptor is ignored, as SwarmKit does. */
function labelReader(descriptor: string): LabelReader | undefined {
  const lower = descriptor.toLowerCase();
  for (const prefix of ['node.labels.', 'engine.labels.']) {
    if (!lower.startsWith(prefix) || descriptor.length === prefix.length) continue;
    const label = descriptor.slice(prefix.length);
    return prefix === 'node.labels.'
      ? (node) => node.spec?.annotations?.labels[label] ?? ''
      : (node) => node.description?.engine?.labels[label] ?? '';
  }
  return undefined;
}

function isDefined<T>(value: T | undefined): value is T {
  return value !== undefined;
}

function buildTree(
  nodes: readonly NodeInfo[],
  levels: readonly LabelReader[],
  question: Question,
): NodeSource {
  const [level, ...deeper] = levels;
  if (level === undefined) return new Leaf(nodes, question);
  const groups = new Map<string, NodeInfo[]>();
  for (const node of nodes) {
    const value = level(node.node);
    const group = groups.get(value) ?? [];
    groups.set(value, group);
    group.push(node);
  }
  const branches = [...groups].sort(([a], [b]) => (a < b ? -1 : 1));
  return new Fork(branches.map(([, group]) => buildTree(group, deeper, question)));
}

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
  readonly #nodes: readonly NodeInfo[];
  readonly #full = new Set<NodeInfo>();
  #position = 0;
  #current: NodeInfo | undefined;

  constructor(nodes: readonly NodeInfo[], question: Question) {
    const { task } = question;
    this.#question = question;
    this.tasks = nodes.reduce((sum, node) => sum + node.activeTasksOf(task.serviceId), 0);
    this.#nodes = nodes
      .filter((node) => admits(node, task))
      .sort((a, b) => comparePreference(a, b, question) || (a.node.id < b.node.id ? -1 : 1));
  }

  next(): NodeInfo | undefined {
    const nodes = this.#nodes;
    if (this.#current !== undefined) this.#advance(this.#current);
    for (let tried = 0; tried < nodes.length; tried++, this.#position++) {
      const node = nodes[this.#position % nodes.length];
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

  /** Where to go after `current` got a task. */
  #advance(current: NodeInfo): void {
    const following = this.#nodes[this.#position + 1];
    if (following === undefined || comparePreference(following, current, this.#question) < 0) {
      this.#position += 1;
    }
  }
}

/**
 * Negative when `a` is the better place: fewer recent failures, if one of them has too many; then
 * fewer tasks of the service; then fewer tasks.
 */
function comparePreference(a: NodeInfo, b: NodeInfo, { task, nowMs }: Question): number {
  const failuresA = a.recentFailures(task, nowMs);
  const failuresB = b.recentFailures(task, nowMs);
  if (Math.max(failuresA, failuresB) >= NODE_FAILURES_MAX && failuresA !== failuresB) {
    return failuresA - failuresB;
  }
  const ofService = a.activeTasksOf(task.serviceId) - b.activeTasksOf(task.serviceId);
  return ofService || a.activeTasks - b.activeTasks;
}
