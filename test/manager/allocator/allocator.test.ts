/** What the allocator gives to networks, services, tasks and nodes. */
import t, { type Test } from 'tap';
import {
  EndpointSpec_ResolutionMode,
  NodeSpec_Availability,
} from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  NodeStatus_State,
  PortConfig_PublishMode,
  TaskState,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { assertSubnetsFree } from '../../../src/manager/allocator/subnets.js';
import { makeNetwork, makeNode, makeService, makeTask } from '../simulation/objects.js';
import { World } from '../simulation/world.js';

async function startWorld(t: Test, nodes = [makeNode('n1'), makeNode('n2')]): Promise<World> {
  const world = new World(7);
  await world.start(nodes);
  t.teardown(() => world.stop());
  return world;
}

function subnetOf(world: World, id: string): string | undefined {
  return world.get('network', id)?.ipam?.configs[0]?.subnet;
}

function ingress(world: World) {
  return world.all('network').find((network) => network.spec?.ingress === true);
}

const VXLAN_IDS = 'com.docker.network.driver.overlay.vxlanid_list';
const HOST = PortConfig_PublishMode.HOST;

void t.test('a new cluster gets ingress and the predefined networks once', async (t) => {
  const world = await startWorld(t);
  const names = world.all('network').map(({ spec }) => spec?.annotations?.name);
  t.same(new Set(names), new Set(['bridge', 'host', 'ingress']));
  const network = ingress(world);
  t.equal(network?.ipam?.configs[0]?.subnet, '10.0.0.0/24');
  t.equal(network?.ipam?.configs[0]?.gateway, '10.0.0.1');
  t.equal(network?.ipam?.driver?.name, 'default');
  t.equal(network?.driverState?.name, 'overlay');
  t.equal(network?.driverState?.options[VXLAN_IDS], '4096');
  t.same(
    world.all('node').map((node) => node.attachments[0]?.addresses),
    [['10.0.0.2/24'], ['10.0.0.3/24']],
  );
  await world.remove('network', network?.id ?? '');
  await world.run(0);
  t.ok(world.all('node').every((node) => node.attachments.length === 0));
  await world.changeLeader();
  t.equal(ingress(world), undefined, 'a removed ingress network stays removed');
});

void t.test('subnets come one after the other, and rest after they were freed', async (t) => {
  const world = await startWorld(t);
  for (const id of ['a', 'b']) await world.put('network', makeNetwork(id));
  await world.run(0);
  t.equal(subnetOf(world, 'a'), '10.0.1.0/24');
  t.equal(subnetOf(world, 'b'), '10.0.2.0/24');
  await world.remove('network', 'b');
  await world.put('network', makeNetwork('c'));
  await world.run(0);
  t.equal(subnetOf(world, 'c'), '10.0.3.0/24');
  t.equal(world.get('network', 'c')?.driverState?.options[VXLAN_IDS], '4099');
  await world.changeLeader();
  await world.put('network', makeNetwork('d'));
  await world.run(0);
  t.equal(subnetOf(world, 'd'), '10.0.4.0/24');
});

void t.test('subnet, gateway and range can be chosen; overlap is refused', async (t) => {
  const world = await startWorld(t);
  const ipam = { configs: [{ subnet: '10.9.0.0/16', range: '10.9.8.0/24', gateway: '10.9.0.7' }] };
  await world.put('network', makeNetwork('mine', { ipam }));
  await world.put(
    'network',
    makeNetwork('taken', { ipam: { configs: [{ subnet: '10.9.1.0/24' }] } }),
  );
  await world.run(0);
  t.match(world.get('network', 'mine')?.ipam?.configs[0], {
    subnet: '10.9.0.0/16',
    gateway: '10.9.0.7',
  });
  t.equal(world.get('network', 'taken')?.driverState, undefined);
  const task = { networks: [{ target: 'mine' }] };
  await world.put('service', makeService('web', { task }));
  await world.put('service', makeService('bad', { task: { networks: [{ target: 'taken' }] } }));
  await world.run(0);
  const overlap = 'invalid pool request: Pool overlaps with other one on this address space';
  t.equal(world.service('web').endpoint?.virtualIps[0]?.addr, '10.9.8.0/16');
  t.equal(world.tasksOf('bad')[0]?.status?.err, overlap, 'tasks say what their network lacks');
  const wish = makeNetwork('x', { ipam: { configs: [{ subnet: '10.9.0.0/24' }] } }).spec;
  if (wish === undefined) throw new Error('no spec');
  t.throws(() => assertSubnetsFree(wish, world.all('network')), { message: overlap });
});

