/**
 * What must hold in every state of the cluster, and what must hold once it was left alone for a
 * while. Violations are collected as sentences.
 */
import { nodeMeetsExpressions } from '../../../src/model/constraint.js';
import { updateSettings } from '../../../src/model/defaults.js';
import type { Node, Service, Task } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeSpec_Availability } from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  NodeStatus_State,
  RestartPolicy_RestartCondition,
  TaskState,
  UpdateConfig_UpdateOrder,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { isOver, isWanted, observedState } from '../../../src/model/task-state.js';
import { isPaused } from '../../../src/manager/updater/update-status.js';
import { isTaskDirty } from '../../../src/manager/orchestrator/task.js';
import type { ReadTransaction, StoreEvent } from '../../../src/store/types.js';
import type { World } from './world.js';

/** Watches a world from its start to its end. */
export class InvariantChecker {
  readonly violations: string[] = [];
  readonly #world: World;
  /** Tasks whose node was down once: their replacement could not wait for them. */
  readonly #cutOff = new Set<string>();
  /** Services that were start-first at any time. */
  readonly #startFirst = new Set<string>();

  constructor(world: World) {
    this.#world = world;
    world.store.subscribe((events) => {
      for (const event of events) this.#check(event);
    });
  }

  /** Checks the state after everything was healed and left alone. */
  checkQuiescent(): void {
    this.#world.store.view((transaction) => {
      for (const service of transaction.find('service', { by: 'all' })) {
        this.#checkService(transaction, service);
      }
      for (const task of transaction.find('task', { by: 'all' })) {
        if (transaction.get('service', task.serviceId) === undefined) {
          this.#violated(`task ${task.id} of a deleted service is left`);
        }
      }
      this.#checkLeaks(transaction);
    });
  }

  #violated(what: string): void {
    const atMs = this.#world.environment.clock.monotonicMs();
    this.violations.push(`${atMs} ms: ${what}`);
  }

  #check(event: StoreEvent): void {
    if (event.table === 'node' && event.object.status?.state === NodeStatus_State.DOWN) {
      const nodeId = event.object.id;
      this.#world.store.view((transaction) => {
        const tasks = transaction.find('task', { by: 'node', nodeId });
        for (const task of tasks) this.#cutOff.add(task.id);
      });
    }
    if (event.table === 'service') this.#noteOrder(event.object);
    if (event.table !== 'task' || event.kind === 'remove') return;
    const before = event.kind === 'update' ? observedState(event.old) : TaskState.NEW;
    const task = event.object;
    const now = observedState(task);
    if (now < before) this.#violated(`task ${task.id} went back from ${before} to ${now}`);
    if (event.kind === 'update' && task.desiredState < event.old.desiredState) {
      this.#violated(`task ${task.id} is desired less than before`);
    }
    if (now === before) return;
    if (now === TaskState.ASSIGNED) this.#checkAssignment(task);
    if (now === TaskState.RUNNING) this.#checkSlot(task);
  }

  #noteOrder(service: Service): void {
    for (const config of [service.spec?.update, service.spec?.rollback]) {
      if (updateSettings(config).order !== UpdateConfig_UpdateOrder.START_FIRST) continue;
      this.#startFirst.add(service.id);
    }
  }

  #checkAssignment(task: Task): void {
    const node = this.#world.get('node', task.nodeId);
    if (node === undefined) return this.#violated(`task ${task.id} assigned to no node`);
    if (!isUsable(node)) this.#violated(`task ${task.id} assigned to unusable ${node.id}`);
    if (!nodeMeetsExpressions(task.spec?.placement?.constraints ?? [], node)) {
      this.#violated(`task ${task.id} assigned against its constraints`);
    }
    for (const { network, addresses } of task.networks) {
      if (addresses.length === 0)
        this.#violated(`task ${task.id} has no address on ${network?.id}`);
    }
  }

  #checkSlot(task: Task): void {
    if (this.#startFirst.has(task.serviceId)) return;
    const perNode = task.slot === 0n;
    const twins = this.#world
      .tasksOf(task.serviceId)
      .filter(
        (other) =>
          observedState(other) === TaskState.RUNNING &&
          !this.#cutOff.has(other.id) &&
          (perNode ? other.nodeId === task.nodeId : other.slot === task.slot),
      );
    if (twins.length > 1 && !this.#cutOff.has(task.id)) {
      const ids = twins.map(({ id }) => id).join(' and ');
      this.#violated(`two tasks run in slot ${task.slot} of ${task.serviceId}: ${ids}`);
    }
  }

  #checkService(transaction: ReadTransaction, service: Service): void {
    const nodes = transaction.find('node', { by: 'all' }).filter((node) => {
      const expressions = service.spec?.task?.placement?.constraints ?? [];
      return isUsable(node) && nodeMeetsExpressions(expressions, node);
    });
    const tasks = transaction.find('task', { by: 'service', serviceId: service.id });
    const wanted = tasks.filter(isWanted);
    for (const task of tasks) {
      const node = transaction.get('node', task.nodeId);
      const drained = node?.spec?.availability === NodeSpec_Availability.DRAIN;
      if (drained && !isOver(task)) this.#violated(`task ${task.id} is left on drained ${node.id}`);
    }
    // A policy that gives up leaves slots empty.
    const condition = service.spec?.task?.restart?.condition;
    if ((condition ?? RestartPolicy_RestartCondition.ANY) !== RestartPolicy_RestartCondition.ANY) {
      return;
    }
    const mode = service.spec?.mode;
    const expected = mode?.case === 'replicated' ? Number(mode.value.replicas) : nodes.length;
    const places = new Set(
      wanted.map((task) => `${task.slot}/${task.slot === 0n ? task.nodeId : ''}`),
    );
    if (wanted.length !== expected || places.size !== expected) {
      const states = wanted.map((task) => `${task.slot}:${observedState(task)}`).join(' ');
      this.#violated(`${service.id} has ${wanted.length} tasks for ${expected} places (${states})`);
    }
    for (const task of wanted) this.#checkTask(transaction, service, task, nodes);
  }

  #checkTask(
    transaction: ReadTransaction,
    service: Service,
    task: Task,
    nodes: readonly Node[],
  ): void {
    const state = observedState(task);
    if (nodes.length === 0) {
      if (task.status?.err === '') this.#violated(`task ${task.id} waits without saying why`);
      return;
    }
    if (state !== TaskState.RUNNING) {
      const desired = task.desiredState;
      const err = task.status?.err ?? '';
      this.#violated(`task ${task.id} of ${service.id} is ${state}, desired ${desired} (${err})`);
    }
    if (isPaused(service)) return;
    if (isTaskDirty(service, task, transaction.get('node', task.nodeId))) {
      this.#violated(`task ${task.id} of ${service.id} is out of date`);
    }
  }

  /** Nothing is held by what is gone, and nothing is held twice. */
  #checkLeaks(transaction: ReadTransaction): void {
    for (const owner of this.#world.loops.allocator.resources.owners()) {
      const [table, id] = owner.split('/') as ['task' | 'service' | 'node' | 'network', string];
      const object = transaction.get(table, id);
      if (object === undefined) this.#violated(`${owner} is gone and holds something`);
      else if (table === 'task' && isOver(object as Task)) {
        this.#violated(`${owner} is over and holds something`);
      }
    }
    const held = new Map<string, string>();
    const hold = (what: string, owner: string): void => {
      const other = held.get(what);
      if (other !== undefined) this.#violated(`${what} is held by ${other} and ${owner}`);
      held.set(what, owner);
    };
    for (const task of transaction.find('task', { by: 'all' })) {
      if (isOver(task)) continue;
      for (const { addresses } of task.networks) for (const a of addresses) hold(a, task.id);
    }
    for (const node of transaction.find('node', { by: 'all' })) {
      for (const { addresses } of node.attachments) for (const a of addresses) hold(a, node.id);
    }
    for (const service of transaction.find('service', { by: 'all' })) {
      for (const { addr } of service.endpoint?.virtualIps ?? []) hold(addr, service.id);
      for (const port of service.endpoint?.ports ?? []) {
        hold(`port ${port.protocol}/${port.publishedPort}`, service.id);
      }
    }
  }
}

function isUsable(node: Node): boolean {
  return (
    node.status?.state === NodeStatus_State.READY &&
    node.spec?.availability === NodeSpec_Availability.ACTIVE
  );
}
