/**
 * Rejects running tasks whose node changed so that it no longer meets the placement constraints or
 * no longer has the resources they reserve (SwarmKit manager/orchestrator/constraintenforcer).
 */
import { nodeMeetsExpressions } from '../../model/constraint.js';
import type { Environment } from '../../model/environment.js';
import type { Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeSpec_Availability } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import { TaskState } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { isOnNode, isWanted } from '../../model/task-state.js';
import type { Logger } from '../../observe/logger.js';
import type { ReadTransaction, Store, StoreEvent, WriteTransaction } from '../../store/types.js';
import { NodeResources } from '../scheduler/node-resources.js';
import { commitGroups } from './commit-groups.js';
import { capabilitiesChanged } from './node-change.js';
import { ReconcileLoop } from './reconcile-loop.js';
import { withObservedState } from './task.js';

/** Holds placement constraints and reservations also after assignment. */
export class ConstraintEnforcer {
  readonly #store: Store;
  readonly #environment: Environment;
  readonly #loop: ReconcileLoop;
  readonly #dirtyNodes = new Set<string>();
  #unsubscribe = (): void => undefined;

  constructor(options: {
    readonly store: Store;
    readonly environment: Environment;
    readonly logger: Logger;
  }) {
    this.#store = options.store;
    this.#environment = options.environment;
    this.#loop = new ReconcileLoop({
      environment: options.environment,
      logger: options.logger.child({ loop: 'constraintEnforcer' }),
      pass: () => this.#pass(),
    });
  }

  /** Begins to work from what the store holds. */
  start(): void {
    const { unsubscribe } = this.#store.viewAndSubscribe(
      (transaction) => {
        for (const node of transaction.find('node', { by: 'all' })) this.#dirtyNodes.add(node.id);
      },
      (events) => {
        for (const event of events) this.#observe(event);
        if (this.#dirtyNodes.size > 0) this.#loop.trigger();
      },
    );
    this.#unsubscribe = unsubscribe;
    if (this.#dirtyNodes.size > 0) this.#loop.trigger();
  }

  /** Ends after the pass under way. */
  async stop(): Promise<void> {
    this.#unsubscribe();
    await this.#loop.stop();
  }

  #observe(event: StoreEvent): void {
    if (event.table !== 'node' || event.kind === 'remove') return;
    if (event.kind === 'update' && !capabilitiesChanged(event.old, event.object)) return;
    this.#dirtyNodes.add(event.object.id);
  }

  async #pass(): Promise<void> {
    const nodeIds = [...this.#dirtyNodes].sort();
    this.#dirtyNodes.clear();
    const writes = this.#store.view((transaction) =>
      nodeIds
        .flatMap((nodeId) => misplacedTasks(transaction, nodeId))
        .map((task) => (write: WriteTransaction) => this.#reject(write, task.id)),
    );
    try {
      await commitGroups(this.#store, writes);
    } catch (error) {
      for (const nodeId of nodeIds) this.#dirtyNodes.add(nodeId);
      throw error;
    }
  }

  #reject(transaction: WriteTransaction, taskId: string): void {
    const task = transaction.get('task', taskId);
    if (task === undefined || !isWanted(task) || !isOnNode(task)) return;
    const rejected = withObservedState(this.#environment, task, {
      state: TaskState.REJECTED,
      message: 'task rejected by constraint enforcer',
      err: 'assigned node no longer meets constraints',
    });
    transaction.update('task', rejected);
  }
}

/** Tasks that the node may not keep. */
function misplacedTasks(transaction: ReadTransaction, nodeId: string): readonly Task[] {
  const node = transaction.get('node', nodeId);
  // A drained node loses its tasks anyway; a paused one keeps what it has.
  if (node?.spec?.availability !== NodeSpec_Availability.ACTIVE) return [];
  const free = new NodeResources(node.description?.resources);
  const hasResources = node.description?.resources !== undefined;
  const misplaced: Task[] = [];
  for (const task of transaction.find('task', { by: 'node', nodeId })) {
    if (!isWanted(task) || !isOnNode(task)) continue;
    // The service's present placement counts, even if the task is of an earlier spec.
    const service = transaction.get('service', task.serviceId);
    const placement = (service?.spec?.task ?? task.spec)?.placement;
    const reservations = task.spec?.resources?.reservations;
    const assigned = task.assignedGenericResources;
    const fits = !hasResources || (free.has(reservations) && free.holds(assigned));
    if (!fits || !nodeMeetsExpressions(placement?.constraints ?? [], node)) misplaced.push(task);
    else free.take(reservations, assigned);
  }
  return misplaced;
}
