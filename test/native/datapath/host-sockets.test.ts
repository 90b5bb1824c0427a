/**
 * Sockets of the host itself and published ports: whatever the socket is bound to and whatever name
 * of this host it asks, a task answers, here or on another node. And the way there is open to
 * nothing else.
 */
import t from 'tap';
import {
  type Cluster,
  INGRESS,
  names,
  PUBLISHED_PORT,
  startCluster,
  TARGET_PORT,
  VIP,
} from './cluster.js';
import { type NodeOptions, World } from './world.js';

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(300_000);

const NODE_ADDRESS = '192.168.77.11';
const NODE_ADDRESS6 = 'fd00:77::11';
/** Own address that published ports do not answer on. */
const UNRELATED = '172.31.0.1';
const NODE_ID = '10.0.0.2';
const NODE_ID6 = 'fd00:10:0:1::2';
const PLAIN = { code: 'ECONNREFUSED' };

interface Case {
  readonly asked: string;
  readonly bound?: string;
  /** What the socket is told it asked; the same if absent. */
  readonly peer?: string;
}

const CASES: readonly Case[] = [
  { asked: '127.0.0.1' },
  { asked: '127.0.0.1', bound: '127.0.0.1' },
  { asked: '127.0.0.1', bound: '127.0.0.9' },
  { asked: '127.3.2.1', bound: '127.0.0.1' },
  { asked: '127.0.0.1', bound: NODE_ADDRESS },
  { asked: '127.0.0.1', bound: UNRELATED },
  { asked: NODE_ADDRESS },
  { asked: NODE_ADDRESS, bound: '127.0.0.1' },
  { asked: NODE_ADDRESS, bound: NODE_ADDRESS },
  { asked: '0.0.0.0', peer: '127.0.0.1' },
  { asked: '::ffff:127.0.0.1' },
  { asked: '::ffff:127.0.0.1', bound: '::ffff:127.0.0.1' },
  { asked: `::ffff:${NODE_ADDRESS}`, bound: '::ffff:127.0.0.1' },
  { asked: '::1' },
  { asked: '::1', bound: '::1' },
  { asked: '::1', bound: NODE_ADDRESS6 },
  { asked: NODE_ADDRESS6 },
  { asked: NODE_ADDRESS6, bound: '::1' },
  { asked: '::', peer: '::1' },
];

async function startWorld(options: NodeOptions = {}): Promise<Cluster> {
  const cluster = await startCluster(new World(), options);
  cluster.a.run('ip', 'addr', 'add', `${UNRELATED}/32`, 'dev', 'lo');
  return cluster;
}

for (const forceTunnelDevice of [false, true]) {
  const how = forceTunnelDevice ? 'through the tunnel device' : 'directly';
  await t.test(`whatever the host asks and is bound to, ${how}`, async (t) => {
    const { world, a } = await startWorld({ forceTunnelDevice });
    t.teardown(async () => await world.close());
    for (const { asked, bound, peer = asked } of CASES) {
      const target = {
        host: asked,
        port: PUBLISHED_PORT,
        ...(bound === undefined ? {} : { localAddress: bound }),
      };
      const asks = {
        TCP: async () => await a.holder.askTcp(target),
        'connected UDP': async () => await a.holder.askUdp({ ...target, connected: true }),
        UDP: async () => await a.holder.askUdp(target),
      };
      for (const [protocol, ask] of Object.entries(asks)) {
        const name = `${protocol} to ${asked} from ${bound ?? 'no address'}`;
        t.same(await names(ask), ['web-a', 'web-b'], name);
        // The kernel does not let these have an IPv4 address instead of the IPv6 one they mean.
        const isIpv6Only = asked.startsWith('::ffff:') ? false : asked.includes(':');
        const address =
          isIpv6Only && (bound !== undefined || protocol === 'UDP') ? NODE_ID6 : NODE_ID;
        t.match(await ask(), { address, peer: `${peer}:${PUBLISHED_PORT}` }, name);
      }
    }
  });
}

