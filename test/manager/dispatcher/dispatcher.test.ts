/** The dispatcher over an in-memory store, under a virtual clock. */
import { clone, create, type MessageInitShape } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import t from 'tap';
import { Dispatcher, type DispatcherOptions } from '../../../src/manager/dispatcher/dispatcher.js';
import { TaskSpecSchema } from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  type AssignmentChange,
  AssignmentsMessage_Type,
  type SessionMessage,
  UpdateTaskStatusRequestSchema,
} from '../../../src/model/gen/docker/swarmkit/v1/dispatcher_pb.js';
import {
  ClusterSchema,
  type Node,
  NodeSchema,
  SecretSchema,
  type Task,
  TaskSchema,
} from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  NodeDescriptionSchema,
  NodeRole,
  NodeStatus_State,
  TaskState,
  TaskStatusSchema,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { blacklistNode } from '../../../src/manager/ca/cluster-root.js';
import { silentLogger } from '../../../src/observe/logger.js';
import { createLocalStore, type MemoryStore } from '../../../src/store/memory-store.js';
import {
  type SimulatedEnvironment,
  simulatedEnvironment,
} from '../../support/simulated-environment.js';

interface World {
  readonly env: SimulatedEnvironment;
  readonly store: MemoryStore;
  readonly dispatcher: Dispatcher;
  readonly proposer: { available: boolean };
  node(id: string): Node | undefined;
  task(id: string): Task | undefined;
}

/** A number that no task state has. */
const UNKNOWN_STATE = JSON.parse('513') as TaskState;

const SELF = { nodeId: 'manager', addr: '10.0.0.1:2377' };

async function world(
  nodes: readonly string[],
  options: Partial<DispatcherOptions> & { heartbeatPeriodMs?: number; start?: boolean } = {},
): Promise<World> {
  const env = simulatedEnvironment(11);
  const { store, proposer } = createLocalStore(env, { freezeObjects: true });
  const heartbeatPeriod = durationFromMs(options.heartbeatPeriodMs ?? 5000);
  await store.update((write) => {
    write.create(
      'cluster',
      create(ClusterSchema, {
        id: 'cluster',
        spec: { annotations: { name: 'default' }, dispatcher: { heartbeatPeriod } },
        rootCa: { caCert: Buffer.from('root') },
      }),
    );
    for (const id of nodes) write.create('node', create(NodeSchema, { id, spec: {} }));
  });
  const dispatcher = new Dispatcher({
    store,
    env,
    logger: silentLogger,
    clusterId: 'cluster',
    self: SELF,
    ...options,
  });
  if (options.start !== false) await dispatcher.start();
  return {
    env,
    store,
    dispatcher,
    proposer,
    node: (id) => store.view((read) => read.get('node', id)),
    task: (id) => store.view((read) => read.get('task', id)),
  };
}

/** What an agent of ours says of itself. */
const OURS = { labels: { 'skep.agent': '1' }, plugins: [{ type: 'Agent', name: 'skepd' }] };

/** An agent's session: its first message and what follows. */
async function register(
  { dispatcher }: World,
  nodeId: string,
  options: {
    sessionId?: string;
    labels?: Record<string, string>;
    plugins?: { type: string; name: string }[];
    addr?: string;
  } = {},
): Promise<{
  sessionId: string;
  first: SessionMessage;
  stream: AsyncGenerator<SessionMessage>;
  abort: AbortController;
}> {
  const abort = new AbortController();
  const description = create(NodeDescriptionSchema, {
    hostname: nodeId,
    engine: { labels: options.labels ?? {}, plugins: options.plugins ?? [] },
  });
  const request = { sessionId: options.sessionId ?? '', description };
  const stream = dispatcher.session(nodeId, options.addr ?? '10.0.0.9', request, abort.signal);
  const { value } = await stream.next();
  const first = value as SessionMessage;
  return { sessionId: first.sessionId, first, stream, abort };
}

