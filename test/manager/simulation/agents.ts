/**
 * Agents of a simulated cluster: they move the tasks assigned to their node through the states,
 * with random delays and failures, and stop what they are told to stop. A node that is down does
 * nothing until it comes back.
 */
import { timestampNow } from '../../../src/model/defaults.js';
import type { Timer } from '../../../src/model/environment.js';
import type { Task } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeStatus_State, TaskState } from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import type { Store } from '../../../src/store/types.js';
import type { SimulatedEnvironment } from '../../support/simulated-environment.js';

/** How agents and containers behave. */
export interface AgentBehaviour {
  /** Longest time of one step, milliseconds. */
  stepMs: number;
  /** Longest time a container takes to stop, milliseconds. */
  stopMs: number;
  /** Chance that a task is refused while being prepared. */
  rejectChance: number;
  /** Chance that a container fails while starting. */
  startFailChance: number;
  /** Chance that a container that came up fails again within `lifeMs`. */
  failChance: number;
  /** Longest life of a container that fails, milliseconds. */
  lifeMs: number;
}

const WELL_BEHAVED: AgentBehaviour = {
  stepMs: 20,
  stopMs: 100,
  rejectChance: 0,
  startFailChance: 0,
  failChance: 0,
  lifeMs: 30_000,
};

const NEXT = new Map<TaskState, TaskState>([
  [TaskState.ASSIGNED, TaskState.ACCEPTED],
  [TaskState.ACCEPTED, TaskState.PREPARING],
  [TaskState.PREPARING, TaskState.READY],
  [TaskState.READY, TaskState.STARTING],
  [TaskState.STARTING, TaskState.RUNNING],
]);

/** All agents of a cluster. */
export class SimulatedAgents {
  readonly behaviour: AgentBehaviour;
  readonly #store: Store;
  readonly #environment: SimulatedEnvironment;
  readonly #steps = new Map<string, Timer>();
  /** Tasks whose container was decided to live. */
  readonly #survivors = new Set<string>();
  #unsubscribe = (): void => undefined;

  constructor(
    store: Store,
    environment: SimulatedEnvironment,
    behaviour: Partial<AgentBehaviour> = {},
  ) {
    this.#store = store;
    this.#environment = environment;
    this.behaviour = { ...WELL_BEHAVED, ...behaviour };
  }

  start(): void {
    this.#unsubscribe = this.#store.subscribe((events) => {
      for (const event of events) {
        if (event.table === 'task' && event.kind !== 'remove') this.#consider(event.object.id);
        if (event.table === 'node' && event.kind !== 'remove') this.#wake(event.object.id);
      }
    });
  }

  stop(): void {
    this.#unsubscribe();
    for (const timer of this.#steps.values()) timer.cancel();
    this.#steps.clear();
  }

  #wake(nodeId: string): void {
    const tasks = this.#store.view((transaction) =>
      transaction.find('task', { by: 'node', nodeId }),
    );
    for (const task of tasks) this.#consider(task.id);
  }

  #consider(taskId: string): void {
    const task = this.#store.view((transaction) => transaction.get('task', taskId));
    if (task === undefined || this.#next(task) === undefined) return;
    const { random, clock } = this.#environment;
    const stopping = task.desiredState > TaskState.COMPLETE;
    // A task that is told to stop does not wait for its own natural end.
    if (stopping) this.#steps.get(taskId)?.cancel();
    else if (this.#steps.has(taskId)) return;
    const state = task.status?.state ?? TaskState.NEW;
    let delayMs = random.integer(1, stopping ? this.behaviour.stopMs : this.behaviour.stepMs);
    const endsByItself = task.desiredState === TaskState.COMPLETE;
    if (!stopping && state === TaskState.RUNNING && !endsByItself) {
      if (!random.chance(this.behaviour.failChance)) {
        this.#survivors.add(taskId);
        return;
      }
      delayMs = random.integer(1, this.behaviour.lifeMs);
    }
    const timer = clock.setTimer(delayMs, () => {
      this.#steps.delete(taskId);
      // Without a leader the agent tries again later.
      this.#step(taskId).catch(() => this.#retry(taskId));
    });
    this.#steps.set(taskId, timer);
  }

  #retry(taskId: string): void {
    const timer = this.#environment.clock.setTimer(500, () => {
      this.#steps.delete(taskId);
      this.#consider(taskId);
    });
    this.#steps.set(taskId, timer);
  }

  async #step(taskId: string): Promise<void> {
    await this.#store.update((transaction) => {
      const task = transaction.get('task', taskId);
      const state = task && this.#next(task);
      if (task?.status === undefined || state === undefined) return;
      const now = timestampNow(this.#environment.clock);
      const status = { ...task.status, state, timestamp: now, appliedAt: now, message: 'agent' };
      transaction.update('task', { ...task, status });
    });
  }

  /** The state the task goes to next, or undefined while it stays. */
  #next(task: Task): TaskState | undefined {
    const state = task.status?.state ?? TaskState.NEW;
    if (state < TaskState.ASSIGNED || state > TaskState.RUNNING) return undefined;
    const node = this.#store.view((transaction) => transaction.get('node', task.nodeId));
    if (node?.status?.state !== NodeStatus_State.READY) return undefined;
    if (task.desiredState > TaskState.COMPLETE) return TaskState.SHUTDOWN;
    if (state === TaskState.READY && task.desiredState < TaskState.RUNNING) return undefined;
    const { random } = this.#environment;
    const { rejectChance, startFailChance } = this.behaviour;
    if (state === TaskState.PREPARING && random.chance(rejectChance)) return TaskState.REJECTED;
    if (state === TaskState.STARTING && random.chance(startFailChance)) return TaskState.FAILED;
    if (state === TaskState.RUNNING) {
      if (task.desiredState === TaskState.COMPLETE) return TaskState.COMPLETE;
      return this.#survivors.has(task.id) ? undefined : TaskState.FAILED;
    }
    return NEXT.get(state);
  }
}
