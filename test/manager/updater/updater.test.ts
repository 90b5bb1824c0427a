/** Rolling updates: order, pace, failure and rollback. */
import { create } from '@bufbuild/protobuf';
import t, { type Test } from 'tap';
import {
  NodeSpec_Availability,
  ReplicatedServiceSchema,
  type ServiceSpec,
} from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  NodeStatus_State,
  PlacementSchema,
  TaskState,
  UpdateConfig_FailureAction as Action,
  UpdateConfig_UpdateOrder as Order,
  UpdateStatus_UpdateState as State,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { isWanted } from '../../../src/model/task-state.js';
import { makeNode, makeService } from '../simulation/objects.js';
import { World } from '../simulation/world.js';

type Config = NonNullable<NonNullable<Parameters<typeof makeService>[1]>['update']>;

/** A world with `web` running four replicas of revision 0. */
async function startWorld(t: Test, update?: Config, rollback?: Config): Promise<World> {
  const world = new World(9);
  await world.start(['n1', 'n2'].map((id) => makeNode(id)));
  t.teardown(() => world.stop());
  await world.put(
    'service',
    makeService('web', {
      mode: { case: 'replicated', value: { replicas: 4n } },
      ...(update === undefined ? {} : { update }),
      ...(rollback === undefined ? {} : { rollback }),
    }),
  );
  await world.run(1000);
  return world;
}

const force = (revision: number) => (spec: ServiceSpec) => ({
  ...spec,
  task: spec.task && { ...spec.task, forceUpdate: BigInt(revision) },
});

const withReplicas = (replicas: bigint) => (spec: ServiceSpec) => ({
  ...spec,
  mode: { case: 'replicated' as const, value: create(ReplicatedServiceSchema, { replicas }) },
});

/** Revisions of the running tasks, in order of slot. */
function revisions(world: World): readonly number[] {
  return world
    .tasksOf('web')
    .filter((task) => task.status?.state === TaskState.RUNNING && isWanted(task))
    .sort((a, b) => Number(a.slot - b.slot))
    .map(({ spec }) => Number(spec?.forceUpdate));
}

const status = (world: World) => world.service('web').updateStatus;

void t.test('one slot after the other, each stopped first, then watched', async (t) => {
  const world = await startWorld(t);
  t.equal(status(world), undefined, 'the first deployment is no update');
  const runningAtOnce: number[] = [];
  const unsubscribe = world.store.subscribe(() => {
    const tasks = world.tasksOf('web');
    const running = tasks.filter((task) => task.status?.state === TaskState.RUNNING);
    runningAtOnce.push(running.length);
  });
  await world.updateService('web', force(1));
  await world.run(0);
  t.match(status(world), { state: State.UPDATING, message: 'update in progress' });
  await world.run(4000);
  unsubscribe();
  t.same(revisions(world), [1, 1, 1, 1]);
  t.equal(Math.min(...runningAtOnce), 3);
  t.equal(Math.max(...runningAtOnce), 4);
  t.equal(status(world)?.state, State.UPDATING, 'the last one is still watched');
  await world.run(5000);
  t.match(status(world), { state: State.COMPLETED, message: 'update completed' });
  t.ok(status(world)?.completedAt);
});

void t.test('start-first never has fewer running tasks than replicas', async (t) => {
  const world = await startWorld(t, { order: Order.START_FIRST, parallelism: 2n });
  let fewest = Infinity;
  let most = 0;
  world.store.subscribe(() => {
    const running = world.tasksOf('web').filter((task) => task.status?.state === TaskState.RUNNING);
    fewest = Math.min(fewest, running.length);
    // Those told to stop take their time, however many slots are replaced meanwhile.
    most = Math.max(most, running.filter(isWanted).length);
  });
  await world.updateService('web', force(1));
  await world.run(10_000);
  t.same(revisions(world), [1, 1, 1, 1]);
  t.equal(fewest, 4);
  t.ok(most > 4 && most <= 6);
});

void t.test('parallelism and delay set the pace', async (t) => {
  const world = await startWorld(t, { parallelism: 2n, delay: { seconds: 10n } });
  await world.updateService('web', force(1));
  await world.run(9000);
  t.same(revisions(world).filter((revision) => revision === 1).length, 2);
  await world.run(3000);
  t.same(revisions(world), [1, 1, 1, 1]);
  // After the last slot its delay, then a monitoring period made longer than the delay.
  await world.run(15_000);
  t.equal(status(world)?.state, State.UPDATING);
  await world.run(8000);
  t.equal(status(world)?.state, State.COMPLETED);
});