void t.test('an IPv6 subnet stands beside an IPv4 one, and follows its gateway', async (t) => {
  const world = await startWorld(t);
  const dual = {
    configs: [{ subnet: '10.9.0.0/24', gateway: '10.9.0.7' }, { subnet: 'fd00:9::/64' }],
  };
  await world.put('network', makeNetwork('dual', { ipam: dual }));
  await world.put(
    'network',
    makeNetwork('six', { ipam: { configs: [{ subnet: 'fd00:6::/64' }] } }),
  );
  const off = { configs: [{ subnet: 'fd00:7::/64', gateway: 'fd00:7::99' }] };
  await world.put('network', makeNetwork('off', { ipam: off }));
  await world.put('service', makeService('web', { task: { networks: [{ target: 'dual' }] } }));
  await world.run(0);
  const gateways = (id: string) =>
    world.get('network', id)?.ipam?.configs.map(({ subnet, gateway }) => `${subnet} ${gateway}`);
  t.same(gateways('dual'), ['10.9.0.0/24 10.9.0.7', 'fd00:9::/64 fd00:9::7']);
  t.same(gateways('six'), ['10.0.1.0/24 10.0.1.1', 'fd00:6::/64 fd00:6::1']);
  t.equal(world.get('network', 'off')?.driverState, undefined, 'another gateway is refused');
  t.match(world.service('web').endpoint?.virtualIps[0]?.addr, /^10\.9\.0\./);
});

void t.test('a service keeps its port and address when its spec changes', async (t) => {
  const world = await startWorld(t);
  await world.put('network', makeNetwork('net'));
  const endpoint = { ports: [{ targetPort: 80 }, { targetPort: 81, publishedPort: 8081 }] };
  const task = { networks: [{ target: 'net' }] };
  await world.put('service', makeService('web', { endpoint, task }));
  await world.run(0);
  const before = world.service('web').endpoint;
  t.same(
    before?.ports.map(({ publishedPort }) => publishedPort),
    [30_000, 8081],
  );
  t.same(before?.virtualIps.length, 2, 'one on ingress, one on its network');
  await world.updateService('web', (spec) => ({
    ...spec,
    endpoint: makeService('x', {
      endpoint: { ports: [{ targetPort: 80 }, { targetPort: 82, publishedPort: 8082 }] },
    }).spec?.endpoint,
  }));
  await world.run(0);
  const after = world.service('web').endpoint;
  t.same(
    after?.ports.map(({ publishedPort }) => publishedPort),
    [30_000, 8082],
  );
  t.same(after?.virtualIps, before?.virtualIps);
  await world.put(
    'service',
    makeService('other', { endpoint: { ports: [{ publishedPort: 8081 }] } }),
  );
  await world.run(0);
  t.equal(world.service('other').endpoint?.ports[0]?.publishedPort, 8081, 'freed at once');
});

void t.test('a port in use holds the service up until it is free', async (t) => {
  const world = await startWorld(t);
  const endpoint = { ports: [{ targetPort: 80, publishedPort: 8000 }] };
  await world.put('service', makeService('first', { endpoint }));
  await world.run(0);
  await world.put('service', makeService('second', { endpoint }));
  await world.run(0);
  t.equal(world.tasksOf('second')[0]?.status?.state, TaskState.NEW);
  t.equal(world.tasksOf('second')[0]?.status?.err, "port '8000' is already in use");
  await world.remove('service', 'first');
  await world.run(0);
  t.equal(world.tasksOf('second')[0]?.status?.state, TaskState.ASSIGNED);
  t.equal(world.tasksOf('second')[0]?.status?.err, '');
});

