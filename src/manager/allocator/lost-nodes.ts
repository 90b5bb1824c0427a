/**
 * Nodes that have been down for so long that they have taken themselves off the networks: what their
 * tasks that are not wanted any more had of reserved addresses may go to others, who wait for just these.
 */
import type { Environment, Timer } from '../../model/environment.js';
import type { Node } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeStatus_State } from '../../model/gen/docker/swarmkit/v1/types_pb.js';

/** Kept by the allocator; a new leader counts anew. */
export class LostNodes {
  readonly #environment: Environment;
  readonly #onChange: (nodeId: string) => void;
  readonly #waiting = new Map<string, Timer>();
  readonly #lost = new Set<string>();

  /** `onChange`: what {@link isLost} says of this node is another now. */
  constructor(environment: Environment, onChange: (nodeId: string) => void) {
    this.#environment = environment;
    this.#onChange = onChange;
  }

  /** Takes note of a node's state; `restMs` is how long it must be down. */
  observe(node: Node, removed: boolean, restMs: number): void {
    const { id } = node;
    if (!removed && node.status?.state === NodeStatus_State.DOWN) {
      if (this.#lost.has(id) || this.#waiting.has(id)) return;
      const timer = this.#environment.clock.setTimer(restMs, () => {
        this.#waiting.delete(id);
        this.#lost.add(id);
        this.#onChange(id);
      });
      this.#waiting.set(id, timer);
      return;
    }
    this.#waiting.get(id)?.cancel();
    this.#waiting.delete(id);
    if (this.#lost.delete(id)) this.#onChange(id);
  }

  isLost(nodeId: string): boolean {
    return this.#lost.has(nodeId);
  }

  /** No more calls. */
  stop(): void {
    for (const timer of this.#waiting.values()) timer.cancel();
    this.#waiting.clear();
  }
}
