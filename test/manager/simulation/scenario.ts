/** A random life of a cluster: what users do to services and nodes, and what fails meanwhile. */
import { create } from '@bufbuild/protobuf';
import type { Service } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeSpec_Availability } from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  NodeStatus_State,
  RestartPolicy_RestartCondition,
  UpdateConfig_FailureAction,
  UpdateConfig_UpdateOrder,
  UpdateConfigSchema,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import {
  FIXED_SERVICES_MAX,
  fixedLabels,
  fixedServiceId,
  isFixedService,
  reservingNetwork,
} from './fixed-labels.js';
import { makeNetwork, makeNode, makeService } from './objects.js';
import { SimulatedLoad } from './load.js';
import { World } from './world.js';
import { InvariantChecker } from './invariants.js';

type ServiceInit = NonNullable<Parameters<typeof makeService>[1]>;

/** Nodes at the start; the first ones are in zone a. */
const NODES = 5;
const NODES_IN_ZONE_A = 3;
const OPERATIONS = 40;
/** At once; raft on one machine; raft between far or busy machines. */
const COMMIT_LATENCIES_MS = [0, 3, 50];
/** Long enough for every restart delay, monitoring period and stop to pass several times. */
const QUIET_MS = 240_000;
/** Beyond that: nodes on which tasks failed are good again, and all has been moved that was to be. */
const EVEN_MS = 480_000;

const BY_ZONE = {
  Preference: { case: 'spread', value: { spreadDescriptor: 'node.labels.zone' } },
} as const;

const AUTOSCALE = {
  'skep.autoscale.min': '2',
  'skep.autoscale.max': '7',
  'skep.autoscale.cpu': '60',
  'skep.autoscale.window': '10s',
  'skep.autoscale.cooldown': '20s',
};

/** One seeded run; its violations are empty if all held. */
export async function runScenario(seed: number): Promise<readonly string[]> {
  const world = new World(seed, {
    stepMs: 300,
    stopMs: 3000,
    rejectChance: 0.05,
    startFailChance: 0.05,
    failChance: 0.15,
  });
  const checker = new InvariantChecker(world);
  const load = new SimulatedLoad(world, (what) => checker.violated(what));
  await world.start();
  try {
    const latencyMs = world.environment.random.pick(COMMIT_LATENCIES_MS);
    if (latencyMs > 0) world.setCommitLatency(latencyMs);
    await world.put('network', makeNetwork('net', reservingNetwork()));
    load.start();
    const scenario = new Scenario(world, load);
    for (let node = 0; node < NODES; node++) {
      await scenario.addNode(node < NODES_IN_ZONE_A ? 'a' : 'b');
    }
    for (let step = 0; step < OPERATIONS; step++) {
      await scenario.operate();
      await world.run(world.environment.random.integer(0, 8000));
    }
    await scenario.heal();
    await world.run(QUIET_MS);
    checker.checkQuiescent();
    await scenario.refresh();
    await world.run(QUIET_MS);
    await scenario.disturb();
    await world.run(EVEN_MS);
    checker.checkQuiescent();
    load.check();
    await checker.checkEven();
  } finally {
    load.stop();
    await world.stop();
  }
  return checker.violations;
}

class Scenario {
  readonly #world: World;
  readonly #load: SimulatedLoad;
  /** Ids of the nodes there are. */
  #nodes: readonly string[] = [];
  #nodesAdded = 0;
  #services = 0;
  #fixedServices = 0;
  #revision = 0;

  constructor(world: World, load: SimulatedLoad) {
    this.#world = world;
    this.#load = load;
  }