void t.test('which attachments the tasks of a service get', async (t) => {
  const world = await startWorld(t);
  await world.put('network', makeNetwork('net'));
  await world.put('network', makeNetwork('inner', { internal: true }));
  const hostPort = { ports: [{ targetPort: 80, publishedPort: 80, publishMode: HOST }] };
  const on = (...targets: string[]) => ({ networks: targets.map((target) => ({ target })) });
  const host = world.all('network').find(({ spec }) => spec?.annotations?.name === 'host');
  const services = {
    plain: makeService('plain'),
    published: makeService('published', { endpoint: { ports: [{ targetPort: 80 }] } }),
    hostMode: makeService('hostMode', { endpoint: hostPort }),
    both: makeService('both', { task: on('net'), endpoint: { ports: [{ targetPort: 80 }] } }),
    internal: makeService('internal', { task: on('inner') }),
    onHost: makeService('onHost', { task: on('host') }),
    dnsrr: makeService('dnsrr', {
      task: on('net'),
      endpoint: { mode: EndpointSpec_ResolutionMode.DNSRR },
    }),
  };
  for (const service of Object.values(services)) await world.put('service', service);
  await world.run(0);
  const attached = (id: string) =>
    world.tasksOf(id)[0]?.networks.map(({ network }) => network?.spec?.annotations?.name);
  t.same(attached('plain'), []);
  t.same(attached('published'), ['ingress']);
  t.same(attached('hostMode'), ['ingress'], 'so that the mode can be changed later');
  t.same(attached('both'), ['ingress', 'net']);
  t.same(attached('internal'), ['inner'], 'stays cut off');
  t.same(
    world.tasksOf('onHost')[0]?.networks.map(({ network }) => network?.id),
    [host?.id],
  );
  t.same(world.tasksOf('onHost')[0]?.networks[0]?.addresses, []);
  t.same(world.service('dnsrr').endpoint?.virtualIps, []);
  t.same(world.service('hostMode').endpoint?.virtualIps, []);
  t.equal(world.tasksOf('hostMode')[0]?.endpoint?.ports[0]?.publishedPort, 80);
});

void t.test('without addresses tasks wait and say so; a freed one is used at once', async (t) => {
  const world = await startWorld(t);
  // Addresses .1 to .6: gateway, virtual address, one node each (after assignment), tasks.
  const ipam = { configs: [{ subnet: '10.50.0.0/29' }] };
  await world.put('network', makeNetwork('small', { ipam }));
  const task = { networks: [{ target: 'small' }] };
  const mode = { case: 'replicated', value: { replicas: 6n } } as const;
  await world.put('service', makeService('web', { task, mode }));
  await world.run(1000);
  const waiting = world.tasksOf('web').filter(({ status }) => status?.state === TaskState.NEW);
  t.equal(waiting.length, 2);
  t.ok(waiting.every(({ status }) => status?.err === 'could not find an available IP'));
  await world.put('service', makeService('late', { task }));
  await world.run(0);
  t.equal(
    world.tasksOf('late')[0]?.status?.err,
    'could not find an available IP while allocating VIP',
  );
  await world.remove('service', 'late');
  await world.updateService('web', (spec) => ({
    ...spec,
    mode: {
      case: 'replicated',
      value: { ...mode.value, $typeName: 'docker.swarmkit.v1.ReplicatedService', replicas: 2n },
    },
  }));
  await world.run(3000);
  t.same(
    world.tasksOf('web').map(({ status }) => status?.state),
    [TaskState.RUNNING, TaskState.RUNNING],
  );
});

void t.test('a freed task address is not given out again soon', async (t) => {
  const world = await startWorld(t);
  await world.put('network', makeNetwork('net'));
  const task = { networks: [{ target: 'net' }], restart: { delay: { seconds: 0n } } };
  await world.put('service', makeService('web', { task }));
  await world.run(1000);
  const seen: string[] = [];
  for (let round = 0; round < 5; round++) {
    const [running] = world
      .tasksOf('web')
      .filter((task) => task.desiredState === TaskState.RUNNING);
    seen.push(running?.networks[0]?.addresses[0] ?? '');
    await world.updateService('web', (spec) => ({
      ...spec,
      task: spec.task && { ...spec.task, forceUpdate: BigInt(round + 1) },
    }));
    await world.run(10_000);
  }
  t.equal(new Set(seen).size, 5);
});

