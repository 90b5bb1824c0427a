/** When tasks are replaced, how soon, and how often. */
import { create } from '@bufbuild/protobuf';
import t, { type Test } from 'tap';
import { timestampNow } from '../../../src/model/defaults.js';
import type { Task } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  GlobalServiceSchema,
  ReplicatedServiceSchema,
  NodeSpec_Availability,
} from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  AnnotationsSchema,
  NodeStatus_State,
  RestartPolicy_RestartCondition as Condition,
  TaskState,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { isWanted } from '../../../src/model/task-state.js';
import { makeNode, makeService } from '../simulation/objects.js';
import { World } from '../simulation/world.js';

type Restart = NonNullable<
  NonNullable<NonNullable<Parameters<typeof makeService>[1]>['task']>['restart']
>;

async function startWorld(t: Test, restart?: Restart): Promise<World> {
  const world = new World(5);
  await world.start([makeNode('n1'), makeNode('n2')]);
  t.teardown(() => world.stop());
  await world.put(
    'service',
    makeService('web', { task: restart === undefined ? {} : { restart } }),
  );
  await world.run(1000);
  return world;
}

function wanted(world: World): Task {
  const [task, ...others] = world.tasksOf('web').filter(isWanted);
  if (task === undefined || others.length > 0) throw new Error('not exactly one wanted task');
  return task;
}

/** Ends the wanted task and lets `waitMs` pass. */
async function end(world: World, state: TaskState, waitMs: number): Promise<void> {
  const appliedAt = timestampNow(world.environment.clock);
  await world.change('task', wanted(world).id, (task) => ({
    ...task,
    status: task.status && { ...task.status, state, appliedAt },
  }));
  await world.run(waitMs);
}

const wantedCount = (world: World): number => world.tasksOf('web').filter(isWanted).length;

void t.test('a replacement is prepared at once and started after the delay', async (t) => {
  const world = await startWorld(t);
  const first = wanted(world);
  await end(world, TaskState.FAILED, 4900);
  t.equal(world.get('task', first.id)?.desiredState, TaskState.SHUTDOWN);
  t.not(wanted(world).id, first.id);
  t.equal(wanted(world).desiredState, TaskState.READY);
  t.equal(wanted(world).status?.state, TaskState.READY);
  await world.run(200);
  t.equal(wanted(world).desiredState, TaskState.RUNNING);
  t.equal(wanted(world).slot, 1n);
});

const conditions: readonly [string, Restart, TaskState, number][] = [
  ['any, complete', { condition: Condition.ANY }, TaskState.COMPLETE, 1],
  ['on failure, complete', { condition: Condition.ON_FAILURE }, TaskState.COMPLETE, 0],
  ['on failure, failed', { condition: Condition.ON_FAILURE }, TaskState.FAILED, 1],
  ['on failure, rejected', { condition: Condition.ON_FAILURE }, TaskState.REJECTED, 1],
  ['none, failed', { condition: Condition.NONE }, TaskState.FAILED, 0],
];

for (const [name, restart, state, expected] of conditions) {
  void t.test(`restart condition ${name}`, async (t) => {
    const world = await startWorld(t, restart);
    await end(world, state, 1000);
    t.equal(wantedCount(world), expected);
    await world.changeLeader();
    await world.run(1000);
    t.equal(wantedCount(world), expected, 'also for the next leader');
    await world.updateService('web', (spec) => ({
      ...spec,
      task: spec.task && { ...spec.task, forceUpdate: 1n },
    }));
    await world.run(20_000);
    t.equal(wanted(world).status?.state, TaskState.RUNNING, 'a new spec brings it to life');
  });
}

void t.test('attempts are counted a slot and spec, across leaders', async (t) => {
  const restart = { condition: Condition.ANY, maxAttempts: 2n, delay: { seconds: 0n } };
  const world = await startWorld(t, restart);
  await end(world, TaskState.FAILED, 1000);
  await world.changeLeader();
  await end(world, TaskState.FAILED, 1000);
  t.equal(wantedCount(world), 1);
  await end(world, TaskState.FAILED, 1000);
  t.equal(wantedCount(world), 0, 'two restarts, not three');
  t.equal(world.tasksOf('web').length, 3, 'history holds them all');
});

