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
import { isOnNode, isOver, isWanted, observedState } from '../../../src/model/task-state.js';
import { awaitsMove } from '../../../src/manager/orchestrator/rolling-drain.js';
import { isInProgress, isPaused } from '../../../src/manager/updater/update-status.js';
import {
  isJob,
  isPerNode,
  isTaskDirty,
  placeOfTask,
} from '../../../src/manager/orchestrator/task.js';
import type { ReadTransaction, StoreEvent } from '../../../src/store/types.js';
import { FixedInvariants } from './fixed-invariants.js';
import { JobInvariants } from './job-invariants.js';
import { MoveInvariants } from './move-invariants.js';
import type { World } from './world.js';

/** Twice the default of `skep.fence_after`. */
const REST_MS = 60_000;

/** Watches a world from its start to its end. */
export class InvariantChecker {
  readonly violations: string[] = [];
  readonly #world: World;
  readonly #jobs: JobInvariants;
  readonly #fixed: FixedInvariants;
  readonly #moves: MoveInvariants;
  /** Tasks whose node was down once: their replacement could not wait for them. */
  readonly #cutOff = new Set<string>();
  /** When tasks with an address were lost with their node, by network and address. */
  readonly #lostMs = new Map<string, number>();
  /** Services that were start-first at any time. */
  readonly #startFirst = new Set<string>();