function report(sessionId: string, taskId: string, state: TaskState, message = '') {
  return create(UpdateTaskStatusRequestSchema, {
    sessionId,
    updates: [{ taskId, status: { state, message, appliedBy: 'forged' } }],
  });
}

async function setClusterLabel({ store }: World, key: string, value: string): Promise<void> {
  await store.update((write) => {
    const cluster = write.get('cluster', 'cluster');
    if (cluster === undefined) return;
    const copy = clone(ClusterSchema, cluster);
    if (copy.spec?.annotations !== undefined) copy.spec.annotations.labels[key] = value;
    write.update('cluster', copy);
  });
}

async function addTask(
  { store }: World,
  id: string,
  nodeId: string,
  more: MessageInitShape<typeof TaskSchema> = {},
): Promise<void> {
  await store.update((write) =>
    write.create(
      'task',
      create(TaskSchema, {
        status: create(TaskStatusSchema, { state: TaskState.ASSIGNED }),
        desiredState: TaskState.RUNNING,
        ...more,
        id,
        nodeId,
      }),
    ),
  );
}

void t.test('a session tells at once who manages, and registers the node', async (t) => {
  const w = await world(['a']);
  const { first, stream } = await register(w, 'a', { addr: '10.1.2.3' });
  t.match(first, {
    node: { id: 'a' },
    managers: [{ peer: { nodeId: 'manager', addr: '10.0.0.1:2377' }, weight: 10n }],
    RootCA: Buffer.from('root'),
  });
  t.match(w.node('a'), {
    status: { state: NodeStatus_State.READY, addr: '10.1.2.3', message: '' },
    description: { hostname: 'a' },
  });
  const next = stream.next();
  await w.store.update((write) => {
    write.create(
      'node',
      create(NodeSchema, {
        id: 'm2',
        role: NodeRole.MANAGER,
        managerStatus: { addr: '10.0.0.2:2377' },
      }),
    );
  });
  const second = (await next).value as SessionMessage;
  t.same(
    second.managers.map((m) => m.peer?.addr),
    ['10.0.0.1:2377', '10.0.0.2:2377'],
  );
  t.equal(second.sessionId, first.sessionId);
});

void t.test('what a node reported itself is no news to it; its spec is', async (t) => {
  const w = await world(['a']);
  const { stream } = await register(w, 'a');
  const next = stream.next();
  let settled = false;
  void next.then(() => (settled = true));
  const change = async (patch: Partial<Node>): Promise<void> => {
    const node = w.node('a');
    if (node !== undefined)
      await w.store.update((write) => write.update('node', { ...node, ...patch }));
    await w.env.clock.advanceAsync(1);
  };
  await change({ status: { ...w.node('a')?.status, message: 'x' } as Node['status'] & object });
  t.notOk(settled);
  await change({ VXLANUDPPort: 4790 });
  t.match((await next).value, { node: { VXLANUDPPort: 4790 } });
});

void t.test('agents of ours hear what the cluster has set for them', async (t) => {
  const w = await world(['a', 'b']);
  const ours = await register(w, 'a', OURS);
  const stock = await register(w, 'b');
  const labels = async (stream: typeof ours.stream): Promise<unknown> =>
    ((await stream.next()).value as { node?: Node }).node?.spec?.annotations?.labels;
  const heard = labels(ours.stream);
  let stockHeard = false;
  void stock.stream.next().then(() => (stockHeard = true));
  await setClusterLabel(w, 'skep.dns_ttl', '30');
  await w.env.clock.advanceAsync(1);
  t.same(await heard, { 'skep.data_path.family': 'ipv4', 'skep.dns_ttl': '30' });
  const heardRemoval = labels(ours.stream);
  await w.store.update((write) => {
    const [cluster] = write.find('cluster', { by: 'all' });
    const gone = create(NodeSchema, { id: 'gone' });
    if (cluster !== undefined) write.update('cluster', blacklistNode(cluster, gone, 0));
  });
  await w.env.clock.advanceAsync(1);
  t.match(await heardRemoval, { 'skep.removed_nodes': 'gone' }, 'and who was removed');
  t.notOk(stockHeard);
  t.same(w.node('a')?.spec?.annotations?.labels ?? {}, {}, 'the stored node is as it was');
});

