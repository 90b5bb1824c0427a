/** The RPC server against hostile and broken peers, on real sockets. */
import http2 from 'node:http2';
import net from 'node:net';
import tls from 'node:tls';
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import t from 'tap';
import { CA, NodeCA } from '../../src/model/gen/docker/swarmkit/v1/ca_pb.js';
import { Dispatcher } from '../../src/model/gen/docker/swarmkit/v1/dispatcher_pb.js';
import { silentLogger } from '../../src/observe/logger.js';
import { systemEnvironment } from '../../src/observe/system-environment.js';
import { ClientSession } from '../../src/rpc/client-session.js';
import { grpcTransport } from '../../src/rpc/manager-connection.js';
import { RpcServer } from '../../src/rpc/server.js';
import type { TlsIdentity } from '../../src/rpc/types.js';
import { SeededRandom } from '../support/simulated-environment.js';
import { startTestCluster, type TestCluster, testIdentity } from './test-cluster.js';
import { until } from './until.js';

const HEARTBEAT_PATH = '/docker.swarmkit.v1.Dispatcher/Heartbeat';

/** The part of a test that helpers need. */
interface Scope {
  teardown(end: () => unknown): unknown;
}

interface Grpc {
  readonly status: string | undefined;
  readonly message: string;
}

/** One raw gRPC call; resolves with the status, or with the stream's error code as text. */
function call(
  session: http2.ClientHttp2Session,
  headers: http2.OutgoingHttpHeaders,
  body: Buffer,
): Promise<Grpc> {
  return new Promise((resolve) => {
    const stream = session.request({
      ':method': 'POST',
      'content-type': 'application/grpc',
      te: 'trailers',
      ...headers,
    });
    let status: string | undefined;
    let message = '';
    const take = (fields: http2.IncomingHttpHeaders): void => {
      if (fields['grpc-status'] !== undefined) {
        status = String(fields['grpc-status']);
        message = decodeURIComponent(String(fields['grpc-message'] ?? ''));
      }
    };
    stream.on('response', take);
    stream.on('trailers', take);
    stream.on('error', () => undefined);
    stream.on('close', () => resolve({ status: status ?? `reset ${stream.rstCode}`, message }));
    stream.resume();
    stream.end(body);
  });
}

function frame(payload: Buffer, length = payload.length, compressed = 0): Buffer {
  const head = Buffer.alloc(5);
  head[0] = compressed;
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, payload]);
}

/** An HTTP/2 session with a certificate, closed at the end of the test. */
async function open(
  t: Scope,
  cluster: TestCluster,
  identity?: TlsIdentity,
): Promise<http2.ClientHttp2Session> {
  const session = http2.connect(`https://${cluster.addr}`, {
    ALPNProtocols: ['h2'],
    ca: cluster.founding.identity.rootCaPem,
    servername: 'swarm-manager',
    ...(identity === undefined
      ? {}
      : { cert: identity.certificatePem, key: identity.privateKeyPem }),
  });
  session.on('error', () => undefined);
  t.teardown(() => session.destroy());
  await new Promise((resolve) => session.once('connect', resolve));
  return session;
}

/** The server still serves whoever behaves. */
async function stillServes(cluster: TestCluster): Promise<boolean> {
  const session = new ClientSession({
    addr: cluster.addr,
    tls: { ca: cluster.founding.identity.rootCaPem, servername: 'swarm-ca' },
    clock: systemEnvironment.clock,
  });
  const answer = await createClient(CA, grpcTransport(session)).getRootCACertificate({});
  session.destroy(new ConnectError('done', Code.Canceled));
  return Buffer.from(answer.certificate).toString() === cluster.founding.identity.rootCaPem;
}

async function start(t: Scope): Promise<TestCluster> {
  const cluster = await startTestCluster();
  t.teardown(() => cluster.stop());
  return cluster;
}

void t.test('a hostile :authority or path resets one stream and nothing else', async (t) => {
  const cluster = await start(t);
  const session = await open(t, cluster);
  for (const authority of ['%', 'a b', '[::1', 'x:99999', '\u00ff', 'a/../b?c#d', '']) {
    const { status } = await call(
      session,
      { ':path': HEARTBEAT_PATH, ':authority': authority },
      frame(Buffer.alloc(0)),
    );
    t.ok(status === 'reset 1' || status === '7', `authority ${authority}: ${status}`);
  }
  const unknown = await call(session, { ':path': '/no.such/Method%"\u00e9' }, Buffer.alloc(0));
  t.equal(unknown.status, '12');
  t.equal((await call(session, { ':path': '/' }, Buffer.alloc(0))).status, '12');
  t.ok(await stillServes(cluster));
});

