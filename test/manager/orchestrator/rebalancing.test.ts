/** Tasks that are moved towards an even spread (`skep.rebalance=true`). */
import t, { type Test } from 'tap';
import type { Node } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeSpec_Availability as Availability } from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  NodeStatus_State,
  TaskState,
  UpdateConfig_UpdateOrder as Order,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { isWanted } from '../../../src/model/task-state.js';
import { makeNode, makeService } from '../simulation/objects.js';
import { World } from '../simulation/world.js';

type Spec = NonNullable<Parameters<typeof makeService>[1]>;

const REBALANCE = { 'skep.rebalance': 'true' };
const START_FIRST = { order: Order.START_FIRST, parallelism: 1n };
/** Longer than a node must have been there. */
const SETTLED_MS = 31_000;
const LONG_MS = 600_000;

interface Options {
  readonly replicas?: number;
  readonly labels?: Record<string, string>;
  readonly nodes?: readonly Node[];
  readonly spec?: Spec;
}

/** `web` with six replicas on n1 and n2. */
async function startWorld(t: Test, options: Options = {}): Promise<World> {
  const { replicas = 6, labels = REBALANCE, spec = {} } = options;
  const world = new World(9);
  await world.start(options.nodes ?? [makeNode('n1'), makeNode('n2')]);
  t.teardown(() => world.stop());
  const service = makeService('web', {
    annotations: { name: 'web', labels },
    mode: { case: 'replicated', value: { replicas: BigInt(replicas) } },
    update: START_FIRST,
    ...spec,
  });
  await world.put('service', service);
  await world.run(2000);
  return world;
}

const running = (world: World) =>
  world.tasksOf('web').filter((task) => task.status?.state === TaskState.RUNNING);

/** Tasks that run and are to run, on each node, in order of node id. */
const spread = (world: World): readonly number[] =>
  world
    .all('node')
    .map(({ id }) => running(world).filter((task) => isWanted(task) && task.nodeId === id).length);

/** New tasks and the fewest and most that ran, from now on. */
function watch(world: World): { created: number; fewest: number; most: number } {
  const seen = { created: 0, fewest: running(world).length, most: running(world).length };
  world.store.subscribe((events) => {
    seen.created += events.filter(
      (event) => event.table === 'task' && event.kind === 'create',
    ).length;
    const serving = running(world).filter(isWanted).length;
    seen.fewest = Math.min(seen.fewest, serving);
    seen.most = Math.max(seen.most, serving);
  });
  return seen;
}

void t.test('without the label nothing moves', async (t) => {
  const world = await startWorld(t, { labels: {} });
  const seen = watch(world);
  await world.put('node', makeNode('n3'));
  await world.run(LONG_MS);
  t.same(spread(world), [3, 3, 0]);
  t.equal(seen.created, 0);
});

void t.test('a node joins: no more moves than needed, and none after', async (t) => {
  const world = await startWorld(t);
  const seen = watch(world);
  await world.put('node', makeNode('n3'));
  await world.run(SETTLED_MS - 2000);
  t.equal(seen.created, 0, 'not before the node has been there for a while');
  await world.run(10_000);
  t.same(spread(world), [2, 2, 2]);
  t.same(seen, { created: 2, fewest: 6, most: 7 }, 'start-first');
  await world.run(LONG_MS);
  t.equal(seen.created, 2);
  t.equal(world.service('web').updateStatus, undefined, 'it is no update');
});

void t.test('stop-first, and the delay between two moves', async (t) => {
  const update = { parallelism: 3n, delay: { seconds: 60n } };
  const world = await startWorld(t, { spec: { update } });
  const seen = watch(world);
  await world.put('node', makeNode('n3'));
  await world.run(SETTLED_MS + 10_000);
  t.same(spread(world).at(-1), 1, 'one at a time');
  await world.run(60_000);
  t.same(spread(world), [2, 2, 2]);
  t.same(seen, { created: 2, fewest: 5, most: 6 });
});

void t.test('one task more than elsewhere stays', async (t) => {
  const world = await startWorld(t, { replicas: 2 });
  const seen = watch(world);
  await world.put('node', makeNode('n3'));
  await world.run(LONG_MS);
  t.same(spread(world), [1, 1, 0]);
  t.equal(seen.created, 0);
});

