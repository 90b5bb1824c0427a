/** Which tasks a service has: scaling, nodes that change, history, deletion. */
import t, { type Test } from 'tap';
import { discreteResource, namedResource } from '../../../src/model/generic-resources.js';
import type { Node, Task } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeSpec_Availability } from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import { NodeStatus_State, TaskState } from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { taskName } from '../../../src/model/naming.js';
import { isWanted } from '../../../src/model/task-state.js';
import { inOrderOfRemoval } from '../../../src/manager/orchestrator/replicated.js';
import { makeNode, makeService, makeTask } from '../simulation/objects.js';
import { World } from '../simulation/world.js';

async function startWorld(t: Test, nodes?: readonly Node[]): Promise<World> {
  const world = new World(3);
  await world.start(nodes ?? ['n1', 'n2', 'n3'].map((id) => makeNode(id)));
  t.teardown(() => world.stop());
  return world;
}

const replicas = (count: number) => ({
  mode: { case: 'replicated' as const, value: { replicas: BigInt(count) } },
});

const globally = { mode: { case: 'global' as const, value: {} } };

function slots(world: World): readonly number[] {
  const wanted = world.tasksOf('web').filter(isWanted);
  return wanted.map(({ slot }) => Number(slot)).sort((a, b) => a - b);
}

function nodesOf(world: World): readonly string[] {
  return world
    .tasksOf('web')
    .filter(isWanted)
    .map(({ nodeId }) => nodeId)
    .sort();
}

const scale = (world: World, count: number) =>
  world.updateService('web', (spec) => ({
    ...spec,
    mode: makeService('x', replicas(count)).spec?.mode ?? spec.mode,
  }));

void t.test('slots are filled from the lowest number and tasks carry their names', async (t) => {
  const world = await startWorld(t);
  await world.put('service', makeService('web', replicas(3)));
  await world.run(2000);
  t.same(slots(world), [1, 2, 3]);
  await scale(world, 5);
  await world.run(2000);
  t.same(slots(world), [1, 2, 3, 4, 5]);
  await scale(world, 2);
  await world.run(2000);
  t.equal(world.tasksOf('web').length, 2, 'what was scaled away is deleted once stopped');
  t.same(new Set(nodesOf(world)).size, 2, 'and the rest stays on different nodes');
  await scale(world, 0);
  await world.run(2000);
  t.equal(world.tasksOf('web').length, 0);
  await scale(world, 1);
  await world.run(2000);
  const [task] = world.tasksOf('web');
  t.equal(task && taskName(task), `web.1.${task?.id}`);
});

void t.test('the order in which scaling down takes slots', async (t) => {
  const task = (slot: number, nodeId: string, state = TaskState.RUNNING): Task =>
    makeTask(`t${slot}`, { slot: BigInt(slot), nodeId, status: { state } });
  const used = (...tasks: Task[]) => ({ slot: tasks[0]?.slot ?? 0n, tasks });
  const order = (list: ReturnType<typeof used>[]) =>
    inOrderOfRemoval(list).map(({ slot }) => Number(slot));
  t.same(order([1, 2, 3].map((slot) => used(task(slot, `n${slot}`)))), [3, 2, 1]);
  t.same(
    order([used(task(1, 'a')), used(task(2, 'a')), used(task(3, 'b'))]),
    [2, 3, 1],
    'the second copy on a node goes first',
  );
  t.same(
    order([used(task(1, 'a', TaskState.STARTING)), used(task(2, 'a')), used(task(3, 'b'))]),
    [1, 3, 2],
    'of two on a node, the one that does not run',
  );
  t.same(
    order([used(task(1, '')), used(task(2, 'a')), used(task(3, 'b'))]),
    [1, 3, 2],
    'a slot without a node goes first',
  );
});

void t.test('global services follow the nodes', async (t) => {
  const world = await startWorld(t);
  await world.put('service', makeService('web', globally));
  await world.run(1000);
  t.same(nodesOf(world), ['n1', 'n2', 'n3']);
  await world.put('node', makeNode('n4'));
  await world.run(1000);
  t.same(nodesOf(world), ['n1', 'n2', 'n3', 'n4']);
  await world.setAvailability('n1', NodeSpec_Availability.DRAIN);
  await world.setAvailability('n2', NodeSpec_Availability.PAUSE);
  await world.setNodeState('n3', NodeStatus_State.DOWN);
  await world.run(1000);
  t.same(nodesOf(world), ['n2', 'n4'], 'a paused node keeps what it has');
  await world.setAvailability('n1', NodeSpec_Availability.ACTIVE);
  await world.setAvailability('n2', NodeSpec_Availability.ACTIVE);
  await world.setNodeState('n3', NodeStatus_State.READY);
  await world.run(5000);
  t.same(nodesOf(world), ['n1', 'n2', 'n3', 'n4']);
  const running = world.tasksOf('web').filter(({ status }) => status?.state === TaskState.RUNNING);
  t.equal(running.length, 4);
  await world.removeNode('n4');
  await world.run(1000);
  t.same(nodesOf(world), ['n1', 'n2', 'n3']);
});

