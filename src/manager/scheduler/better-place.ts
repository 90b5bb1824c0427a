/**
 * Whether a running task would stand better elsewhere: asked of the very filters and order that place
 * new tasks, with the task taken away for the moment of the question.
 */
import type { Service, Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { meetsPlacement } from './filters.js';
import type { Branch, NodeClass } from './node-class.js';
import type { NodeIndex } from './node-index.js';
import type { NodeInfo } from './node-info.js';
import { placementTree } from './placement-tree.js';

/** A move goes to a place that has at least so many tasks of the service fewer: one fewer would only turn it round. */
const GAIN_MIN = 2;

/** A task, and the node it would better be on. */
export interface BetterPlace {
  readonly task: Task;
  readonly nodeId: string;
}

/**
 * The first of `tasks`, the running ones of `service`, whose move makes the spread more even: by at
 * least two tasks at the first level at which the two places differ, which are the values of the
 * placement preferences and then the nodes. Moves over all nodes go before those among nodes with the
 * same values.
 */
export function findBetterPlace(
  nodes: NodeIndex,
  service: Service,
  tasks: readonly Task[],
  failingNodes: (task: Task) => ReadonlyMap<string, number>,
): BetterPlace | undefined {
  const [first] = tasks;
  if (first === undefined) return undefined;
  const sample = asReplaced(service, first);
  const failing = failingNodes(sample);
  const nodeClass = nodes.classFor(sample);
  const candidates = fullest(nodes, nodeClass, tasks);
  const levels = candidates[0]?.branch.path.length ?? 0;
  for (let depth = 0; depth <= levels; depth++) {
    for (const { info, task, branch } of candidates) {
      info.removeTask(task.id);
      const within = branch.path.slice(0, depth);
      const target = placementTree(nodes, asReplaced(service, task), failing, within).next();
      info.setTask(task);
      if (target === undefined || target === info) continue;
      if (gain(nodes, nodeClass, task, [info, target]) < GAIN_MIN) continue;
      return { task, nodeId: target.node.id };
    }
  }
  return undefined;
}

/** A task that may be moved. */
interface Candidate {
  readonly task: Task;
  /** Where it is. */
  readonly info: NodeInfo;
  readonly branch: Branch;
}

/**
 * The task as its replacement would be: the service's constraints may have changed without it, where its
 * node meets both.
 */
function asReplaced(service: Service, task: Task): Task {
  const { spec, specVersion } = service;
  return { ...task, spec: spec?.task, specVersion, serviceAnnotations: spec?.annotations };
}

/** The node with most of the tasks in each branch, fullest first, with its task of the highest slot. */
function fullest(
  nodes: NodeIndex,
  nodeClass: NodeClass,
  tasks: readonly Task[],
): readonly Candidate[] {
  const last = new Map<string, Task>();
  for (const task of tasks) {
    const known = last.get(task.nodeId);
    if (known === undefined || known.slot < task.slot) last.set(task.nodeId, task);
  }
  const best = new Map<Branch, Candidate>();
  for (const [nodeId, task] of [...last].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const [info, branch] = [nodes.get(nodeId), nodeClass.branchOf(nodeId)];
    if (info === undefined || branch === undefined) continue;
    // What stands on a node that takes no new tasks was left there on purpose.
    if (!meetsPlacement(info.node, task)) continue;
    const known = best.get(branch)?.info;
    const count = info.activeTasksOf(task.serviceId);
    if (known === undefined || known.activeTasksOf(task.serviceId) < count)
      best.set(branch, { info, task, branch });
  }
  const count = ({ info, task }: Candidate): number => info.activeTasksOf(task.serviceId);
  return [...best.values()].sort((a, b) => count(b) - count(a));
}

/** How many more tasks of the service there are where the task is than where it would go. */
function gain(
  nodes: NodeIndex,
  nodeClass: NodeClass,
  { serviceId }: Task,
  [from, to]: readonly [NodeInfo, NodeInfo],
): number {
  const pathOf = (info: NodeInfo) => nodeClass.branchOf(info.node.id)?.path ?? [];
  const [source, target] = [pathOf(from), pathOf(to)];
  const level = source.findIndex((value, index) => value !== target[index]);
  if (level < 0) return from.activeTasksOf(serviceId) - to.activeTasksOf(serviceId);
  const tasksBelow = (path: readonly string[]): number => {
    let sum = 0;
    for (const info of nodes.ofService(serviceId).values()) {
      const own = pathOf(info);
      if (path.slice(0, level + 1).every((value, index) => value === own[index]))
        sum += info.activeTasksOf(serviceId);
    }
    return sum;
  };
  return tasksBelow(source) - tasksBelow(target);
}
