/** The leader's loops together: a service from its creation to running tasks. */
import t from 'tap';
import { TaskState } from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { makeNetwork, makeNode, makeService } from './simulation/objects.js';
import { World } from './simulation/world.js';

const nodes = ['n1', 'n2', 'n3'].map((id) => makeNode(id));

void t.test('thirty tasks on an overlay are assigned without any waiting', async (t) => {
  const world = new World(1);
  await world.start(nodes);
  t.teardown(() => world.stop());
  await world.put('network', makeNetwork('net'));
  await world.run(0);
  const before = world.store.version();
  await world.put(
    'service',
    makeService('web', {
      mode: { case: 'replicated', value: { replicas: 30n } },
      task: {
        runtime: { case: 'container', value: { image: 'x' } },
        networks: [{ target: 'net' }],
      },
      endpoint: { ports: [{ targetPort: 80, publishedPort: 8000 }] },
    }),
  );
  await world.run(0);
  const tasks = world.tasksOf('web');
  t.equal(tasks.length, 30);
  t.ok(tasks.every((task) => task.status?.state === TaskState.ASSIGNED));
  t.equal(new Set(tasks.flatMap((task) => task.networks.flatMap((n) => n.addresses))).size, 60);
  const onNode = (id: string): number => tasks.filter((task) => task.nodeId === id).length;
  t.same(['n1', 'n2', 'n3'].map(onNode), [10, 10, 10]);
  t.ok(world.store.version() - before < 10n, 'in few raft entries');
  await world.run(5000);
  t.ok(world.tasksOf('web').every((task) => task.status?.state === TaskState.RUNNING));
});

void t.test('everything of a deleted service goes', async (t) => {
  const world = new World(2);
  await world.start(nodes);
  t.teardown(() => world.stop());
  await world.put('service', makeService('web', { endpoint: { ports: [{ targetPort: 80 }] } }));
  await world.run(1000);
  t.equal(world.tasksOf('web')[0]?.status?.state, TaskState.RUNNING);
  t.equal(world.service('web').endpoint?.ports[0]?.publishedPort, 30_000);
  await world.remove('service', 'web');
  await world.run(2000);
  t.equal(world.tasksOf('web').length, 0);
  const owners = world.loops.allocator.resources.owners();
  t.same(
    owners.filter((owner) => !/^(network|node|cluster)/.test(owner)),
    [],
  );
});
