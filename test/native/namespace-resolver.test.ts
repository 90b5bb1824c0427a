/**
 * 127.0.0.11:53 of a network namespace, taken over by this process while a look-alike of the
 * engine's resolver stands behind it: UDP and TCP, long-lived clients, giving back, sudden death.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createSocket, type RemoteInfo } from 'node:dgram';
import { createServer, Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { openNamespaceResolver } from '../../src/native/namespace-resolver.js';

const MODULE = fileURLToPath(new URL('../../src/native/namespace-resolver.js', import.meta.url));

/**
 * Runs in the namespace. Answers like the engine's resolver, from other ports behind NAT rules, and
 * asks on demand: each line of input is a transport, each line of output the answer. `long` is UDP
 * from one socket that is never closed. Port 53 is taken, as by a name server in a container.
 */
const CONTAINER = `
const { createSocket } = require('node:dgram');
const { createServer, connect } = require('node:net');
const { execFileSync } = require('node:child_process');
const udp = createSocket('udp4'), tcp = createServer((s) => s.end('engine')), long = createSocket('udp4');
createServer().listen(53, '0.0.0.0');
createSocket('udp4').bind(53, '0.0.0.0');
udp.on('message', (m, from) => udp.send('engine', from.port, from.address));
const say = (text) => console.log(String(text));
long.on('message', say);
const ask = {
  long: () => long.send('?', 53, '127.0.0.11'),
  udp: () => { const s = createSocket('udp4'); s.connect(53, '127.0.0.11', () => s.send('?'));
    s.on('message', (m) => { say(m); s.close(); }); },
  tcp: () => connect(53, '127.0.0.11').on('data', say).on('error', say),
};
udp.bind(0, '127.0.0.11', () => tcp.listen(0, '127.0.0.11', () => {
  execFileSync('nft', ['-f', '-'], { input: \`table ip nat { chain output { type nat hook output priority -100;
    ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:\${udp.address().port}
    ip daddr 127.0.0.11 tcp dport 53 dnat to 127.0.0.11:\${tcp.address().port}
    }
    }\` });
  say('ready');
}));
require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => ask[line]());`;

interface Container {
  readonly path: string;
  /** Asks 127.0.0.11:53 by `udp`, `tcp` or `long`; answers come in the order they arrive. */
  readonly ask: (how: string) => Promise<string>;
  /** Asks and does not wait. */
  readonly send: (how: string) => void;
  /** The next answer. */
  readonly hear: () => Promise<string>;
}