void t.test('an update while a node is paused reaches it when it is active again', async (t) => {
  const world = await startWorld(t);
  await world.put('service', makeService('web', globally));
  await world.run(1000);
  await world.setAvailability('n1', NodeSpec_Availability.PAUSE);
  await world.updateService('web', (spec) => ({
    ...spec,
    task: spec.task && { ...spec.task, forceUpdate: 1n },
  }));
  await world.run(30_000);
  const forced = () =>
    world
      .tasksOf('web')
      .filter((task) => isWanted(task) && task.spec?.forceUpdate === 1n)
      .map(({ nodeId }) => nodeId)
      .sort();
  t.same(forced(), ['n2', 'n3']);
  await world.setAvailability('n1', NodeSpec_Availability.ACTIVE);
  await world.run(30_000);
  t.same(forced(), ['n1', 'n2', 'n3']);
});

const zone = (id: string, value: string) =>
  makeNode(id, { spec: { annotations: { labels: { zone: value } } } });

const relabel = (world: World, id: string, value: string) =>
  world.change('node', id, (node) => ({ ...node, spec: zone(id, value).spec }));

void t.test('a node that stops meeting the constraints loses its tasks', async (t) => {
  const world = await startWorld(t, [zone('n1', 'a'), zone('n2', 'a')]);
  const task = { placement: { constraints: ['node.labels.zone==a'] } };
  await world.put('service', makeService('web', { ...replicas(2), task }));
  await world.run(1000);
  const lost = world.tasksOf('web').find(({ nodeId }) => nodeId === 'n1')?.id ?? '';
  await relabel(world, 'n1', 'b');
  await world.run(0);
  t.match(world.get('task', lost)?.status, {
    state: TaskState.REJECTED,
    message: 'task rejected by constraint enforcer',
    err: 'assigned node no longer meets constraints',
  });
  await world.run(8000);
  t.same(nodesOf(world), ['n2', 'n2']);
});

void t.test('a task whose generic resource its node no longer has goes elsewhere', async (t) => {
  const withGpus = (id: string, ...members: readonly string[]) =>
    makeNode(id, {
      description: {
        resources: { generic: members.map((member) => namedResource('gpu', member)) },
      },
    });
  const world = await startWorld(t, [withGpus('n1', 'a', 'b')]);
  const task = { resources: { reservations: { generic: [discreteResource('gpu', 1n)] } } };
  await world.put('service', makeService('web', { ...replicas(1), task }));
  await world.run(1000);
  const [first] = world.tasksOf('web');
  t.same(first?.assignedGenericResources, [namedResource('gpu', 'a')]);
  const describe = (...members: readonly string[]) =>
    world.change('node', 'n1', (node) => ({
      ...node,
      description: withGpus('n1', ...members).description,
    }));
  await describe('a');
  await world.run(0);
  t.equal(world.get('task', first?.id ?? '')?.status?.state, TaskState.RUNNING, 'the other went');
  await describe('c');
  await world.run(10_000);
  t.equal(world.get('task', first?.id ?? '')?.status?.state, TaskState.REJECTED);
  const running = world.tasksOf('web').find((one) => one.status?.state === TaskState.RUNNING);
  t.same(running?.assignedGenericResources, [namedResource('gpu', 'c')]);
});

void t.test('a global service follows its constraints', async (t) => {
  const world = await startWorld(t, [zone('n1', 'a'), zone('n2', 'b')]);
  const task = { placement: { constraints: ['node.labels.zone==a'] } };
  await world.put('service', makeService('web', { ...globally, task }));
  await world.run(1000);
  t.same(nodesOf(world), ['n1']);
  await relabel(world, 'n2', 'a');
  await relabel(world, 'n1', 'b');
  await world.run(8000);
  t.same(nodesOf(world), ['n2']);
});

void t.test('a node that lost resources keeps only what fits', async (t) => {
  const world = await startWorld(t, [makeNode('n1')]);
  const task = { resources: { reservations: { nanoCpus: 800_000_000n } } };
  await world.put('service', makeService('web', { ...replicas(2), task }));
  await world.run(1000);
  const resources = { nanoCpus: 1_000_000_000n };
  await world.change('node', 'n1', (node) => ({
    ...node,
    description: makeNode('n1', { description: { resources } }).description,
  }));
  await world.run(6000);
  const states = world
    .tasksOf('web')
    .filter(isWanted)
    .map(({ status }) => status?.state);
  t.same(new Set(states), new Set([TaskState.PENDING, TaskState.RUNNING]));
});

void t.test('history keeps as many tasks a slot as the cluster says', async (t) => {
  const world = await startWorld(t);
  await world.put('service', makeService('web', replicas(2)));
  await world.run(1000);
  for (let round = 1; round <= 7; round++) {
    await world.updateService('web', (spec) => ({
      ...spec,
      task: spec.task && { ...spec.task, forceUpdate: BigInt(round) },
    }));
    await world.run(20_000);
  }
  for (const slot of [1n, 2n]) {
    const tasks = world.tasksOf('web').filter((task) => task.slot === slot);
    t.equal(tasks.length, 5);
    const forces = tasks.map(({ spec }) => Number(spec?.forceUpdate)).sort((a, b) => a - b);
    t.same(forces, [3, 4, 5, 6, 7], 'the oldest go first');
  }
});

void t.test('tasks of a service that was deleted under another leader go, too', async (t) => {
  const world = await startWorld(t);
  await world.put('service', makeService('web', replicas(2)));
  await world.put('service', makeService('agents', globally));
  await world.run(1000);
  await world.loops.stop();
  await world.remove('service', 'web');
  await world.remove('service', 'agents');
  await world.changeLeader();
  await world.run(2000);
  t.equal(world.all('task').length, 0);
});
