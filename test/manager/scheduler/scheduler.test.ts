/** Where tasks are placed, and what is said when they cannot be. */
import { clone } from '@bufbuild/protobuf';
import t, { type Test } from 'tap';
import { NodeInfo } from '../../../src/manager/scheduler/node-info.js';
import { AGENT_PLUGIN } from '../../../src/model/agent-kind.js';
import { ClusterSchema } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import type { Node, Task } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeSpec_Availability } from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  Mount_Type,
  NodeStatus_State,
  PortConfig_PublishMode,
  RestartPolicy_RestartCondition,
  TaskState,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { makeNode, makeService } from '../simulation/objects.js';
import { World } from '../simulation/world.js';

type ServiceInit = Parameters<typeof makeService>[1];

async function startWorld(t: Test, nodes: readonly Node[]): Promise<World> {
  const world = new World(11);
  await world.start(nodes);
  t.teardown(() => world.stop());
  return world;
}

function replicated(replicas: number, init: ServiceInit = {}): ServiceInit {
  return { mode: { case: 'replicated', value: { replicas: BigInt(replicas) } }, ...init };
}

/** Tasks of the service on each node, in order of node id. */
function spread(world: World, serviceId: string): readonly number[] {
  const tasks = world.tasksOf(serviceId);
  return world
    .all('node')
    .map(({ id }) => tasks.filter(({ nodeId, slot }) => nodeId === id && slot >= 0n).length);
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('it is missing');
  return value;
}

function labelled(id: string, labels: Record<string, string>): Node {
  return makeNode(id, { spec: { annotations: { labels } } });
}

function skepdNode(id: string): Node {
  const engine = { labels: { 'skep.agent': '0.1.0' }, plugins: [AGENT_PLUGIN] };
  return makeNode(id, { description: { engine } });
}

const GENERIC = (kind: string, value: bigint) => ({
  resource: { case: 'discreteResourceSpec' as const, value: { kind, value } },
});

const explanations: {
  readonly name: string;
  readonly service: ServiceInit;
  readonly nodes?: readonly Node[];
  readonly err: string;
}[] = [
  {
    name: 'constraints',
    service: { task: { placement: { constraints: ['node.id==nowhere'] } } },
    err: 'no suitable node (scheduling constraints not satisfied on 3 nodes)',
  },
  {
    name: 'memory',
    service: { task: { resources: { reservations: { memoryBytes: 2n ** 40n } } } },
    nodes: [makeNode('n1')],
    err: 'no suitable node (insufficient resources on 1 node)',
  },
  {
    name: 'generic resources',
    service: { task: { resources: { reservations: { generic: [GENERIC('gpu', 1n)] } } } },
    err: 'no suitable node (insufficient resources on 3 nodes)',
  },
  {
    name: 'platform',
    service: { task: { placement: { platforms: [{ os: 'windows', architecture: 'amd64' }] } } },
    err: 'no suitable node (unsupported platform on 3 nodes)',
  },
  {
    name: 'volume plugin',
    service: {
      task: {
        runtime: {
          case: 'container',
          value: {
            mounts: [{ type: Mount_Type.VOLUME, volumeOptions: { driverConfig: { name: 'nfs' } } }],
          },
        },
      },
    },
    err: 'no suitable node (missing plugin on 3 nodes)',
  },
  {
    name: 'several reasons, the most frequent first',
    service: { task: { placement: { constraints: ['node.id==n1'] } } },
    nodes: [
      makeNode('n1', { spec: { availability: NodeSpec_Availability.DRAIN } }),
      makeNode('n2'),
      makeNode('n3'),
    ],
    err:
      'no suitable node (scheduling constraints not satisfied on 2 nodes; ' +
      '1 node not available for new tasks)',
  },
  {
    name: 'nodes down and paused',
    service: {},
    nodes: [
      makeNode('n1', { status: { state: NodeStatus_State.DOWN } }),
      makeNode('n2', { spec: { availability: NodeSpec_Availability.PAUSE } }),
    ],
    err: 'no suitable node (2 nodes not available for new tasks)',
  },
  { name: 'no nodes', service: {}, nodes: [], err: 'no suitable node' },
];

for (const { name, service, nodes, err } of explanations) {
  void t.test(`explained: ${name}`, async (t) => {
    const world = await startWorld(t, nodes ?? ['n1', 'n2', 'n3'].map((id) => makeNode(id)));
    await world.put('service', makeService('web', service));
    await world.run(0);
    const [task] = world.tasksOf('web');
    t.equal(task?.status?.state, TaskState.PENDING);
    t.equal(task?.status?.err, err);
    const version = world.store.version();
    await world.run(60_000);
    t.equal(world.store.version(), version, 'and not written again and again');
  });
}

