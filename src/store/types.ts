/**
 * The contract of the replicated object store. Objects are SwarmKit's protobuf messages; they are
 * shared and must be treated as immutable: to change one, clone it (`clone` of @bufbuild/protobuf)
 * and hand the copy to {@link WriteTransaction.update}.
 */
import type {
  Cluster,
  Config,
  Extension,
  Network,
  Node,
  Resource,
  Secret,
  Service,
  Task,
  Volume,
} from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { NodeRole, TaskState } from '../model/gen/docker/swarmkit/v1/types_pb.js';

/** Object type of each table. */
export interface Tables {
  node: Node;
  service: Service;
  task: Task;
  network: Network;
  cluster: Cluster;
  secret: Secret;
  config: Config;
  resource: Resource;
  extension: Extension;
  volume: Volume;
}

/** Name of a table. */
export type TableName = keyof Tables;

/** What {@link ReadTransaction.find} selects by. A selector that does not fit the table matches nothing. */
export type Selector =
  | { readonly by: 'all' }
  | { readonly by: 'name'; readonly name: string }
  | { readonly by: 'namePrefix'; readonly prefix: string }
  | { readonly by: 'idPrefix'; readonly prefix: string }
  | { readonly by: 'service'; readonly serviceId: string }
  | { readonly by: 'node'; readonly nodeId: string }
  | { readonly by: 'slot'; readonly serviceId: string; readonly slot: bigint }
  | { readonly by: 'desiredState'; readonly state: TaskState }
  | { readonly by: 'taskState'; readonly state: TaskState }
  | { readonly by: 'role'; readonly role: NodeRole }
  | { readonly by: 'referencedNetwork'; readonly networkId: string }
  | { readonly by: 'referencedSecret'; readonly secretId: string }
  | { readonly by: 'referencedConfig'; readonly configId: string };

/** A consistent view of the store. */
export interface ReadTransaction {
  /** The object with this id, or undefined. */
  get<T extends TableName>(table: T, id: string): Tables[T] | undefined;
  /** All matching objects, in ascending order of id. */
  find<T extends TableName>(table: T, selector: Selector): readonly Tables[T][];
}

/**
 * A view that also takes changes. Nothing is visible outside before the raft entry is applied.
 * Names are unique per table, compared without regard to case, except for tasks and nodes.
 */
export interface WriteTransaction extends ReadTransaction {
  /** @throws SkepError already_exists `object already exists` | `name conflicts with an existing object` */
  create<T extends TableName>(table: T, object: Tables[T]): void;
  /**
   * Replaces the object of the same id; `object.meta.version` must be the stored one.
   * @throws SkepError not_found `object does not exist` | failed... code unknown `update out of sequence`
   */
  update<T extends TableName>(table: T, object: Tables[T]): void;
  /** @throws SkepError not_found `object does not exist` */
  delete(table: TableName, id: string): void;
}

/** One change, as seen after it was applied. */
export type StoreEvent = {
  [T in TableName]:
    | { readonly kind: 'create'; readonly table: T; readonly object: Tables[T] }
    | {
        readonly kind: 'update';
        readonly table: T;
        readonly object: Tables[T];
        readonly old: Tables[T];
      }
    | { readonly kind: 'remove'; readonly table: T; readonly object: Tables[T] };
}[TableName];

/** Called synchronously after each applied raft entry, with its changes in order. Must not throw. */
export type StoreListener = (events: readonly StoreEvent[], version: bigint) => void;

/** The replicated object store, as SwarmKit's MemoryStore: state in memory, changes through raft. */
export interface Store {
  /** Runs `read` over the applied state; synchronous. */
  view<R>(read: (transaction: ReadTransaction) => R): R;
  /**
   * Runs `write` when its turn comes, on top of all that was proposed before, proposes its changes
   * as one raft entry (at most 1.5 MiB) and resolves once they are applied here. A `write` without
   * changes proposes nothing, and settles once what it saw is applied.
   * @throws SkepError of `write`; unavailable when there is no leader; deadline_exceeded.
   */
  update<R>(write: (transaction: WriteTransaction) => R): Promise<R>;
  /**
   * Applies many independent changes in entries of at most 200 changes each (SwarmKit's Batch).
   * Each element is one atomic group; a throwing group is skipped and reported by index.
   */
  batch(
    writes: readonly ((transaction: WriteTransaction) => void)[],
  ): Promise<readonly (Error | undefined)[]>;
  /** Subscribes to changes from now on; returns the unsubscriber. */
  subscribe(listener: StoreListener): () => void;
  /** `view` and `subscribe` in one step, with no change lost or seen twice in between. */
  viewAndSubscribe<R>(
    read: (transaction: ReadTransaction) => R,
    listener: StoreListener,
  ): { readonly result: R; readonly unsubscribe: () => void };
  /** Raft index of the last applied entry. */
  version(): bigint;
}