  /** Does one random thing. */
  async operate(): Promise<void> {
    const { random } = this.#world.environment;
    const services = this.#world.all('service');
    if (services.length < 2) return this.#create();
    const service = random.pick(services);
    const node = random.pick(this.#nodes);
    const operations: (() => Promise<void>)[] = [
      () => this.#create(),
      () => this.#scale(service),
      () => this.#scale(service),
      () => this.#updateImage(service),
      () => this.#updateImage(service),
      () => this.#updateImage(service),
      () => this.#toggleConstraint(service),
      () => this.#changeAddresses(service),
      () => this.#world.rollBackService(service.id),
      () => this.#world.remove('service', service.id),
      () => this.#world.setAvailability(node, NodeSpec_Availability.DRAIN),
      () => this.#world.setAvailability(node, NodeSpec_Availability.PAUSE),
      () => this.#world.setAvailability(node, NodeSpec_Availability.ACTIVE),
      () => this.#world.setNodeState(node, NodeStatus_State.DOWN),
      () => this.#world.setNodeState(node, NodeStatus_State.READY),
      () => this.#world.setNodeState(node, NodeStatus_State.READY),
      () => this.#relabel(node),
      () => this.#changeLoad(service),
      () => this.#changeLoad(service),
      () => this.#replaceNode(node),
      () => this.#world.changeLeader(),
      () => this.#world.outage(random.integer(100, 4000)),
      () => this.#electDuringOutage(),
    ];
    await random.pick(operations)();
  }

  /** A node joins. */
  async addNode(zone: string): Promise<void> {
    const id = `n${(this.#nodesAdded += 1)}`;
    this.#nodes = [...this.#nodes, id];
    await this.#world.put('node', makeNode(id, { spec: { annotations: { labels: { zone } } } }));
  }

  /** One is removed, whatever it runs, and another joins. */
  async #replaceNode(id: string): Promise<void> {
    const { random } = this.#world.environment;
    await this.#world.removeNode(id);
    this.#nodes = this.#nodes.filter((other) => other !== id);
    await this.addNode(random.pick(['a', 'b']));
  }

