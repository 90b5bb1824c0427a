/**
 * Packets through a real kernel, end to end: every path of the data plane between containers, hosts
 * and a client outside, over TCP and UDP.
 */
import t from 'tap';
import {
  CLIENT_ADDRESS,
  INGRESS,
  names,
  PUBLISHED_PORT,
  serviceRows,
  startCluster,
  TARGET_PORT,
  VIP,
} from './cluster.js';
import { inside, World } from './world.js';

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(300_000);

await t.test('paths', async (t) => {
  const world = new World();
  t.teardown(async () => await world.close());
  const { client, a, b, webA, webB, plainA } = await startCluster(world);

  await t.test('container to container on another node', async (t) => {
    const tcp = await webA.askTcp({ host: '10.0.1.12', port: TARGET_PORT });
    t.match(tcp, { name: 'web-b', address: '10.0.1.11' });
    const udp = await webA.askUdp({ host: '10.0.1.12', port: TARGET_PORT, payloadBytes: 1400 });
    t.match(udp, { name: 'web-b', address: '10.0.1.11', bytes: 1400 });
  });

  await t.test('container to container on the same node', async (t) => {
    const tcp = await plainA.askTcp({ host: '10.0.1.11', port: TARGET_PORT });
    t.match(tcp, { name: 'web-a', address: '10.0.1.21' });
  });

  await t.test('virtual address: both backends, real client address, TCP and UDP', async (t) => {
    const target = { host: VIP, port: TARGET_PORT };
    t.same(await names(async () => await plainA.askTcp(target)), ['web-a', 'web-b']);
    t.same(await names(async () => await plainA.askUdp(target)), ['web-a', 'web-b']);
    const seen = await plainA.askTcp(target);
    t.equal(seen.address, '10.0.1.21');
    t.equal(seen.peer, `${VIP}:${TARGET_PORT}`);
    t.equal((await plainA.askUdp(target)).peer, `${VIP}:${TARGET_PORT}`);
  });

  await t.test('virtual address: a task that is its own backend', async (t) => {
    const target = { host: VIP, port: TARGET_PORT };
    t.same(await names(async () => await webA.askTcp(target)), ['web-a', 'web-b']);
    t.same(await names(async () => await webA.askUdp(target)), ['web-a', 'web-b']);
  });

  await t.test('published port, from outside, on each node: the real client address', async (t) => {
    for (const host of [a.address, b.address]) {
      const target = { host, port: PUBLISHED_PORT };
      t.same(await names(async () => await client.askTcp(target)), ['web-a', 'web-b']);
      t.same(await names(async () => await client.askUdp(target)), ['web-a', 'web-b']);
      t.equal((await client.askTcp(target)).address, CLIENT_ADDRESS);
      t.equal((await client.askTcp(target)).address, CLIENT_ADDRESS);
      t.equal((await client.askUdp(target)).address, CLIENT_ADDRESS);
      t.equal((await client.askUdp(target)).peer, `${host}:${PUBLISHED_PORT}`);
    }
  });

  await t.test('published port, from the host itself', async (t) => {
    for (const host of ['127.0.0.1', a.address]) {
      const target = { host, port: PUBLISHED_PORT };
      t.same(await names(async () => await a.holder.askTcp(target)), ['web-a', 'web-b']);
      t.same(await names(async () => await a.holder.askUdp(target)), ['web-a', 'web-b']);
      const seen = await a.holder.askTcp(target);
      t.equal(seen.address, '10.0.0.2');
      t.equal(seen.peer, `${host}:${PUBLISHED_PORT}`);
      t.equal((await a.holder.askUdp(target)).peer, `${host}:${PUBLISHED_PORT}`);
    }
  });

  await t.test('published port, from a container, on its own and the other node', async (t) => {
    for (const container of [plainA, webA, webB]) {
      for (const host of [a.address, b.address]) {
        const target = { host, port: PUBLISHED_PORT };
        t.same(await names(async () => await container.askTcp(target)), ['web-a', 'web-b']);
        t.same(await names(async () => await container.askUdp(target)), ['web-a', 'web-b']);
      }
    }
  });

  await t.test('container to the outside, masqueraded', async (t) => {
    await client.serve(7000);
    const target = { host: CLIENT_ADDRESS, port: 7000 };
    t.equal((await webA.askTcp(target)).address, a.address);
    t.equal((await plainA.askUdp(target)).address, a.address);
    t.equal((await webB.askUdp(target)).address, b.address);
  });

  await t.test('service DNS sees the real container', async (t) => {
    await a.holder.serve(53);
    const target = { host: '169.254.75.2', port: 53 };
    t.equal((await plainA.askUdp(target)).address, '10.0.1.21');
    t.equal((await webA.askTcp(target)).address, '10.0.0.11');
  });

  await t.test('host to a container', async (t) => {
    for (const host of ['10.0.1.11', '10.0.1.12', '10.0.0.12']) {
      await t.resolves(a.holder.askTcp({ host, port: TARGET_PORT }), host);
    }
    t.same(await names(async () => await a.holder.askTcp({ host: VIP, port: TARGET_PORT })), [
      'web-a',
      'web-b',
    ]);
  });

  await t.test('a service without tasks refuses at once', async (t) => {
    await a.datapath('putServices', serviceRows([]));
    const virtual = { host: VIP, port: TARGET_PORT };
    await t.rejects(plainA.askTcp(virtual), { code: 'ECONNREFUSED' });
    await t.rejects(a.holder.askTcp(virtual), { code: 'ECONNREFUSED' });
    for (const host of ['127.0.0.1', a.address]) {
      const target = { host, port: PUBLISHED_PORT };
      await t.rejects(a.holder.askTcp(target), { code: 'ECONNREFUSED' });
    }
    await t.rejects(client.askTcp({ host: a.address, port: PUBLISHED_PORT }), {
      code: 'ECONNREFUSED',
    });
    await a.datapath('putServices', serviceRows([11, 12]));
  });

  await t.test('errors about a flow reach its other end', async (t) => {
    // Nobody listens on 81: the task's own stack refuses, and the quote must fit the asker's socket.
    const rows = [11, 12].map((task) => ({
      key: { kind: 'published', protocol: 'udp', port: 8081 + task },
      targetPort: 81,
      backends: [{ vni: INGRESS, address: `10.0.0.${task}` }],
    }));
    for (const node of [a, b]) await node.datapath('putServices', rows);
    for (const port of [8092, 8093]) {
      const refused = await client.call('probeUdp', a.address, port);
      t.equal(refused, 'ECONNREFUSED', `published ${port}`);
      t.equal(await a.holder.call('probeUdp', '127.0.0.1', port), 'ECONNREFUSED', `host ${port}`);
    }
    for (let i = 0; i < 2; i++) {
      t.equal(await plainA.call('probeUdp', VIP, 81), 'ECONNREFUSED', 'virtual address');
    }
  });

  await t.test('a smaller MTU on the way to a client is heard by the task', async (t) => {
    const far = await world.outside();
    inside(
      client,
      'ip',
      'link',
      'add',
      'far',
      'mtu',
      '1200',
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      'mtu',
      '1200',
      'netns',
      String(far.pid),
    );
    inside(client, 'ip', 'addr', 'add', '10.99.0.1/24', 'dev', 'far');
    inside(client, 'ip', 'link', 'set', 'far', 'up');
    inside(client, 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
    inside(far, 'ip', 'addr', 'add', '10.99.0.2/24', 'dev', 'eth0');
    inside(far, 'ip', 'link', 'set', 'eth0', 'up');
    // A larger MTU at the client's own interface hides the narrow place from the handshake.
    inside(far, 'ip', 'route', 'add', 'default', 'via', '10.99.0.1', 'advmss', '1400');
    for (const node of [a, b])
      node.run('ip', 'route', 'add', '10.99.0.0/24', 'via', CLIENT_ADDRESS);
    // Enough for both tasks, whichever the client's ports lead to.
    for (let i = 0; i < 16; i++) {
      const length = await far.call('fetchTcp', a.address, PUBLISHED_PORT, 200_000);
      t.equal(length, 200_000);
    }
    for (const [node, task] of [
      [a, webA],
      [b, webB],
    ] as const) {
      t.ok(((await node.counters())['icmp-error-rewritten'] ?? 0) > 0);
      t.match(inside(task, 'ip', 'route', 'get', '10.99.0.2'), /mtu 1200/);
    }
  });

  await t.test('one client port, two fronts, one backend', async (t) => {
    const rows = [
      {
        key: { kind: 'published', protocol: 'tcp', port: 8100 },
        targetPort: TARGET_PORT,
        backends: [{ vni: INGRESS, address: '10.0.0.12' }],
      },
    ];
    for (const node of [a, b]) await node.datapath('putServices', rows);
    const seen = new Set<number>();
    const connections = [];
    for (const host of [a.address, b.address]) {
      connections.push(client.call('hold', { host, port: 8100, localPort: 45_678 }));
    }
    for (const each of await Promise.all(connections)) {
      const { name, address, port } = each as { name: string; address: string; port: number };
      t.match({ name, address }, { name: 'web-b', address: CLIENT_ADDRESS });
      seen.add(port);
    }
    t.equal(seen.size, 2, 'the backend sees two client ports');
    t.ok(seen.has(45_678));
  });

  await t.test('large datagrams in fragments', async (t) => {
    const payloadBytes = 4000;
    for (const ask of [
      async () => await client.askUdp({ host: a.address, port: PUBLISHED_PORT, payloadBytes }),
      async () => await plainA.askUdp({ host: VIP, port: TARGET_PORT, payloadBytes }),
    ]) {
      const whole = async () => {
        const answer = await ask();
        t.equal(answer.bytes, payloadBytes);
        return answer;
      };
      t.same(await names(whole), ['web-a', 'web-b']);
    }
    // Each ping may go to the other task.
    for (let i = 0; i < 4; i++) {
      const ping = ['busybox', 'ping', '-c1', '-W2', '-s4000', VIP] as const;
      t.match(inside(plainA, ...ping), /1 packets received/, 'a ping in fragments');
    }
  });
});
