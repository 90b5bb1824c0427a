/**
 * Who belongs to the cluster, as calls are checked: the cluster id and the nodes that were removed.
 * Follows the store on every manager, leader or not, and tells when a node is to be cut off.
 */
import type { Cluster } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { AccessRules } from '../../rpc/authorization.js';
import type { Store, StoreEvent } from '../../store/types.js';

/** Access rules fed by the cluster object. */
export class ClusterAccess implements AccessRules {
  readonly clusterId: string;
  readonly #store: Store;
  readonly #onRemoved: (nodeId: string) => void;
  #removed: ReadonlySet<string> = new Set();
  #unsubscribe: (() => void) | undefined;

  constructor(options: {
    store: Store;
    clusterId: string;
    /** Called once for each node that gets blacklisted; its connections must be cut. */
    onRemoved?: (nodeId: string) => void;
  }) {
    this.clusterId = options.clusterId;
    this.#store = options.store;
    this.#onRemoved = options.onRemoved ?? (() => undefined);
  }

  /** Follows the store from now on. Idempotent. */
  start(): void {
    if (this.#unsubscribe !== undefined) return;
    const { result, unsubscribe } = this.#store.viewAndSubscribe(
      (read) => read.get('cluster', this.clusterId),
      (events) => this.#onEvents(events),
    );
    this.#unsubscribe = unsubscribe;
    this.#take(result);
  }

  /** Keeps the rules as they are. Idempotent. */
  stop(): void {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
  }

  isRemoved(nodeId: string): boolean {
    return this.#removed.has(nodeId);
  }

  #onEvents(events: readonly StoreEvent[]): void {
    for (const event of events) {
      if (event.table === 'cluster' && event.kind !== 'remove') this.#take(event.object);
    }
  }

  #take(cluster: Cluster | undefined): void {
    if (cluster === undefined || cluster.id !== this.clusterId) return;
    const before = this.#removed;
    this.#removed = new Set(Object.keys(cluster.blacklistedCertificates));
    for (const nodeId of this.#removed) {
      if (!before.has(nodeId)) this.#onRemoved(nodeId);
    }
  }
}
