/**
 * Packets through a real kernel, end to end: every path of the data plane between containers, hosts
 * and a client outside, over TCP and UDP.
 */
import t from 'tap';
import {
  CLIENT_ADDRESS,
  names,
  PUBLISHED_PORT,
  startCluster,
  TARGET_PORT,
  VIP,
} from './cluster.js';
import { World } from './world.js';

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
    t.same(await names(4, async () => await plainA.askTcp(target)), ['web-a', 'web-b']);
    t.same(await names(4, async () => await plainA.askUdp(target)), ['web-a', 'web-b']);
    const seen = await plainA.askTcp(target);
    t.equal(seen.address, '10.0.1.21');
    t.equal(seen.peer, `${VIP}:${TARGET_PORT}`);
    t.equal((await plainA.askUdp(target)).peer, `${VIP}:${TARGET_PORT}`);
  });

  await t.test('virtual address: a task that is its own backend', async (t) => {
    const target = { host: VIP, port: TARGET_PORT };
    t.same(await names(4, async () => await webA.askTcp(target)), ['web-a', 'web-b']);
    t.same(await names(4, async () => await webA.askUdp(target)), ['web-a', 'web-b']);
  });

  await t.test('published port, from outside, on each node: the real client address', async (t) => {
    for (const host of [a.address, b.address]) {
      const target = { host, port: PUBLISHED_PORT };
      t.same(await names(4, async () => await client.askTcp(target)), ['web-a', 'web-b']);
      t.same(await names(4, async () => await client.askUdp(target)), ['web-a', 'web-b']);
      t.equal((await client.askTcp(target)).address, CLIENT_ADDRESS);
      t.equal((await client.askTcp(target)).address, CLIENT_ADDRESS);
      t.equal((await client.askUdp(target)).address, CLIENT_ADDRESS);
      t.equal((await client.askUdp(target)).peer, `${host}:${PUBLISHED_PORT}`);
    }
  });

  await t.test('published port, from the host itself', async (t) => {
    for (const host of ['127.0.0.1', a.address]) {
      const target = { host, port: PUBLISHED_PORT };
      t.same(await names(4, async () => await a.holder.askTcp(target)), ['web-a', 'web-b']);
      t.same(await names(4, async () => await a.holder.askUdp(target)), ['web-a', 'web-b']);
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
        t.same(await names(4, async () => await container.askTcp(target)), ['web-a', 'web-b']);
        t.same(await names(4, async () => await container.askUdp(target)), ['web-a', 'web-b']);
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
    t.same(await names(4, async () => await a.holder.askTcp({ host: VIP, port: TARGET_PORT })), [
      'web-a',
      'web-b',
    ]);
  });
});
