/**
 * The process of the name server and the skepd side of it, over real processes and namespaces: taking
 * over, replacing, sudden death, standing still, hostile connections, and that nothing stays.
 */
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createSocket } from 'node:dgram';
import { Resolver } from 'node:dns/promises';
import { connect } from 'node:net';
import path from 'node:path';
import { decode, encode } from 'dns-packet';
import t, { type Test } from 'tap';
import { encodeFrame } from '../../../src/network/dns/frames.js';
import { NameKeeper } from '../../../src/network/dns/name-keeper.js';
import { socketsIn } from '../../../src/network/dns/name-connection.js';
import type { WantedNetwork } from '../../../src/network/dns/name-feed.js';
import { NAME_RESTART_DELAYS_MS } from '../../../src/network/limits.js';
import type { Clock } from '../../../src/model/environment.js';
import type { NamedContainer } from '../../../src/network/dns/protocol.js';
import { silentLogger } from '../../../src/observe/logger.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import { startNameLoad } from '../../e2e/support/name-load.js';
import { waitFor } from '../../testbed/commands.js';
import { askIn, Containers, tablesIn } from '../support/namespaces.js';

const WAIT_MS = 10_000;
const UPSTREAM = '127.0.0.77';
const { clock } = systemEnvironment;
const SETTINGS = {
  ...{ isFilling: false, ttlSeconds: 5, address: '127.0.0.1', port: 0 },
  resolvConf: '/dev/null',
};

/** A network on which the name `rr` has that many addresses. */
function front(count: number): ReadonlyMap<string, WantedNetwork> {
  const rows = Array.from({ length: count }, (_, index) => ({
    ...{ key: `other ${index}`, name: `rr.${index}.x`, serviceName: 'rr', aliases: [] },
    ...{ virtualIp: '', endpointIp: `10.0.1.${index + 2}`, taskAliases: [] },
  }));
  const network = { id: '1', name: 'front', internal: false, subnets: [] };
  return new Map([['1', { network, rows: new Map(rows.map((row) => [row.key, row])) }]]);
}

function containersAt(...sandboxes: readonly string[]): ReadonlyMap<string, NamedContainer> {
  return new Map(
    sandboxes.map((sandbox) => {
      return [sandbox, { id: sandbox, sandbox, addresses: ['10.0.1.9'], networks: ['1'] }];
    }),
  );
}

/** A skepd's side of it on a directory of its own. */
class Node {
  readonly containers: Containers;
  readonly directory: string;
  private keepers: NameKeeper[] = [];

  constructor(t: Test) {
    this.containers = new Containers(t);
    this.directory = this.containers.pathOf('state/names');
    t.teardown(async () => {
      for (const keeper of this.keepers) keeper.stop();
      rmSync(this.directory, { recursive: true, force: true });
    });
  }

  /** A skepd starts; `build` is another one after an upgrade. */
  async skepd(build?: string, time: Clock = clock) {
    const keeper = new NameKeeper({
      ...{ directory: this.directory, clock: time, logger: silentLogger },
      ...(build === undefined ? {} : { build }),
    });
    this.keepers.push(keeper);
    return { keeper, dumped: await keeper.start() };
  }

  /** The one process there is. */
  get pid(): number {
    const [pid, ...others] = socketsIn(this.directory);
    if (pid === undefined || others.length > 0) throw new Error('not one process');
    return pid;
  }

  async other(than: number): Promise<number> {
    return await waitFor('another process', WAIT_MS, async () => {
      const pids = socketsIn(this.directory);
      return pids.length === 1 && pids[0] !== than ? pids[0] : undefined;
    });
  }
}

function isRunning(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.startsWith('Z') === false;
  } catch {
    return false;
  }
}

async function gone(pid: number): Promise<void> {
  await waitFor(`the end of ${pid}`, WAIT_MS, async () => (isRunning(pid) ? undefined : true));
}

async function answers(namespace: string, wanted: number | string): Promise<void> {
  let last: number | string = '';
  await waitFor(`${wanted} in ${namespace}`, WAIT_MS, async () => {
    last = await askIn(namespace);
    return last === wanted ? true : undefined;
  });
}

void t.test('names are answered on without skepd, which takes the process over', async (t) => {
  const node = new Node(t);
  const one = await node.containers.start('one');
  const { keeper } = await node.skepd();
  keeper.want({ settings: SETTINGS, networks: front(3) });
  keeper.wantContainers(containersAt(one));
  await keeper.applied();
  t.equal(await askIn(one), 3, 'as soon as it is applied');
  t.equal(statSync(node.directory).mode & 0o777, 0o700);
  t.equal(statSync(path.join(node.directory, `${node.pid}.sock`)).mode & 0o777, 0o600);
  const { pid } = node;
  keeper.stop();
  t.equal(await askIn(one), 3);
  const second = await node.skepd();
  t.same([...(second.dumped[0]?.rows ?? [])].length, 3, 'what it was told is told again');
  t.equal(second.dumped[0]?.network.name, 'front');
  t.equal(await askIn(one), 3, 'before the second one has said anything');
  second.keeper.wantContainers(containersAt(one));
  second.keeper.want({ settings: SETTINGS, networks: front(2) });
  await second.keeper.applied();
  t.equal(await askIn(one), 2, 'what is not named any more is forgotten');
  t.equal(node.pid, pid);
  second.keeper.wantContainers(new Map());
  await waitFor('the container to be given back', WAIT_MS, async () =>
    (await tablesIn(one)) === '' ? true : undefined,
  );
  await second.keeper.end();
  t.notOk(isRunning(pid));
  t.same(readdirSync(node.directory), []);
});

