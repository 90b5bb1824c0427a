/** Logs from nodes to a reader, over the real RPC server. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import t from 'tap';
import {
  LogSelectorSchema,
  type LogMessage,
  type LogMessageSchema,
  LogSubscriptionOptionsSchema,
  type PublishLogsMessageSchema,
  type SubscriptionMessage,
} from '../../../src/model/gen/docker/swarmkit/v1/logbroker_pb.js';
import { TaskSchema } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import { connectManager } from '../../../src/rpc/manager-connection.js';
import type { ManagerConnection } from '../../../src/rpc/types.js';
import { startTestCluster, type TestCluster, TestIdentity } from '../../rpc/test-cluster.js';
import { until } from '../../rpc/until.js';

interface Scope {
  teardown(end: () => unknown): unknown;
}

type Publish = MessageInitShape<typeof PublishLogsMessageSchema>;

async function start(t: Scope): Promise<TestCluster> {
  const cluster = await startTestCluster();
  t.teardown(() => cluster.stop());
  return cluster;
}

async function addTask(cluster: TestCluster, id: string, nodeId: string): Promise<void> {
  const task = create(TaskSchema, { id, nodeId, serviceId: 'svc' });
  await cluster.store.update((write) => {
    const old = write.get('task', id);
    if (old?.meta === undefined) write.create('task', task);
    else write.update('task', { ...task, meta: old.meta });
  });
}

/** A node with an open ListenSubscriptions call. */
class LogNode {
  readonly subscriptions: SubscriptionMessage[] = [];
  readonly connection: ManagerConnection;
  readonly nodeId: string;

  private constructor(connection: ManagerConnection, nodeId: string) {
    this.connection = connection;
    this.nodeId = nodeId;
  }

  static async connect(t: Scope, cluster: TestCluster, nodeId: string): Promise<LogNode> {
    const identity = new TestIdentity(await cluster.identity(nodeId));
    const connection = await connectManager({
      peer: cluster.peer,
      identity,
      env: systemEnvironment,
    });
    t.teardown(() => connection.close());
    const node = new LogNode(connection, nodeId);
    void node.#listen();
    // The stream is silent until there is a subscription: probe with one.
    const abort = new AbortController();
    t.teardown(() => abort.abort());
    await until('the node to listen', async () => {
      const stream = subscribe(cluster, { nodeIds: [nodeId] }, { follow: true }, abort.signal);
      void stream.next().catch(() => undefined);
      await until('an answer', () => node.subscriptions.length > 0);
      return true;
    });
    abort.abort();
    await until('the probe to end', () => node.subscriptions.some((message) => message.close));
    node.subscriptions.length = 0;
    return node;
  }

  async #listen(): Promise<void> {
    try {
      for await (const message of this.connection.logBroker.listenSubscriptions({})) {
        this.subscriptions.push(message);
      }
    } catch {
      // The connection ends with the test.
    }
  }

  next(): Promise<SubscriptionMessage> {
    return until('a subscription', () => this.subscriptions.shift());
  }

  message(text: string): MessageInitShape<typeof LogMessageSchema> {
    return { context: { nodeId: this.nodeId, taskId: 'x' }, data: Buffer.from(text) };
  }

  publish(...messages: Publish[]): Promise<unknown> {
    return this.connection.logBroker.publishLogs(
      (async function* stream() {
        yield* messages;
      })(),
    );
  }
}

function subscribe(
  cluster: TestCluster,
  selector: MessageInitShape<typeof LogSelectorSchema>,
  options: MessageInitShape<typeof LogSubscriptionOptionsSchema> = {},
  signal: AbortSignal = AbortSignal.timeout(20_000),
): AsyncGenerator<LogMessage> {
  return cluster.services.logs.subscribe(
    create(LogSelectorSchema, selector),
    create(LogSubscriptionOptionsSchema, options),
    signal,
  );
}

async function read(stream: AsyncIterable<LogMessage>, lines: string[] = []): Promise<string[]> {
  for await (const message of stream) lines.push(Buffer.from(message.data).toString());
  return lines;
}

void t.test('lines of all nodes arrive; the stream ends with the last node', async (t) => {
  const cluster = await start(t);
  const [a, b] = [
    await LogNode.connect(t, cluster, 'nodea'),
    await LogNode.connect(t, cluster, 'nodeb'),
  ];
  await addTask(cluster, 't1', 'nodea');
  await addTask(cluster, 't2', 'nodeb');
  const lines = read(subscribe(cluster, { serviceIds: ['svc'] }, { tail: -5n }));
  const told = await a.next();
  t.match(told, { close: false, selector: { serviceIds: ['svc'] }, options: { tail: -5n } });
  t.equal((await b.next()).id, told.id);
  await a.publish({ subscriptionId: told.id, messages: [a.message('a1'), a.message('a2')] });
  await b.publish(
    { subscriptionId: told.id, messages: [b.message('b1')] },
    { subscriptionId: told.id, close: true },
  );
  t.same((await lines).sort(), ['a1', 'a2', 'b1']);
  t.match(await a.next(), { id: told.id, close: true });
});