await t.test('the ends of the way', async (t) => {
  const { world, a, b, client, webA, plainA } = await startWorld();
  t.teardown(async () => await world.close());

  await t.test('a stream from 127.0.0.1 goes on when its agent ends', async (t) => {
    const target = { host: '127.0.0.1', port: PUBLISHED_PORT, localAddress: '127.0.0.1' };
    for (const wanted of ['web-a', 'web-b']) {
      let seen = { name: '' };
      while (seen.name !== wanted) {
        await a.holder.call('stopStream');
        seen = (await a.holder.call('startStream', target)) as { name: string };
      }
      await a.agent.kill();
      await world.openAgent(a);
      const { answered } = await a.holder.tally();
      while ((await a.holder.tally()).answered < answered + 5) {
        t.equal((await a.holder.tally()).failure, undefined);
      }
    }
    await a.holder.call('stopStream');
  });

  await t.test('sockets with one port on several addresses stay apart', async (t) => {
    for (const [port, backend] of [
      [8101, '10.0.0.11'],
      [8102, '10.0.0.12'],
    ] as const) {
      const row = {
        key: { kind: 'published', protocol: 'tcp', port },
        targetPort: TARGET_PORT,
        backends: [{ vni: INGRESS, address: backend }],
      };
      for (const node of [a, b]) await node.datapath('putServices', [row]);
      const ports = new Set<number>();
      for (const localAddress of ['127.0.0.1', '127.0.0.2', NODE_ADDRESS, UNRELATED, NODE_ID]) {
        const target = { host: '127.0.0.1', port, localAddress, localPort: 45_678 };
        const seen = (await a.holder.call('hold', target)) as { address: string; port: number };
        t.equal(seen.address, NODE_ID);
        ports.add(seen.port);
      }
      t.equal(ports.size, 5, `${backend} sees five clients`);
    }
  });

  await t.test('errors reach a socket bound to 127.0.0.1', async (t) => {
    const rows = [11, 12].map((task) => ({
      key: { kind: 'published', protocol: 'udp', port: 8081 + task },
      targetPort: 81,
      backends: [{ vni: INGRESS, address: `10.0.0.${task}` }],
    }));
    for (const node of [a, b]) await node.datapath('putServices', rows);
    for (const port of [8092, 8093]) {
      const answer = await a.holder.call('probeUdp', '127.0.0.1', port, '127.0.0.1');
      t.equal(answer, 'ECONNREFUSED', `the task at ${port} does not listen`);
    }
    const empty = ['tcp', 'udp'].map((protocol) => ({
      key: { kind: 'published', protocol, port: 8110 },
      targetPort: 81,
      backends: [],
    }));
    await a.datapath('putServices', empty);
    const target = { host: '127.0.0.1', port: 8110, localAddress: '127.0.0.1' };
    await t.rejects(a.holder.askTcp(target), PLAIN, 'no task');
    t.equal(await a.holder.call('probeUdp', '127.0.0.1', 8110, '127.0.0.1'), 'ECONNREFUSED');
  });

  await t.test('what cannot be served is answered at once', async (t) => {
    for (const host of [VIP, '10.0.1.11', '10.0.1.12']) {
      const target = { host, port: TARGET_PORT, localAddress: '127.0.0.1' };
      await t.rejects(a.holder.askTcp(target), { code: 'EPERM' }, '127.0.0.1 reaches no network');
      await t.rejects(a.holder.askUdp(target), { code: 'EPERM' });
    }
    await t.rejects(
      a.holder.askTcp({ host: '127.0.0.1', port: 9, localAddress: '127.0.0.1' }),
      PLAIN,
      'a port that is not published',
    );
  });

  await t.test('only the leg of the host itself knows 127.0.0.0/8', async (t) => {
    const route = (device: string) =>
      a.run('sysctl', '-n', `net.ipv4.conf.${device}.route_localnet`).trim();
    t.equal(route('sw-h0'), '1');
    for (const device of ['all', 'default', 'eth0', 'sw-h1', 'sw-vx0']) {
      t.equal(route(device), '0', device);
    }
    a.run('sysctl', '-qw', 'net.ipv4.conf.sw-h0.route_localnet=0');
    t.match(await a.datapath('repair'), { parts: 1 }, 'what somebody else changed is put back');
    t.equal(route('sw-h0'), '1');
  });

  await t.test('other namespaces are left alone', async (t) => {
    for (const other of [client, webA, plainA]) {
      for (const host of ['127.0.0.1', '::1']) {
        const target = { host, port: PUBLISHED_PORT };
        await t.rejects(other.askTcp(target), PLAIN, `their ${host} is their own`);
      }
      await other.call('setName', 'own');
      await other.call('serveTcp', PUBLISHED_PORT, '127.0.0.1');
      t.equal((await other.askTcp({ host: '127.0.0.1', port: PUBLISHED_PORT })).name, 'own');
    }
  });
});
