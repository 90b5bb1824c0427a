/**
 * Nodes that are down, since when, and how long each service waits before it gives up its tasks there:
 * the cluster's `skep.reschedule_after` has passed already when a node counts as down, a service may
 * want to wait longer.
 */
import type { Environment, Timer } from '../../model/environment.js';
import type { Node, Service } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeSpec_Availability } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import { NodeStatus_State } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { RESCHEDULE_AFTER_LABEL } from '../../model/labels/keys.js';
import { durationLabelMs } from '../../model/labels/read.js';
import type { ReadTransaction } from '../../store/types.js';
import { findCluster } from './task.js';

/** Kept by one orchestrator. */
export class DownNodes {
  readonly #environment: Environment;
  readonly #onOver: (nodeId: string) => void;
  /** Monotonic milliseconds. */
  readonly #sinceMs = new Map<string, number>();
  readonly #timers = new Map<string, Timer>();

  /** `onOver`: a wait for this node is over; its tasks are to be looked at again. */
  constructor(environment: Environment, onOver: (nodeId: string) => void) {
    this.#environment = environment;
    this.#onOver = onOver;
  }

  /** Takes note of a node's state; to be called for each change, and for all nodes at start. */
  observe(node: Node, removed: boolean): void {
    const isDown = !removed && node.status?.state === NodeStatus_State.DOWN;
    if (!isDown) this.#sinceMs.delete(node.id);
    else if (!this.#sinceMs.has(node.id))
      this.#sinceMs.set(node.id, this.#environment.clock.monotonicMs());
  }

  /**
   * Whether the service still waits for the node, which is down; then `onOver` is called in time. A
   * node that is drained or gone is not waited for.
   */
  awaits(transaction: ReadTransaction, service: Service, node: Node | undefined): boolean {
    const sinceMs = node === undefined ? undefined : this.#sinceMs.get(node.id);
    if (node === undefined || sinceMs === undefined) return false;
    if (node.spec?.availability === NodeSpec_Availability.DRAIN) return false;
    const cluster = findCluster(transaction)?.spec?.annotations?.labels;
    const passedMs = durationLabelMs(RESCHEDULE_AFTER_LABEL, cluster);
    const wantedMs = durationLabelMs(
      RESCHEDULE_AFTER_LABEL,
      service.spec?.annotations?.labels,
      cluster,
    );
    const leftMs = sinceMs + wantedMs - passedMs - this.#environment.clock.monotonicMs();
    if (leftMs <= 0) return false;
    this.#wake(`${service.id} ${node.id}`, node.id, leftMs);
    return true;
  }

  /** No more calls. */
  stop(): void {
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
  }

  #wake(key: string, nodeId: string, delayMs: number): void {
    this.#timers.get(key)?.cancel();
    const timer = this.#environment.clock.setTimer(delayMs, () => {
      this.#timers.delete(key);
      this.#onOver(nodeId);
    });
    this.#timers.set(key, timer);
  }
}
