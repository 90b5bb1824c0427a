/**
 * Writes observed state of nodes and tasks to the store in batches. While one batch is on its way
 * through raft the next gathers, so a quiet cluster sees each change at once and a busy one few
 * large entries. One pending change a node and a task, the newest.
 */
import { clone, create } from '@bufbuild/protobuf';
import { timestampNow } from '../../model/defaults.js';
import type { Environment } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import {
  type Node,
  NodeSchema,
  type Task,
  TaskSchema,
} from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type NodeDescription,
  NodeStatusSchema,
  NodeStatus_State,
  type TaskStatus,
  TaskStatusSchema,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import type { Logger } from '../../observe/logger.js';
import { keepReturningTasks } from '../orchestrator/returning-node.js';
import type { Store, WriteTransaction } from '../../store/types.js';

/** A change of a node's observed state. */
export interface NodeChange {
  readonly state: NodeStatus_State;
  readonly message: string;
  /** Address the node connects from; the stored one stays if undefined. */
  readonly addr?: string;
  /** The stored one stays if undefined. */
  readonly description?: NodeDescription;
  /** Only nodes in these states are changed; any if undefined. */
  readonly from?: readonly NodeStatus_State[];
}

interface Batch {
  readonly nodes: Map<string, NodeChange>;
  readonly tasks: Map<string, TaskStatus>;
  readonly written: Promise<void>;
  readonly settle: { resolve: () => void; reject: (error: SkepError) => void };
}

/** Gathers and writes; the promises resolve once a change is applied in the store. */
export class StatusWriter {
  readonly #store: Store;
  readonly #env: Environment;
  readonly #logger: Logger;
  readonly #managerNodeId: string;
  #next: Batch | undefined;
  #writing: Promise<void> | undefined;

  constructor(options: {
    store: Store;
    env: Environment;
    logger: Logger;
    /** Id of this manager's node, for `TaskStatus.appliedBy`. */
    managerNodeId: string;
  }) {
    this.#store = options.store;
    this.#env = options.env;
    this.#logger = options.logger;
    this.#managerNodeId = options.managerNodeId;
  }

  /** @throws SkepError when the change could not be written, for instance without a leader */
  writeNode(nodeId: string, change: NodeChange): Promise<void> {
    const batch = this.#gather();
    const description = change.description ?? batch.nodes.get(nodeId)?.description;
    batch.nodes.set(nodeId, description === undefined ? change : { ...change, description });
    return batch.written;
  }

  /** @throws SkepError as {@link writeNode} */
  writeTasks(updates: ReadonlyMap<string, TaskStatus>): Promise<void> {
    const batch = this.#gather();
    for (const [taskId, status] of updates) batch.tasks.set(taskId, status);
    return batch.written;
  }

  /** Resolves when nothing is being written any more. */
  async idle(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
  }

  #gather(): Batch {
    if (this.#next !== undefined) return this.#next;
    let settle: Batch['settle'] = { resolve: () => undefined, reject: () => undefined };
    const written = new Promise<void>((resolve, reject) => {
      settle = { resolve, reject };
    });
    this.#next = { nodes: new Map(), tasks: new Map(), written, settle };
    this.#pump();
    return this.#next;
  }

  #pump(): void {
    this.#writing ??= Promise.resolve()
      .then(() => this.#writeNext())
      .finally(() => {
        this.#writing = undefined;
        if (this.#next !== undefined) this.#pump();
      });
  }

  async #writeNext(): Promise<void> {
    const batch = this.#next;
    if (batch === undefined) return;
    this.#next = undefined;
    const writes = [
      ...[...batch.nodes].map(([id, change]) => changeNode(id, change)),
      ...[...batch.tasks].map(([id, status]) => this.#changeTask(id, status)),
    ];
    try {
      const outcomes = await this.#store.batch(writes);
      const failed = outcomes.find((outcome) => outcome !== undefined);
      if (failed !== undefined) throw failed;
      batch.settle.resolve();
    } catch (error) {
      this.#logger.warn({ error: String(error) }, 'writing observed state failed');
      batch.settle.reject(SkepError.from(error, 'unavailable'));
    }
  }

  #changeTask(taskId: string, status: TaskStatus): (write: WriteTransaction) => void {
    return (write) => {
      const task = write.get('task', taskId);
      if (task === undefined || isBackward(task, status)) return;
      const copy = clone(TaskSchema, task);
      copy.status = clone(TaskStatusSchema, status);
      copy.status.appliedBy = this.#managerNodeId;
      copy.status.appliedAt = timestampNow(this.#env.clock);
      write.update('task', copy);
    };
  }
}

/** The observed state of a task never goes back. */
function isBackward(task: Task, status: TaskStatus): boolean {
  return task.status !== undefined && task.status.state > status.state;
}

/** Writes the change; tasks of a node that was down and is back go on where they can. */
export function changeNode(nodeId: string, change: NodeChange): (write: WriteTransaction) => void {
  return (write) => {
    const node = write.get('node', nodeId);
    if (node === undefined) return;
    const isExpected = change.from === undefined || change.from.includes(stateOf(node));
    if (!isExpected) return;
    const copy = clone(NodeSchema, node);
    copy.status = create(NodeStatusSchema, {
      state: change.state,
      message: change.message,
      addr: change.addr ?? node.status?.addr ?? '',
    });
    if (change.description !== undefined) copy.description = change.description;
    write.update('node', copy);
    const isBack =
      stateOf(node) === NodeStatus_State.DOWN && change.state === NodeStatus_State.READY;
    if (isBack) keepReturningTasks(write, copy);
  };
}

function stateOf(node: Node): NodeStatus_State {
  return node.status?.state ?? NodeStatus_State.UNKNOWN;
}
