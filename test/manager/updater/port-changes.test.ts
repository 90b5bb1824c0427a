/**
 * A service whose published ports change and nothing else: tasks on skepd nodes keep running and get
 * the new endpoint, tasks on stock engines are replaced as stock Swarm does.
 */
import t, { type Test } from 'tap';
import type { Node, Task } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  NodeSpec_Availability,
  type ServiceSpec,
} from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  PortConfig_PublishMode as Mode,
  TaskState,
  UpdateStatus_UpdateState as State,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { isWanted } from '../../../src/model/task-state.js';
import { makeNode, makeService, makeSkepdNode } from '../simulation/objects.js';
import { World } from '../simulation/world.js';

async function startWorld(t: Test, nodes: readonly Node[]): Promise<World> {
  const world = new World(11);
  await world.start(nodes);
  t.teardown(() => world.stop());
  return world;
}

const port = (publishedPort: number, publishMode: Mode, targetPort = 80) => ({
  publishedPort,
  targetPort,
  publishMode,
});

function makeWeb(replicas: number, mode: Mode, name = 'web', publishedPort = 8000) {
  return makeService(name, {
    mode: { case: 'replicated', value: { replicas: BigInt(replicas) } },
    endpoint: { ports: [port(publishedPort, mode)] },
  });
}

const ports = (world: World, id: string, wanted: ReturnType<typeof port>[]) =>
  world.updateService(id, (spec) => ({
    ...spec,
    endpoint: makeService('x', { endpoint: { ports: wanted } }).spec?.endpoint,
  }));

const label = (world: World, id: string, labels: Record<string, string>) =>
  world.updateService(id, (spec: ServiceSpec) => ({
    ...spec,
    annotations: spec.annotations && { ...spec.annotations, labels },
  }));

const running = (world: World, id = 'web'): readonly Task[] =>
  world
    .tasksOf(id)
    .filter((task) => isWanted(task) && task.status?.state === TaskState.RUNNING)
    .sort((a, b) => Number(a.slot - b.slot));

const ids = (world: World, id = 'web') => running(world, id).map((task) => task.id);

const publishedAs = (world: World, id = 'web') =>
  running(world, id).map((task) =>
    (task.endpoint?.ports ?? []).map((p) => `${p.publishedPort} ${Mode[p.publishMode]}`).join(),
  );

void t.test('toggled ten times, tasks of skepd nodes stay', async (t) => {
  const world = await startWorld(t, ['n1', 'n2', 'n3'].map(makeSkepdNode));
  await world.put('service', makeWeb(3, Mode.INGRESS));
  await world.run(1000);
  const before = ids(world);
  t.equal(before.length, 3);
  for (let turn = 0; turn < 10; turn += 1) {
    const mode = turn % 2 === 0 ? Mode.HOST : Mode.INGRESS;
    await ports(world, 'web', [port(8000, mode)]);
    await world.run(1000);
    t.same(ids(world), before);
    t.same(publishedAs(world), Array(3).fill(`8000 ${Mode[mode]}`));
    t.match(world.service('web').updateStatus, {
      state: State.COMPLETED,
      message: 'update completed',
    });
  }
  await world.changeLeader();
  await world.run(10_000);
  t.same(ids(world), before, 'the next leader leaves them too');
});

void t.test('tasks of one service on a node share its host-mode port', async (t) => {
  const world = await startWorld(t, [makeSkepdNode('n1')]);
  await world.put('service', makeWeb(3, Mode.INGRESS));
  await world.run(1000);
  const before = ids(world);
  await ports(world, 'web', [port(8000, Mode.HOST)]);
  await world.run(1000);
  t.same(ids(world), before);
  t.equal(before.length, 3);
});

void t.test('on stock engines tasks are replaced, whatever their labels', async (t) => {
  const liar = makeNode('n1', { description: { engine: { labels: { 'skep.agent': '9' } } } });
  const world = await startWorld(t, [liar, makeSkepdNode('n2')]);
  await world.put('service', makeWeb(2, Mode.INGRESS));
  await world.run(1000);
  const before = running(world);
  t.same(new Set(before.map(({ nodeId }) => nodeId)), new Set(['n1', 'n2']));
  await ports(world, 'web', [port(9000, Mode.INGRESS)]);
  await world.run(20_000);
  const after = ids(world);
  for (const { id, nodeId } of before) t.equal(after.includes(id), nodeId === 'n2', nodeId);
  t.same(publishedAs(world), ['9000 INGRESS', '9000 INGRESS']);
  t.equal(world.service('web').updateStatus?.state, State.COMPLETED);
});

void t.test('a port change with another change rolls as ever', async (t) => {
  const world = await startWorld(t, [makeSkepdNode('n1')]);
  await world.put('service', makeWeb(2, Mode.INGRESS));
  await world.run(1000);
  const before = ids(world);
  await world.updateService('web', (spec) => ({
    ...spec,
    task: spec.task && { ...spec.task, forceUpdate: 1n },
    endpoint: makeWeb(1, Mode.HOST).spec?.endpoint,
  }));
  await world.run(1);
  t.ok(publishedAs(world).includes('8000 INGRESS'), 'an old task keeps its old ports');
  await world.run(30_000);
  t.notOk(ids(world).some((id) => before.includes(id)));
});