void t.test('what would be no better is not done, whatever else the nodes hold', async (t) => {
  const world = await startWorld(t, { replicas: 3 });
  t.same(
    [...spread(world)].sort((a, b) => a - b),
    [1, 2],
  );
  const seen = watch(world);
  const [n1 = 0] = spread(world);
  const other = makeService('other', {
    mode: { case: 'replicated', value: { replicas: 4n } },
    task: { placement: { constraints: [`node.hostname==${n1 === 2 ? 'n1' : 'n2'}`] } },
  });
  await world.put('service', other);
  await world.run(LONG_MS);
  t.equal(seen.created, 4, 'those of the other service');
});

void t.test('a node that was drained, or down, gets its share back', async (t) => {
  const world = await startWorld(t, { replicas: 4 });
  await world.setAvailability('n2', Availability.DRAIN);
  await world.run(10_000);
  t.same(spread(world), [4, 0]);
  await world.setAvailability('n2', Availability.ACTIVE);
  await world.run(SETTLED_MS + 10_000);
  t.same(spread(world), [2, 2]);
  await world.setNodeState('n1', NodeStatus_State.DOWN);
  await world.run(10_000);
  t.same(spread(world)[1], 4);
  await world.setNodeState('n1', NodeStatus_State.READY);
  await world.run(SETTLED_MS + 20_000);
  t.same(spread(world), [2, 2]);
});

void t.test('a node that comes and goes gets nothing', async (t) => {
  const world = await startWorld(t);
  await world.put('node', makeNode('n3'));
  const seen = watch(world);
  for (let round = 0; round < 20; round++) {
    await world.run(25_000);
    await world.setNodeState('n3', NodeStatus_State.DOWN);
    await world.run(1000);
    await world.setNodeState('n3', NodeStatus_State.READY);
  }
  t.equal(seen.created, 0);
  await world.run(SETTLED_MS + 10_000);
  t.same(spread(world), [2, 2, 2]);
});

void t.test('the label is set later', async (t) => {
  const world = await startWorld(t, { labels: {} });
  await world.put('node', makeNode('n3'));
  await world.run(SETTLED_MS);
  await world.updateService('web', (spec) => ({
    ...spec,
    annotations: spec.annotations && { ...spec.annotations, labels: REBALANCE },
  }));
  await world.run(15_000);
  t.same(spread(world), [2, 2, 2]);
});

const zoned = (id: string, zone: string): Node =>
  makeNode(id, { spec: { annotations: { labels: { zone } } } });
const BY_ZONE: Spec = {
  task: {
    runtime: { case: 'container', value: { image: 'image:1' } },
    placement: {
      preferences: [
        { Preference: { case: 'spread', value: { spreadDescriptor: 'node.labels.zone' } } },
      ],
    },
  },
};

const refusals: { readonly name: string; readonly options: Options; readonly node: Node }[] = [
  {
    name: 'constraints',
    options: { spec: { task: { placement: { constraints: ['node.hostname!=n3'] } } } },
    node: makeNode('n3'),
  },
  {
    name: 'reservations',
    options: {
      spec: { task: { resources: { reservations: { memoryBytes: 1n << 28n } } } },
    },
    node: makeNode('n3', {
      description: { hostname: 'n3', resources: { memoryBytes: 1n << 20n } },
    }),
  },
  {
    name: 'the balance of a spread preference',
    options: {
      nodes: [zoned('n1', 'a'), zoned('n2', 'b')],
      replicas: 2,
      spec: BY_ZONE,
    },
    node: zoned('n3', 'a'),
  },
];
for (const { name, options, node } of refusals) {
  void t.test(`${name}: what the scheduler would not do is not done`, async (t) => {
    const world = await startWorld(t, options);
    const seen = watch(world);
    await world.put('node', node);
    await world.run(LONG_MS);
    t.equal(seen.created, 0);
    t.equal(spread(world).at(-1), 0);
  });
}

void t.test('a limit of replicas per node holds', async (t) => {
  const placement = { maxReplicas: 3n };
  const world = await startWorld(t, { spec: { task: { placement } } });
  await world.put('node', makeNode('n3'));
  await world.run(SETTLED_MS + 15_000);
  t.same(spread(world), [2, 2, 2]);
});