void t.test('parallelism 0 updates everything at once', async (t) => {
  const world = await startWorld(t, { parallelism: 0n });
  await world.updateService('web', force(1));
  await world.run(1);
  const old = world.tasksOf('web').filter(({ spec }) => spec?.forceUpdate === 0n);
  t.ok(old.every((task) => !isWanted(task)));
});

/** Updates to revision 1, of which the first so many containers do not start. */
async function updateToBroken(world: World, failures: number, waitMs: number): Promise<void> {
  const { behaviour } = world.agents;
  behaviour.startFailChance = 1;
  let seen = 0;
  world.store.subscribe((events) => {
    for (const event of events) {
      if (event.table !== 'task' || event.object.status?.state !== TaskState.FAILED) continue;
      const old = event.kind === 'update' ? event.old.status?.state : undefined;
      if (old !== TaskState.FAILED) seen += 1;
    }
    if (seen >= failures) behaviour.startFailChance = 0;
  });
  await world.updateService('web', force(1));
  await world.run(waitMs);
}

function failedTask(world: World): string {
  const failed = world.tasksOf('web').filter(({ status }) => status?.state === TaskState.FAILED);
  return (
    failed.sort((a, b) =>
      Number((a.meta?.version?.index ?? 0n) - (b.meta?.version?.index ?? 0n)),
    )[0]?.id ?? ''
  );
}

void t.test('by default the first failure pauses the update', async (t) => {
  const world = await startWorld(t);
  await updateToBroken(world, 1, 2000);
  t.match(status(world), {
    state: State.PAUSED,
    message: `update paused due to failure or early termination of task ${failedTask(world)}`,
  });
  await world.run(60_000);
  t.same(revisions(world), [1, 0, 0, 0], 'the failed slot is restarted, the others wait');
  await world.changeLeader();
  await world.run(20_000);
  t.same(revisions(world), [1, 0, 0, 0], 'also under the next leader');
  await world.updateService('web', force(2));
  await world.run(30_000);
  t.same(revisions(world), [2, 2, 2, 2], 'until the next update');
});

void t.test('a failure while nothing can be stored pauses the update afterwards', async (t) => {
  const world = await startWorld(t);
  world.agents.behaviour.startFailChance = 1;
  const unsubscribe = world.store.subscribe((events) => {
    for (const { table, object } of events) {
      if (table === 'task' && object.status?.state === TaskState.FAILED) world.writable = false;
    }
  });
  await world.updateService('web', force(1));
  await world.run(2000);
  unsubscribe();
  world.agents.behaviour.startFailChance = 0;
  t.equal(status(world)?.state, State.UPDATING, 'not stored yet');
  world.writable = true;
  await world.run(10_000);
  t.match(status(world), {
    state: State.PAUSED,
    message: `update paused due to failure or early termination of task ${failedTask(world)}`,
  });
});

void t.test('a failure below the ratio is tolerated', async (t) => {
  const world = await startWorld(t, { parallelism: 1n, maxFailureRatio: 0.25 });
  await updateToBroken(world, 1, 500);
  await world.run(40_000);
  t.equal(status(world)?.state, State.COMPLETED);
  t.same(revisions(world), [1, 1, 1, 1]);
});

void t.test('continue goes on whatever fails', async (t) => {
  const world = await startWorld(t, { parallelism: 1n, failureAction: Action.CONTINUE });
  await updateToBroken(world, 10, 10_000);
  await world.run(30_000);
  t.equal(status(world)?.state, State.COMPLETED);
  t.same(revisions(world), [1, 1, 1, 1]);
});

void t.test('rollback goes back to the previous spec, once', async (t) => {
  const world = await startWorld(t, { parallelism: 1n, failureAction: Action.ROLLBACK });
  const untouched = world
    .tasksOf('web')
    .filter(({ slot }) => slot > 1n)
    .map(({ id }) => id);
  await updateToBroken(world, 1, 300);
  t.match(status(world), {
    state: State.ROLLBACK_STARTED,
    message: `update rolled back due to failure or early termination of task ${failedTask(world)}`,
  });
  t.equal(world.service('web').previousSpec, undefined);
  await world.run(30_000);
  t.match(status(world), { state: State.ROLLBACK_COMPLETED, message: 'rollback completed' });
  t.same(revisions(world), [0, 0, 0, 0]);
  t.ok(untouched.every((id) => world.get('task', id)?.status?.state === TaskState.RUNNING));
});

void t.test('a rollback that fails is paused', async (t) => {
  const world = await startWorld(t, { parallelism: 1n, failureAction: Action.ROLLBACK }, {});
  world.agents.behaviour.startFailChance = 1;
  await world.updateService('web', force(1));
  await world.run(10_000);
  t.equal(status(world)?.state, State.ROLLBACK_PAUSED);
  t.match(status(world)?.message, /^update paused due to failure or early termination of task /);
});

