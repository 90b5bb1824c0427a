/** What must hold of tasks that are moved to other nodes. */
import type { Node, Service, Task } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeSpec_Availability } from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  NodeStatus_State,
  TaskState,
  UpdateConfig_UpdateOrder,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { nodeMeetsExpressions } from '../../../src/model/constraint.js';
import { updateSettings } from '../../../src/model/defaults.js';
import { rebalances } from '../../../src/manager/orchestrator/rebalancing.js';
import { isWanted, observedState } from '../../../src/model/task-state.js';
import { drainsGently, isDrained } from '../../../src/manager/orchestrator/rolling-drain.js';
import { isInProgress, isPaused } from '../../../src/manager/updater/update-status.js';
import type { World } from './world.js';

const { RUNNING } = TaskState;
/** After all is even nothing may change any more for so long. */
const STILL_MS = 180_000;

/** Watches moves. */
export class MoveInvariants {
  readonly #world: World;
  readonly #violated: (what: string) => void;

  constructor(world: World, violated: (what: string) => void) {
    this.#world = world;
    this.#violated = violated;
  }

  /** A change of a task. */
  observe(old: Task, task: Task): void {
    if (!isWanted(old) || task.desiredState !== TaskState.SHUTDOWN) return;
    if (observedState(old) !== TaskState.RUNNING || observedState(task) !== TaskState.RUNNING)
      return;
    const service = this.#world.get('service', task.serviceId);
    if (service === undefined || !isStartFirst(service) || isInProgress(service)) return;
    if (!isDrained(this.#world.get('node', task.nodeId))) return;
    if (!this.#world.store.view((transaction) => drainsGently(transaction, service))) return;
    const isReplaced = this.#world
      .tasksOf(service.id)
      .some(
        (other) =>
          other.slot === task.slot && isWanted(other) && observedState(other) === TaskState.RUNNING,
      );
    if (!isReplaced) this.#violated(`task ${task.id} left its drained node unreplaced`);
  }

  /** The end of a world that was left alone for long. */
  async checkEven(): Promise<void> {
    for (const service of this.#world.all('service')) this.#checkSpread(service);
    let created = 0;
    const unsubscribe = this.#world.store.subscribe((events) => {
      for (const { kind, table } of events) if (kind === 'create' && table === 'task') created += 1;
    });
    await this.#world.run(STILL_MS);
    unsubscribe();
    if (created > 0) this.#violated(`${created} tasks were made without a reason`);
  }

  #checkSpread(service: Service): void {
    if (!rebalances(service) || isPaused(service)) return;
    const mode = service.spec?.mode;
    const replicas = mode?.case === 'replicated' ? Number(mode.value.replicas) : 0;
    const tasks = this.#world.tasksOf(service.id).filter(isWanted);
    // A policy that has given up leaves slots empty: such a service is left alone.
    if (tasks.length !== replicas || tasks.some((task) => observedState(task) !== RUNNING)) return;
    const { constraints = [], preferences = [] } = service.spec?.task?.placement ?? {};
    const nodes = this.#world
      .all('node')
      .filter((node) => isOpen(node) && nodeMeetsExpressions(constraints, node));
    const zoneOf = (node: Node): string =>
      preferences.length === 0 ? '' : (node.spec?.annotations?.labels['zone'] ?? '');
    const zones = new Map<string, number[]>();
    for (const node of nodes) {
      const count = tasks.filter(({ nodeId }) => nodeId === node.id).length;
      zones.set(zoneOf(node), [...(zones.get(zoneOf(node)) ?? []), count]);
    }
    const sums = [...zones.values()].map((counts) => counts.reduce((a, b) => a + b, 0));
    const isUneven = [sums, ...zones.values()].some(
      (counts) => Math.max(...counts) - Math.min(...counts) > 1,
    );
    if (!isUneven) return;
    const text = JSON.stringify([...zones]);
    this.#violated(`tasks of ${service.id} are not spread evenly: ${text}`);
  }
}

function isOpen(node: Node): boolean {
  return (
    node.status?.state === NodeStatus_State.READY &&
    node.spec?.availability === NodeSpec_Availability.ACTIVE
  );
}

function isStartFirst(service: Service): boolean {
  return updateSettings(service.spec?.update).order === UpdateConfig_UpdateOrder.START_FIRST;
}