void t.test('the values of a preference come first, then the nodes', async (t) => {
  const world = await startWorld(t, {
    nodes: [zoned('n1', 'a'), zoned('n2', 'a')],
    spec: BY_ZONE,
  });
  const seen = watch(world);
  await world.put('node', zoned('n3', 'b'));
  await world.run(SETTLED_MS + 30_000);
  t.same(spread(world).at(-1), 3, 'half of them');
  t.equal(seen.created, 3);
  await world.put('node', zoned('n4', 'b'));
  await world.run(SETTLED_MS + 30_000);
  t.equal(seen.created, 4);
  const [a1 = 0, a2 = 0, b3 = 0, b4 = 0] = spread(world);
  t.same([a1 + a2, b3 + b4], [3, 3]);
  t.same([Math.abs(a1 - a2), Math.abs(b3 - b4)], [1, 1]);
});

void t.test('the constraints of today count, also where tasks need not follow them', async (t) => {
  const world = await startWorld(t);
  await world.updateService('web', (spec) => {
    const constraints = ['node.hostname!=n3'];
    const placement = makeService('x', { task: { placement: { constraints } } }).spec?.task
      ?.placement;
    return placement === undefined
      ? spec
      : { ...spec, task: spec.task && { ...spec.task, placement } };
  });
  const seen = watch(world);
  await world.put('node', makeNode('n3'));
  await world.run(LONG_MS);
  t.equal(seen.created, 0);
});

void t.test('within one value of a preference, when the values are even', async (t) => {
  const nodes = [zoned('n1', 'a'), zoned('n2', 'a'), zoned('n3', 'b')];
  const world = await startWorld(t, { nodes, spec: BY_ZONE, replicas: 7 });
  await world.put('node', zoned('n4', 'b'));
  const seen = watch(world);
  await world.run(SETTLED_MS + 30_000);
  const [a1 = 0, a2 = 0, b3 = 0, b4 = 0] = spread(world);
  t.equal(Math.abs(a1 + a2 - b3 - b4), 1);
  t.ok(Math.abs(a1 - a2) <= 1 && Math.abs(b3 - b4) <= 1, spread(world).join());
  t.ok(seen.created <= 2);
});

void t.test('nothing moves while an update is under way or paused', async (t) => {
  const world = await startWorld(t, {
    spec: { update: { ...START_FIRST, delay: { seconds: 30n }, monitor: { seconds: 1n } } },
  });
  await world.updateService('web', (spec) => ({
    ...spec,
    task: spec.task && { ...spec.task, forceUpdate: 1n },
  }));
  await world.run(1000);
  await world.put('node', makeNode('n3'));
  const seen = watch(world);
  await world.run(59_000);
  t.equal(seen.created, 1, 'the second slot of the update');
  world.agents.behaviour.startFailChance = 1;
  await world.run(5000);
  t.match(world.service('web').updateStatus?.message, /^update paused/);
  world.agents.behaviour.startFailChance = 0;
  await world.run(30_000);
  const paused = { ...seen };
  await world.put('node', makeNode('n4'));
  await world.run(LONG_MS);
  t.equal(seen.created, paused.created);
  t.same(spread(world), [2, 2, 2, 0]);
});

void t.test('a moved task that fails: what ran goes on, tries are a minute apart', async (t) => {
  const world = await startWorld(t);
  const { behaviour } = world.agents;
  behaviour.startFailChance = 1;
  await world.put('node', makeNode('n3'));
  const seen = watch(world);
  await world.run(SETTLED_MS + 150_000);
  t.equal(seen.created, 3);
  t.equal(seen.fewest, 6);
  behaviour.startFailChance = 0;
  await world.run(100_000);
  t.same(spread(world), [2, 2, 2]);
});

void t.test('another manager leads in the middle of it', async (t) => {
  const world = await startWorld(t);
  world.agents.behaviour.stepMs = 1000;
  await world.put('node', makeNode('n3'));
  const seen = watch(world);
  await world.run(SETTLED_MS + 500);
  await world.changeLeader();
  await world.run(SETTLED_MS + 30_000);
  t.same(spread(world), [2, 2, 2]);
  t.equal(seen.fewest, 6);
  t.equal(world.tasksOf('web').filter(isWanted).length, 6);
  t.equal(world.service('web').updateStatus, undefined);
});