void t.test('a silent node is down after three periods and its session ends', async (t) => {
  const w = await world(['a']);
  const { sessionId, stream } = await register(w, 'a');
  const end = t.rejects(stream.next(), { code: 'aborted', message: 'node must disconnect' });
  for (let second = 0; second < 60; second += 4) {
    const { period } = w.dispatcher.heartbeat('a', sessionId);
    const periodMs = Number(period?.seconds) * 1000 + (period?.nanos ?? 0) / 1e6;
    t.ok(periodMs >= 4500 && periodMs <= 5500, String(periodMs));
    await w.env.clock.advanceAsync(4000);
  }
  t.equal(w.node('a')?.status?.state, NodeStatus_State.READY);
  await w.env.clock.advanceAsync(13_000);
  t.match(w.node('a')?.status, {
    state: NodeStatus_State.DOWN,
    message: 'heartbeat failure',
    addr: '10.0.0.9',
  });
  await end;
  t.throws(() => w.dispatcher.heartbeat('a', sessionId), {
    code: 'not_found',
    message: 'node not registered',
  });
  await register(w, 'a', { sessionId });
  t.match(w.node('a')?.status, { state: NodeStatus_State.READY, message: '' });
});

void t.test('our agents beat faster, unless the cluster has its own period', async (t) => {
  const periodOf = async (heartbeatPeriodMs: number, nodeCount: number): Promise<number> => {
    const nodes = Array.from({ length: nodeCount }, (_, index) => `n${index}`);
    const w = await world(nodes, { heartbeatPeriodMs });
    const { sessionId } = await register(w, 'n0', OURS);
    const { period } = w.dispatcher.heartbeat('n0', sessionId);
    const periodMs = Number(period?.seconds) * 1000 + (period?.nanos ?? 0) / 1e6;
    await w.dispatcher.stop();
    return periodMs;
  };
  const within = (value: number, low: number, high: number): boolean =>
    value >= low && value <= high;
  t.ok(within(await periodOf(5000, 1), 900, 1100));
  t.ok(within(await periodOf(5000, 1500), 2700, 3300), '500 a second in all');
  t.ok(within(await periodOf(20_000, 1), 18_000, 22_000));
});

void t.test('a label does not make a stock engine one of ours', async (t) => {
  const w = await world(['a']);
  const { sessionId } = await register(w, 'a', { labels: OURS.labels });
  const { period } = w.dispatcher.heartbeat('a', sessionId);
  t.ok(Number(period?.seconds) >= 4, 'it gets the period of the cluster');
});

void t.test('our agents are given up as soon as the cluster wants it', async (t) => {
  const w = await world(['a', 'b']);
  await register(w, 'a', OURS);
  await register(w, 'b');
  // Nothing else is known of it: its last heartbeat may be a period older than its silence.
  await w.env.clock.advanceAsync(5_000);
  t.equal(w.node('a')?.status?.state, NodeStatus_State.READY);
  await w.env.clock.advanceAsync(200);
  t.match(w.node('a')?.status, { state: NodeStatus_State.DOWN, message: 'heartbeat failure' });
  await setClusterLabel(w, 'skep.reschedule_after', '20s');
  await register(w, 'a', OURS);
  await w.env.clock.advanceAsync(19_000);
  t.equal(w.node('a')?.status?.state, NodeStatus_State.READY);
  t.equal(w.node('b')?.status?.state, NodeStatus_State.DOWN, 'stock engines: three periods');
  await w.env.clock.advanceAsync(2_500);
  t.equal(w.node('a')?.status?.state, NodeStatus_State.DOWN);
});