void t.test('host-mode ports fill nodes of skepd once, too', async (t) => {
  const engine = { labels: { 'skep.agent': '0.1.0' }, plugins: [AGENT_PLUGIN] };
  const world = await startWorld(
    t,
    ['n1', 'n2'].map((id) => makeNode(id, { description: { engine } })),
  );
  const publishMode = PortConfig_PublishMode.HOST;
  const endpoint = { ports: [{ targetPort: 80, publishedPort: 80, publishMode }] };
  await world.put('service', makeService('host', replicated(5, { endpoint })));
  await world.run(0);
  t.same(spread(world, 'host'), [1, 1]);
});

void t.test('host-mode ports and replica limits fill nodes once', async (t) => {
  const world = await startWorld(
    t,
    ['n1', 'n2', 'n3'].map((id) => makeNode(id)),
  );
  const publishMode = PortConfig_PublishMode.HOST;
  const endpoint = { ports: [{ targetPort: 80, publishedPort: 80, publishMode }] };
  await world.put('service', makeService('host', replicated(4, { endpoint })));
  const task = { placement: { maxReplicas: 2n } };
  await world.put('service', makeService('limited', replicated(7, { task })));
  await world.run(0);
  t.same(spread(world, 'host'), [1, 1, 1]);
  t.same(spread(world, 'limited'), [2, 2, 2]);
  const errors = (id: string) =>
    world
      .tasksOf(id)
      .map(({ status }) => status?.err)
      .filter(Boolean);
  t.same(errors('host'), ['no suitable node (host-mode port already in use on 3 nodes)']);
  t.same(errors('limited'), ['no suitable node (max replicas per node limit exceed)']);
});

void t.test(
  'a host-mode port is shared with the task that is replaced, on skepd nodes',
  async (t) => {
    const engine = { labels: { 'skep.agent': '0.1.0' }, plugins: [AGENT_PLUGIN] };
    const publishMode = PortConfig_PublishMode.HOST;
    const endpoint = { ports: [{ targetPort: 80, publishedPort: 80, publishMode }] };
    for (const [name, node] of [
      ['skepd', makeNode('n1', { description: { engine } })],
      ['a stock engine', makeNode('n1')],
    ] as const) {
      await t.test(name, async (t) => {
        const world = await startWorld(t, [node]);
        await world.put('service', makeService('web', replicated(1, { endpoint })));
        await world.run(0);
        const [old] = world.tasksOf('web');
        const replacement = { ...present(old), id: 'replacement' };
        const info = new NodeInfo(node);
        info.setTask(present(old));
        const [port] = present(old).endpoint?.ports ?? [];
        const taken = (task: Task) => info.isHostPortTaken(task, present(port), undefined);
        t.equal(taken(replacement), name !== 'skepd');
        t.ok(taken({ ...replacement, slot: 2n }), 'another slot');
        t.ok(taken({ ...replacement, serviceId: 'other' }), 'another service');
      });
    }
  },
);

void t.test('a task waits for room and gets it when there is some', async (t) => {
  const world = await startWorld(t, [makeNode('n1')]);
  const task = { resources: { reservations: { nanoCpus: 1_500_000_000n } } };
  await world.put('service', makeService('first', { task }));
  await world.run(500);
  await world.put('service', makeService('second', { task }));
  await world.run(500);
  t.equal(world.tasksOf('second')[0]?.status?.state, TaskState.PENDING);
  await world.remove('service', 'first');
  await world.run(1000);
  t.equal(world.tasksOf('second')[0]?.status?.state, TaskState.RUNNING);
});

void t.test('named resources are handed out one by one and come back', async (t) => {
  const named = (value: string) => ({
    resource: { case: 'namedResourceSpec' as const, value: { kind: 'gpu', value } },
  });
  const generic = [named('a'), named('b'), GENERIC('ssd', 1n)];
  const world = await startWorld(t, [makeNode('n1', { description: { resources: { generic } } })]);
  const wants = (kind: string) => ({
    task: { resources: { reservations: { generic: [GENERIC(kind, 1n)] } } },
  });
  await world.put('service', makeService('gpu', replicated(3, wants('gpu'))));
  await world.put('service', makeService('ssd', wants('ssd')));
  await world.run(0);
  const given = world
    .tasksOf('gpu')
    .flatMap((task) => task.assignedGenericResources.map(({ resource }) => resource.value));
  t.match(given.map((resource) => (resource as { value: string }).value).sort(), ['a', 'b']);
  t.equal(world.tasksOf('ssd')[0]?.nodeId, 'n1');
  await world.remove('service', 'gpu');
  await world.put('service', makeService('again', replicated(2, wants('gpu'))));
  await world.run(2000);
  t.ok(world.tasksOf('again').every(({ nodeId }) => nodeId === 'n1'));
});