void t.test('with a window, only restarts within it count', async (t) => {
  const restart = {
    condition: Condition.ANY,
    maxAttempts: 1n,
    delay: { seconds: 0n },
    window: { seconds: 30n },
  };
  const world = await startWorld(t, restart);
  for (let round = 0; round < 3; round++) {
    await end(world, TaskState.FAILED, 40_000);
    t.equal(wantedCount(world), 1, `round ${round}`);
  }
  await end(world, TaskState.FAILED, 2000);
  await end(world, TaskState.FAILED, 2000);
  t.equal(wantedCount(world), 0);
});

void t.test(
  'a drained node is left without delay, but only after the new task may run',
  async (t) => {
    const world = await startWorld(t);
    const first = wanted(world);
    world.agents.behaviour.stopMs = 3000;
    await world.setAvailability(first.nodeId, NodeSpec_Availability.DRAIN);
    await world.run(0);
    t.equal(wanted(world).desiredState, TaskState.READY, 'until the old one has stopped');
    await world.run(3500);
    t.equal(world.get('task', first.id)?.status?.state, TaskState.SHUTDOWN);
    t.equal(wanted(world).status?.state, TaskState.RUNNING);
    t.not(wanted(world).nodeId, first.nodeId);
  },
);

void t.test('tasks of a node that is down are replaced; what returns is stopped', async (t) => {
  const world = await startWorld(t);
  const first = wanted(world);
  await world.setNodeState(first.nodeId, NodeStatus_State.DOWN);
  await world.run(1000);
  t.equal(wanted(world).status?.state, TaskState.RUNNING, 'without the restart delay');
  t.equal(world.get('task', first.id)?.status?.state, TaskState.RUNNING, 'nobody has seen it stop');
  await world.setNodeState(first.nodeId, NodeStatus_State.READY);
  await world.run(500);
  t.equal(world.get('task', first.id)?.status?.state, TaskState.SHUTDOWN);
});

void t.test('a node that returns keeps a task whose replacement does not run yet', async (t) => {
  const world = await startWorld(t);
  const first = wanted(world);
  const other = first.nodeId === 'n1' ? 'n2' : 'n1';
  // Nobody can start the replacement.
  await world.setNodeState(other, NodeStatus_State.DOWN);
  await world.setNodeState(first.nodeId, NodeStatus_State.DOWN);
  await world.run(1000);
  const replacement = wanted(world);
  t.not(replacement.id, first.id);
  t.equal(world.get('task', first.id)?.desiredState, TaskState.SHUTDOWN);
  await world.setNodeState(first.nodeId, NodeStatus_State.READY);
  await world.run(20_000);
  t.equal(wanted(world).id, first.id);
  t.equal(world.get('task', first.id)?.status?.state, TaskState.RUNNING, 'it never stopped');
  t.ok((world.get('task', replacement.id)?.status?.state ?? 0) < TaskState.RUNNING);
});

void t.test('nothing comes back with a node that is not wanted there any more', async (t) => {
  for (const change of ['scaled to nothing', 'updated', 'drained'] as const) {
    const world = await startWorld(t);
    const first = wanted(world);
    await world.setNodeState('n1', NodeStatus_State.DOWN);
    await world.setNodeState('n2', NodeStatus_State.DOWN);
    await world.run(1000);
    if (change === 'drained')
      await world.setAvailability(first.nodeId, NodeSpec_Availability.DRAIN);
    else
      await world.updateService('web', (spec) => ({
        ...spec,
        ...(change === 'updated'
          ? { task: { ...(spec.task as NonNullable<typeof spec.task>), forceUpdate: 1n } }
          : { mode: { case: 'replicated' as const, value: create(ReplicatedServiceSchema) } }),
      }));
    await world.run(1000);
    await world.setNodeState(first.nodeId, NodeStatus_State.READY);
    await world.run(20_000);
    const state = world.get('task', first.id)?.status?.state ?? TaskState.REMOVE;
    t.ok(state > TaskState.RUNNING, change);
  }
});

