/**
 * Global services: one task on every node that is neither drained nor down and meets the
 * constraints (SwarmKit manager/orchestrator/global).
 */
import { nodeMeetsExpressions } from '../../model/constraint.js';
import type { Node, Service, Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeSpec_Availability } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import { TaskState } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { isInvalidNode, isOver, isWanted } from '../../model/task-state.js';
import type { ReadTransaction, StoreEvent, WriteTransaction } from '../../store/types.js';
import { type AfterCommit, commitGroups, type Group } from './commit-groups.js';
import { placementChanged } from './node-change.js';
import { DownNodes } from './down-nodes.js';
import { type OrchestratorParts, ServiceOrchestrator } from './service-orchestrator.js';
import { isTaskDirty, raiseDesiredState, type SlotKey } from './task.js';

/** Keeps global services on all their nodes. */
export class GlobalOrchestrator extends ServiceOrchestrator {
  readonly #dirtyNodes = new Set<string>();

  readonly #down: DownNodes;

  constructor(parts: OrchestratorParts) {
    super(parts, 'global');
    this.#down = new DownNodes(parts.environment, (nodeId) => {
      this.#dirtyNodes.add(nodeId);
      this.loop.trigger();
    });
  }

  override async stop(): Promise<void> {
    this.#down.stop();
    await super.stop();
  }

  protected override hasWork(): boolean {
    return super.hasWork() || this.#dirtyNodes.size > 0;
  }

  protected observe(event: StoreEvent): void {
    if (event.table === 'service') {
      if (event.kind === 'remove') this.updates.cancel(event.object.id);
      else this.dirtyServices.add(event.object.id);
    } else if (event.table === 'node') {
      this.#down.observe(event.object, event.kind === 'remove');
      if (event.kind !== 'update' || placementChanged(event.old, event.object)) {
        this.#dirtyNodes.add(event.object.id);
      }
    } else if (event.table === 'task') {
      this.#observeTask(event.object, event.kind === 'remove');
    }
  }

  protected observeAll(transaction: ReadTransaction): void {
    for (const node of transaction.find('node', { by: 'all' })) this.#down.observe(node, false);
    for (const service of this.services(transaction)) {
      this.dirtyServices.add(service.id);
      for (const task of transaction.find('task', { by: 'service', serviceId: service.id })) {
        if (isWanted(task) && isOver(task)) this.endedTasks.add(task.id);
      }
    }
  }

  protected async replaceEnded(taskIds: readonly string[]): Promise<void> {
    await commitGroups(
      this.store,
      taskIds.map((taskId) => (transaction) => {
        const task = transaction.get('task', taskId);
        if (task === undefined || !isWanted(task) || !isOver(task)) return undefined;
        const service = transaction.get('service', task.serviceId);
        if (!this.isMine(service)) return undefined;
        if (placeOn(service, transaction.get('node', task.nodeId)) === 'run') {
          return this.supervisor.restart(transaction, service, task);
        }
        raiseDesiredState(transaction, taskId, TaskState.SHUTDOWN);
        return undefined;
      }),
    );
  }

  protected async reconcileServices(serviceIds: readonly string[]): Promise<void> {
    const writes: Group[] = [];
    this.store.view((transaction) => {
      const nodes = transaction.find('node', { by: 'all' });
      for (const serviceId of serviceIds) {
        const service = transaction.get('service', serviceId);
        if (!this.isMine(service)) continue;
        const byNode = tasksByNode(transaction, service);
        const nodeIds = new Set([...nodes.map(({ id }) => id), ...byNode.keys()]);
        const update: SlotKey[] = [];
        for (const nodeId of [...nodeIds].sort()) {
          const place = { service, nodeId, tasks: byNode.get(nodeId) ?? [] };
          if (this.#reconcilePlace(transaction, place, writes))
            update.push(slotOn(service, nodeId));
        }
        // Also with no place to run: an update or rollback there is over at once.
        this.updates.update(service, update);
      }
    });
    await commitGroups(this.store, writes);
  }

  protected override async reconcileRest(): Promise<void> {
    const nodeIds = [...this.#dirtyNodes].sort();
    if (nodeIds.length === 0) return;
    this.#dirtyNodes.clear();
    const writes: Group[] = [];
    this.store.view((transaction) => {
      const services = this.services(transaction);
      for (const nodeId of nodeIds) {
        const onNode = transaction.find('task', { by: 'node', nodeId });
        const node = transaction.get('node', nodeId);
        for (const service of services) {
          const tasks = onNode.filter((task) => task.serviceId === service.id);
          const updatable = this.#reconcilePlace(transaction, { service, nodeId, tasks }, writes);
          // Out of date after a pause: let the updater roll it, beside the other nodes.
          if (
            updatable &&
            tasks.some((task) => isWanted(task) && isTaskDirty(service, task, node, () => onNode))
          ) {
            this.dirtyServices.add(service.id);
          }
        }
      }
    });
    try {
      await commitGroups(this.store, writes);
    } catch (error) {
      for (const nodeId of nodeIds) this.#dirtyNodes.add(nodeId);
      throw error;
    }
    if (this.dirtyServices.size > 0) this.loop.trigger();
  }

  /**
   * Plans the changes for one service on one node.
   * @returns whether the place holds a task the updater should look at
   */
  #reconcilePlace(
    transaction: ReadTransaction,
    place: { readonly service: Service; readonly nodeId: string; readonly tasks: readonly Task[] },
    writes: Group[],
  ): boolean {
    const { service, nodeId, tasks } = place;
    const node = transaction.get('node', nodeId);
    if (node === undefined) {
      for (const task of tasks)
        writes.push((write) => void raiseDesiredState(write, task.id, TaskState.REMOVE));
      return false;
    }
    switch (placeOn(service, node)) {
      case 'stop':
        if (this.#down.awaits(transaction, service, node)) return false;
        for (const task of tasks.filter(isWanted)) {
          writes.push((write) => void raiseDesiredState(write, task.id, TaskState.SHUTDOWN));
        }
        return false;
      case 'keep':
        return false;
      case 'run':
        if (this.supervisor.updatableTasks(service, tasks).length > 0) return true;
        writes.push((write) => this.#fill(write, slotOn(service, nodeId)));
        return false;
    }
  }

  #fill(transaction: WriteTransaction, slot: SlotKey): AfterCommit | undefined {
    const service = transaction.get('service', slot.serviceId);
    if (!this.isMine(service)) return undefined;
    if (placeOn(service, transaction.get('node', slot.nodeId)) !== 'run') return undefined;
    return this.fillSlot(transaction, service, slot, TaskState.RUNNING);
  }

  #observeTask(task: Task, removed: boolean): void {
    if (task.serviceId === '' || !isWanted(task)) return;
    if (!removed && !isOver(task)) return;
    const service = this.store.view((transaction) => transaction.get('service', task.serviceId));
    if (!this.isMine(service)) return;
    if (removed) this.#dirtyNodes.add(task.nodeId);
    else this.endedTasks.add(task.id);
  }
}

/** What a service does on a node: run a task, leave things as they are (paused), or stop. */
export function placeOn(service: Service, node: Node | undefined): 'run' | 'keep' | 'stop' {
  if (node === undefined || isInvalidNode(node)) return 'stop';
  const expressions = service.spec?.task?.placement?.constraints ?? [];
  if (!nodeMeetsExpressions(expressions, node)) return 'stop';
  return node.spec?.availability === NodeSpec_Availability.PAUSE ? 'keep' : 'run';
}

function slotOn(service: Service, nodeId: string): SlotKey {
  return { serviceId: service.id, slot: 0n, nodeId };
}

function tasksByNode(transaction: ReadTransaction, service: Service): Map<string, Task[]> {
  const byNode = new Map<string, Task[]>();
  for (const task of transaction.find('task', { by: 'service', serviceId: service.id })) {
    const tasks = byNode.get(task.nodeId) ?? [];
    byNode.set(task.nodeId, tasks);
    tasks.push(task);
  }
  return byNode;
}