  constructor(world: World) {
    this.#world = world;
    this.#jobs = new JobInvariants(world, (what) => this.violated(what));
    this.#fixed = new FixedInvariants(world, (what) => this.violated(what));
    this.#moves = new MoveInvariants(world, (what) => this.violated(what));
    world.store.subscribe((events) => {
      for (const event of events) {
        this.#fixed.observe(event);
        this.#check(event);
      }
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
          this.violated(`task ${task.id} of a deleted service is left`);
        }
        if (task.desiredState === TaskState.REMOVE) {
          this.violated(`task ${task.id} was to be deleted and is left`);
        }
        if (!isWanted(task) && isOnNode(task)) {
          this.violated(`task ${task.id} was told to stop and still runs`);
        }
      }
      this.#checkLeaks(transaction);
    });
  }

  /** Checks that what was to be spread evenly is, and stays where it is. */
  checkEven(): Promise<void> {
    return this.#moves.checkEven();
  }

  /** Something does not hold. */
  violated(what: string): void {
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
    if (now < before) this.violated(`task ${task.id} went back from ${before} to ${now}`);
    if (event.kind === 'update') {
      this.#checkKept(event.old, task);
      this.#moves.observe(event.old, task);
    } else this.#checkWanted(task);
    if (event.kind === 'create' || now !== before) this.#jobs.observe(task);
    this.#checkRest(task, now !== before);
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

  /** Addresses that were lost rest, also when the leader changes. */
  #checkRest(task: Task, isNewState: boolean): void {
    const atMs = this.#world.environment.clock.monotonicMs();
    for (const { network, addresses } of task.networks) {
      for (const address of addresses) {
        const key = `${network?.id} ${address}`;
        if (observedState(task) === TaskState.ORPHANED) {
          if (isNewState && !this.#fixed.isLost(task)) this.#lostMs.set(key, atMs);
        } else if (isNewState && observedState(task) === TaskState.PENDING) {
          if (atMs - (this.#lostMs.get(key) ?? -Infinity) < REST_MS)
            this.violated(`task ${task.id} has ${address}, which is still to rest`);
        }
      }
    }
  }

  /** What of a task may never change, or only grow. */
  #checkKept(old: Task, task: Task): void {
    if (task.desiredState < old.desiredState) {
      // Its node was away and is back: it goes on in the place of its replacement.
      const isKept =
        this.#cutOff.has(task.id) &&
        old.desiredState === TaskState.SHUTDOWN &&
        task.desiredState === TaskState.RUNNING &&
        observedState(task) === TaskState.RUNNING;
      if (!isKept) this.violated(`task ${task.id} is desired less than before`);
      this.#checkWanted(task);
    }
    if (observedState(old) > TaskState.PENDING && task.nodeId !== old.nodeId) {
      this.violated(`task ${task.id} moved from ${old.nodeId} to ${task.nodeId}`);
    }
    if (task.serviceId !== old.serviceId || task.slot !== old.slot) {
      this.violated(`task ${task.id} changed its slot`);
    }
  }

  /** Only start-first may put a second task beside one that is still wanted. */
  #checkWanted(task: Task): void {
    if (this.#startFirst.has(task.serviceId)) return;
    const wanted = this.#inSlotOf(task).filter(isWanted);
    if (wanted.length < 2) return;
    const ids = wanted.map(({ id }) => id).join(' and ');
    this.violated(`two tasks are wanted in slot ${task.slot} of ${task.serviceId}: ${ids}`);
  }

  #inSlotOf(task: Task): readonly Task[] {
    const service = this.#world.get('service', task.serviceId);
    if (service === undefined) return [];
    const perNode = isPerNode(service);
    return this.#world
      .tasksOf(task.serviceId)
      .filter((other) => (perNode ? other.nodeId === task.nodeId : other.slot === task.slot));
  }

  #checkAssignment(task: Task): void {
    const node = this.#world.get('node', task.nodeId);
    if (node === undefined) return this.violated(`task ${task.id} assigned to no node`);
    if (!isUsable(node)) this.violated(`task ${task.id} assigned to unusable ${node.id}`);
    if (!nodeMeetsExpressions(task.spec?.placement?.constraints ?? [], node)) {
      this.violated(`task ${task.id} assigned against its constraints`);
    }
    for (const { network, addresses } of task.networks) {
      if (addresses.length === 0) this.violated(`task ${task.id} has no address on ${network?.id}`);
    }
  }

  #checkSlot(task: Task): void {
    if (this.#startFirst.has(task.serviceId)) return;
    const twins = this.#inSlotOf(task).filter(
      (other) => observedState(other) === TaskState.RUNNING && !this.#cutOff.has(other.id),
    );
    if (twins.length > 1 && !this.#cutOff.has(task.id)) {
      const ids = twins.map(({ id }) => id).join(' and ');
      this.violated(`two tasks run in slot ${task.slot} of ${task.serviceId}: ${ids}`);
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
      // With nowhere to go, a rolling drain keeps up what runs.
      const staysPut = nodes.length === 0 && awaitsMove(transaction, service, task);
      if (drained && !isOver(task) && !staysPut)
        this.violated(`task ${task.id} is left on drained ${node.id}`);
    }
    if (isJob(service)) {
      if (!canGiveUp(service)) this.#jobs.checkQuiescent(service, nodes);
      return;
    }
    if (nodes.length > 0 && isInProgress(service)) {
      this.violated(`the update of ${service.id} never ends`);
    }
    const mode = service.spec?.mode;
    const expected = mode?.case === 'replicated' ? Number(mode.value.replicas) : nodes.length;
    const places = new Set(wanted.map(placeOf));
    const missing = expected - places.size;
    // With no node for its new tasks, start-first keeps up those that run.
    const keptUp = nodes.length === 0 && this.#startFirst.has(service.id);
    const crowded = keptUp ? standsTwice(wanted) : wanted.length !== places.size;
    // A policy that gives up leaves slots empty.
    if (crowded || missing < 0 || (missing > 0 && !canGiveUp(service))) {
      const states = wanted.map((task) => `${task.slot}:${observedState(task)}`).join(' ');
      this.violated(`${service.id} has ${wanted.length} tasks for ${expected} places (${states})`);
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
      if (state !== TaskState.RUNNING && task.status?.err === '')
        this.violated(`task ${task.id} waits without saying why`);
      return;
    }
    if (state !== TaskState.RUNNING) {
      const desired = task.desiredState;
      const err = task.status?.err ?? '';
      this.violated(`task ${task.id} of ${service.id} is ${state}, desired ${desired} (${err})`);
    }
    if (isPaused(service)) return;
    if (isTaskDirty(service, task, ...placeOfTask(transaction, task))) {
      this.violated(`task ${task.id} of ${service.id} is out of date`);
    }
  }

  /** Nothing is held by what is gone, and nothing is held twice. */
  #checkLeaks(transaction: ReadTransaction): void {
    for (const owner of this.#world.loops.allocator.resources.owners()) {
      const [table, id] = owner.split('/') as ['task' | 'service' | 'node' | 'network', string];
      const object = transaction.get(table, id);
      if (object === undefined) this.violated(`${owner} is gone and holds something`);
      else if (table === 'task' && isOver(object as Task)) {
        this.violated(`${owner} is over and holds something`);
      }
    }
    const held = new Map<string, string>();
    const hold = (what: string, owner: string): void => {
      const other = held.get(what);
      if (other !== undefined) this.violated(`${what} is held by ${other} and ${owner}`);
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

function placeOf(task: Task): string {
  return `${task.slot}/${task.slot === 0n ? task.nodeId : ''}`;
}

/** Whether a place has two tasks that run, or two that do not. */
function standsTwice(wanted: readonly Task[]): boolean {
  const kinds = wanted.map(
    (task) => `${placeOf(task)}/${observedState(task) === TaskState.RUNNING}`,
  );
  return new Set(kinds).size < kinds.length;
}

/** Whether the service's restart policy may leave a slot without a task. */
function canGiveUp(service: Service): boolean {
  const { ANY } = RestartPolicy_RestartCondition;
  return (service.spec?.task?.restart?.condition ?? ANY) !== ANY;
}

function isUsable(node: Node): boolean {
  return (
    node.status?.state === NodeStatus_State.READY &&
    node.spec?.availability === NodeSpec_Availability.ACTIVE
  );
}