void t.test('while the data path answers a silent agent is unknown, not down', async (t) => {
  let alive = true;
  const silenceMs = (nodeId: string) => (nodeId === 'a' && alive ? 0 : Number.POSITIVE_INFINITY);
  const w = await world(['a', 'b'], { silenceMs });
  await register(w, 'a', OURS);
  await register(w, 'b');
  await w.env.clock.advanceAsync(20_000);
  t.match(w.node('a')?.status, {
    state: NodeStatus_State.UNKNOWN,
    message: 'agent is silent, the data path of the node answers',
  });
  t.equal(w.node('b')?.status?.state, NodeStatus_State.DOWN);
  await register(w, 'a', OURS);
  t.equal(w.node('a')?.status?.state, NodeStatus_State.READY);
  await w.env.clock.advanceAsync(30_000);
  t.equal(w.node('a')?.status?.state, NodeStatus_State.UNKNOWN, 'held again');
  alive = false;
  await w.env.clock.advanceAsync(2_000);
  t.match(w.node('a')?.status, { state: NodeStatus_State.DOWN, message: 'heartbeat failure' });
  alive = true;
  await register(w, 'a', OURS);
  await w.env.clock.advanceAsync(16_500 + 62_000);
  t.equal(w.node('a')?.status?.state, NodeStatus_State.DOWN, 'not for ever');
  await setClusterLabel(w, 'skep.agent_grace', '5m');
  await register(w, 'a', OURS);
  await w.env.clock.advanceAsync(300_000);
  t.equal(w.node('a')?.status?.state, NodeStatus_State.UNKNOWN);
  await w.env.clock.advanceAsync(20_000);
  t.equal(w.node('a')?.status?.state, NodeStatus_State.DOWN);
});

void t.test('a new leader takes the word of gossip and data path for who is gone', async (t) => {
  const silences = new Map([
    ['a', Number.POSITIVE_INFINITY],
    ['b', 0],
  ]);
  let goneMs = 0;
  const silenceMs = (id: string): number =>
    id === 'c' ? w.env.clock.monotonicMs() - goneMs : (silences.get(id) ?? 0);
  const w = await world(['a', 'b', 'c'], { silenceMs });
  for (const id of ['a', 'b', 'c']) await register(w, id, OURS);
  await w.dispatcher.stop();
  goneMs = w.env.clock.monotonicMs();
  await w.env.clock.advanceAsync(2_300);
  await w.dispatcher.start();
  await w.env.clock.advanceAsync(1_600);
  t.equal(w.node('c')?.status?.state, NodeStatus_State.UNKNOWN);
  await w.env.clock.advanceAsync(400);
  t.equal(w.node('c')?.status?.state, NodeStatus_State.DOWN, '4 s after it fell silent');
  await w.env.clock.advanceAsync(20_000);
  t.equal(w.node('a')?.status?.state, NodeStatus_State.UNKNOWN, 'gossip knows nothing of it');
  t.equal(w.node('b')?.status?.state, NodeStatus_State.UNKNOWN);
  await w.dispatcher.stop();
  t.equal(w.env.clock.pendingTimers, 0);
});

void t.test('a node that was seen lately is not lost, however short the wait is set', async (t) => {
  const w = await world(['a'], { silenceMs: () => 100 });
  await register(w, 'a', OURS);
  await setClusterLabel(w, 'skep.reschedule_after', '0s');
  await w.env.clock.advanceAsync(20_000);
  t.equal(w.node('a')?.status?.state, NodeStatus_State.UNKNOWN);
});