  /** The new leader finds the store not writable yet. */
  async #electDuringOutage(): Promise<void> {
    const { random } = this.#world.environment;
    this.#world.writable = false;
    await this.#world.run(random.integer(0, 2000));
    await this.#world.changeLeader();
    await this.#world.run(random.integer(0, 2000));
    this.#world.writable = true;
  }

  /** Ends all faults. */
  async heal(): Promise<void> {
    const { behaviour } = this.#world.agents;
    Object.assign(behaviour, { rejectChance: 0, startFailChance: 0, failChance: 0 });
    for (const [index, id] of this.#nodes.entries()) {
      await this.#world.setNodeState(id, NodeStatus_State.READY);
      if (index !== 1) await this.#world.setAvailability(id, NodeSpec_Availability.ACTIVE);
      else await this.#world.setAvailability(id, NodeSpec_Availability.DRAIN);
    }
  }

  /** Updates that were paused go on, and a few services more. */
  async refresh(): Promise<void> {
    for (const service of this.#world.all('service')) await this.#updateImage(service);
    for (let more = 0; more < 4; more++) await this.#create();
  }

  /** What happens on a good day: other loads, a node to be emptied, one that is back, a new one. */
  async disturb(): Promise<void> {
    const { random } = this.#world.environment;
    for (const service of this.#world.all('service')) await this.#changeLoad(service);
    const [, drained = '', ...others] = this.#nodes;
    await this.#world.setAvailability(drained, NodeSpec_Availability.ACTIVE);
    await this.#world.setAvailability(random.pick(others), NodeSpec_Availability.DRAIN);
    await this.addNode(random.pick(['a', 'b']));
  }

  async #create(): Promise<void> {
    const { random } = this.#world.environment;
    const mode = this.#randomMode();
    const isFixed =
      mode.case === 'replicated' && this.#fixedServices < FIXED_SERVICES_MAX && random.chance(0.5);
    const id = isFixed ? fixedServiceId((this.#fixedServices += 1)) : `s${(this.#services += 1)}`;
    const config = () =>
      create(UpdateConfigSchema, {
        parallelism: BigInt(random.integer(0, 3)),
        delay: { seconds: BigInt(random.integer(0, 3)) },
        monitor: { seconds: BigInt(random.integer(1, 5)) },
        failureAction: random.pick([
          UpdateConfig_FailureAction.PAUSE,
          UpdateConfig_FailureAction.CONTINUE,
          UpdateConfig_FailureAction.ROLLBACK,
        ]),
        // Two tasks in one slot cannot have one address.
        order:
          !isFixed && random.chance(0.4)
            ? UpdateConfig_UpdateOrder.START_FIRST
            : UpdateConfig_UpdateOrder.STOP_FIRST,
        maxFailureRatio: random.pick([0, 0, 0.3]),
      });
    const condition = random.chance(0.8)
      ? RestartPolicy_RestartCondition.ANY
      : RestartPolicy_RestartCondition.ON_FAILURE;
    const maxAttempts = condition === RestartPolicy_RestartCondition.ANY ? 0n : 2n;
    await this.#world.put(
      'service',
      makeService(id, {
        annotations: {
          name: id,
          labels: { ...this.#randomLabels(), ...(isFixed ? fixedLabels(id, random) : {}) },
        },
        mode,
        // Jobs have no rolling updates.
        ...(mode.case === 'replicated' || mode.case === 'global'
          ? { update: config(), rollback: config() }
          : {}),
        endpoint: random.chance(0.5) ? { ports: [{ targetPort: 80 }] } : {},
        task: {
          runtime: { case: 'container', value: { image: 'image:0' } },
          networks: isFixed || random.chance(0.5) ? [{ target: 'net' }] : [],
          restart: { condition, maxAttempts, delay: { seconds: BigInt(random.integer(0, 5)) } },
          placement: { preferences: random.chance(0.3) ? [BY_ZONE] : [] },
        },
      }),
    );
  }

  #randomLabels(): Record<string, string> {
    const { random } = this.#world.environment;
    return {
      ...(random.chance(0.5) ? { 'skep.drain': 'rolling' } : {}),
      ...(random.chance(0.5) ? { 'skep.rebalance': 'true' } : {}),
      ...(random.chance(0.3) ? AUTOSCALE : {}),
    };
  }

  #changeLoad({ id }: Service): Promise<void> {
    this.#load.set(id, this.#world.environment.random.integer(0, 6000));
    return Promise.resolve();
  }

  #randomMode(): NonNullable<ServiceInit['mode']> {
    const { random } = this.#world.environment;
    const kind = random.integer(0, 9);
    if (kind < 2) return { case: 'global', value: {} };
    if (kind === 2) return { case: 'globalJob', value: {} };
    if (kind < 5) {
      const maxConcurrent = BigInt(random.integer(1, 4));
      const totalCompletions = BigInt(random.integer(0, 8));
      return { case: 'replicatedJob', value: { maxConcurrent, totalCompletions } };
    }
    return { case: 'replicated', value: { replicas: BigInt(random.integer(0, 8)) } };
  }

  /** Other reserved addresses, or none, for one of the services that may have them. */
  #changeAddresses(service: Service): Promise<void> {
    if (!isFixedService(service.id)) return Promise.resolve();
    const labels = fixedLabels(service.id, this.#world.environment.random);
    return this.#world.updateService(service.id, (spec) => ({
      ...spec,
      annotations: spec.annotations && { ...spec.annotations, labels },
    }));
  }

  #scale(service: Service): Promise<void> {
    const count = BigInt(this.#world.environment.random.integer(0, 10));
    return this.#world.updateService(service.id, (spec) => {
      const { mode } = spec;
      if (mode.case === 'replicated') {
        return { ...spec, mode: { ...mode, value: { ...mode.value, replicas: count } } };
      }
      if (mode.case === 'replicatedJob') {
        return { ...spec, mode: { ...mode, value: { ...mode.value, totalCompletions: count } } };
      }
      return spec;
    });
  }

  #updateImage(service: Service): Promise<void> {
    const image = `image:${(this.#revision += 1)}`;
    return this.#world.updateService(service.id, (spec) => {
      const task = spec.task;
      if (task?.runtime.case !== 'container') return spec;
      const runtime = { ...task.runtime, value: { ...task.runtime.value, image } };
      return { ...spec, task: { ...task, runtime } };
    });
  }

  #toggleConstraint(service: Service): Promise<void> {
    const { random } = this.#world.environment;
    const constraints = random.pick([[], ['node.labels.zone==a'], ['node.labels.zone!=a']]);
    return this.#world.updateService(service.id, (spec) => {
      if (spec.task === undefined) return spec;
      const old = makeService('x').spec?.task?.placement ?? spec.task.placement;
      const placement = {
        $typeName: 'docker.swarmkit.v1.Placement' as const,
        preferences: [],
        platforms: [],
        maxReplicas: 0n,
        ...old,
        constraints,
      };
      return { ...spec, task: { ...spec.task, placement } };
    });
  }

  #relabel(nodeId: string): Promise<void> {
    const zone = this.#world.environment.random.pick(['a', 'b']);
    return this.#world.change('node', nodeId, (node) => {
      if (node.spec?.annotations === undefined) return node;
      const annotations = { ...node.spec.annotations, labels: { zone } };
      return { ...node, spec: { ...node.spec, annotations } };
    });
  }
}
