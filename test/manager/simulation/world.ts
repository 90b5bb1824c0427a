/**
 * A simulated cluster around the leader's loops: a local store, virtual time, and what the API,
 * the dispatcher and the agents do to the store.
 */
import { changeNode } from '../../../src/manager/dispatcher/status-writer.js';
import { create } from '@bufbuild/protobuf';
import { NodeControl } from '../../../src/manager/control/node-control.js';
import { TaskUsage } from '../../../src/manager/statistics/task-usage.js';
import { LeaderLoops } from '../../../src/manager/leader-loops.js';
import type { Node, Service, Task } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import type {
  NodeSpec_Availability,
  ServiceSpec,
} from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  JobStatusSchema,
  type NodeStatus_State,
  UpdateStatus_UpdateState as UpdateState,
  UpdateStatusSchema,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { isJob } from '../../../src/manager/orchestrator/task.js';
import { silentLogger } from '../../../src/observe/logger.js';
import { createLocalStore, type MemoryStore } from '../../../src/store/memory-store.js';
import type { LocalProposer } from '../../../src/store/proposer.js';
import type { Tables, TableName } from '../../../src/store/types.js';
import {
  type SimulatedEnvironment,
  simulatedEnvironment,
} from '../../support/simulated-environment.js';
import { makeCluster } from './objects.js';
import { type AgentBehaviour, SimulatedAgents } from './agents.js';

/** Store, time, loops and agents of one seed. */
export class World {
  readonly environment: SimulatedEnvironment;
  readonly store: MemoryStore;
  readonly agents: SimulatedAgents;
  /** What nodes have told of their tasks. */
  readonly usage: TaskUsage;
  loops: LeaderLoops;
  readonly #proposer: LocalProposer;
  #commitLatencyMs = 0;

  constructor(seed: number, behaviour?: Partial<AgentBehaviour>) {
    this.environment = simulatedEnvironment(seed);
    const { store, proposer } = createLocalStore(this.environment, { freezeObjects: true });
    this.store = store;
    this.#proposer = proposer;
    this.agents = new SimulatedAgents(this.store, this.environment, behaviour);
    this.usage = new TaskUsage({ store, clock: this.environment.clock });
    this.loops = this.#newLoops();
  }

  /** Starts everything, with a cluster object and these nodes. */
  async start(nodes: readonly Node[] = []): Promise<void> {
    await this.put('cluster', makeCluster());
    for (const node of nodes) await this.put('node', node);
    this.agents.start();
    this.loops.start();
    await this.run(0);
  }

  /** Ends the loops and agents. */
  async stop(): Promise<void> {
    this.agents.stop();
    await this.#settled(this.loops.stop());
  }

  /** Lets time pass. */
  run(durationMs: number): Promise<void> {
    return this.environment.clock.advanceAsync(durationMs);
  }

  /** Another manager becomes leader. */
  async changeLeader(): Promise<void> {
    await this.#settled(this.loops.stop());
    this.loops = this.#newLoops();
    this.loops.start();
    await this.run(0);
  }

  /** Whether anything can be written; not while a quorum is missing. */
  set writable(writable: boolean) {
    this.#proposer.available = writable;
  }

  /** For so long nothing can be written. */
  async outage(durationMs: number): Promise<void> {
    this.writable = false;
    await this.run(durationMs);
    this.writable = true;
  }

  /** From now on each write takes so long to be stored. */
  setCommitLatency(latencyMs: number): void {
    const { clock } = this.environment;
    this.#commitLatencyMs = latencyMs;
    this.#proposer.latency = () =>
      new Promise((resolve) => {
        clock.setTimer(latencyMs, resolve);
      });
  }

  /** Stores a new object. */
  async put<T extends TableName>(table: T, object: Tables[T]): Promise<void> {
    await this.#settled(this.store.update((transaction) => transaction.create(table, object)));
  }

  /** Changes a stored object; does nothing if it is gone. */
  async change<T extends TableName>(
    table: T,
    id: string,
    change: (object: Tables[T]) => Tables[T],
  ): Promise<void> {
    const stored = this.store.update((transaction) => {
      const object = transaction.get(table, id);
      if (object !== undefined) transaction.update(table, change(object));
    });
    await this.#settled(stored);
  }

  async remove(table: TableName, id: string): Promise<void> {
    await this.#settled(this.store.update((transaction) => transaction.delete(table, id)));
  }

  /** `docker node rm --force`. */
  async removeNode(id: string): Promise<void> {
    const managers = { isMember: () => false, canRemove: () => true };
    const control = new NodeControl(this.store, this.environment, managers);
    await this.#settled(control.remove(id, { force: true }));
  }

  /** What the control API does on `service update`. */
  updateService(id: string, edit: (spec: ServiceSpec) => ServiceSpec): Promise<void> {
    return this.change('service', id, (service) => {
      const spec = service.spec as ServiceSpec;
      return {
        ...service,
        spec: edit(spec),
        specVersion: service.meta?.version,
        previousSpec: spec,
        previousSpecVersion: service.specVersion,
        updateStatus: undefined,
        jobStatus: nextIteration(service),
      };
    });
  }

  /** What the control API does on `service rollback`; nothing without a previous spec. */
  rollBackService(id: string): Promise<void> {
    return this.change('service', id, (service) => {
      const { spec, specVersion, previousSpec, previousSpecVersion } = service;
      if (previousSpec === undefined) return service;
      return {
        ...service,
        spec: previousSpec,
        specVersion: previousSpecVersion,
        previousSpec: spec,
        previousSpecVersion: specVersion,
        updateStatus: create(UpdateStatusSchema, { state: UpdateState.ROLLBACK_STARTED }),
        jobStatus: nextIteration(service),
      };
    });
  }

  /** What the dispatcher writes about a node. */
  async setNodeState(id: string, state: NodeStatus_State): Promise<void> {
    await this.#settled(this.store.update(changeNode(id, { state, message: '' })));
  }

  setAvailability(id: string, availability: NodeSpec_Availability): Promise<void> {
    return this.change('node', id, (node) => ({
      ...node,
      spec: { ...(node.spec as NonNullable<Node['spec']>), availability },
    }));
  }

  all<T extends TableName>(table: T): readonly Tables[T][] {
    return this.store.view((transaction) => transaction.find(table, { by: 'all' }));
  }

  get<T extends TableName>(table: T, id: string): Tables[T] | undefined {
    return this.store.view((transaction) => transaction.get(table, id));
  }

  tasksOf(serviceId: string): readonly Task[] {
    return this.store.view((transaction) => transaction.find('task', { by: 'service', serviceId }));
  }

  service(id: string): Service {
    const service = this.get('service', id);
    if (service === undefined) throw new Error(`no service ${id}`);
    return service;
  }

  /** Waits for something that may wait for a write; time passes meanwhile. */
  async #settled(work: Promise<unknown>): Promise<void> {
    const wait = { over: this.#commitLatencyMs === 0 };
    const end = (): void => {
      wait.over = true;
    };
    work.then(end, end);
    while (!wait.over) await this.run(1);
    await work;
  }

  #newLoops(): LeaderLoops {
    const { store, environment } = this;
    const { usage } = this;
    return new LeaderLoops({ store, environment, logger: silentLogger, usage });
  }
}

/** Each update of a job, also to the same spec, runs it again. */
function nextIteration(service: Service): Service['jobStatus'] {
  if (!isJob(service)) return service.jobStatus;
  const index = (service.jobStatus?.jobIteration?.index ?? 0n) + 1n;
  return create(JobStatusSchema, { jobIteration: { index } });
}