void t.test('a silence shorter than skep.reschedule_after changes nothing', async (t) => {
  let seenMs = 0;
  const silenceMs = (): number => w.env.clock.monotonicMs() - seenMs;
  const w = await world(['a'], { silenceMs });
  await register(w, 'a', OURS);
  const states: (NodeStatus_State | undefined)[] = [];
  w.store.subscribe(() => states.push(w.node('a')?.status?.state));
  // The last heartbeat came a second before the link failed.
  await w.env.clock.advanceAsync(1000);
  seenMs = w.env.clock.monotonicMs();
  await w.env.clock.advanceAsync(3900);
  t.equal(w.node('a')?.status?.state, NodeStatus_State.READY, '3.9 s after it failed');
  seenMs = w.env.clock.monotonicMs();
  // Its session is over, and it registers again.
  await register(w, 'a', OURS);
  await w.env.clock.advanceAsync(3000);
  t.same(
    states.filter((state) => state === NodeStatus_State.DOWN),
    [],
  );
  // For longer: down four seconds after the link failed.
  await register(w, 'a', OURS);
  await w.env.clock.advanceAsync(900);
  seenMs = w.env.clock.monotonicMs();
  await w.env.clock.advanceAsync(3990);
  t.not(w.node('a')?.status?.state, NodeStatus_State.DOWN);
  await w.env.clock.advanceAsync(30);
  t.equal(w.node('a')?.status?.state, NodeStatus_State.DOWN);
});

void t.test('a new leader does not know the nodes, but those that were down stay so', async (t) => {
  const w = await world(['a', 'b', 'c'], { start: false });
  const set = async (id: string, state: NodeStatus_State): Promise<void> => {
    const node = w.node(id);
    const status = {
      $typeName: 'docker.swarmkit.v1.NodeStatus' as const,
      state,
      message: '',
      addr: '',
    };
    if (node !== undefined)
      await w.store.update((write) => write.update('node', { ...node, status }));
  };
  await set('a', NodeStatus_State.READY);
  await set('b', NodeStatus_State.READY);
  await set('c', NodeStatus_State.DOWN);
  await t.rejects(register(w, 'a'), { code: 'aborted', message: 'dispatcher is stopped' });
  await w.dispatcher.start();
  t.match(w.node('a')?.status, {
    state: NodeStatus_State.UNKNOWN,
    message: 'Node moved to "unknown" state due to leadership change in cluster',
  });
  t.equal(w.node('c')?.status?.state, NodeStatus_State.DOWN);
  await register(w, 'a');
  await w.env.clock.advanceAsync(10_000);
  t.equal(w.node('a')?.status?.state, NodeStatus_State.READY);
  t.equal(w.node('b')?.status?.state, NodeStatus_State.UNKNOWN, 'twice the grace');
  await w.env.clock.advanceAsync(24_000);
  t.match(w.node('b')?.status, {
    state: NodeStatus_State.DOWN,
    message: 'heartbeat failure for node in "unknown" state',
  });
  await w.dispatcher.stop();
  t.equal(w.env.clock.pendingTimers, 0, 'a stopped dispatcher leaves no timer');
});

void t.test('a new session ends the old one; too many registrations are refused', async (t) => {
  const w = await world(['a']);
  const one = await register(w, 'a');
  const end = t.rejects(one.stream.next(), {
    code: 'invalid_argument',
    message: 'session invalid',
  });
  const two = await register(w, 'a');
  await end;
  t.throws(() => w.dispatcher.heartbeat('a', one.sessionId), { message: 'session invalid' });
  t.throws(() => w.dispatcher.heartbeat('a', ''), { message: 'session invalid' });
  t.equal((await register(w, 'a', { sessionId: two.sessionId })).sessionId, two.sessionId);
  await register(w, 'a');
  await t.rejects(register(w, 'a'), {
    code: 'unavailable',
    message: 'node a exceeded rate limit count of registrations',
  });
  await w.env.clock.advanceAsync(8_001);
  t.ok(await register(w, 'a'));
  await t.rejects(register(w, 'stranger'), { code: 'not_found', message: 'node not found' });
});

