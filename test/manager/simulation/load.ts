/** The load of services that are scaled by it: shared by the tasks that run, told by their nodes. */
import type { Timer } from '../../../src/model/environment.js';
import type { Service, Task } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeStatus_State, TaskState } from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { autoscaleSettings } from '../../../src/model/autoscale.js';
import { neededReplicas } from '../../../src/manager/orchestrator/scale-decision.js';
import { type ScaleRecord, scaleRecordOf } from '../../../src/manager/orchestrator/scale-record.js';
import { isPaused } from '../../../src/manager/updater/update-status.js';
import { isWanted, observedState } from '../../../src/model/task-state.js';
import type { Store } from '../../../src/store/types.js';
import type { World } from './world.js';

const PERIOD_MS = 10_000;

/** All loads of a world, and what must hold of how services follow them. */
export class SimulatedLoad {
  readonly #world: World;
  readonly #violated: (what: string) => void;
  /** Thousandths of a CPU, by service. */
  readonly #milliCpus = new Map<string, number>();
  #timer: Timer | undefined;
  /** Changes told by the autoscaler. */
  decisions = 0;

  constructor(world: World, violated: (what: string) => void) {
    this.#world = world;
    this.#violated = violated;
    onScaleRecords(world.store, ({ serviceId, attributes }) => {
      this.decisions += 1;
      const settings = settingsOf(world.get('service', serviceId));
      const to = Number(attributes['replicas.new']);
      const isAllowed = settings !== undefined && to >= settings.min && to <= settings.max;
      if (!isAllowed) violated(`${serviceId} was scaled to ${to}, beyond its bounds`);
    });
  }

  start(): void {
    this.#timer = this.#world.environment.clock.setTimer(PERIOD_MS, () => {
      this.#tell();
      this.start();
    });
  }

  stop(): void {
    this.#timer?.cancel();
  }

  /** From now on the tasks of a service together use so much. */
  set(serviceId: string, milliCpus: number): void {
    this.#milliCpus.set(serviceId, milliCpus);
  }

  /** The end of a world that was left alone: each service has what its load needs. */
  check(): void {
    for (const service of this.#world.all('service')) {
      const settings = settingsOf(service);
      const mode = service.spec?.mode;
      const replicas = mode?.case === 'replicated' ? Number(mode.value.replicas) : 0;
      const running = this.#running(service.id);
      if (settings === undefined || replicas === 0 || isPaused(service)) continue;
      // No room for all of them, or a policy that has given some up.
      if (running.length !== replicas) continue;
      const percent = this.#shareOf(service.id, running) / 10;
      const needed = neededReplicas({ replicas, percents: running.map(() => percent) }, settings);
      if (needed === replicas) continue;
      this.#violated(`${service.id} has ${replicas} replicas and needs ${needed}`);
    }
  }

  #running(serviceId: string): readonly Task[] {
    return this.#world
      .tasksOf(serviceId)
      .filter((task) => isWanted(task) && observedState(task) === TaskState.RUNNING);
  }

  #shareOf(serviceId: string, running: readonly Task[]): number {
    return Math.round((this.#milliCpus.get(serviceId) ?? 0) / Math.max(1, running.length));
  }

  #tell(): void {
    for (const { id } of this.#world.all('service')) {
      const running = this.#running(id);
      const milliCpus = this.#shareOf(id, running);
      for (const { id: taskId, nodeId } of running) {
        if (this.#world.get('node', nodeId)?.status?.state !== NodeStatus_State.READY) continue;
        this.#world.usage.report(nodeId, [{ taskId, milliCpus }]);
      }
    }
  }
}

function settingsOf(service: Service | undefined) {
  return autoscaleSettings(service?.spec?.annotations?.labels);
}

/** Calls `listener` for each decision of the autoscaler from now on. */
export function onScaleRecords(store: Store, listener: (record: ScaleRecord) => void): void {
  store.subscribe((events) => {
    for (const event of events) {
      const isOne = event.table === 'resource' && event.kind !== 'remove';
      const record = isOne ? scaleRecordOf(event.object) : undefined;
      if (record !== undefined) listener(record);
    }
  });
}
