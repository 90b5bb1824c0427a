/** Connections from inside another network namespace, and from this process's own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { request } from 'node:http';
import { createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { connectIn } from '../../src/native/namespace-socket.js';

/** Answers HTTP on port 80 of an address that only its namespace has. */
const CONTAINER =
  "require('node:http').createServer((q, s) => s.writeHead(q.url === '/ready' ? 204 : 503).end())" +
  ".listen(80, '10.77.0.1', () => console.log('ready'))";

async function startContainer(t: Test): Promise<string> {
  const script = 'ip link set lo up && ip addr add 10.77.0.1/24 dev lo && exec "$0" -e "$1"';
  const child = spawn('unshare', ['--net', 'sh', '-c', script, process.execPath, CONTAINER], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  await once(createInterface({ input: child.stdout }), 'line');
  return `/proc/${child.pid}/ns/net`;
}

async function outcome(socket: Socket): Promise<string> {
  const said = new Promise<string>((resolve) => {
    socket.on('connect', () => resolve('connected'));
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
  });
  const text = await said;
  socket.destroy();
  return text;
}

void t.test('a server that only the namespace knows', async (t) => {
  const path = await startContainer(t);
  t.equal(await outcome(connectIn(path, '10.77.0.1', 80)), 'connected');
  t.equal(await outcome(connectIn(path, '10.77.0.1', 81)), 'ECONNREFUSED');
  t.equal(await outcome(connectIn(path, '10.78.0.1', 80)), 'ENETUNREACH');
  for (const [url, status] of [
    ['/ready', 204],
    ['/', 503],
  ] as const) {
    const asked = request({
      ...{ host: '10.77.0.1', path: url },
      createConnection: () => connectIn(path, '10.77.0.1', 80),
    }).end();
    const [answer] = (await once(asked, 'response')) as [{ statusCode: number; resume(): void }];
    answer.resume();
    t.equal(answer.statusCode, status);
  }
});

void t.test('the own namespace, and what is none', async (t) => {
  const server = createServer((socket) => socket.end()).listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  t.equal(await outcome(connectIn('/proc/self/ns/net', '127.0.0.1', port)), 'connected');
  t.throws(() => connectIn('/proc/self/ns/pid', '127.0.0.1', port), { code: 'EINVAL' });
  t.throws(() => connectIn('/nowhere', '127.0.0.1', port), { code: 'ENOENT' });
});
