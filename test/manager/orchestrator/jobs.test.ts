/** Jobs: tasks that run to completion. */
import t, { type Test } from 'tap';
import type { Service } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeSpec_Availability } from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  RestartPolicy_RestartCondition,
  TaskState,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { makeNode, makeService } from '../simulation/objects.js';
import { World } from '../simulation/world.js';

async function startWorld(t: Test): Promise<World> {
  const world = new World(13);
  await world.start(['n1', 'n2', 'n3'].map((id) => makeNode(id)));
  t.teardown(() => world.stop());
  return world;
}

type ServiceInit = NonNullable<Parameters<typeof makeService>[1]>;

function job(maxConcurrent: number, totalCompletions: number, init: ServiceInit = {}): Service {
  const value = {
    maxConcurrent: BigInt(maxConcurrent),
    totalCompletions: BigInt(totalCompletions),
  };
  const spec = { ...init, mode: { case: 'replicatedJob' as const, value } };
  return makeService('job', spec, { jobStatus: { jobIteration: { index: 0n } } });
}

const inState = (world: World, state: TaskState): number =>
  world.tasksOf('job').filter(({ status }) => status?.state === state).length;

/** An update to the same spec is a new iteration. */
const runAgain = (world: World): Promise<void> => world.updateService('job', (spec) => spec);

void t.test('a replicated job completes its number, so many at a time', async (t) => {
  const world = await startWorld(t);
  let most = 0;
  world.store.subscribe(() => {
    const busy = world
      .tasksOf('job')
      .filter(({ status }) => (status?.state ?? 0) <= TaskState.RUNNING);
    most = Math.max(most, busy.length);
  });
  await world.put('service', job(2, 7));
  await world.run(20_000);
  t.equal(inState(world, TaskState.COMPLETE), 7);
  t.equal(world.tasksOf('job').length, 7);
  t.equal(most, 2);
  const slots = world.tasksOf('job').map(({ slot }) => Number(slot));
  t.same(
    slots.sort((a, b) => a - b),
    [0, 1, 2, 3, 4, 5, 6],
  );
  await world.changeLeader();
  await world.run(10_000);
  t.equal(world.tasksOf('job').length, 7, 'a new leader does not run it again');
  const before = world.tasksOf('job').map(({ id }) => id);
  await runAgain(world);
  await world.run(20_000);
  t.equal(inState(world, TaskState.COMPLETE), 7);
  t.notOk(
    world.tasksOf('job').some(({ id }) => before.includes(id)),
    'a new iteration is all new',
  );
});

void t.test('tasks that fail are run again, as often as allowed', async (t) => {
  const world = await startWorld(t);
  world.agents.behaviour.startFailChance = 1;
  const restart = {
    condition: RestartPolicy_RestartCondition.ON_FAILURE,
    maxAttempts: 2n,
    delay: { seconds: 1n },
  };
  await world.put('service', job(1, 2, { task: { restart } }));
  await world.run(3500);
  t.ok(inState(world, TaskState.FAILED) >= 2);
  world.agents.behaviour.startFailChance = 0;
  await world.run(10_000);
  const completed = world
    .tasksOf('job')
    .filter(({ status }) => status?.state === TaskState.COMPLETE);
  t.ok(
    completed.some(({ slot }) => slot === 1n),
    'the second slot is not held up',
  );
  await runAgain(world);
  world.agents.behaviour.startFailChance = 1;
  await world.run(30_000);
  t.equal(inState(world, TaskState.FAILED), 6, 'one start and two restarts a slot, then it ends');
  t.equal(inState(world, TaskState.COMPLETE), 0);
});

void t.test('a job moves off a drained node', async (t) => {
  const world = await startWorld(t);
  world.agents.behaviour.stepMs = 2000;
  await world.put('service', job(3, 3));
  await world.run(100);
  await world.setAvailability('n1', NodeSpec_Availability.DRAIN);
  await world.run(30_000);
  t.equal(inState(world, TaskState.COMPLETE), 3);
  t.notOk(
    world
      .tasksOf('job')
      .some(({ nodeId, status }) => nodeId === 'n1' && status?.state === TaskState.COMPLETE),
  );
});