void t.test('reports are stored for own tasks only and never go back', async (t) => {
  const w = await world(['a', 'b']);
  await addTask(w, 't1', 'a');
  await addTask(w, 't2', 'b');
  const { sessionId } = await register(w, 'a');
  const send = (taskId: string, state: TaskState, message?: string): Promise<void> =>
    w.dispatcher.updateTaskStatus('a', report(sessionId, taskId, state, message));
  await send('t1', TaskState.RUNNING, 'started');
  t.match(w.task('t1')?.status, {
    state: TaskState.RUNNING,
    message: 'started',
    appliedBy: 'manager',
  });
  t.ok(w.task('t1')?.status?.appliedAt);
  await send('t1', TaskState.STARTING);
  t.equal(w.task('t1')?.status?.state, TaskState.RUNNING);
  await send('gone', TaskState.RUNNING);
  await t.rejects(send('t2', TaskState.RUNNING), {
    code: 'permission_denied',
    message: 'cannot update a task not assigned this node',
  });
  await t.rejects(send('t1', UNKNOWN_STATE), { code: 'invalid_argument' });
  await t.rejects(send('t1', TaskState.FAILED, 'x'.repeat(70_000)), { code: 'invalid_argument' });
  t.equal(w.task('t1')?.status?.state, TaskState.RUNNING);
});

void t.test('many reports at one time are few raft entries', async (t) => {
  const w = await world(['a']);
  for (let index = 0; index < 500; index++) await addTask(w, `t${index}`, 'a');
  const { sessionId } = await register(w, 'a');
  const before = w.store.version();
  await Promise.all(
    Array.from({ length: 500 }, (_, index) =>
      w.dispatcher.updateTaskStatus('a', report(sessionId, `t${index}`, TaskState.RUNNING)),
    ),
  );
  t.equal(w.task('t499')?.status?.state, TaskState.RUNNING);
  t.ok(w.store.version() - before <= 5n, String(w.store.version() - before));
});

void t.test('without a leader reports are refused, not lost in silence', async (t) => {
  const w = await world(['a']);
  await addTask(w, 't1', 'a');
  const { sessionId } = await register(w, 'a');
  w.proposer.available = false;
  await t.rejects(w.dispatcher.updateTaskStatus('a', report(sessionId, 't1', TaskState.RUNNING)));
  await t.rejects(register(w, 'a'));
  w.proposer.available = true;
  await w.dispatcher.updateTaskStatus('a', report(sessionId, 't1', TaskState.RUNNING));
  t.equal(w.task('t1')?.status?.state, TaskState.RUNNING);
});

void t.test('assignments: all, then changes, chained; own reports do not echo', async (t) => {
  const w = await world(['a']);
  await addTask(w, 't1', 'a');
  await addTask(w, 'other', 'b');
  await addTask(w, 'pending', 'a', {
    status: create(TaskStatusSchema, { state: TaskState.PENDING }),
  });
  const { sessionId } = await register(w, 'a');
  const abort = new AbortController();
  const stream = w.dispatcher.assignments('a', sessionId, abort.signal);
  t.match((await stream.next()).value, {
    type: AssignmentsMessage_Type.COMPLETE,
    appliesTo: '',
    resultsIn: '1',
    changes: [{ action: 0, assignment: { item: { case: 'task', value: { id: 't1' } } } }],
  });
  const next = stream.next();
  await w.dispatcher.updateTaskStatus('a', report(sessionId, 't1', TaskState.RUNNING));
  await w.env.clock.advanceAsync(1000);
  await addTask(w, 't2', 'a');
  await w.store.update((write) => {
    const task = write.get('task', 't1');
    if (task !== undefined) write.update('task', { ...task, desiredState: TaskState.SHUTDOWN });
  });
  await w.env.clock.advanceAsync(10);
  const message = (await next).value;
  t.match(message, { type: AssignmentsMessage_Type.INCREMENTAL, appliesTo: '1', resultsIn: '2' });
  t.equal(message.changes.length, 2);
  const removal = stream.next();
  await w.store.update((write) => write.delete('task', 't1'));
  await w.env.clock.advanceAsync(10);
  t.match((await removal).value, {
    appliesTo: '2',
    changes: [{ action: 1, assignment: { item: { case: 'task', value: { id: 't1' } } } }],
  });
  const end = t.rejects(stream.next(), { code: 'canceled' });
  abort.abort();
  await end;
  t.equal(w.dispatcher.streamCount, 1, 'only the session is left');
});

