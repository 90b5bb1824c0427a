/** Addresses that labels ask for: given, kept, changed, waited for, and never given by chance. */
import t, { type Test } from 'tap';
import type { Task } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  NodeStatus_State,
  RestartPolicy_RestartCondition,
  TaskState,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { isOver, isWanted } from '../../../src/model/task-state.js';
import {
  makeNetwork,
  makeNode,
  makeService,
  makeSkepdNode,
  makeTask,
} from '../simulation/objects.js';
import { World } from '../simulation/world.js';

const SUBNET = '10.9.0.0/28';
/** .8 to .14 can be given. */
const RESERVED = '10.9.0.8/29';

/** A network `net` with a reserved half. */
async function startWorld(t: Test, nodes = [makeSkepdNode('n1'), makeSkepdNode('n2')]) {
  const world = new World(11);
  await world.start(nodes);
  t.teardown(() => world.stop());
  const annotations = { name: 'net', labels: { 'skep.reserved': RESERVED } };
  const ipam = { configs: [{ subnet: SUBNET }] };
  await world.put('network', makeNetwork('net', { annotations, ipam, attachable: true }));
  await world.run(0);
  return world;
}

function serviceOn(id: string, labels: Record<string, string>, replicas = 1) {
  return makeService(id, {
    annotations: { name: id, labels },
    mode: { case: 'replicated', value: { replicas: BigInt(replicas) } },
    task: {
      runtime: { case: 'container', value: { image: 'image:1' } },
      networks: [{ target: 'net' }],
      restart: { condition: RestartPolicy_RestartCondition.ANY, delay: { seconds: 0n } },
    },
  });
}

function vipOf(world: World, id: string): string | undefined {
  return world.service(id).endpoint?.virtualIps[0]?.addr;
}

function addressOf(task: Task): string {
  return task.networks[0]?.addresses[0] ?? '';
}

/** By slot, of the tasks that are wanted. */
function addressesOf(world: World, id: string): readonly string[] {
  return world
    .tasksOf(id)
    .filter((task) => isWanted(task) && !isOver(task))
    .sort((a, b) => Number(a.slot - b.slot))
    .map(addressOf);
}

function relabel(world: World, id: string, labels: Record<string, string>): Promise<void> {
  return world.updateService(id, (spec) => ({
    ...spec,
    annotations: spec.annotations && { ...spec.annotations, labels },
  }));
}

function force(world: World, id: string, round: bigint): Promise<void> {
  return world.updateService(id, (spec) => ({
    ...spec,
    task: spec.task && { ...spec.task, forceUpdate: round },
  }));
}

void t.test('asked for, got, and kept', async (t) => {
  const world = await startWorld(t);
  const labels = { 'skep.vip.net': '10.9.0.14', 'skep.addresses.net': '10.9.0.9-10.9.0.12' };
  await world.put('service', serviceOn('web', labels, 3));
  await world.run(1000);
  const wanted = ['10.9.0.9/28', '10.9.0.10/28', '10.9.0.11/28'];
  t.equal(vipOf(world, 'web'), '10.9.0.14/28');
  t.same(addressesOf(world, 'web'), wanted);
  for (let round = 1n; round < 4n; round += 1n) {
    const before = new Set(world.tasksOf('web').map(({ id }) => id));
    await force(world, 'web', round);
    if (round === 2n) await world.changeLeader();
    await world.run(30_000);
    t.notOk(world.tasksOf('web').some((task) => isWanted(task) && before.has(task.id)));
    t.same(addressesOf(world, 'web'), wanted);
    t.equal(vipOf(world, 'web'), '10.9.0.14/28');
  }
});

void t.test('reserved addresses are never given by chance', async (t) => {
  const world = await startWorld(t);
  await world.put('service', serviceOn('crowd', {}, 12));
  await world.run(1000);
  const given = [
    vipOf(world, 'crowd') ?? '',
    ...addressesOf(world, 'crowd').filter(Boolean),
    ...world.all('node').flatMap(({ attachments }) => attachments[1]?.addresses ?? []),
  ];
  t.same(
    [...given].sort(),
    [2, 3, 4, 5, 6, 7].map((last) => `10.9.0.${last}/28`),
    'all but the gateway',
  );
  const container = makeTask('container', {
    nodeId: 'n1',
    status: { state: TaskState.NEW },
    spec: {
      runtime: { case: 'attachment', value: { containerId: 'c' } },
      networks: [{ target: 'net', addresses: ['10.9.0.9'] }],
    },
  });
  await world.put('task', container);
  await world.run(0);
  t.equal(world.get('task', 'container')?.status?.err, 'Address already in use');
});