void t.test('a global job runs once on every node, also on one that joins later', async (t) => {
  const world = await startWorld(t);
  await world.setAvailability('n3', NodeSpec_Availability.DRAIN);
  const service = makeService('job', { mode: { case: 'globalJob', value: {} } });
  await world.put('service', { ...service, jobStatus: job(1, 1).jobStatus });
  await world.run(5000);
  t.equal(inState(world, TaskState.COMPLETE), 2);
  await world.put('node', makeNode('n4'));
  await world.setAvailability('n3', NodeSpec_Availability.ACTIVE);
  await world.run(5000);
  t.same(
    world
      .tasksOf('job')
      .map(({ nodeId }) => nodeId)
      .sort((a, b) => (a < b ? -1 : 1)),
    ['n1', 'n2', 'n3', 'n4'],
  );
  t.equal(inState(world, TaskState.COMPLETE), 4);
});

void t.test('a global job does not begin on a node that is drained meanwhile', async (t) => {
  const world = await startWorld(t);
  world.setCommitLatency(5);
  const drain = (): void => {
    void world.store.update((transaction) => {
      const node = transaction.get('node', 'n1');
      if (node?.spec === undefined) return;
      const spec = { ...node.spec, availability: NodeSpec_Availability.DRAIN };
      transaction.update('node', { ...node, spec });
    });
  };
  world.store.subscribe((events) => {
    // Stored after the tasks are planned, and before they are.
    const isCreated = events.some(({ table, kind }) => table === 'service' && kind === 'create');
    if (isCreated) drain();
  });
  const service = makeService('job', { mode: { case: 'globalJob', value: {} } });
  await world.put('service', { ...service, jobStatus: job(1, 1).jobStatus });
  await world.run(5000);
  const nodeIds = world.tasksOf('job').map(({ nodeId }) => nodeId);
  t.same(new Set(nodeIds), new Set(['n2', 'n3']));
  t.equal(inState(world, TaskState.COMPLETE), 2);
});

const scheduled = (schedule: string, init: ServiceInit = {}): Service =>
  job(1, 1, { annotations: { labels: { 'skep.cron': schedule } }, ...init });

const iterations = (world: World): readonly number[] => [
  ...new Set(world.tasksOf('job').map(({ jobIteration }) => Number(jobIteration?.index ?? 0n))),
];

void t.test('a scheduled job runs when it is due, and once, whoever leads', async (t) => {
  const world = await startWorld(t);
  const runs: number[] = [];
  world.store.subscribe((events) => {
    for (const event of events) {
      if (event.table !== 'task' || event.kind !== 'create') continue;
      runs.push(world.environment.clock.nowMs());
    }
  });
  await world.put('service', scheduled('*/2 * * * *'));
  await world.run(1000);
  t.same(world.tasksOf('job'), [], 'not when it is made');
  const minute = 60_000;
  await world.run(2 * minute);
  t.equal(runs.length, 1);
  await world.run(2 * minute);
  t.equal(runs.length, 2);
  for (const run of runs) t.ok(run % (2 * minute) < 1000, `at ${run}`);
  t.same(iterations(world), [2]);
  // Just before it is due, and just after it ran.
  const untilDue = 2 * minute - (world.environment.clock.nowMs() % (2 * minute));
  await world.run(untilDue - 100);
  await world.changeLeader();
  await world.run(1000);
  t.equal(runs.length, 3);
  await world.changeLeader();
  await world.run(minute);
  t.equal(runs.length, 3, 'a new leader does not run it again');
  await runAgain(world);
  await world.run(1000);
  t.equal(runs.length, 4, 'an update runs it at once');
});

void t.test('a job that still runs when it is due again is let run', async (t) => {
  const world = await startWorld(t);
  const task = { placement: { constraints: ['node.labels.room==yes'] } };
  await world.put('service', scheduled('* * * * *', { task }));
  await world.run(200_000);
  t.same(iterations(world), [1]);
  t.equal(world.tasksOf('job').length, 1);
  await world.change('node', 'n1', (node) => ({
    ...node,
    spec: makeNode('n1', { spec: { annotations: { labels: { room: 'yes' } } } }).spec,
  }));
  await world.run(120_000);
  t.ok((iterations(world)[0] ?? 0) > 1, 'and goes on once it has ended');
});