void t.test('a first port needs new tasks, taking the last one away does not', async (t) => {
  const world = await startWorld(t, [makeSkepdNode('n1')]);
  await world.put('service', makeService('web'));
  await world.run(1000);
  const bare = ids(world);
  await ports(world, 'web', [port(8000, Mode.INGRESS)]);
  await world.run(20_000);
  const published = ids(world);
  t.notSame(published, bare, 'they have no interface on the ingress network');
  await ports(world, 'web', []);
  await world.run(5000);
  t.same(ids(world), published);
  t.same(publishedAs(world), ['']);
  await ports(world, 'web', [port(8001, Mode.HOST)]);
  await world.run(5000);
  t.same(ids(world), published);
  t.same(publishedAs(world), ['8001 HOST']);
});

void t.test(
  'a host-mode port that another service has on the node: as for new tasks',
  async (t) => {
    const world = await startWorld(t, [makeSkepdNode('n1')]);
    await world.put('service', makeWeb(1, Mode.HOST, 'first'));
    await world.put('service', makeWeb(1, Mode.INGRESS, 'web', 8001));
    await world.run(1000);
    const first = ids(world, 'first');
    await ports(world, 'web', [port(8000, Mode.HOST)]);
    await world.run(5000);
    t.same(ids(world, 'first'), first, 'who has the port keeps it');
    const waiting = world.tasksOf('web').find(isWanted);
    t.match(waiting?.status, {
      state: TaskState.PENDING,
      err: 'no suitable node (host-mode port already in use on 1 node)',
    });
    await world.remove('service', 'first');
    await world.run(10_000);
    t.same(publishedAs(world), ['8000 HOST']);
  },
);

void t.test('a port somebody else has holds the change up, tasks go on', async (t) => {
  const world = await startWorld(t, [makeSkepdNode('n1')]);
  await world.put('service', makeWeb(1, Mode.INGRESS, 'first', 9000));
  await world.put('service', makeWeb(1, Mode.INGRESS));
  await world.run(1000);
  const before = ids(world);
  await ports(world, 'web', [port(9000, Mode.INGRESS)]);
  await world.run(10_000);
  t.same(publishedAs(world), ['8000 INGRESS']);
  t.equal(world.service('web').updateStatus?.state, State.UPDATING);
  await world.remove('service', 'first');
  await world.run(1000);
  t.same(publishedAs(world), ['9000 INGRESS']);
  t.same(ids(world), before);
  t.equal(world.service('web').updateStatus?.state, State.COMPLETED);
});

void t.test('rules of labels reach running tasks, also those of two versions', async (t) => {
  const world = await startWorld(t, [makeSkepdNode('n1'), makeNode('n2')]);
  await world.put('service', makeWeb(2, Mode.INGRESS));
  await world.run(1000);
  const onSkepd = running(world).find(({ nodeId }) => nodeId === 'n1')?.id;
  const labels = { 'skep.publish.8000.allow': '10.0.0.0/8' };
  await label(world, 'web', labels);
  await world.run(20_000);
  const after = running(world);
  t.equal(after.length, 2);
  t.ok(
    after.every(({ nodeId }) => nodeId === 'n1'),
    'a stock engine cannot keep to them',
  );
  t.ok(
    after.some(({ id }) => id === onSkepd),
    'a label alone restarts nothing',
  );
  for (const task of after) t.same(task.serviceAnnotations?.labels, labels);
  await world.setAvailability('n1', NodeSpec_Availability.PAUSE);
  await world.run(100);
  await label(world, 'web', { 'skep.publish.8000.allow': '192.0.2.0/24' });
  await world.run(100);
  t.match(running(world)[0]?.serviceAnnotations?.labels, {
    'skep.publish.8000.allow': '192.0.2.0/24',
  });
});

void t.test('one port on two addresses, not on two that may be the same', async (t) => {
  const world = await startWorld(t, [makeSkepdNode('n1')]);
  const scoped = (name: string, address: string, mode: Mode) =>
    makeService(name, {
      annotations: { name, labels: { 'skep.publish.8000.address': address } },
      mode: { case: 'replicated', value: { replicas: 1n } },
      endpoint: { ports: [port(8000, mode)] },
    });
  await world.put('service', scoped('a', '192.0.2.1', Mode.INGRESS));
  await world.put('service', scoped('b', '192.0.2.2', Mode.INGRESS));
  await world.put('service', scoped('c', '192.0.2.2', Mode.INGRESS));
  await world.run(1000);
  t.same(publishedAs(world, 'a'), ['8000 INGRESS']);
  t.same(publishedAs(world, 'b'), ['8000 INGRESS']);
  t.match(world.tasksOf('c')[0]?.status?.err, /port '8000' is already in use/);
  await world.put('service', scoped('d', 'eth8', Mode.HOST));
  await world.put('service', scoped('e', 'eth9', Mode.HOST));
  await world.put('service', scoped('f', 'eth9', Mode.HOST));
  await world.run(1000);
  t.same(publishedAs(world, 'd'), ['8000 HOST']);
  t.same(publishedAs(world, 'e'), ['8000 HOST']);
  t.match(world.tasksOf('f')[0]?.status?.err, /host-mode port already in use/);
});