void t.test('another build replaces it, and no question is lost', async (t) => {
  const node = new Node(t);
  const one = await node.containers.start('one');
  const { keeper } = await node.skepd('before');
  keeper.wantContainers(containersAt(one));
  keeper.want({ settings: SETTINGS, networks: front(3) });
  await keeper.applied();
  const load = await startNameLoad([`--net=${one}`], { name: 'rr', rate: 500, seconds: 60 });
  let { pid } = node;
  for (const build of ['first', 'second', 'third']) {
    keeper.stop();
    const next = await node.skepd(build);
    next.keeper.wantContainers(containersAt(one));
    next.keeper.want({ settings: SETTINGS, networks: front(3) });
    const after = await node.other(pid);
    t.not(after, pid, `${build} has its own`);
    await gone(pid);
    pid = after;
    next.keeper.stop();
  }
  const { asked, failed, errors } = await load.stop();
  t.same({ failed, errors }, { failed: 0, errors: {} });
  t.ok(asked > 100, `${asked} questions`);
});

void t.test(
  'the name server of the host is handed over, too, with questions on their way',
  async (t) => {
    const node = new Node(t);
    const upstream = createSocket('udp4');
    t.teardown(() => upstream.close());
    upstream.on('message', (message, from) => {
      const { id, questions = [] } = decode(message);
      const answers = [{ type: 'A', name: 'outside.example', data: '203.0.113.7' } as const];
      const answer = encode({ type: 'response', id: id ?? 0, flags: 0x180, questions, answers });
      // Slow enough for some to be on their way at any moment.
      setTimeout(() => upstream.send(answer, from.port, from.address), 50);
    });
    await new Promise<void>((resolve) => upstream.bind(53, UPSTREAM, resolve));
    const resolvConf = node.containers.pathOf('resolv.conf');
    writeFileSync(resolvConf, `nameserver ${UPSTREAM}\n`);
    const settings = { ...SETTINGS, port: await freePort(), resolvConf };
    const networks = front(3);
    const asker: NamedContainer = {
      ...{ id: 'asker', sandbox: undefined, addresses: ['127.0.0.1'], networks: ['1'] },
    };
    const skepd = async (build: string) => {
      const { keeper } = await node.skepd(build);
      keeper.wantContainers(new Map([['asker', asker]]));
      keeper.want({ settings, networks });
      await keeper.applied();
      return keeper;
    };
    let keeper = await skepd('before');
    const failures: string[] = [];
    let asked = 0;
    const over = new AbortController();
    const ask = async (name: string) => {
      while (!over.signal.aborted) {
        const resolver = new Resolver({ timeout: 5000, tries: 1 });
        resolver.setServers([`127.0.0.1:${settings.port}`]);
        asked += 1;
        await resolver.resolve4(name).catch((error: Error) => failures.push(error.message));
      }
    };
    const askers = [...Array.from({ length: 10 }, () => 'outside.example'), 'rr'].map(ask);
    for (const build of ['first', 'second']) {
      const { pid } = node;
      keeper.stop();
      keeper = await skepd(build);
      await node.other(pid);
      await gone(pid);
    }
    over.abort();
    await Promise.all(askers);
    t.same(failures, []);
    t.ok(asked > 50, `${asked} questions`);
    await keeper.end();
  },
);

/** A port nobody has on loopback. */
async function freePort(): Promise<number> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  const { port } = socket.address();
  await new Promise<void>((resolve) => socket.close(() => resolve()));
  return port;
}

void t.test('killed at any moment it is started again', async (t) => {
  const node = new Node(t);
  const one = await node.containers.start('one');
  const { keeper } = await node.skepd();
  keeper.wantContainers(containersAt(one));
  keeper.want({ settings: SETTINGS, networks: front(3) });
  for (const delayMs of [0, 3, 30]) {
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    const { pid } = node;
    process.kill(pid, 'SIGKILL');
    await gone(pid);
    const after = await node.other(pid);
    await answers(one, 3);
    t.not(after, pid, `after ${delayMs} ms`);
  }
  await keeper.end();
});