void t.test('a node that returns keeps its tasks of global services', async (t) => {
  const world = await startWorld(t);
  await world.put(
    'service',
    makeService('all', { mode: { case: 'global', value: create(GlobalServiceSchema) } }),
  );
  await world.run(1000);
  const before = world
    .tasksOf('all')
    .filter(isWanted)
    .map(({ id }) => id)
    .sort();
  t.equal(before.length, 2);
  await world.setNodeState('n1', NodeStatus_State.DOWN);
  await world.run(10_000);
  t.equal(world.tasksOf('all').filter(isWanted).length, 1);
  await world.setNodeState('n1', NodeStatus_State.READY);
  await world.run(10_000);
  const after = world.tasksOf('all').filter(isWanted);
  t.same(after.map(({ id }) => id).sort(), before);
  t.ok(after.every(({ status }) => status?.state === TaskState.RUNNING));
});

void t.test('a service may wait longer for a node that is down than the cluster', async (t) => {
  const labels = { 'skep.reschedule_after': '60s' };
  for (const mode of ['replicated', 'global'] as const) {
    const world = await startWorld(t);
    await world.updateService('web', (spec) => ({
      ...spec,
      annotations: create(AnnotationsSchema, { name: 'web', labels }),
      mode: mode === 'global' ? { case: 'global', value: create(GlobalServiceSchema) } : spec.mode,
    }));
    await world.run(10_000);
    const first = world.tasksOf('web').find(isWanted);
    if (first === undefined) throw new Error('no task');
    const before = world.tasksOf('web').filter(isWanted).length;
    await world.setNodeState(first.nodeId, NodeStatus_State.DOWN);
    await world.run(30_000);
    t.ok(isWanted(world.get('task', first.id) ?? first), `${mode}: half of the time has passed`);
    await world.setNodeState(first.nodeId, NodeStatus_State.READY);
    await world.run(60_000);
    t.equal(world.get('task', first.id)?.desiredState, TaskState.RUNNING, 'it came back in time');
    t.equal(world.tasksOf('web').filter(isWanted).length, before);
    await world.setNodeState(first.nodeId, NodeStatus_State.DOWN);
    // The cluster's four seconds were over when the node was called down.
    await world.run(55_900);
    t.equal(world.get('task', first.id)?.desiredState, TaskState.RUNNING);
    await world.run(2000);
    t.equal(world.get('task', first.id)?.desiredState, TaskState.SHUTDOWN);
    t.equal(world.tasksOf('web').filter(isWanted).length, mode === 'global' ? before - 1 : before);
  }
});

void t.test('a drained node is not waited for', async (t) => {
  const world = await startWorld(t);
  const labels = { 'skep.reschedule_after': '60s' };
  await world.updateService('web', (spec) => ({
    ...spec,
    annotations: create(AnnotationsSchema, { name: 'web', labels }),
  }));
  const first = wanted(world);
  await world.setNodeState(first.nodeId, NodeStatus_State.DOWN);
  await world.setAvailability(first.nodeId, NodeSpec_Availability.DRAIN);
  await world.run(1000);
  t.not(wanted(world).id, first.id);
});

void t.test('a task that never stops is not waited for longer than a minute', async (t) => {
  const world = await startWorld(t);
  const first = wanted(world);
  world.agents.stop();
  await world.setAvailability(first.nodeId, NodeSpec_Availability.DRAIN);
  await world.run(59_000);
  t.equal(wanted(world).desiredState, TaskState.READY);
  await world.run(1500);
  t.equal(wanted(world).desiredState, TaskState.RUNNING);
});

void t.test(
  'a new leader starts what the old one delayed, after the rest of the delay',
  async (t) => {
    const world = await startWorld(t, { condition: Condition.ANY, delay: { seconds: 20n } });
    await end(world, TaskState.FAILED, 10_000);
    await world.changeLeader();
    await world.run(5000);
    t.equal(wanted(world).desiredState, TaskState.READY);
    await world.run(7000);
    t.equal(wanted(world).desiredState, TaskState.RUNNING);
  },
);

void t.test('a task that is refused while it waits does not restart in a tight loop', async (t) => {
  const world = await startWorld(t);
  world.agents.behaviour.rejectChance = 1;
  await end(world, TaskState.FAILED, 0);
  const before = world.tasksOf('web').length;
  await world.run(4500);
  t.equal(world.tasksOf('web').length, before);
  await world.run(30_000);
  t.ok(world.tasksOf('web').length <= 6, 'one each five seconds at most, and history is limited');
  world.agents.behaviour.rejectChance = 0;
  await world.run(15_000);
  t.equal(wanted(world).status?.state, TaskState.RUNNING);
});