void t.test('a container asks for an address on an attachable network', async (t) => {
  const world = await startWorld(t);
  await world.put('network', makeNetwork('net', { attachable: true }));
  await world.run(0);
  const attach = async (id: string, addresses: string[]): Promise<void> => {
    await world.put(
      'task',
      makeTask(id, {
        nodeId: 'n1',
        status: { state: TaskState.NEW },
        spec: {
          runtime: { case: 'attachment', value: { containerId: 'c' } },
          networks: [{ target: 'net', addresses }],
        },
      }),
    );
    await world.run(0);
  };
  await attach('any', []);
  await attach('wish', ['10.0.1.77']);
  await attach('same', ['10.0.1.77']);
  await attach('outside', ['10.0.2.77']);
  const status = (id: string) => world.get('task', id)?.status;
  t.equal(status('any')?.state, TaskState.ASSIGNED);
  t.equal(world.get('task', 'wish')?.networks[0]?.addresses[0], '10.0.1.77/24');
  t.equal(status('same')?.err, 'Address already in use');
  t.equal(status('outside')?.err, 'Address already in use');
  t.equal(world.get('node', 'n1')?.attachments.length, 2, 'its node gets an address, too');
  await world.remove('task', 'wish');
  await world.run(0);
  t.equal(status('same')?.state, TaskState.ASSIGNED);
});

for (const [isLeaderChanged, isDown] of [
  [false, true],
  [true, true],
  [false, false],
] as const) {
  const name = `${isLeaderChanged ? ', over a change of leader' : ''}${isDown ? '' : ', not known to be down'}`;
  void t.test(
    `addresses that were lost with a node rest for twice skep.fence_after${name}`,
    async (t) => {
      const ipam = { configs: [{ subnet: '10.9.0.0/29' }] };
      const world = await startWorld(t, [makeNode('n1'), makeNode('n2')]);
      await world.put('network', makeNetwork('net', { ipam }));
      const mode = { case: 'replicated', value: { replicas: 2n } } as const;
      const task = { networks: [{ target: 'net' }] };
      const endpoint = { mode: EndpointSpec_ResolutionMode.DNSRR };
      await world.put('service', makeService('web', { mode, task, endpoint }));
      await world.run(1000);
      const addresses = (): string[] =>
        world
          .tasksOf('more')
          .filter((each) => each.nodeId === 'n2' && each.status?.state === TaskState.RUNNING)
          .flatMap(({ networks }) => networks.flatMap(({ addresses: all }) => all));
      const onFirst = world.tasksOf('web').filter(({ nodeId }) => nodeId === 'n1');
      const lost = onFirst.flatMap(({ networks }) => networks.flatMap(({ addresses: all }) => all));
      t.equal(lost.length, 1);
      if (isDown) await world.setNodeState('n1', NodeStatus_State.DOWN);
      await world.run(1000);
      await world.removeNode('n1');
      await world.remove('service', 'web');
      await world.run(1000);
      t.same(
        world.tasksOf('web').map(({ id, status }) => [id, status?.state]),
        onFirst.map(({ id }) => [id, TaskState.ORPHANED]),
        'what is lost stays in the store meanwhile',
      );
      if (isLeaderChanged) await world.changeLeader();
      // Five usable addresses: nine tasks are more than there is room for.
      const replicas = { case: 'replicated', value: { replicas: 9n } } as const;
      await world.put('service', makeService('more', { mode: replicas, task, endpoint }));
      await world.run(57_000);
      t.ok(addresses().length > 0);
      t.notOk(
        addresses().some((address) => lost.includes(address)),
        'nobody has it yet',
      );
      await world.run(5000);
      t.ok(
        addresses().some((address) => lost.includes(address)),
        'then somebody gets it',
      );
      t.same(world.tasksOf('web'), []);
    },
  );
}

void t.test('nodes hold an address on a network only while they have a task there', async (t) => {
  const world = await startWorld(t, [makeNode('n1')]);
  await world.put('network', makeNetwork('net'));
  await world.put('service', makeService('web', { task: { networks: [{ target: 'net' }] } }));
  await world.run(1000);
  const networks = () =>
    world.get('node', 'n1')?.attachments.map(({ network }) => network?.spec?.annotations?.name);
  t.same(networks(), ['ingress', 'net']);
  await world.setAvailability('n1', NodeSpec_Availability.DRAIN);
  await world.run(1000);
  t.same(networks(), ['ingress']);
});