void t.test('a plugin that does not answer holds up only the tasks that need it', async (t) => {
  let answer: (() => void) | undefined;
  const answered = new Promise<void>((resolve) => {
    answer = resolve;
  });
  const secretSource: DispatcherOptions['secretSource'] = {
    check: async () => undefined,
    async fetch() {
      await answered;
      return { data: Buffer.from('v'), isForTaskOnly: false };
    },
  };
  const w = await world(['a'], { secretSource });
  const spec = { annotations: { name: 'd' }, driver: { name: 'slow' } };
  await w.store.update((write) => {
    write.create('secret', create(SecretSchema, { id: 'd', spec }));
  });
  const value = { secrets: [{ secretId: 'd' }] };
  const needy = create(TaskSpecSchema, { runtime: { case: 'container', value } });
  await addTask(w, 'needy', 'a', { spec: needy });
  await addTask(w, 'plain', 'a');
  const { sessionId } = await register(w, 'a');
  const abort = new AbortController();
  const stream = w.dispatcher.assignments('a', sessionId, abort.signal);
  const ids = async () => {
    const { value: message } = await stream.next();
    return message?.changes.map(({ assignment }: AssignmentChange) => {
      const item = assignment?.item;
      return item?.case === undefined ? '' : `${item.case} ${item.value.id}`;
    });
  };
  t.same(await ids(), ['task plain']);
  const next = ids();
  answer?.();
  await w.env.clock.advanceAsync(100);
  t.same(await next, ['secret d', 'task needy']);
  const end = t.rejects(stream.next(), { code: 'canceled' });
  abort.abort();
  await end;
});

void t.test('streams of a node are few; a stopped dispatcher ends them all', async (t) => {
  const w = await world(['a']);
  const { sessionId } = await register(w, 'a');
  const open = (): AsyncGenerator<unknown> =>
    w.dispatcher.assignments('a', sessionId, new AbortController().signal);
  const streams = [open(), open(), open(), open(), open()];
  for (const stream of streams) await stream.next();
  await t.rejects(async () => streams[0]?.next(), { code: 'resource_exhausted' });
  t.equal(w.dispatcher.streamCount, 5);
  const ends = streams
    .slice(1)
    .map((stream) =>
      t.rejects(stream.next(), { code: 'aborted', message: 'dispatcher is stopped' }),
    );
  await w.dispatcher.stop();
  await Promise.all(ends);
  t.equal(w.dispatcher.streamCount, 0);
  t.throws(() => w.dispatcher.heartbeat('a', sessionId), { message: 'dispatcher is stopped' });
  t.equal(w.env.clock.pendingTimers, 0);
});

void t.test('tasks of a node that is down for a day are given up', async (t) => {
  const w = await world(['a']);
  const { sessionId } = await register(w, 'a');
  await addTask(w, 'running', 'a');
  await addTask(w, 'done', 'a');
  await w.dispatcher.updateTaskStatus('a', report(sessionId, 'done', TaskState.COMPLETE));
  await w.env.clock.advanceAsync(24 * 3_600_000);
  t.equal(w.task('running')?.status?.state, TaskState.ASSIGNED);
  t.equal(w.node('a')?.status?.state, NodeStatus_State.DOWN);
  await w.env.clock.advanceAsync(20_000);
  t.equal(w.task('running')?.status?.state, TaskState.ORPHANED);
  t.equal(w.task('done')?.status?.state, TaskState.COMPLETE);
});

void t.test('a removed node loses its session', async (t) => {
  const w = await world(['a']);
  const { stream } = await register(w, 'a');
  const end = t.rejects(stream.next(), { code: 'not_found' });
  await w.store.update((write) => write.delete('node', 'a'));
  await end;
  await w.env.clock.advanceAsync(100_000);
  t.equal(w.node('a'), undefined);
});
