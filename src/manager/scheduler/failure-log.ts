/** Failures of tasks by specification and node: a node on which one fails over and over is taken last. */
import type { Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { FAILING_SPECS_MAX, FAILURE_WINDOW_MS, NODE_FAILURES_MAX } from './limits.js';

/** Times are of the monotonic clock. */
export class FailureLog {
  /** Oldest first; specs in the order of their last failure. */
  readonly #times = new Map<string, Map<string, readonly number[]>>();

  /** Remembers that a task of this spec failed on its node. */
  record(task: Task, nowMs: number): void {
    const key = specKey(task);
    const byNode = this.#times.get(key) ?? new Map<string, readonly number[]>();
    byNode.set(task.nodeId, [...recent(byNode.get(task.nodeId), nowMs), nowMs]);
    this.#times.delete(key);
    this.#times.set(key, byNode);
    for (const oldest of this.#times.keys()) {
      if (this.#times.size <= FAILING_SPECS_MAX) break;
      this.#times.delete(oldest);
    }
  }

  /** The node is gone. */
  forgetNode(nodeId: string): void {
    for (const [key, byNode] of this.#times) {
      if (byNode.delete(nodeId) && byNode.size === 0) this.#times.delete(key);
    }
  }

  /** Nodes on which the spec of `task` failed too often lately, and how often. */
  failingNodes(task: Task, nowMs: number): ReadonlyMap<string, number> {
    const failing = new Map<string, number>();
    for (const [nodeId, times] of this.#times.get(specKey(task)) ?? []) {
      const failures = recent(times, nowMs).length;
      if (failures >= NODE_FAILURES_MAX) failing.set(nodeId, failures);
    }
    return failing;
  }
}

function recent(times: readonly number[] | undefined, nowMs: number): readonly number[] {
  return (times ?? []).filter((atMs) => nowMs - atMs <= FAILURE_WINDOW_MS);
}

function specKey(task: Task): string {
  return `${task.serviceId}/${task.specVersion?.index ?? ''}`;
}
