/**
 * What must hold for jobs: each slot of an iteration completes once, no more run at once than may,
 * and once all is healed the whole job of the last iteration, and nothing else, is there.
 */
import type { Node, Service, Task } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { isOver, isWanted, observedState } from '../../../src/model/task-state.js';
import { isJob, slotKeyText, slotOf } from '../../../src/manager/orchestrator/task.js';
import type { World } from './world.js';

/** Watches the jobs of a world; violations go to `violated`. */
export class JobInvariants {
  readonly #world: World;
  readonly #violated: (what: string) => void;
  /** The task that completed each slot of each iteration. */
  readonly #completions = new Map<string, string>();

  constructor(world: World, violated: (what: string) => void) {
    this.#world = world;
    this.#violated = violated;
  }

  /** Takes in a task that was created or whose observed state has changed. */
  observe(task: Task): void {
    const service = this.#world.get('service', task.serviceId);
    if (service === undefined || !isJob(service)) return;
    if (observedState(task) === TaskState.COMPLETE) this.#checkCompletion(service, task);
    const mode = service.spec?.mode;
    if (mode?.case !== 'replicatedJob' || observedState(task) !== TaskState.NEW) return;
    const { maxConcurrent } = mode.value;
    const started = this.#tasks(service).filter((other) => isWanted(other) && !isOver(other));
    if (started.length > maxConcurrent) {
      this.#violated(
        `${service.id} has ${started.length} tasks at once, may have ${maxConcurrent}`,
      );
    }
  }

  /** Checks a job after everything was healed; `nodes` are those it can run on. */
  checkQuiescent(service: Service, nodes: readonly Node[]): void {
    const all = this.#world.tasksOf(service.id);
    const tasks = this.#tasks(service);
    if (tasks.length < all.length) {
      this.#violated(`${service.id} has ${all.length - tasks.length} tasks of earlier iterations`);
    }
    const completed = tasks.filter((task) => observedState(task) === TaskState.COMPLETE);
    const unfinished = tasks.filter((task) => isWanted(task) && !completed.includes(task));
    if (nodes.length === 0) {
      for (const { id, status } of unfinished) {
        if (status?.err === '') this.#violated(`task ${id} waits without saying why`);
      }
      return;
    }
    for (const task of unfinished) {
      this.#violated(`task ${task.id} of job ${service.id} is still ${observedState(task)}`);
    }
    const done = new Set(completed.map((task) => slotKeyText(slotOf(service, task))));
    for (const key of expectedSlots(service, nodes)) {
      if (!done.has(key)) this.#violated(`slot ${key} of a job never completed`);
    }
  }

  #checkCompletion(service: Service, task: Task): void {
    const key = `${slotKeyText(slotOf(service, task))}/${iterationOf(task)}`;
    const first = this.#completions.get(key);
    if (first !== undefined && first !== task.id) {
      this.#violated(`slot ${key} completed twice, by ${first} and ${task.id}`);
    }
    this.#completions.set(key, task.id);
  }

  /** The tasks of the present iteration. */
  #tasks(service: Service): readonly Task[] {
    const iteration = service.jobStatus?.jobIteration?.index ?? 0n;
    return this.#world.tasksOf(service.id).filter((task) => iterationOf(task) === iteration);
  }
}

function expectedSlots(service: Service, nodes: readonly Node[]): readonly string[] {
  const mode = service.spec?.mode;
  if (mode?.case === 'globalJob') {
    return nodes.map(({ id }) => slotKeyText({ serviceId: service.id, slot: 0n, nodeId: id }));
  }
  const total = mode?.case === 'replicatedJob' ? Number(mode.value.totalCompletions) : 0;
  return Array.from({ length: total }, (_, slot) =>
    slotKeyText({ serviceId: service.id, slot: BigInt(slot), nodeId: '' }),
  );
}

function iterationOf(task: Task): bigint {
  return task.jobIteration?.index ?? 0n;
}
