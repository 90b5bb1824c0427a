/** Drain as a rolling move (`skep.drain=rolling`). */
import t, { type Test } from 'tap';
import { NodeSpec_Availability as Availability } from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  NodeStatus_State,
  TaskState,
  UpdateConfig_FailureAction as Action,
  UpdateConfig_UpdateOrder as Order,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { isWanted } from '../../../src/model/task-state.js';
import { makeNode, makeService } from '../simulation/objects.js';
import { World } from '../simulation/world.js';

type Config = NonNullable<NonNullable<Parameters<typeof makeService>[1]>['update']>;

const ROLLING = { 'skep.drain': 'rolling' };

/** `web` with four replicas, all of them on n1; n2 and n3 are open. */
async function startWorld(t: Test, options: { update?: Config; labels?: Record<string, string> }) {
  const world = new World(9);
  await world.start([makeNode('n1')]);
  t.teardown(() => world.stop());
  const { update, labels = ROLLING } = options;
  await world.put(
    'service',
    makeService('web', {
      annotations: { name: 'web', labels },
      mode: { case: 'replicated', value: { replicas: 4n } },
      ...(update === undefined ? {} : { update }),
    }),
  );
  await world.run(1000);
  await world.put('node', makeNode('n2'));
  await world.put('node', makeNode('n3'));
  return world;
}

const running = (world: World) =>
  world.tasksOf('web').filter((task) => task.status?.state === TaskState.RUNNING);
const serving = (world: World) => running(world).filter(isWanted);
const nodesOf = (world: World) =>
  serving(world)
    .map(({ nodeId }) => nodeId)
    .sort();

/** Fewest and most running tasks from now on. */
function watch(world: World): { fewest: number; most: number } {
  const seen = { fewest: running(world).length, most: running(world).length };
  world.store.subscribe(() => {
    seen.fewest = Math.min(seen.fewest, running(world).length);
    seen.most = Math.max(seen.most, running(world).length);
  });
  return seen;
}

void t.test('without the label all tasks leave at once', async (t) => {
  const world = await startWorld(t, {
    update: { order: Order.START_FIRST, parallelism: 1n },
    labels: {},
  });
  await world.setAvailability('n1', Availability.DRAIN);
  await world.run(0);
  t.equal(serving(world).length, 0);
  await world.run(5000);
  t.same(nodesOf(world), ['n2', 'n2', 'n3', 'n3']);
});

void t.test('start-first: each replacement runs before the task stops', async (t) => {
  const world = await startWorld(t, {
    update: { order: Order.START_FIRST, parallelism: 1n, delay: { seconds: 2n } },
  });
  const seen = watch(world);
  await world.setAvailability('n1', Availability.DRAIN);
  await world.run(1000);
  t.equal(nodesOf(world).filter((id) => id === 'n1').length, 3, 'one has left, then the delay');
  await world.run(9000);
  t.same(nodesOf(world), ['n2', 'n2', 'n3', 'n3']);
  t.same(seen, { fewest: 4, most: 5 });
  t.equal(world.service('web').updateStatus, undefined, 'it is no update');
});

void t.test('stop-first: as many at a time as the update config says', async (t) => {
  const world = await startWorld(t, { update: { parallelism: 2n, delay: { seconds: 2n } } });
  world.agents.behaviour.stepMs = 300;
  const seen = watch(world);
  await world.setAvailability('n1', Availability.DRAIN);
  await world.run(1000);
  t.equal(nodesOf(world).filter((id) => id === 'n1').length, 2);
  await world.run(9000);
  t.same(nodesOf(world), ['n2', 'n2', 'n3', 'n3']);
  t.same(seen, { fewest: 2, most: 4 });
});

void t.test('parallelism 0: all together, each after its replacement', async (t) => {
  const world = await startWorld(t, { update: { order: Order.START_FIRST, parallelism: 0n } });
  const seen = watch(world);
  await world.setAvailability('n1', Availability.DRAIN);
  await world.run(1000);
  t.same(nodesOf(world), ['n2', 'n2', 'n3', 'n3']);
  t.equal(seen.fewest, 4);
});

void t.test('start-first without room: the task stays, and says why', async (t) => {
  const world = await startWorld(t, { update: { order: Order.START_FIRST, parallelism: 1n } });
  for (const id of ['n2', 'n3']) await world.setAvailability(id, Availability.PAUSE);
  await world.setAvailability('n1', Availability.DRAIN);
  await world.run(600_000);
  t.same(nodesOf(world), ['n1', 'n1', 'n1', 'n1']);
  const waiting = world.tasksOf('web').filter((task) => task.nodeId === '' && isWanted(task));
  t.match(waiting, [{ status: { err: 'no suitable node (3 nodes not available for new tasks)' } }]);
  await world.setAvailability('n1', Availability.ACTIVE);
  await world.run(1000);
  t.same(nodesOf(world), ['n1', 'n1', 'n1', 'n1']);
  t.equal(world.tasksOf('web').filter(isWanted).length, 4, 'the replacement is given up');
  await world.setAvailability('n1', Availability.DRAIN);
  await world.setAvailability('n3', Availability.ACTIVE);
  await world.run(20_000);
  t.same(nodesOf(world), ['n3', 'n3', 'n3', 'n3']);
});

