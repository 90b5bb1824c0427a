/** What must hold of tasks that are moved to other nodes. */
import type { Service, Task } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { updateSettings } from '../../../src/model/defaults.js';
import { UpdateConfig_UpdateOrder } from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { isWanted, observedState } from '../../../src/model/task-state.js';
import { drainsGently, isDrained } from '../../../src/manager/orchestrator/rolling-drain.js';
import { isInProgress } from '../../../src/manager/updater/update-status.js';
import type { World } from './world.js';

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
}

function isStartFirst(service: Service): boolean {
  return updateSettings(service.spec?.update).order === UpdateConfig_UpdateOrder.START_FIRST;
}
