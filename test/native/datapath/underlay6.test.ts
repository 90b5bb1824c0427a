/**
 * Tunnels over IPv6: IPv4 traffic of the data plane inside, strangers outside, the echo, the MTU, and
 * the rows as they are read back. What IPv6 inside does there is in paths6.test.ts.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import {
  address6Of,
  backendRows,
  names,
  PUBLISHED_PORT,
  startCluster,
  TARGET_PORT,
  VIP,
} from './cluster.js';
import { TUNNEL_PORT, World } from './world.js';

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(300_000);

const PATIENCE_MS = 5000;
const OVERHEAD_BYTES = 70;

await t.test('IPv6 underlay', async (t) => {
  const world = new World();
  t.teardown(async () => await world.close());
  const { client, a, b, webA, plainA } = await startCluster(world, { tunnelOverIpv6: true });

  await t.test('the MTU leaves room for the longer headers', (t) => {
    t.equal(a.containerMtu, 1500 - OVERHEAD_BYTES);
    t.end();
  });

  await t.test('IPv4 traffic inside', async (t) => {
    const remote = { host: '10.0.1.12', port: TARGET_PORT };
    t.match(await webA.askTcp(remote), { name: 'web-b', address: '10.0.1.11' });
    t.equal((await webA.askUdp({ ...remote, payloadBytes: 1400 })).bytes, 1400);
    t.equal(await plainA.call('fetchTcp', remote.host, TARGET_PORT, 2_000_000), 2_000_000);
    const both = ['web-a', 'web-b'];
    const virtual = { host: VIP, port: TARGET_PORT };
    t.same(await names(async () => await plainA.askTcp(virtual)), both);
    for (const node of [a, b]) {
      const target = { host: node.address, port: PUBLISHED_PORT };
      t.same(await names(async () => await client.askTcp(target)), both);
      t.same(await names(async () => await client.askUdp(target)), both);
    }
  });

  await t.test('a tunnel packet from a stranger', async (t) => {
    const before = (await a.counters())['drop-foreign-tunnel'] ?? 0;
    const frame = [8, 0, 0, 0, 0, 0x10, 1, 0, 2, 66, 10, 0, 1, 12, 2, 66, 10, 0, 1, 66, 8, 0];
    const payload = Buffer.from([...frame, ...Buffer.alloc(40, 0x45)]).toString('hex');
    await client.call('sendUdp', address6Of(a), TUNNEL_PORT, payload);
    const end = Date.now() + PATIENCE_MS;
    const dropped = async () => ((await a.counters())['drop-foreign-tunnel'] ?? 0) - before;
    while ((await dropped()) === 0 && Date.now() < end) await sleep(10);
    t.equal(await dropped(), 1);
  });

  await t.test('the echo', async (t) => {
    await a.datapath('sendEchoes', [b.tunnelAddress]);
    const replies = async () => (await a.datapath('echoReplies')) as Record<string, number>;
    const end = Date.now() + PATIENCE_MS;
    while ((await replies())[b.tunnelAddress] === undefined && Date.now() < end) await sleep(10);
    t.type((await replies())[b.tunnelAddress], 'number');
  });

  await t.test('rows read back', async (t) => {
    const { nodes, backends, networks } = await a.dump();
    t.same(nodes.map(({ tunnelAddress }) => tunnelAddress).sort(), ['fd00:77::11', 'fd00:77::12']);
    t.strictSame(
      [...backends].sort((x, y) => x.address.localeCompare(y.address)),
      backendRows(11, b.tunnelAddress).sort((x, y) => x.address.localeCompare(y.address)),
    );
    t.same(
      networks.map(({ subnet6 = '' }) => subnet6).sort((x, y) => x.localeCompare(y)),
      ['fd00:10:0:1::/64', 'fd00:10:0:2::/64'],
    );
  });
});