for (const failureAction of [Action.PAUSE, Action.CONTINUE]) {
  void t.test(`a moved task that fails, ${Action[failureAction]}`, async (t) => {
    const world = await startWorld(t, {
      update: { order: Order.START_FIRST, parallelism: 1n, failureAction },
    });
    const { behaviour } = world.agents;
    behaviour.startFailChance = 1;
    await world.setAvailability('n1', Availability.DRAIN);
    await world.run(30_000);
    t.same(nodesOf(world), ['n1', 'n1', 'n1', 'n1'], 'what ran goes on');
    const failed = world.tasksOf('web').filter(({ status }) => status?.state === TaskState.FAILED);
    t.equal(failed.length, failureAction === Action.PAUSE ? 1 : 4, 'one try each');
    t.equal(world.service('web').updateStatus, undefined);
    behaviour.startFailChance = 0;
    await world.run(60_000);
    t.same(nodesOf(world), ['n2', 'n2', 'n3', 'n3'], 'tried again after a rest');
  });
}

void t.test('an update goes first, and takes the new tasks elsewhere itself', async (t) => {
  const world = await startWorld(t, {
    update: { order: Order.START_FIRST, parallelism: 1n, delay: { seconds: 5n } },
  });
  const seen = watch(world);
  await world.setAvailability('n1', Availability.DRAIN);
  await world.run(10);
  t.equal(world.tasksOf('web').filter(isWanted).length, 5, 'a move is under way');
  await world.updateService('web', (spec) => ({
    ...spec,
    task: spec.task && { ...spec.task, forceUpdate: 1n },
  }));
  await world.run(40_000);
  t.same(nodesOf(world), ['n2', 'n2', 'n3', 'n3']);
  t.equal(seen.fewest, 4);
  t.ok(serving(world).every(({ spec }) => spec?.forceUpdate === 1n));
  t.match(world.service('web').updateStatus, { message: 'update completed' });
});

void t.test('scaling in the middle of it shows no update', async (t) => {
  const world = await startWorld(t, {
    update: { order: Order.START_FIRST, parallelism: 1n, delay: { seconds: 5n } },
  });
  await world.setAvailability('n1', Availability.DRAIN);
  await world.run(10);
  await world.updateService('web', (spec) => ({
    ...spec,
    mode: {
      case: 'replicated',
      value: { $typeName: 'docker.swarmkit.v1.ReplicatedService', replicas: 6n },
    },
  }));
  await world.run(60_000);
  t.same(nodesOf(world), ['n2', 'n2', 'n2', 'n3', 'n3', 'n3']);
  t.equal(world.service('web').updateStatus, undefined);
});

void t.test('the label goes while it rolls: the rest leave at once', async (t) => {
  const world = await startWorld(t, {
    update: { order: Order.START_FIRST, parallelism: 1n, delay: { seconds: 60n } },
  });
  await world.setAvailability('n1', Availability.DRAIN);
  await world.run(2000);
  t.equal(nodesOf(world).filter((id) => id === 'n1').length, 3);
  await world.updateService('web', (spec) => ({
    ...spec,
    annotations: spec.annotations && { ...spec.annotations, labels: {} },
  }));
  await world.run(5000);
  t.same(nodesOf(world), ['n2', 'n2', 'n3', 'n3']);
});

void t.test('set on the cluster it holds for all services that do not say otherwise', async (t) => {
  const world = await startWorld(t, {
    update: { order: Order.START_FIRST, parallelism: 1n },
    labels: {},
  });
  await world.change('cluster', 'cluster', (cluster) => ({
    ...cluster,
    spec: cluster.spec && {
      ...cluster.spec,
      annotations: cluster.spec.annotations && { ...cluster.spec.annotations, labels: ROLLING },
    },
  }));
  await world.put(
    'service',
    makeService('other', { annotations: { name: 'other', labels: { 'skep.drain': 'at-once' } } }),
  );
  await world.run(1000);
  const [other] = world.tasksOf('other');
  const seen = watch(world);
  await world.setAvailability('n1', Availability.DRAIN);
  await world.setAvailability(other?.nodeId ?? '', Availability.DRAIN);
  await world.run(0);
  t.not(isWanted(world.tasksOf('other').find(({ id }) => id === other?.id) ?? other!), true);
  await world.run(20_000);
  t.equal(seen.fewest, 4);
  t.not(nodesOf(world).includes('n1'), true);
});

void t.test('the drained node goes down: everything starts elsewhere at once', async (t) => {
  const world = await startWorld(t, {
    update: { order: Order.START_FIRST, parallelism: 1n, delay: { seconds: 60n } },
  });
  await world.setAvailability('n1', Availability.DRAIN);
  await world.run(2000);
  await world.setNodeState('n1', NodeStatus_State.DOWN);
  await world.run(2000);
  t.same(
    nodesOf(world).filter((id) => id !== 'n1'),
    ['n2', 'n2', 'n3', 'n3'],
  );
});

void t.test('another manager leads in the middle of it', async (t) => {
  const world = await startWorld(t, { update: { order: Order.START_FIRST, parallelism: 1n } });
  world.agents.behaviour.stepMs = 500;
  const seen = watch(world);
  await world.setAvailability('n1', Availability.DRAIN);
  for (let round = 0; round < 6; round++) {
    await world.run(1300);
    await world.changeLeader();
  }
  await world.run(30_000);
  t.same(nodesOf(world), ['n2', 'n2', 'n3', 'n3']);
  t.equal(world.tasksOf('web').filter(isWanted).length, 4);
  t.equal(seen.fewest, 4);
  t.equal(world.service('web').updateStatus, undefined);
});
