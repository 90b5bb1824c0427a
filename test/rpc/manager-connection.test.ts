/** The client side: connections to managers, their end, renewal, and the choice among managers. */
import net from 'node:net';
import { Code, ConnectError } from '@connectrpc/connect';
import t from 'tap';
import { systemEnvironment } from '../../src/observe/system-environment.js';
import { connectManager } from '../../src/rpc/manager-connection.js';
import { movedManagers } from '../../src/rpc/moved-managers.js';
import { ManagerConnector } from '../../src/rpc/manager-connector.js';
import { Remotes } from '../../src/rpc/remotes.js';
import type { ManagerConnection, ManagerPeer } from '../../src/rpc/types.js';
import { SeededRandom } from '../support/simulated-environment.js';
import { startTestCluster, type TestCluster, TestIdentity } from './test-cluster.js';
import { until } from './until.js';

const env = systemEnvironment;

interface Scope {
  teardown(end: () => unknown): unknown;
}

async function start(t: Scope): Promise<TestCluster> {
  const cluster = await startTestCluster();
  t.teardown(() => cluster.stop());
  return cluster;
}

async function founderConnection(
  t: Scope,
  cluster: TestCluster,
  identity: TestIdentity,
): Promise<ManagerConnection> {
  const connection = await connectManager({ peer: cluster.peer, identity, env });
  t.teardown(() => connection.close());
  return connection;
}

function closed(connection: ManagerConnection): Promise<unknown> {
  return until('the connection to close', () => connection.closed.aborted);
}

void t.test('a server without a manager certificate of our root is not talked to', async (t) => {
  const cluster = await start(t);
  const other = await start(t);
  const identity = new TestIdentity(await cluster.identity('nodea'));
  await t.rejects(connectManager({ peer: other.peer, identity, env }), {
    code: Code.Unavailable,
    message: /authentication handshake failed|self.signed certificate|unable to verify/,
  });
  cluster.serverIdentity.change(await cluster.identity('impostor', 'worker'));
  await t.rejects(connectManager({ peer: cluster.peer, identity, env }), {
    code: Code.Unavailable,
    message: /does not match certificate's altnames|authentication handshake failed/,
  });
});

void t.test('renewal: new calls on the new certificate, open streams go on', async (t) => {
  const cluster = await start(t);
  const identity = new TestIdentity(await cluster.identity(cluster.founding.node.id, 'manager'));
  const connection = await founderConnection(t, cluster, identity);
  const abort = new AbortController();
  const stream = connection.dispatcher.session({}, { signal: abort.signal });
  const session = stream[Symbol.asyncIterator]();
  const first = await session.next();
  const sessionId = first.done === true ? '' : first.value.sessionId;
  t.equal(cluster.server.peers().length, 1);

  identity.change(await cluster.identity(cluster.founding.node.id, 'worker'));
  await connection.dispatcher.heartbeat({ sessionId });
  const roles = cluster.server.peers().map((peer) => peer.role);
  t.same(roles, ['swarm-manager', 'swarm-worker'], 'the stream keeps the old connection');

  const next = session.next();
  await cluster.services.keys.rotate();
  const told = await next;
  t.equal(told.done, false, 'the old stream still delivers');
  abort.abort();
  await t.rejects(session.next());
  await until('the old connection to end', () => cluster.server.peers().length === 1);
  t.notOk(connection.closed.aborted);
  await connection.dispatcher.heartbeat({ sessionId });
  connection.close();
  await until('all connections to end', () => cluster.server.peers().length === 0);
  await t.rejects(connection.dispatcher.heartbeat({ sessionId }), { code: Code.Canceled });
});

void t.test('a stopped manager and a cut connection end calls at once', async (t) => {
  const cluster = await startTestCluster();
  t.teardown(() => cluster.stop());
  const identity = new TestIdentity(await cluster.identity(cluster.founding.node.id, 'manager'));
  const connection = await founderConnection(t, cluster, identity);
  const stream = connection.dispatcher.session({})[Symbol.asyncIterator]();
  await stream.next();
  const next = t.rejects(stream.next(), ConnectError);
  await cluster.stop();
  await next;
  await closed(connection);
  await t.rejects(connectManager({ peer: cluster.peer, identity, env }), {
    message: /connect: connection refused/,
  });
});

/** Stands for the network between a node and a manager; `cut` makes it a host that lost power. */
async function startRelay(
  t: Scope,
  cluster: TestCluster,
): Promise<{ readonly addr: string; readonly cut: () => void }> {
  const pipes: net.Socket[] = [];
  const relay = net.createServer((down) => {
    const up = net.connect(Number(cluster.addr.split(':')[1]), '127.0.0.1');
    pipes.push(down, up);
    for (const socket of [down, up]) socket.on('error', () => undefined);
    down.on('data', (data) => up.write(data));
    up.on('data', (data) => down.write(data));
  });
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    for (const socket of pipes) socket.destroy();
    relay.close();
  });
  const { port } = relay.address() as net.AddressInfo;
  const cut = (): void => {
    for (const socket of pipes) socket.removeAllListeners('data').pause();
  };
  return { addr: `127.0.0.1:${port}`, cut };
}

