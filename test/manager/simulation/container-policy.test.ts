/**
 * Settings of containers under a policy that opens and closes at random, with updates, rollbacks, failures
 * and other leaders meanwhile: no task with a setting gets a node unless the cluster allows it at that moment,
 * only nodes with skepd have such tasks, and once all is allowed everything runs with the settings its
 * service asks for. SKEP_SEED plays one seed.
 */
import { clone, create } from '@bufbuild/protobuf';
import t from 'tap';
import {
  serviceSettingsText,
  taskSettingsText,
} from '../../../src/manager/orchestrator/container-policy.js';
import { runsSkepd } from '../../../src/model/agent-kind.js';
import { CONTAINER_ALLOW_LABEL } from '../../../src/model/container-settings.js';
import { ClusterSchema, type Task } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import type { ServiceSpec } from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  AnnotationsSchema,
  NodeStatus_State,
  TaskState,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { isWanted, observedState } from '../../../src/model/task-state.js';
import { makeNode, makeService, makeSkepdNode } from './objects.js';
import { World } from './world.js';

const SEEDS = 30;
const OPERATIONS = 25;
const SERVICES = ['a', 'b', 'c'];
const NODES = ['n1', 'n2', 'stock'];
const POLICIES = ['', 'pid', 'pid,shm-size', 'privileged', 'all'];
const SETTINGS: readonly Record<string, string>[] = [
  {},
  { 'skep.container.pid': 'host' },
  { 'skep.container.shm-size': '1m' },
  { 'skep.container.shm-size': '2m', 'skep.container.pid': 'host' },
  { 'skep.container.engine_socket': 'true' },
];

/** Whether a policy, as the page of labels has it, lets all settings of the task pass. */
function isAllowed(policy: string, task: Task): boolean {
  const names = policy.split(',');
  const asked = JSON.parse(taskSettingsText(task) || '[]') as [name: string, value: string][];
  return names.includes('all') || asked.every(([name]) => names.includes(name));
}

class PolicyWorld {
  readonly violations: string[] = [];
  readonly #world: World;
  #policy = '';

  constructor(seed: number) {
    const failures = { rejectChance: 0.05, startFailChance: 0.05, failChance: 0.1 };
    this.#world = new World(seed, { stepMs: 200, stopMs: 1000, ...failures });
  }

  async play(): Promise<void> {
    const world = this.#world;
    const { random } = world.environment;
    await world.start([makeSkepdNode('n1'), makeSkepdNode('n2'), makeNode('stock')]);
    world.store.subscribe((events) => {
      for (const event of events) {
        if (event.table === 'cluster' && event.kind !== 'remove')
          this.#policy = event.object.spec?.annotations?.labels[CONTAINER_ALLOW_LABEL] ?? '';
        if (event.table === 'task' && event.kind === 'update') this.#look(event.old, event.object);
      }
    });
    try {
      const latencyMs = random.pick([0, 3, 50]);
      if (latencyMs > 0) world.setCommitLatency(latencyMs);
      for (const id of SERVICES) await world.put('service', makeService(id));
      for (let step = 0; step < OPERATIONS; step++) {
        await this.#operate();
        await world.run(random.integer(0, 6000));
      }
      for (const id of NODES) await world.setNodeState(id, NodeStatus_State.READY);
      Object.assign(world.agents.behaviour, { rejectChance: 0, startFailChance: 0, failChance: 0 });
      await this.#allow('all');
      // An update that failures have paused goes on.
      for (const id of SERVICES) await world.updateService(id, (spec) => spec);
      await world.run(120_000);
      this.#checkEnd();
    } finally {
      await world.stop();
    }
  }

  async #operate(): Promise<void> {
    const world = this.#world;
    const { random } = world.environment;
    const id = random.pick(SERVICES);
    const edit = (change: (spec: ServiceSpec) => ServiceSpec) => world.updateService(id, change);
    await random.pick([
      () => this.#allow(random.pick(POLICIES)),
      () => this.#allow(random.pick(POLICIES)),
      () => edit((spec) => withLabels(spec, random.pick(SETTINGS))),
      () => edit((spec) => withLabels(spec, random.pick(SETTINGS))),
      () => edit((spec) => withReplicas(spec, random.integer(0, 4))),
      () => world.rollBackService(id),
      () => world.setNodeState(random.pick(NODES), NodeStatus_State.DOWN),
      () => world.setNodeState(random.pick(NODES), NodeStatus_State.READY),
      () => world.changeLeader(),
    ])();
  }

  async #allow(policy: string): Promise<void> {
    await this.#world.change('cluster', 'cluster', (old) => {
      const copy = clone(ClusterSchema, old);
      if (copy.spec?.annotations) copy.spec.annotations.labels[CONTAINER_ALLOW_LABEL] = policy;
      return copy;
    });
  }

  #look(old: Task, task: Task): void {
    const isNew =
      observedState(old) <= TaskState.PENDING && observedState(task) > TaskState.PENDING;
    if (!isNew || observedState(task) !== TaskState.ASSIGNED) return;
    const settings = taskSettingsText(task);
    if (!isAllowed(this.#policy, task))
      this.violations.push(`${task.id} got a node with ${settings}, allowed: ${this.#policy}`);
    if (settings !== '' && !runsSkepd(this.#world.get('node', task.nodeId)))
      this.violations.push(`${task.id} with ${settings} is on ${task.nodeId}`);
  }

  #checkEnd(): void {
    for (const service of this.#world.all('service')) {
      const tasks = this.#world.tasksOf(service.id).filter(isWanted);
      const mode = service.spec?.mode;
      const wanted = mode?.case === 'replicated' ? Number(mode.value.replicas) : 0;
      const running = tasks.filter((task) => observedState(task) === TaskState.RUNNING);
      if (running.length !== wanted)
        this.violations.push(`${service.id}: ${running.length} of ${wanted} tasks run`);
      const settings = serviceSettingsText(service.spec);
      for (const task of running) {
        if (taskSettingsText(task) !== settings)
          this.violations.push(`${task.id} has ${taskSettingsText(task)} instead of ${settings}`);
      }
    }
  }
}

function withLabels(spec: ServiceSpec, labels: Record<string, string>): ServiceSpec {
  const name = spec.annotations?.name ?? '';
  return { ...spec, annotations: create(AnnotationsSchema, { name, labels }) };
}

function withReplicas(spec: ServiceSpec, replicas: number): ServiceSpec {
  if (spec.mode.case !== 'replicated') return spec;
  return {
    ...spec,
    mode: { case: 'replicated', value: { ...spec.mode.value, replicas: BigInt(replicas) } },
  };
}

void t.test('settings of containers under a policy that changes', async (t) => {
  const only = process.env['SKEP_SEED'];
  const seeds =
    only === undefined ? Array.from({ length: SEEDS }, (_, i) => i + 1) : [Number(only)];
  for (const seed of seeds) {
    const world = new PolicyWorld(seed);
    await world.play();
    t.same(world.violations, [], `seed ${seed}`);
  }
});