void t.test('a virtual address changes at once, and tasks follow where they can', async (t) => {
  const world = await startWorld(t, [makeSkepdNode('ours'), makeNode('stock')]);
  await world.put('service', serviceOn('web', { 'skep.vip.net': '10.9.0.9' }, 2));
  await world.run(1000);
  const ids = () =>
    new Map(
      world
        .tasksOf('web')
        .filter(isWanted)
        .map((task) => [task.nodeId, task.id]),
    );
  const first = ids();
  t.same([...first.keys()].sort(), ['ours', 'stock']);
  await relabel(world, 'web', { 'skep.vip.net': '10.9.0.10' });
  await world.run(0);
  t.equal(vipOf(world, 'web'), '10.9.0.10/28');
  await world.run(30_000);
  const second = ids();
  t.equal(second.get('ours'), first.get('ours'), 'follows');
  t.not(second.get('stock'), first.get('stock'), 'is replaced');
  const told = () =>
    world
      .tasksOf('web')
      .filter(isWanted)
      .map((task) => task.endpoint?.virtualIps[0]?.addr);
  t.same(told(), ['10.9.0.10/28', '10.9.0.10/28']);
  await relabel(world, 'web', {});
  await world.run(30_000);
  t.match(vipOf(world, 'web'), /^10\.9\.0\.[2-7]\//, 'without a label one that is not reserved');
  t.same(told(), [vipOf(world, 'web'), vipOf(world, 'web')]);
  t.equal(ids().get('ours'), first.get('ours'));
});

void t.test('changed addresses of tasks roll out', async (t) => {
  const world = await startWorld(t);
  await world.put('service', serviceOn('web', { 'skep.addresses.net': '10.9.0.9-10.9.0.10' }, 2));
  await world.run(1000);
  await relabel(world, 'web', { 'skep.addresses.net': '10.9.0.12,10.9.0.11' });
  await world.run(30_000);
  t.same(addressesOf(world, 'web'), ['10.9.0.12/28', '10.9.0.11/28']);
  await world.rollBackService('web');
  await world.run(30_000);
  t.same(addressesOf(world, 'web'), ['10.9.0.9/28', '10.9.0.10/28']);
  await relabel(world, 'web', {});
  await world.run(30_000);
  t.ok(addressesOf(world, 'web').every((address) => /^10\.9\.0\.[2-7]\//.test(address)));
});

void t.test('what is in use is waited for, and tasks say so', async (t) => {
  const world = await startWorld(t);
  const labels = { 'skep.vip.net': '10.9.0.9', 'skep.addresses.net': '10.9.0.10' };
  await world.put('service', serviceOn('one', labels));
  await world.run(1000);
  await world.put('service', serviceOn('vip', { 'skep.vip.net': '10.9.0.9' }));
  await world.put('service', serviceOn('task', { 'skep.addresses.net': '10.9.0.10' }));
  await world.put('service', serviceOn('few', { 'skep.addresses.net': '10.9.0.11' }, 2));
  await world.run(1000);
  const said = (id: string) => world.tasksOf(id).map(({ status }) => status?.err);
  t.same(said('vip'), ['address 10.9.0.9 of network net is still in use']);
  t.same(said('task'), ['address 10.9.0.10 of network net is still in use']);
  t.same(new Set(said('few')), new Set(['', 'skep.addresses.net has no address for slot 2']));
  await world.remove('service', 'one');
  await world.run(1000);
  t.equal(vipOf(world, 'vip'), '10.9.0.9/28');
  t.same(addressesOf(world, 'task'), ['10.9.0.10/28']);
  t.same(said('task'), ['']);
});

void t.test('a node that is down keeps an address as long as it may be heard of', async (t) => {
  const world = await startWorld(t);
  await world.put('service', serviceOn('web', { 'skep.addresses.net': '10.9.0.9' }));
  await world.run(1000);
  const [old] = world.tasksOf('web');
  const nodeId = old?.nodeId ?? '';
  await world.setNodeState(nodeId, NodeStatus_State.DOWN);
  await world.run(59_000);
  const successor = () => world.tasksOf('web').find(({ id }) => id !== old?.id);
  t.equal(successor()?.status?.err, 'address 10.9.0.9 of network net is still in use');
  await world.run(2000);
  t.equal(successor()?.status?.state, TaskState.RUNNING);
  t.equal(addressOf(successor() as Task), '10.9.0.9/28');
  await world.changeLeader();
  await world.setNodeState(nodeId, NodeStatus_State.READY);
  await world.run(5000);
  t.same(
    world
      .tasksOf('web')
      .filter((task) => !isOver(task))
      .map(({ id }) => id),
    [successor()?.id],
    'the old one is stopped',
  );
  await force(world, 'web', 1n);
  await world.run(30_000);
  t.same(addressesOf(world, 'web'), ['10.9.0.9/28']);
});

void t.test('a node that is back before its successor has started goes on', async (t) => {
  const world = await startWorld(t);
  await world.put('service', serviceOn('web', { 'skep.addresses.net': '10.9.0.9' }));
  await world.run(1000);
  const [old] = world.tasksOf('web');
  await world.setNodeState(old?.nodeId ?? '', NodeStatus_State.DOWN);
  await world.run(30_000);
  await world.setNodeState(old?.nodeId ?? '', NodeStatus_State.READY);
  await world.run(90_000);
  t.same(
    world
      .tasksOf('web')
      .filter(isWanted)
      .map(({ id }) => id),
    [old?.id],
  );
});