void t.test('a manager stops in time also where a node has vanished', async (t) => {
  const cluster = await startTestCluster();
  const relay = await startRelay(t, cluster);
  const identity = new TestIdentity(await cluster.identity(cluster.founding.node.id, 'manager'));
  const peer = { nodeId: 'm', addr: relay.addr };
  const connection = await connectManager({ peer, identity, env });
  t.teardown(() => connection.close());
  await connection.dispatcher.session({})[Symbol.asyncIterator]().next();
  relay.cut();
  await cluster.stop();
  const again = connectManager({ peer: cluster.peer, identity, env });
  await t.rejects(again, { message: /connection refused/ });
});

void t.test('a manager that falls silent is noticed by pings', async (t) => {
  const cluster = await start(t);
  const relay = await startRelay(t, cluster);
  const connection = await connectManager({
    peer: { nodeId: 'm', addr: relay.addr },
    identity: new TestIdentity(await cluster.identity(cluster.founding.node.id, 'manager')),
    env,
    pingIntervalMs: 50,
    pingTimeoutMs: 200,
  });
  const stream = connection.dispatcher.session({})[Symbol.asyncIterator]();
  await stream.next();
  const next = t.rejects(stream.next(), { code: Code.Unavailable });
  relay.cut();
  await next;
  await closed(connection);
});

void t.test('the connector tries each manager once and remembers failures', async (t) => {
  const cluster = await start(t);
  const identity = new TestIdentity(await cluster.identity('nodea'));
  const dead = { nodeId: 'dead', addr: '127.0.0.1:1' };
  const remotes = new Remotes(new SeededRandom(1), [dead, cluster.peer]);
  const connector = new ManagerConnector({ remotes, identity, env });
  for (let round = 0; round < 6; round++) {
    const connection = await connector.connect();
    t.equal(connection.peer, cluster.peer);
    connection.close();
  }
  const weights = new Map(remotes.list().map(({ peer, weight }) => [peer.nodeId, weight]));
  t.ok((weights.get('dead') ?? 1) <= 0);
  t.equal(weights.get(cluster.peer.nodeId), 10);
  remotes.replace([dead]);
  await t.rejects(connector.connect(), { code: 'unavailable', message: /connection refused/ });
  remotes.replace([]);
  await t.rejects(connector.connect(), { code: 'unavailable' });
});

void t.test(
  'a manager whose host has another address is found there, and nobody else',
  async (t) => {
    const cluster = await start(t);
    const identity = new TestIdentity(await cluster.identity('nodea'));
    const [host, port] = cluster.addr.split(':') as [string, string];
    const { nodeId } = cluster.peer;
    const former = { nodeId, addr: `127.0.0.99:${port}` };
    const connectorOf = (peers: readonly ManagerPeer[], address: string | undefined) => {
      const remotes = new Remotes(new SeededRandom(1), peers);
      return new ManagerConnector({ remotes, identity, env, addressOf: () => address });
    };
    const connection = await connectorOf([former], host).connect();
    t.same(connection.peer, { nodeId, addr: cluster.addr });
    connection.close();
    const refused = { code: 'unavailable', message: /127\.0\.0\.99.*connection refused/ };
    await t.rejects(connectorOf([former], undefined).connect(), refused);
    const another = { ...former, nodeId: 'another' };
    await t.rejects(connectorOf([another], host).connect(), refused, 'a manager, but not that one');
    cluster.serverIdentity.change(await cluster.identity(nodeId, 'worker'));
    await t.rejects(connectorOf([former], host).connect(), refused, 'that node, but no manager');
  },
);

void t.test('where managers may have gone', (t) => {
  const peers = [
    { nodeId: 'a', addr: '192.0.2.1:2377' },
    { nodeId: 'b', addr: '192.0.2.2:4477' },
    { nodeId: '', addr: '192.0.2.3:2377' },
  ];
  const moved = movedManagers(peers, (nodeId) => (nodeId === 'b' ? '192.0.2.9' : '192.0.2.1'));
  t.same(moved, [{ nodeId: 'b', addr: '192.0.2.9:4477' }], 'ports stay, known ones were tried');
  t.end();
});

void t.test('managers are drawn in proportion to their weight', async (t) => {
  const peers = ['a', 'b', 'c'].map((name) => ({ nodeId: name, addr: `${name}:2377` }));
  const remotes = new Remotes(new SeededRandom(7), peers);
  const draw = (): Record<string, number> => {
    const counts: Record<string, number> = { a: 0, b: 0, c: 0 };
    for (let i = 0; i < 3000; i++) {
      const name = remotes.select()?.nodeId ?? '';
      counts[name] = (counts[name] ?? 0) + 1;
    }
    return counts;
  };
  const even = draw();
  t.ok(
    Object.values(even).every((count) => count > 900 && count < 1100),
    JSON.stringify(even),
  );
  for (let i = 0; i < 5; i++) remotes.observe('a:2377', 'good');
  remotes.observe('b:2377', 'bad');
  remotes.observe('nobody:1', 'bad');
  const skewed = draw();
  t.ok((skewed['b'] ?? 0) < 5, 'weight zero: hardly ever');
  t.ok((skewed['a'] ?? 0) > 4 * (skewed['c'] ?? 0), JSON.stringify(skewed));
  for (let i = 0; i < 100; i++) remotes.observe('c:2377', 'bad');
  t.equal(remotes.list().find(({ peer }) => peer.nodeId === 'c')?.weight, -256);
  t.equal(remotes.select(new Set(['a:2377', 'b:2377']))?.nodeId, 'c', 'the last resort');
  t.equal(remotes.select(new Set(['a:2377', 'b:2377', 'c:2377'])), undefined);
});
