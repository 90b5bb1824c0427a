/**
 * Nodes that have been ready and active for a while, so that nothing is moved to one that comes and
 * goes. Kept in memory: a new leader begins to count anew.
 */
import type { Environment, Timer } from '../../model/environment.js';
import type { Node } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeSpec_Availability } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import { NodeStatus_State } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { STABLE_NODE_MS, STABLE_NODES_PAUSE_MS } from './limits.js';

/** Since when each node is open for tasks. */
export class StableNodes {
  readonly #environment: Environment;
  readonly #onStable: () => void;
  /** Monotonic milliseconds. */
  readonly #sinceMs = new Map<string, number>();
  /** Those of them that are not stable yet, in the order in which they will be. */
  readonly #young = new Set<string>();
  #timer: Timer | undefined;

  /** `onStable`: a node has become stable. */
  constructor(environment: Environment, onStable: () => void) {
    this.#environment = environment;
    this.#onStable = onStable;
  }

  /** Takes note of a node's state; to be called for each change, and for all nodes at start. */
  observe(node: Node, removed: boolean): void {
    if (removed || !isOpen(node)) {
      this.#sinceMs.delete(node.id);
      this.#young.delete(node.id);
    } else if (!this.#sinceMs.has(node.id)) {
      this.#sinceMs.set(node.id, this.#environment.clock.monotonicMs());
      this.#young.add(node.id);
      this.#arm(STABLE_NODE_MS);
    }
  }

  /** Whether the node has been ready and active for {@link STABLE_NODE_MS} without a break. */
  has(nodeId: string): boolean {
    const sinceMs = this.#sinceMs.get(nodeId) ?? Infinity;
    return this.#environment.clock.monotonicMs() - sinceMs >= STABLE_NODE_MS;
  }

  /** No more calls. */
  stop(): void {
    this.#timer?.cancel();
  }

  #arm(delayMs: number): void {
    this.#timer ??= this.#environment.clock.setTimer(delayMs, () => {
      this.#timer = undefined;
      const nowMs = this.#environment.clock.monotonicMs();
      for (const nodeId of this.#young) {
        const leftMs = (this.#sinceMs.get(nodeId) ?? nowMs) + STABLE_NODE_MS - nowMs;
        // Nodes that come one after the other are told of together.
        if (leftMs > 0) {
          this.#arm(Math.max(leftMs, STABLE_NODES_PAUSE_MS));
          break;
        }
        this.#young.delete(nodeId);
      }
      this.#onStable();
    });
  }
}

function isOpen(node: Node): boolean {
  const availability = node.spec?.availability ?? NodeSpec_Availability.ACTIVE;
  return (
    node.status?.state === NodeStatus_State.READY && availability === NodeSpec_Availability.ACTIVE
  );
}
