/**
 * The nodes on which tasks with the same constraints, platforms and placement preferences may run, in
 * the branches that the preferences make of the cluster, each in order of load. Kept up to date by
 * single changes, so that placing a task costs the nodes it looks at and not those there are.
 */
import type { Node, Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { meetsPlacement } from './filters.js';
import { LoadOrder } from './load-order.js';
import type { NodeInfo } from './node-info.js';

/** Nodes with the same values of the labels spread over. */
export interface Branch {
  /** One value a preference; empty for a node without the label. */
  readonly path: readonly string[];
  readonly order: LoadOrder;
  /** Nodes in `order`. */
  candidates: number;
  /** All nodes with these values. */
  members: number;
}

interface Member {
  readonly branch: Branch;
  readonly node: Node;
  /** As in the order of its branch; undefined: it is not among them, tasks may not run there. */
  tasks: number | undefined;
}

/** One kind of placement. */
export class NodeClass {
  /** Such a task. */
  readonly #sample: Task;
  readonly #levels: readonly LabelReader[];
  readonly #members = new Map<string, Member>();
  readonly #branches = new Map<string, Branch>();
  /** Changed since they were looked at. */
  readonly #stale = new Map<string, NodeInfo>();

  constructor(sample: Task, nodes: Iterable<NodeInfo>) {
    this.#sample = sample;
    this.#levels = spreadLevels(sample);
    for (const info of nodes) this.touch(info);
  }

  /** Branches with nodes for tasks, as of the last {@link refresh}. */
  get branches(): readonly Branch[] {
    return [...this.#branches.values()].filter(({ candidates }) => candidates > 0);
  }

  /** The branch of a node, whether tasks may run there or not. */
  branchOf(nodeId: string): Branch | undefined {
    return this.#members.get(nodeId)?.branch;
  }

  /** The node, or its tasks, changed. */
  touch(info: NodeInfo): void {
    this.#stale.set(info.node.id, info);
  }

  /** The node is gone. */
  forget(nodeId: string): void {
    this.#stale.delete(nodeId);
    this.#drop(nodeId);
  }

  /** Brings everything up to date; between two calls the order stands still. */
  refresh(): void {
    for (const info of this.#stale.values()) this.#place(info);
    this.#stale.clear();
  }

  #place(info: NodeInfo): void {
    const { node, activeTasks } = info;
    const known = this.#members.get(node.id);
    if (known?.node === node) {
      if (known.tasks === undefined || known.tasks === activeTasks) return;
      known.branch.order.remove(node.id, known.tasks);
      known.branch.order.add(node.id, activeTasks);
      known.tasks = activeTasks;
      return;
    }
    this.#drop(node.id);
    const branch = this.#branchFor(node);
    const isCandidate = meetsPlacement(node, this.#sample);
    this.#members.set(node.id, { branch, node, tasks: isCandidate ? activeTasks : undefined });
    if (!isCandidate) return;
    branch.order.add(node.id, activeTasks);
    branch.candidates += 1;
  }

  #drop(nodeId: string): void {
    const known = this.#members.get(nodeId);
    if (known === undefined) return;
    this.#members.delete(nodeId);
    const { branch, tasks } = known;
    branch.members -= 1;
    if (branch.members === 0) this.#branches.delete(branchKey(branch.path));
    if (tasks === undefined) return;
    branch.order.remove(nodeId, tasks);
    branch.candidates -= 1;
  }

  #branchFor(node: Node): Branch {
    const path = this.#levels.map((level) => level(node));
    const key = branchKey(path);
    const branch = this.#branches.get(key) ?? {
      ...{ path, order: new LoadOrder() },
      ...{ candidates: 0, members: 0 },
    };
    this.#branches.set(key, branch);
    branch.members += 1;
    return branch;
  }
}

function branchKey(path: readonly string[]): string {
  return JSON.stringify(path);
}

type LabelReader = (node: Node) => string;

function spreadLevels(task: Task): readonly LabelReader[] {
  return (task.spec?.placement?.preferences ?? []).flatMap(({ Preference }) => {
    if (Preference.case !== 'spread') return [];
    return labelReader(Preference.value.spreadDescriptor) ?? [];
  });
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