void t.test('tasks go where fewest of their service are, then where fewest are', async (t) => {
  const world = await startWorld(
    t,
    ['n1', 'n2', 'n3'].map((id) => makeNode(id)),
  );
  await world.put('service', makeService('a', replicated(4)));
  await world.run(0);
  t.same(spread(world, 'a'), [2, 1, 1]);
  await world.put('service', makeService('b', replicated(2)));
  await world.run(0);
  t.same(spread(world, 'b'), [0, 1, 1], 'the fuller node is passed over');
  await world.setNodeState('n3', NodeStatus_State.DOWN);
  await world.put('service', makeService('c', replicated(5)));
  await world.run(10_000);
  t.same(world.tasksOf('c').filter(({ nodeId }) => nodeId === 'n3').length, 0);
  await world.put('node', makeNode('n4'));
  await world.put('service', makeService('d', replicated(3)));
  await world.run(0);
  t.same(spread(world, 'd').slice(0, 4), [1, 1, 0, 1], 'not all on the empty node');
});

void t.test('placement preferences divide tasks evenly between values of a label', async (t) => {
  const nodes = [
    labelled('n1', { zone: 'a', rack: '1' }),
    labelled('n2', { zone: 'a', rack: '2' }),
    labelled('n3', { zone: 'a', rack: '2' }),
    labelled('n4', { zone: 'b', rack: '1' }),
    labelled('n5', {}),
  ];
  const world = await startWorld(t, nodes);
  const over = (...labels: string[]) => ({
    task: {
      placement: {
        preferences: labels.map((spreadDescriptor) => ({
          Preference: { case: 'spread' as const, value: { spreadDescriptor } },
        })),
      },
    },
  });
  const zones = over('node.labels.zone');
  await world.put('service', makeService('zones', replicated(9, zones)));
  await world.run(0);
  t.same(spread(world, 'zones'), [1, 1, 1, 3, 3]);
  const racks = over('node.labels.zone', 'node.labels.rack', 'node.hostname');
  await world.put('service', makeService('racks', replicated(12, racks)));
  await world.run(0);
  t.same(spread(world, 'racks'), [2, 1, 1, 4, 4]);
  await world.setAvailability('n5', NodeSpec_Availability.DRAIN);
  await world.put('service', makeService('two', replicated(4, zones)));
  await world.run(0);
  t.same(spread(world, 'two').slice(3), [2, 0], 'a branch without room is left out');
});

void t.test('a node on which a spec keeps failing comes last', async (t) => {
  const world = await startWorld(
    t,
    ['n1', 'n2'].map((id) => makeNode(id)),
  );
  // n2 is fuller, so that only the failures can make it the better place.
  const task = { placement: { constraints: ['node.id==n2'] } };
  await world.put('service', makeService('load', replicated(3, { task })));
  await world.put(
    'service',
    makeService('web', {
      task: { restart: { condition: RestartPolicy_RestartCondition.ANY, delay: {} } },
    }),
  );
  await world.run(500);
  for (let failure = 1; failure <= 6; failure++) {
    const [running] = world
      .tasksOf('web')
      .filter((task) => task.desiredState === TaskState.RUNNING);
    t.equal(running?.nodeId, failure <= 5 ? 'n1' : 'n2', `before failure ${failure}`);
    await world.change('task', running?.id ?? '', (task) => ({
      ...task,
      status: task.status && { ...task.status, state: TaskState.FAILED },
    }));
    await world.run(500);
  }
});

void t.test('a task of a global service is only checked against its node', async (t) => {
  const small = makeNode('n2', { description: { resources: {} } });
  const world = await startWorld(t, [makeNode('n1'), small]);
  const task = { resources: { reservations: { memoryBytes: 1n } } };
  await world.put('service', makeService('web', { mode: { case: 'global', value: {} }, task }));
  await world.run(0);
  const status = (nodeId: string) =>
    world.tasksOf('web').find((task) => task.nodeId === nodeId)?.status;
  t.equal(status('n1')?.message, 'scheduler confirmed task can run on preassigned node');
  t.equal(status('n2')?.state, TaskState.PENDING);
  t.equal(status('n2')?.err, 'insufficient resources on 1 node');
});

const dependsOn = (names: string, labels: Record<string, string> = {}) => ({
  annotations: { labels: { 'skep.depends_on': names, ...labels } },
});

