/**
 * Rejects running tasks whose node changed so that it no longer meets the placement constraints or
 * no longer has the resources they reserve (SwarmKit manager/orchestrator/constraintenforcer).
 */
import { nodeMeetsExpressions } from '../../model/constraint.js';
import type { Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeSpec_Availability } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import { TaskState } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { isOnNode, isWanted } from '../../model/task-state.js';
import type { ReadTransaction, StoreEvent, WriteTransaction } from '../../store/types.js';
import { NodeResources } from '../scheduler/node-resources.js';
import { commitGroups } from './commit-groups.js';
import { LeaderLoop, type LeaderLoopOptions } from './leader-loop.js';
import { capabilitiesChanged } from './node-change.js';
import { AT_ONCE, type Debounce } from './reconcile-loop.js';
import { withObservedState } from './task.js';

/** Holds placement constraints and reservations also after assignment. */
export class ConstraintEnforcer extends LeaderLoop {
  readonly #dirtyNodes = new Set<string>();

  constructor(options: LeaderLoopOptions) {
    super(options, 'constraintEnforcer');
  }

  protected observeAll(transaction: ReadTransaction): void {
    for (const node of transaction.find('node', { by: 'all' })) this.#dirtyNodes.add(node.id);
  }

  protected override due(): Debounce | undefined {
    return this.#dirtyNodes.size > 0 ? AT_ONCE : undefined;
  }

  protected observe(event: StoreEvent): void {
    if (event.table !== 'node' || event.kind === 'remove') return;
    if (event.kind === 'update' && !capabilitiesChanged(event.old, event.object)) return;
    this.#dirtyNodes.add(event.object.id);
  }

  protected async pass(): Promise<void> {
    const nodeIds = [...this.#dirtyNodes].sort();
    this.#dirtyNodes.clear();
    const writes = this.store.view((transaction) =>
      nodeIds
        .flatMap((nodeId) => misplacedTasks(transaction, nodeId))
        .map((task) => (write: WriteTransaction) => this.#reject(write, task.id)),
    );
    try {
      await commitGroups(this.store, writes);
    } catch (error) {
      for (const nodeId of nodeIds) this.#dirtyNodes.add(nodeId);
      throw error;
    }
  }

  #reject(transaction: WriteTransaction, taskId: string): void {
    const task = transaction.get('task', taskId);
    if (task === undefined || !isWanted(task) || !isOnNode(task)) return;
    const rejected = withObservedState(this.environment, task, {
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