async function startContainer(t: Test): Promise<Container> {
  const script = 'ip link set lo up && exec "$0" -e "$1"';
  const child = spawn('unshare', ['--net', 'sh', '-c', script, process.execPath, CONTAINER], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const hear = async () => String((await lines.next()).value);
  t.equal(await hear(), 'ready');
  const send = (how: string) => child.stdin.write(`${how}\n`);
  const ask = async (how: string) => {
    send(how);
    return await hear();
  };
  return { path: `/proc/${child.pid}/ns/net`, ask, send, hear };
}

async function answers({ ask }: Container): Promise<readonly string[]> {
  return [await ask('udp'), await ask('tcp'), await ask('long')];
}

function tables({ path }: Container): string {
  return execFileSync('nsenter', [`--net=${path}`, 'nft', 'list', 'tables'], { encoding: 'utf8' });
}

/** Answers `ours` on the sockets of a resolver. */
function serve(t: Test, path: string) {
  const door = openNamespaceResolver(path);
  const udp = createSocket('udp4').bind({ fd: door.takeUdp() });
  udp.on('message', (_message, from) => udp.send('ours', from.port, from.address));
  const tcp = createServer((socket) => socket.end('ours')).listen({ fd: door.takeTcp() });
  t.teardown(() => {
    udp.close();
    tcp.close();
  });
  return door;
}

const ENGINE = ['engine', 'engine', 'engine'];
const OURS = ['ours', 'ours', 'ours'];

void t.test('questions are turned over at once, and back at once', async (t) => {
  const container = await startContainer(t);
  t.same(await answers(container), ENGINE);
  const door = serve(t, container.path);
  t.same(await answers(container), OURS, 'the socket in use before, too');
  t.match(tables(container), /table ip skep-\d+/);
  await door.close();
  t.same(await answers(container), ENGINE);
  t.equal(tables(container), 'table ip nat\n');
  await door.close();
});

void t.test('the engine is still reached through it', async (t) => {
  const container = await startContainer(t);
  const door = serve(t, container.path);
  const udp = createSocket('udp4').bind({ fd: door.openEngineSocket('udp') });
  udp.send('?', 53, '127.0.0.11');
  t.equal(String(((await once(udp, 'message')) as [Buffer])[0]), 'engine');
  udp.close();
  const tcp = new Socket({ fd: door.openEngineSocket('tcp') });
  t.equal(String(((await once(tcp, 'data')) as [Buffer])[0]), 'engine');
  tcp.destroy();
  await door.close();
  t.throws(() => door.openEngineSocket('udp'), { code: 'EBADF' });
});

/** Another process that takes the resolver over and then only waits. */
async function startHolder(path: string): Promise<ChildProcess> {
  const script = `
    const { openNamespaceResolver } = await import(${JSON.stringify(MODULE)});
    globalThis.door = openNamespaceResolver(${JSON.stringify(path)});
    console.log('held');
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  return child;
}

void t.test('a killed holder gives it back, to whoever opened a door after it', async (t) => {
  const container = await startContainer(t);
  const holder = await startHolder(container.path);
  t.teardown(() => holder.kill('SIGKILL'));
  t.match(tables(container), /table ip skep-\d+/);
  const door = serve(t, container.path);
  holder.kill('SIGKILL');
  await once(holder, 'exit');
  t.same(await answers(container), OURS);
  await door.close();
  t.same(await answers(container), ENGINE);
});

void t.test('one after the other: nothing that was asked is lost', async (t) => {
  const container = await startContainer(t);
  const first = openNamespaceResolver(container.path);
  const udp = createSocket('udp4').bind({ fd: first.takeUdp() });
  const tcp = createServer().listen({ fd: first.takeTcp() });
  const held = (async () => {
    const connected = once(tcp, 'connection') as Promise<[Socket]>;
    const question = once(udp, 'message') as Promise<[Buffer, RemoteInfo]>;
    return [(await connected)[0], (await question)[1]] as const;
  })();
  container.send('tcp');
  container.send('udp');
  const [connection, from] = await held;
  connection.on('error', () => undefined);
  const second = serve(t, container.path);
  first.release([connection.remotePort ?? 0]);
  t.same(await container.ask('long'), 'ours', 'the second one gets what comes now');
  udp.send('late', from.port, from.address);
  connection.end('late');
  const late = [await container.hear(), await container.hear()];
  t.same(late, ['late', 'late'], 'the first one answers what it had');
  await first.close();
  udp.close();
  tcp.close();
  t.same(await answers(container), OURS);
  await second.close();
  t.same(await answers(container), ENGINE);
});

void t.test('only a foreign network namespace is entered', async (t) => {
  t.throws(() => openNamespaceResolver('/proc/self/ns/net'), { code: 'EINVAL' });
  t.throws(() => openNamespaceResolver('/proc/self/ns/mnt'), { code: 'EINVAL' });
  t.throws(() => openNamespaceResolver('/etc/passwd'), { code: 'EINVAL' });
  t.throws(() => openNamespaceResolver('/run/no-such-namespace'), { code: 'ENOENT' });
  const container = await startContainer(t);
  const door = serve(t, container.path);
  t.equal(door.isAt(container.path), true);
  t.equal(door.isAt('/proc/self/ns/net'), false);
  t.equal(door.isAt('/run/no-such-namespace'), false);
  t.throws(() => door.takeUdp(), { code: 'EBADF' });
  await door.close();
  t.equal(door.isAt(container.path), false);
});