void t.test('oversized, truncated and malformed messages are refused', async (t) => {
  const cluster = await start(t);
  const session = await open(t, cluster, await cluster.identity(cluster.founding.node.id));
  const path = { ':path': HEARTBEAT_PATH };
  const cases: [string, Buffer, string][] = [
    ['5 MiB announced', frame(Buffer.alloc(10), 5 << 20), '8'],
    ['4 GiB announced', frame(Buffer.alloc(10), 0xffffffff), '8'],
    ['5 MiB sent', frame(Buffer.alloc(5 << 20)), '8'],
    ['truncated head', Buffer.from([0, 0, 0]), '3'],
    ['truncated body', frame(Buffer.from([10, 1]), 100), '3'],
    ['garbage protobuf', frame(Buffer.from([0xff, 0xff, 0xff, 0xff])), '13'],
    ['length beyond the message', frame(Buffer.from([0x0a, 0x7f, 0x61])), '13'],
    ['compressed', frame(Buffer.from([10, 1, 97]), 3, 1), '13'],
    ['no message', Buffer.alloc(0), '12'],
    ['two messages', Buffer.concat([frame(Buffer.alloc(0)), frame(Buffer.alloc(0))]), '12'],
  ];
  for (const [name, body, wanted] of cases) {
    const { status } = await call(session, path, body);
    t.equal(status, wanted, name);
  }
  const withTimeout = (value: string): Promise<Grpc> =>
    call(session, { ...path, 'grpc-timeout': value }, frame(Buffer.alloc(0)));
  t.equal((await withTimeout('99999999H')).message, 'node not registered', 'no deadline at all');
  t.equal((await withTimeout('x')).status, '3');
  const json = await call(
    session,
    { ...path, 'content-type': 'application/json' },
    Buffer.from('{}'),
  );
  t.not(json.status, '0');
  t.ok(await stillServes(cluster));
});

