/**
 * IPv6 packets through a real kernel, end to end: the paths of the data plane between dual-stack
 * containers, hosts and a client outside, over TCP and UDP.
 */
import t from 'tap';
import {
  address6Of,
  CLIENT_ADDRESS6,
  INGRESS,
  INGRESS6,
  names,
  OVERLAY,
  PUBLISHED_PORT,
  serviceRows,
  startCluster,
  TARGET_PORT,
  VIP6,
} from './cluster.js';
import { type Actor, inside, type NodeOptions, World } from './world.js';

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(300_000);

const BOTH = ['web-a', 'web-b'];
const VARIANTS: readonly [string, NodeOptions][] = [
  ['tcx, directly', {}],
  ['IPv6 underlay', { tunnelOverIpv6: true }],
  ['clsact, tunnel device', { forceClsact: true, forceTunnelDevice: true }],
];

for (const [variant, options] of VARIANTS)
  await t.test(`IPv6 paths (${variant})`, async (t) => {
    const world = new World();
    t.teardown(async () => await world.close());
    const { client, a, b, webA, webB, plainA } = await startCluster(world, options);

    await t.test('container to container', async (t) => {
      const remote = { host: 'fd00:10:0:2::c', port: TARGET_PORT };
      t.match(await webA.askTcp(remote), { name: 'web-b', address: 'fd00:10:0:2::b' });
      const udp = await webA.askUdp({ ...remote, payloadBytes: 1380 });
      t.match(udp, { name: 'web-b', address: 'fd00:10:0:2::b', bytes: 1380 });
      const local = { host: 'fd00:10:0:2::b', port: TARGET_PORT };
      t.match(await plainA.askTcp(local), { name: 'web-a', address: 'fd00:10:0:2::15' });
      t.equal(await plainA.call('fetchTcp', remote.host, TARGET_PORT, 2_000_000), 2_000_000);
    });

    await t.test('virtual address: both backends, real client address', async (t) => {
      const target = { host: VIP6, port: TARGET_PORT };
      t.same(await names(async () => await plainA.askTcp(target)), BOTH);
      t.same(await names(async () => await plainA.askUdp(target)), BOTH);
      const seen = await plainA.askTcp(target);
      t.match(seen, { address: 'fd00:10:0:2::15', peer: `${VIP6}:${TARGET_PORT}` });
      t.equal((await plainA.askUdp(target)).peer, `${VIP6}:${TARGET_PORT}`);
      t.match(inside(plainA, 'busybox', 'ping', '-c1', '-W2', VIP6), /1 packets received/);
      for (let i = 0; i < 4; i++) {
        const large = ['ping', '-c1', '-W2', '-s4000', VIP6] as const;
        t.match(inside(plainA, 'busybox', ...large), /1 packets received/, 'in fragments');
      }
    });

    await t.test('virtual address: a task that is its own backend', async (t) => {
      const target = { host: VIP6, port: TARGET_PORT };
      t.same(await names(async () => await webA.askTcp(target)), BOTH);
      t.same(await names(async () => await webA.askUdp(target)), BOTH);
    });

    await t.test('published port, from outside, on each node', async (t) => {
      for (const node of [a, b]) {
        const target = { host: address6Of(node), port: PUBLISHED_PORT };
        t.same(await names(async () => await client.askTcp(target)), BOTH);
        t.same(await names(async () => await client.askUdp(target)), BOTH);
        for (let i = 0; i < 2; i++) {
          t.equal((await client.askTcp(target)).address, CLIENT_ADDRESS6);
          const udp = await client.askUdp(target);
          t.match(udp, { address: CLIENT_ADDRESS6, peer: `${target.host}:${PUBLISHED_PORT}` });
          const bytes = await client.call('fetchTcp', target.host, PUBLISHED_PORT, 500_000);
          t.equal(bytes, 500_000);
        }
      }
    });

    await t.test('published port, from the host itself', async (t) => {
      for (const host of ['::1', address6Of(a)]) {
        const target = { host, port: PUBLISHED_PORT };
        t.same(await names(async () => await a.holder.askTcp(target)), BOTH);
        t.same(await names(async () => await a.holder.askUdp(target)), BOTH);
        const seen = await a.holder.askTcp(target);
        t.match(seen, { address: '10.0.0.2', peer: `${host}:${PUBLISHED_PORT}` });
        const udp = await a.holder.askUdp(target);
        t.match(udp, { address: 'fd00:10:0:1::2', peer: `${host}:${PUBLISHED_PORT}` });
      }
      for (const localAddress of ['::1', address6Of(a)]) {
        const bound = { host: '::1', port: PUBLISHED_PORT, localAddress };
        t.same(
          await names(async () => await a.holder.askTcp(bound)),
          BOTH,
          'TCP from ' + localAddress,
        );
        t.same(
          await names(async () => await a.holder.askUdp(bound)),
          BOTH,
          'UDP from ' + localAddress,
        );
      }
    });

    await t.test('published port, from a container, on its own and the other node', async (t) => {
      for (const container of [plainA, webA, webB]) {
        for (const node of [a, b]) {
          const target = { host: address6Of(node), port: PUBLISHED_PORT };
          t.same(await names(async () => await container.askTcp(target)), BOTH);
          t.same(await names(async () => await container.askUdp(target)), BOTH);
        }
      }
    });

    await t.test('container to the outside, masqueraded; nobody back in', async (t) => {
      await client.serve(7000, '::');
      const target = { host: CLIENT_ADDRESS6, port: 7000 };
      t.equal((await webA.askTcp(target)).address, address6Of(a));
      t.equal((await plainA.askUdp(target)).address, address6Of(a));
      t.equal((await webB.askUdp(target)).address, address6Of(b));
      inside(client, 'ip', '-6', 'route', 'add', 'fd00:10::/32', 'via', address6Of(a));
      for (const host of ['fd00:10:0:1::b', 'fd00:10:0:2::b', 'fd00:10:0:2::c']) {
        const inward = { host, port: TARGET_PORT, timeoutMs: 300 };
        await t.rejects(client.askUdp(inward), { code: 'ETIMEDOUT' }, host);
      }
      inside(client, 'ip', '-6', 'route', 'del', 'fd00:10::/32');
    });

    await t.test('host to a container', async (t) => {
      for (const host of ['fd00:10:0:2::b', 'fd00:10:0:2::c', 'fd00:10:0:1::c']) {
        await t.resolves(a.holder.askTcp({ host, port: TARGET_PORT }), host);
      }
      const target = { host: VIP6, port: TARGET_PORT };
      t.same(await names(async () => await a.holder.askTcp(target)), BOTH);
    });

    await t.test('a service without tasks refuses at once', async (t) => {
      await a.datapath('putServices', serviceRows([]));
      const virtual = { host: VIP6, port: TARGET_PORT };
      await t.rejects(plainA.askTcp(virtual), { code: 'ECONNREFUSED' });
      await t.rejects(a.holder.askTcp(virtual), { code: 'ECONNREFUSED' });
      for (const [asker, host] of [
        [a.holder, '::1'],
        [client, address6Of(a)],
      ] as const) {
        await t.rejects(asker.askTcp({ host, port: PUBLISHED_PORT }), { code: 'ECONNREFUSED' });
      }
      await a.datapath('putServices', serviceRows([11, 12]));
    });

    await t.test('errors about a flow reach its other end', async (t) => {
      const rows = [11, 12].map((task) => ({
        key: { kind: 'published', protocol: 'udp', port: 8081 + task },
        targetPort: 81,
        backends: [{ vni: INGRESS, address: `10.0.0.${task}` }],
      }));
      for (const node of [a, b]) await node.datapath('putServices', rows);
      for (const port of [8092, 8093]) {
        const refused = await client.call('probeUdp', address6Of(a), port);
        t.equal(refused, 'ECONNREFUSED', `published ${port}`);
        t.equal(await a.holder.call('probeUdp', '::1', port), 'ECONNREFUSED', `host ${port}`);
      }
      for (let i = 0; i < 2; i++)
        t.equal(await plainA.call('probeUdp', VIP6, 81), 'ECONNREFUSED', 'virtual address');
    });

    await t.test('a smaller MTU on the way to a client is heard by the task', async (t) => {
      const far = await world.outside();
      const link = ['link', 'add', 'far', 'mtu', '1300', 'type', 'veth', 'peer', 'name', 'eth0'];
      inside(client, 'ip', ...link, 'mtu', '1300', 'netns', String(far.pid));
      inside(client, 'ip', '-6', 'addr', 'add', 'fd00:99::1/64', 'dev', 'far', 'nodad');
      inside(client, 'ip', 'link', 'set', 'far', 'up');
      inside(client, 'sysctl', '-qw', 'net.ipv6.conf.all.forwarding=1');
      inside(far, 'ip', '-6', 'addr', 'add', 'fd00:99::2/64', 'dev', 'eth0', 'nodad');
      inside(far, 'ip', 'link', 'set', 'eth0', 'up');
      const way = ['route', 'add', 'default', 'via', 'fd00:99::1', 'advmss', '1380'];
      inside(far, 'ip', '-6', ...way);
      for (const node of [a, b])
        node.run('ip', '-6', 'route', 'add', 'fd00:99::/64', 'via', CLIENT_ADDRESS6);
      const heard = (task: Actor) =>
        inside(task, 'ip', '-6', 'route', 'get', 'fd00:99::2').includes('mtu 1300');
      // Which task answers is up to a hash of the client's port.
      for (let i = 0; i < 32 && !(heard(webA) && heard(webB)); i++) {
        const length = await far.call('fetchTcp', address6Of(a), PUBLISHED_PORT, 200_000);
        t.equal(length, 200_000);
      }
      for (const task of [webA, webB]) t.ok(heard(task));
    });

    await t.test('one client port, two fronts, one backend', async (t) => {
      const row = {
        key: { kind: 'published', protocol: 'tcp', port: 8100 },
        targetPort: TARGET_PORT,
        backends: [{ vni: INGRESS, address: '10.0.0.12' }],
      };
      for (const node of [a, b]) await node.datapath('putServices', [row]);
      const held = [a, b].map(
        async (node) =>
          await client.call('hold', { host: address6Of(node), port: 8100, localPort: 45_678 }),
      );
      const ports = new Set<number>();
      for (const each of await Promise.all(held)) {
        const { name, address, port } = each as { name: string; address: string; port: number };
        t.match({ name, address }, { name: 'web-b', address: CLIENT_ADDRESS6 });
        ports.add(port);
      }
      t.equal(ports.size, 2, 'the backend sees two client ports');
      t.ok(ports.has(45_678));
    });

    await t.test('large datagrams in fragments', async (t) => {
      // Fragments that do not fit the tunnel are refused until the client knows its size.
      const learning = { host: address6Of(a), port: PUBLISHED_PORT, payloadBytes: 4000 };
      const known = () =>
        inside(client, 'ip', '-6', 'route', 'get', learning.host).includes(`mtu ${a.containerMtu}`);
      for (let i = 0; i < 32 && !known(); i++) {
        await client.askUdp({ ...learning, timeoutMs: 300 }).catch(() => undefined);
      }
      for (const [asker, host, port] of [
        [client, address6Of(a), PUBLISHED_PORT],
        [plainA, VIP6, TARGET_PORT],
        [webA, 'fd00:10:0:2::c', TARGET_PORT],
      ] as const) {
        for (let i = 0; i < 2; i++) {
          const { bytes } = await asker.askUdp({ host, port, payloadBytes: 4000 });
          t.equal(bytes, 4000, host);
        }
      }
    });

    await t.test(
      'neighbours: one MAC for the subnet, and the own address stays free',
      async (t) => {
        const neighbours = inside(plainA, 'ip', '-6', 'neigh', 'show', 'dev', 'eth0');
        t.match(neighbours, /fd00:10:0:2::b lladdr 02:72:00:00:00:01/);
        // Without "nodad": the stack asks whether the address is taken, and nobody may say yes.
        inside(plainA, 'ip', '-6', 'addr', 'del', 'fd00:10:0:2::15/64', 'dev', 'eth0');
        inside(plainA, 'ip', '-6', 'addr', 'add', 'fd00:10:0:2::15/64', 'dev', 'eth0');
        const end = Date.now() + 10_000;
        const shown = () => inside(plainA, 'ip', '-6', 'addr', 'show', 'dev', 'eth0');
        while (/tentative/.test(shown()) && Date.now() < end);
        t.notMatch(shown(), /dadfailed|tentative/);
        await t.resolves(plainA.askTcp({ host: VIP6, port: TARGET_PORT }));
      },
    );

    await t.test('an internal network does not let IPv6 out', async (t) => {
      await a.datapath('putNetworks', [
        {
          vni: OVERLAY + 1,
          subnet: '10.0.2.0/24',
          subnet6: 'fd00:10:0:3::/64',
          gateway: '10.0.2.1',
          internal: true,
        },
      ]);
      const place = { vni: OVERLAY + 1, address: '10.0.2.11', subnet6: 'fd00:10:0:3::/64' };
      const alone = await world.container(a, 'alone', [place]);
      const quick = { timeoutMs: 300 };
      for (const host of [
        CLIENT_ADDRESS6,
        address6Of(a),
        'fd00:10:0:2::b',
        INGRESS6.replace('/64', 'b'),
      ])
        await t.rejects(alone.askUdp({ host, port: PUBLISHED_PORT, ...quick }), host);
      t.ok(((await a.counters())['drop-internal-network'] ?? 0) >= 4);
    });
  });