void t.test('a service begins after those it depends on, and only then', async (t) => {
  const world = await startWorld(t, [makeNode('n1'), makeNode('n2')]);
  const said = () => world.tasksOf('web').map(({ status }) => status?.err);
  const isUp = () =>
    world.tasksOf('web').every(({ status }) => status?.state === TaskState.RUNNING) &&
    world.tasksOf('web').length === 2;
  await world.put('service', makeService('web', replicated(2, dependsOn('db,init'))));
  await world.run(5000);
  const absent = 'waits for service db, which does not exist';
  t.same(said(), [absent, absent]);
  const nowhere = { placement: { constraints: ['node.labels.disk==yes'] } };
  const named = (name: string) => ({ annotations: { name } });
  await world.put('service', makeService('dbid', replicated(2, { ...named('db'), task: nowhere })));
  await world.run(5000);
  t.match(said()[0], 'waits for service db: 0 of 2 tasks');
  await world.change('node', 'n1', (node) => ({
    ...node,
    spec: makeNode('n1', { spec: { annotations: { labels: { disk: 'yes' } } } }).spec,
  }));
  await world.run(5000);
  t.match(said()[0], 'waits for service init, which does not exist');
  const value = { maxConcurrent: 1n, totalCompletions: 1n };
  const mode = { case: 'replicatedJob' as const, value };
  const jobStatus = { jobStatus: { jobIteration: { index: 0n } } };
  await world.put('service', makeService('initid', { ...named('init'), mode }, jobStatus));
  await world.run(5000);
  t.ok(isUp(), said().join());
  await world.remove('service', 'dbid');
  await world.setNodeState('n2', NodeStatus_State.DOWN);
  await world.run(20_000);
  const running = world
    .tasksOf('web')
    .filter((task) => task.desiredState === TaskState.RUNNING)
    .filter(({ status }) => status?.state === TaskState.RUNNING);
  t.same(
    running.map(({ nodeId }) => nodeId),
    ['n1', 'n1'],
    'restarts do not wait',
  );
});

void t.test('names within a stack are those of its file', async (t) => {
  const world = await startWorld(t, [makeNode('n1')]);
  const stack = { 'com.docker.stack.namespace': 'shop' };
  const global = { mode: { case: 'global' as const, value: {} } };
  await world.put('service', makeService('web', { ...global, ...dependsOn('db', stack) }));
  const task = { placement: { constraints: ['node.labels.disk==yes'] } };
  await world.put('service', makeService('other', { annotations: { name: 'db' } }));
  await world.put('service', makeService('ours', { annotations: { name: 'shop_db' }, task }));
  await world.run(5000);
  t.equal(world.tasksOf('web')[0]?.status?.err, 'waits for service db: 0 of 1 tasks');
  await world.remove('service', 'ours');
  await world.run(5000);
  t.equal(world.tasksOf('web')[0]?.status?.state, TaskState.RUNNING, 'the other one is up');
});

void t.test('settings that the cluster no longer allows stop new tasks only', async (t) => {
  const world = await startWorld(t, [skepdNode('n1'), skepdNode('n2')]);
  const allow = async (value: string): Promise<void> => {
    const [cluster] = world.all('cluster');
    await world.change('cluster', present(cluster).id, (old) => {
      const copy = clone(ClusterSchema, old);
      present(copy.spec?.annotations).labels['skep.container.allow'] = value;
      return copy;
    });
  };
  const states = (id: string) => world.tasksOf(id).map(({ status }) => status?.state);
  const forbidden =
    'label skep.container.privileged is not allowed in this swarm: ' +
    'skep.container.allow of the cluster does not name privileged';
  const labels = { 'skep.container.privileged': 'true' };
  const web = { annotations: { labels } };
  const everywhere = { mode: { case: 'global' as const, value: {} }, ...web };
  await allow('privileged');
  await world.put('service', makeService('web', replicated(1, web)));
  await world.put('service', makeService('all', everywhere));
  await world.run(5000);
  t.same([states('web'), states('all')], [[TaskState.RUNNING], Array(2).fill(TaskState.RUNNING)]);
  await allow('');
  await world.put('service', makeService('late', replicated(1, web)));
  await world.put('service', makeService('everywhere', everywhere));
  await world.run(5000);
  t.same([states('web'), states('all')], [[TaskState.RUNNING], Array(2).fill(TaskState.RUNNING)]);
  for (const id of ['late', 'everywhere']) {
    const tasks = world.tasksOf(id);
    t.ok(tasks.length > 0);
    t.ok(tasks.every(({ status }) => status?.state === TaskState.PENDING));
    t.ok(tasks.every(({ status }) => status?.err === forbidden));
  }
  await allow('all');
  await world.run(5000);
  t.same(
    [states('late'), states('everywhere')],
    [[TaskState.RUNNING], Array(2).fill(TaskState.RUNNING)],
  );
});