void t.test(
  'garbage, plaintext and foreign protocols on the port end that connection',
  async (t) => {
    const cluster = await start(t);
    const port = Number(cluster.addr.split(':')[1]);
    const send = (data: string | Buffer): Promise<void> =>
      new Promise((resolve) => {
        const socket = net.connect(port, '127.0.0.1', () => socket.write(data));
        socket.on('error', () => undefined);
        socket.on('close', () => resolve());
        socket.resume();
      });
    await send('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await send('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    await send(Buffer.alloc(70_000, 0x16));
    const secure = (protocols: string[], data: string): Promise<void> =>
      new Promise((resolve) => {
        const options = { port, host: '127.0.0.1', rejectUnauthorized: false };
        const socket = tls.connect({ ...options, ALPNProtocols: protocols }, () =>
          socket.write(data),
        );
        socket.on('error', () => undefined);
        socket.on('close', () => resolve());
        socket.resume();
      });
    await secure(['http/1.1'], 'GET / HTTP/1.1\r\n\r\n');
    await secure([], 'GET / HTTP/1.1\r\n\r\n');
    await secure(['h2'], 'not an HTTP/2 preface at all, but long enough to be one\r\n\r\n');
    t.ok(await stillServes(cluster));
    await until('all connections to end', () => cluster.server.peers().length === 0);
  },
);

void t.test('clients that name no protocol are spoken HTTP/2 with', async (t) => {
  const cluster = await start(t);
  const identity = await cluster.identity('renewed');
  const port = Number(cluster.addr.split(':')[1]);
  const socket = tls.connect({
    ...{ port, host: '127.0.0.1', servername: 'swarm-manager', ca: identity.rootCaPem },
    ...{ cert: identity.certificatePem, key: identity.privateKeyPem },
  });
  await new Promise((resolve) => socket.once('secureConnect', resolve));
  t.equal(socket.alpnProtocol, false);
  const session = http2.connect(`https://${cluster.addr}`, { createConnection: () => socket });
  t.teardown(() => session.destroy());
  const path = { ':path': '/docker.swarmkit.v1.CA/GetRootCACertificate' };
  t.equal((await call(session, path, frame(Buffer.alloc(0)))).status, '0');
});

void t.test('random frames and connections reset at random points do no harm', async (t) => {
  // Some of these leave the server with a socket that says nothing: pings end it.
  const cluster = await startTestCluster({ server: { pingIntervalMs: 300, pingTimeoutMs: 500 } });
  t.teardown(() => cluster.stop());
  const random = new SeededRandom(40);
  const identity = await cluster.identity('fuzzer');
  const port = Number(cluster.addr.split(':')[1]);
  const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
  const randomFrame = (): Buffer => {
    const payload = Buffer.from(random.bytes(random.integer(0, 64)));
    const head = Buffer.alloc(9);
    // Now and then the announced length is a lie.
    head.writeUIntBE(random.integer(0, 9) === 0 ? 20_000 : payload.length, 0, 3);
    head[3] = random.integer(0, 12);
    head[4] = random.integer(0, 255);
    head.writeUInt32BE(random.integer(0, 5), 5);
    return Buffer.concat([head, payload]);
  };
  const attack = (): Promise<void> =>
    new Promise((resolve) => {
      const raw = net.connect(port, '127.0.0.1');
      const socket = tls.connect({
        socket: raw,
        ALPNProtocols: ['h2'],
        ca: identity.rootCaPem,
        cert: identity.certificatePem,
        key: identity.privateKeyPem,
        servername: 'swarm-manager',
      });
      const frames = Array.from({ length: random.integer(0, 30) }, randomFrame);
      const resetAfterMs = random.integer(0, 60);
      const timer = setTimeout(() => raw.resetAndDestroy(), resetAfterMs);
      socket.on('error', () => undefined);
      raw.on('error', () => undefined);
      socket.once('secureConnect', () => {
        socket.write(Buffer.concat([preface, Buffer.from('000000040000000000', 'hex'), ...frames]));
      });
      socket.resume();
      raw.once('close', () => {
        clearTimeout(timer);
        resolve();
      });
    });
  for (let round = 0; round < 15; round++) {
    await Promise.all(Array.from({ length: 10 }, attack));
  }
  await until('all connections to end', () => cluster.server.peers().length === 0);
  t.ok(await stillServes(cluster));
});

void t.test('calls are refused without the right certificate', async (t) => {
  const cluster = await start(t);
  const other = await start(t);
  const { founding } = cluster;
  const nodeId = 'node00000000000000000000w';
  const path = { ':path': HEARTBEAT_PATH };
  const body = frame(Buffer.from('0a0178', 'hex'));
  const denied =
    'Permission denied: unauthorized peer role: rpc error: code = PermissionDenied desc = ';

  const guest = await call(await open(t, cluster), path, body);
  t.same(guest, { status: '7', message: `${denied}no client certificates in request` });

  const foreign = await open(t, cluster, await other.identity(nodeId));
  t.same(await call(foreign, path, body), guest, 'a certificate of another root counts as none');

  const strange = await testIdentity(founding, nodeId, 'worker', 'othercluster');
  t.same(await call(await open(t, cluster, strange), path, body), {
    status: '7',
    message: `${denied}Permission denied: remote certificate not part of organization: ${founding.clusterId}`,
  });

  const worker = await open(t, cluster, await cluster.identity(nodeId));
  const unlock = { ':path': '/docker.swarmkit.v1.CA/GetUnlockKey' };
  t.same(await call(worker, unlock, frame(Buffer.alloc(0))), {
    status: '7',
    message: `${denied}Permission denied: remote certificate not part of OUs: [swarm-manager]`,
  });
  t.equal((await call(worker, path, body)).message, 'node not registered');
});

void t.test('the certificate is swapped live; old connections go on', async (t) => {
  const cluster = await start(t);
  const before = await open(t, cluster);
  const serial = (session: http2.ClientHttp2Session): string =>
    (session.socket as tls.TLSSocket).getPeerCertificate().serialNumber;
  cluster.serverIdentity.change(await cluster.identity(cluster.founding.node.id, 'manager'));
  const after = await open(t, cluster);
  t.not(serial(before), serial(after));
  const path = { ':path': HEARTBEAT_PATH };
  t.equal((await call(before, path, frame(Buffer.alloc(0)))).status, '7');
  t.equal((await call(after, path, frame(Buffer.alloc(0)))).status, '7');
});

void t.test('connections of a node are cut on demand, and of silent peers by ping', async (t) => {
  const cluster = await startTestCluster({ server: { pingIntervalMs: 50, pingTimeoutMs: 100 } });
  t.teardown(() => cluster.stop());
  const closed = (session: http2.ClientHttp2Session): Promise<unknown> =>
    new Promise((resolve) => session.once('close', resolve));
  const session = await open(t, cluster, await cluster.identity('nodea'));
  const bystander = await open(t, cluster, await cluster.identity('nodeb'));
  t.equal(cluster.server.disconnectNode('nodea'), 1);
  await closed(session);
  t.notOk(bystander.closed);

  // A peer that keeps its TCP connection but no longer answers: TLS below, no HTTP/2 above.
  const identity = await cluster.identity('nodec');
  const mute = tls.connect({
    port: Number(cluster.addr.split(':')[1]),
    host: '127.0.0.1',
    ALPNProtocols: ['h2'],
    ca: identity.rootCaPem,
    cert: identity.certificatePem,
    key: identity.privateKeyPem,
    servername: 'swarm-manager',
  });
  mute.on('error', () => undefined);
  const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0', 'latin1');
  mute.once('secureConnect', () => mute.write(preface));
  mute.resume();
  await new Promise((resolve) => mute.once('close', resolve));
  t.notOk(bystander.closed, 'who answers pings stays');
});

void t.test('guests are few and short-lived', async (t) => {
  const cluster = await startTestCluster({
    server: { guestLifetimeMs: 200, guestConnectionsMax: 2 },
  });
  t.teardown(() => cluster.stop());
  const first = await open(t, cluster);
  await open(t, cluster);
  const third = http2.connect(`https://${cluster.addr}`, { rejectUnauthorized: false });
  third.on('error', () => undefined);
  await new Promise((resolve) => third.once('close', resolve));
  await open(t, cluster, await cluster.identity('member'));
  if (!first.closed) await new Promise((resolve) => first.once('close', resolve));
  t.match(await open(t, cluster), { closed: false }, 'there is room again');
});

void t.test('other protocols get the socket and the peer', async (t) => {
  const seen: string[] = [];
  const cluster = await startTestCluster({
    server: {
      protocols: new Map([
        [
          'skep-raft/1',
          (socket: tls.TLSSocket, peer: { nodeId: string; role: string }) => {
            seen.push(peer.nodeId, peer.role);
            socket.end('hello');
          },
        ],
      ]),
    },
  });
  t.teardown(() => cluster.stop());
  const identity = await cluster.identity('nodem', 'manager');
  const text = await new Promise<string>((resolve, reject) => {
    let received = '';
    const socket = tls.connect({
      port: Number(cluster.addr.split(':')[1]),
      host: '127.0.0.1',
      ALPNProtocols: ['skep-raft/1'],
      ca: identity.rootCaPem,
      cert: identity.certificatePem,
      key: identity.privateKeyPem,
      servername: 'swarm-manager',
    });
    socket.on('data', (chunk: Buffer) => (received += chunk.toString()));
    socket.on('error', reject);
    socket.on('close', () => resolve(received));
  });
  t.equal(text, 'hello');
  t.same(seen, ['nodem', 'swarm-manager']);
});

void t.test(
  'a taken port is an error that says so; handlers cannot leak their errors',
  async (t) => {
    const cluster = await start(t);
    const port = Number(cluster.addr.split(':')[1]);
    const server = new RpcServer({
      identity: cluster.serverIdentity,
      env: systemEnvironment,
      logger: silentLogger,
      routes: (router) => {
        router.service(NodeCA, {
          issueNodeCertificate: () => {
            throw new Error('secret of the house');
          },
        });
        router.service(Dispatcher, {
          // oxlint-disable-next-line require-yield
          async *session() {
            throw new Error('secret of the house');
          },
        });
      },
    });
    t.teardown(() => server.stop());
    await t.rejects(server.listen('127.0.0.1', port), {
      code: 'unavailable',
      message: `failed to listen on remote API address: listen tcp 127.0.0.1:${port}: bind: address already in use`,
    });
    const bound = await server.listen('127.0.0.1', 0);
    const session = await open(t, { ...cluster, addr: `127.0.0.1:${bound.port}` });
    for (const method of ['NodeCA/IssueNodeCertificate', 'Dispatcher/Session']) {
      const path = { ':path': `/docker.swarmkit.v1.${method}` };
      t.same(await call(session, path, frame(Buffer.alloc(0))), {
        status: '13',
        message: 'internal error',
      });
    }
  },
);

void t.test(
  'calls passed on by a node that is no manager are refused, not taken for its own',
  async (t) => {
    const demoted = 'node00000000000000000000d';
    const cluster = await startTestCluster({
      server: {
        leadership: {
          leader: () => 'here',
          isLeadersCall: () => true,
          isManager: ({ nodeId }) => nodeId !== demoted,
        },
      },
    });
    t.teardown(() => cluster.stop());
    const body = frame(Buffer.from('0a0178', 'hex'));
    const passedOn = {
      ':path': HEARTBEAT_PATH,
      remote_addr: '192.0.2.1',
      forwarded_cert_cn: 'node00000000000000000000w',
      forwarded_cert_ou: 'swarm-worker',
      forwarded_cert_org: cluster.founding.clusterId,
    };
    // Its certificate is still a manager's: certificates outlive a demotion.
    const former = await open(t, cluster, await cluster.identity(demoted, 'manager'));
    const refused = {
      status: String(Code.Unavailable),
      message: 'the call was passed on by a node that is no manager',
    };
    t.same(await call(former, passedOn, body), refused);
    t.same(await call(former, { ...passedOn, 'grpc-timeout': '9S' }, body), refused);
    const own = await call(former, { ':path': HEARTBEAT_PATH }, body);
    t.equal(own.message, 'node not registered', 'its own calls are');

    const manager = await open(
      t,
      cluster,
      await cluster.identity('node00000000000000000000m', 'manager'),
    );
    t.equal((await call(manager, passedOn, body)).message, 'node not registered');
  },
);