void t.test('what is missing is told at the end, in one warning', async (t) => {
  const cluster = await start(t);
  const a = await LogNode.connect(t, cluster, 'nodea');
  const gone = await LogNode.connect(t, cluster, 'nodegone');
  await addTask(cluster, 't1', 'nodea');
  await addTask(cluster, 't2', 'nodeaway');
  await addTask(cluster, 't3', '');
  await addTask(cluster, 't4', 'nodegone');
  const lines: string[] = [];
  const reading = t.rejects(read(subscribe(cluster, { serviceIds: ['svc'] }), lines), {
    code: 'unknown',
    message:
      'warning: incomplete log stream. some logs could not be retrieved for the following reasons: ' +
      'node nodeaway is not available, node nodegone disconnected unexpectedly, ' +
      'task t3 has not been scheduled',
  });
  const { id } = await a.next();
  await gone.next();
  gone.connection.close();
  await a.publish({ subscriptionId: id, messages: [a.message('a1')] });
  await reading;
  t.same(lines, ['a1']);
});

void t.test('following: new tasks join, the reader ends it', async (t) => {
  const cluster = await start(t);
  const [a, b] = [
    await LogNode.connect(t, cluster, 'nodea'),
    await LogNode.connect(t, cluster, 'nodeb'),
  ];
  await addTask(cluster, 't1', 'nodea');
  await addTask(cluster, 't2', '');
  const abort = new AbortController();
  const stream = subscribe(cluster, { serviceIds: ['svc'] }, { follow: true }, abort.signal);
  const lines: string[] = [];
  const reading = t.rejects(read(stream, lines), { code: 'canceled' });
  const { id } = await a.next();
  await a.publish({ subscriptionId: id, messages: [a.message('a1')] });
  t.equal(b.subscriptions.length, 0);
  await addTask(cluster, 't2', 'nodeb');
  t.equal((await b.next()).id, id);
  await b.publish({ subscriptionId: id, messages: [b.message('b1')] });
  await until('both lines', () => lines.length === 2);
  abort.abort();
  await reading;
  t.match(await a.next(), { id, close: true });
  t.match(await b.next(), { id, close: true });
});

void t.test('nodes cannot publish what they were not asked for, nor as others', async (t) => {
  const cluster = await start(t);
  const a = await LogNode.connect(t, cluster, 'nodea');
  const other = await LogNode.connect(t, cluster, 'nodeb');
  await addTask(cluster, 't1', 'nodea');
  const abort = new AbortController();
  const reading = read(
    subscribe(cluster, { taskIds: ['t1'] }, { follow: true }, abort.signal),
  ).catch(() => []);
  const { id } = await a.next();
  const refused = (node: LogNode, message: Publish, wanted: string): Promise<unknown> =>
    t.rejects(node.publish(message), { message: wanted });
  await refused(a, { messages: [] }, '[invalid_argument] missing subscription ID');
  await refused(a, { subscriptionId: 'no' }, '[not_found] unknown subscription ID');
  await refused(other, { subscriptionId: id }, '[not_found] unknown subscription ID');
  await refused(
    a,
    { subscriptionId: id, messages: [other.message('forged')] },
    '[permission_denied] invalid NodeID: expected=nodea;received=nodeb',
  );
  await t.rejects(a.publish({ subscriptionId: id }, { subscriptionId: 'other' }), {
    message: '[invalid_argument] different subscription IDs in the same session',
  });
  abort.abort();
  t.same(await reading, []);
  await t.rejects(read(subscribe(cluster, {})), { message: 'log selector must be provided' });
});

void t.test('a slow reader makes publishers wait instead of filling memory', async (t) => {
  const cluster = await start(t);
  const a = await LogNode.connect(t, cluster, 'nodea');
  await addTask(cluster, 't1', 'nodea');
  const stream = subscribe(cluster, { taskIds: ['t1'] });
  const first = stream.next();
  const { id } = await a.next();
  const total = 32;
  let sent = 0;
  const publishing = a.connection.logBroker.publishLogs(
    (async function* lines(): AsyncGenerator<Publish> {
      for (; sent < total; sent++) {
        yield { subscriptionId: id, messages: [a.message('x'.repeat(1 << 20))] };
      }
    })(),
  );
  await first;
  // Nobody reads on. The rest has to stay with the sender: watch until it has stalled.
  let last = -1;
  await until('the publisher to stall', async () => {
    const stalled = sent === last && sent > 0;
    last = sent;
    await new Promise((resolve) => {
      setTimeout(resolve, 300);
    });
    return stalled;
  });
  t.ok(sent < total * 0.75, `${sent} MiB of ${total} left the sender`);
  let received = 1;
  for await (const message of stream) received += message.data.length > 0 ? 1 : 0;
  await publishing;
  t.equal(received, total);
});