/** A node with one container, which knows `rr` by three addresses. */
async function serving(t: Test, time?: Clock) {
  const node = new Node(t);
  const one = await node.containers.start('one');
  const { keeper } = await node.skepd(undefined, time);
  keeper.wantContainers(containersAt(one));
  keeper.want({ settings: SETTINGS, networks: front(3) });
  await keeper.applied();
  return { node, one, keeper };
}

void t.test('one that stands still holds nobody up, and is replaced', async (t) => {
  const { node, one, keeper } = await serving(t);
  const { pid } = node;
  process.kill(pid, 'SIGSTOP');
  keeper.want({ settings: SETTINGS, networks: front(2) });
  const beganMs = performance.now();
  await keeper.applied();
  for (let turn = 0; turn < 100; turn += 1) await keeper.applied();
  t.ok(performance.now() - beganMs < 1500, 'one wait for all');
  await gone(pid);
  await answers(one, 2);
  await keeper.end();
});

void t.test('it ends with its directory, and gives a container that ended no time', async (t) => {
  const node = new Node(t);
  const one = await node.containers.start('one');
  const two = await node.containers.start('two');
  const { keeper } = await node.skepd();
  keeper.wantContainers(containersAt(one, two));
  keeper.want({ settings: SETTINGS, networks: front(3) });
  await keeper.applied();
  const { pid } = node;
  keeper.stop();
  const namespaces = () => readdirSync(`/proc/${pid}/fd`).length;
  const before = namespaces();
  await node.containers.end('one');
  await waitFor('its descriptors to go', WAIT_MS, async () =>
    namespaces() <= before - 4 ? true : undefined,
  );
  t.equal(await askIn(two), 3, 'the other one is served on');
  rmSync(node.directory, { recursive: true });
  await gone(pid);
  t.equal(await tablesIn(two), '');
});

/** Sends bytes as whoever is on the socket might. True once the process has closed the connection. */
async function hostile(directory: string, pid: number, bytes: Buffer): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect(path.join(directory, `${pid}.sock`));
    const timer = setTimeout(() => resolve(false), WAIT_MS);
    socket.on('error', () => undefined);
    socket.on('data', () => undefined);
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(true);
    });
    socket.write(bytes);
  });
}

void t.test('hostile bytes end their connection and nothing else', async (t) => {
  const { node, one, keeper } = await serving(t);
  const { pid } = node;
  keeper.stop();
  const frames: readonly (readonly [string, Buffer])[] = [
    ['a length beyond the bound', Buffer.from([0xff, 0xff, 0xff, 0xff])],
    ['no JSON', Buffer.concat([Buffer.from([0, 0, 0, 2]), Buffer.from('{x')])],
    ['no object', encodeFrame([])],
    ['an unknown kind', encodeFrame({ kind: 'nonsense' })],
    ['a path outside', encodeFrame({ kind: 'container', container: { id: '1', sandbox: 'x' } })],
  ];
  for (const [what, bytes] of frames) t.ok(await hostile(node.directory, pid, bytes), what);
  t.ok(isRunning(pid));
  t.equal(await askIn(one), 3);
  const second = await node.skepd();
  t.equal(second.dumped[0]?.rows.length, 3);
  await second.keeper.end();
});

void t.test('whoever pushes skepd off the socket delays no later start', async (t) => {
  const delaysMs: number[] = [];
  const recording: Clock = {
    ...clock,
    setTimer: (delayMs, callback) => {
      delaysMs.push(delayMs);
      return clock.setTimer(delayMs, callback);
    },
  };
  const { node, one, keeper } = await serving(t, recording);
  const { pid } = node;
  // skepd comes back each time, which ends the stranger's connection in turn.
  for (let turn = 0; turn < NAME_RESTART_DELAYS_MS.length + 1; turn++)
    t.ok(await hostile(node.directory, pid, Buffer.alloc(0)), 'closed');
  t.equal(node.pid, pid, 'the same process');
  process.kill(pid, 'SIGKILL');
  await node.other(pid);
  await answers(one, 3);
  t.notOk(delaysMs.includes(NAME_RESTART_DELAYS_MS.at(-1) ?? 0));
  await keeper.end();
});

void t.test('sockets of the dead and files of others are no name servers', async (t) => {
  const node = new Node(t);
  mkdirSync(node.directory, { recursive: true, mode: 0o700 });
  // Number 1 runs and is something else: it must not be touched.
  execFileSync(process.execPath, ['-e', deadSocket(path.join(node.directory, '1.sock'))]);
  execFileSync(process.execPath, ['-e', deadSocket(path.join(node.directory, 'x.sock'))]);
  const { keeper } = await node.skepd();
  t.notOk(existsSync(path.join(node.directory, '1.sock')));
  t.ok(existsSync(path.join(node.directory, 'x.sock')));
  t.ok(isRunning(1));
  await keeper.end();
});

/** A script that leaves a socket behind nobody listens on. */
function deadSocket(file: string): string {
  const path = JSON.stringify(file);
  return `require('node:net').createServer().listen(${path}, () => process.reallyExit(0))`;
}