void t.test('a task that ends after the monitoring period is no failure', async (t) => {
  const world = await startWorld(t, {
    parallelism: 1n,
    monitor: { seconds: 1n },
    delay: { seconds: 5n },
  });
  await world.updateService('web', force(1));
  await world.run(3000);
  const first = world
    .tasksOf('web')
    .find((task) => isWanted(task) && task.spec?.forceUpdate === 1n);
  await world.change('task', first?.id ?? '', (task) => ({
    ...task,
    status: task.status && { ...task.status, state: TaskState.FAILED },
  }));
  await world.run(60_000);
  t.equal(status(world)?.state, State.COMPLETED);
});

void t.test('a new update takes over from one under way', async (t) => {
  const world = await startWorld(t, { parallelism: 1n, delay: { seconds: 30n } });
  await world.updateService('web', force(1));
  await world.run(5000);
  await world.updateService('web', (spec) => ({ ...force(2)(spec), update: undefined }));
  await world.run(20_000);
  t.same(revisions(world), [2, 2, 2, 2]);
  t.equal(status(world)?.state, State.COMPLETED);
});

void t.test('a new leader continues an update', async (t) => {
  const world = await startWorld(t, { parallelism: 1n, delay: { seconds: 5n } });
  await world.updateService('web', force(1));
  await world.run(3000);
  await world.changeLeader();
  await world.run(40_000);
  t.same(revisions(world), [1, 1, 1, 1]);
  t.equal(status(world)?.state, State.COMPLETED);
});

void t.test('scaling goes with an update', async (t) => {
  const world = await startWorld(t);
  await world.updateService('web', (spec) => withReplicas(2n)(force(1)(spec)));
  await world.run(20_000);
  t.same(revisions(world), [1, 1]);
});

void t.test('a rollback to no replicas completes', async (t) => {
  const world = await startWorld(t);
  await world.updateService('web', withReplicas(0n));
  await world.updateService('web', withReplicas(4n));
  await world.run(1000);
  await world.rollBackService('web');
  await world.run(10_000);
  t.same(revisions(world), []);
  t.match(status(world), { state: State.ROLLBACK_COMPLETED, message: 'rollback completed' });
});

/** Revisions of all wanted tasks, in order of slot, then of revision. */
function wantedRevisions(world: World): readonly number[] {
  return world
    .tasksOf('web')
    .filter(isWanted)
    .map(({ slot, spec }) => ({ slot: Number(slot), revision: Number(spec?.forceUpdate) }))
    .sort((a, b) => a.slot - b.slot || a.revision - b.revision)
    .map(({ revision }) => revision);
}

const nowhere = (spec: ServiceSpec): ServiceSpec => ({
  ...spec,
  task: spec.task && {
    ...spec.task,
    placement: create(PlacementSchema, { constraints: ['node.id==none'] }),
  },
});

void t.test('start-first does not keep a task that waits for a node', async (t) => {
  const world = await startWorld(t, { order: Order.START_FIRST, parallelism: 0n });
  // Where nothing serves, the new tasks take the places of the old ones at once.
  await world.updateService('web', (spec) => force(1)(nowhere(spec)));
  await world.run(1000);
  t.same(wantedRevisions(world), [0, 1, 0, 1, 0, 1, 0, 1], 'what runs is kept up');
  await world.updateService('web', force(2));
  await world.run(1000);
  t.same(wantedRevisions(world), [0, 2, 0, 2, 0, 2, 0, 2], 'what waits is not');
  t.same(revisions(world), [0, 0, 0, 0]);
});

void t.test('a task that start-first keeps up gets no second successor', async (t) => {
  const world = await startWorld(t, { order: Order.START_FIRST, parallelism: 0n });
  await world.updateService('web', (spec) => force(1)(nowhere(spec)));
  await world.run(1000);
  for (const id of ['n1', 'n2']) {
    await world.setAvailability(id, NodeSpec_Availability.DRAIN);
  }
  await world.run(10_000);
  t.same(wantedRevisions(world), [1, 1, 1, 1]);
});

void t.test('an update does not wait for a task whose node went down', async (t) => {
  const world = await startWorld(t);
  world.agents.behaviour.stepMs = 5000;
  await world.updateService('web', force(1));
  await world.run(500);
  const first = world.tasksOf('web').find((task) => task.spec?.forceUpdate === 1n);
  await world.setNodeState(first?.nodeId ?? '', NodeStatus_State.DOWN);
  world.agents.behaviour.stepMs = 20;
  await world.run(120_000);
  t.same(revisions(world), [1, 1, 1, 1]);
  t.equal(status(world)?.state, State.COMPLETED);
});
