/**
 * How a port is published, changed under traffic: host mode and back, ports taken away, one address
 * only, and client networks. Established connections go on whatever happens to the row of their port.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import {
  CLIENT_ADDRESS,
  type Cluster,
  INGRESS,
  names,
  PUBLISHED_PORT,
  serviceRows,
  startCluster,
  TARGET_PORT,
} from './cluster.js';
import { inside, type NodeOptions, World, type WorldNode } from './world.js';

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(300_000);

const PATIENCE_MS = 5000;
const SECOND_ADDRESS = '192.168.77.21';
const PLAIN = { code: 'ECONNREFUSED' };
const SILENT = { code: 'ETIMEDOUT' };
/** How long silence is listened to. An answer gets all the time a busy machine may need. */
const SILENCE_MS = 400;

async function withCluster(
  t: Test,
  run: (cluster: Cluster) => Promise<void>,
  options: NodeOptions = {},
): Promise<void> {
  const world = new World();
  t.teardown(async () => await world.close());
  await run(await startCluster(world, options));
}

/** The TCP row of the published port with the given tasks as backends. */
function row(tasks: readonly number[], more: object = {}) {
  return {
    key: { kind: 'published', protocol: 'tcp', port: PUBLISHED_PORT },
    targetPort: TARGET_PORT,
    backends: tasks.map((task) => ({ vni: INGRESS, address: `10.0.0.${task}` })),
    ...more,
  };
}

/** As {@link row}, on one own address. */
function rowAt(address: string, tasks: readonly number[], more: object = {}) {
  return {
    ...row(tasks, more),
    key: { kind: 'published', protocol: 'tcp', port: PUBLISHED_PORT, address },
  };
}

function landing(task: number, targetPort = TARGET_PORT) {
  const key = {
    kind: 'landing',
    vni: INGRESS,
    address: `10.0.0.${task}`,
    protocol: 'tcp',
    port: PUBLISHED_PORT,
  };
  return { key, targetPort, backends: [] };
}

const put = async (node: WorldNode, ...rows: readonly object[]) =>
  await node.datapath('putServices', rows);

/** Far more than it takes where each connection may come to either of two. */
const TRIES_MAX = 64;

/** Connects until the server is `wanted`. */
async function streamTo(cluster: Cluster, wanted: string): Promise<void> {
  const target = { host: cluster.a.address, port: PUBLISHED_PORT };
  for (let i = 0; i < TRIES_MAX; i++) {
    const seen = (await cluster.client.call('startStream', target)) as { name: string };
    if (seen.name === wanted) return;
    await cluster.client.call('stopStream');
  }
  throw new Error(`never got to ${wanted}`);
}

async function goesOn(t: Test, { client }: Cluster, when: string): Promise<void> {
  const { answered } = await client.tally();
  const end = Date.now() + PATIENCE_MS;
  while ((await client.tally()).answered <= answered + 5) {
    if (Date.now() > end) throw new Error(`the connection stands still ${when}`);
    await sleep(10);
  }
  t.equal((await client.tally()).failure, undefined, when);
}

for (const forceTunnelDevice of [false, true]) {
  const how = forceTunnelDevice ? 'through the tunnel device' : 'directly';
  await t.test(`host mode and back under connections (${how})`, async (t) => {
    await withCluster(
      t,
      async (cluster) => {
        const { client, a, b } = cluster;
        const published = { host: a.address, port: PUBLISHED_PORT };
        for (const server of ['web-b', 'web-a']) {
          await streamTo(cluster, server);
          for (let turn = 0; turn < 5; turn++) {
            await put(a, row([11]));
            await put(b, row([12]));
            await goesOn(t, cluster, `${server}, host mode`);
            for (let i = 0; i < 4; i++) t.equal((await client.askTcp(published)).name, 'web-a');
            await put(a, row([]));
            await goesOn(t, cluster, `${server}, not published on the node asked`);
            await t.rejects(client.askTcp(published), PLAIN, 'new ones are refused by the host');
            await put(b, row([]));
            await goesOn(t, cluster, `${server}, published nowhere`);
            for (const node of [a, b]) await put(node, row([11, 12]));
            await goesOn(t, cluster, `${server}, ingress mode`);
          }
          t.same(await names(async () => await client.askTcp(published)), ['web-a', 'web-b']);
          await client.call('stopStream');
        }
      },
      { forceTunnelDevice },
    );
  });
}

await t.test('a port that is published no more belongs to the host', async (t) => {
  await withCluster(t, async ({ client, a, webA, plainA }) => {
    await put(a, row([], { retired: true }));
    const target = { host: a.address, port: PUBLISHED_PORT };
    for (const asker of [client, a.holder, webA]) await t.rejects(asker.askTcp(target), PLAIN);
    await a.holder.call('setName', 'host');
    await a.holder.call('serveTcp', PUBLISHED_PORT);
    for (const asker of [client, a.holder, webA, plainA]) {
      t.equal((await asker.askTcp(target)).name, 'host');
    }
    t.equal((await a.holder.askTcp({ ...target, host: '127.0.0.1' })).name, 'host');
  });
});

await t.test('client networks', async (t) => {
  await withCluster(t, async (cluster) => {
    const { client, a, b, webA, plainA, world } = cluster;
    inside(client, 'ip', 'addr', 'add', '192.168.77.2/24', 'dev', 'br0');
    const target = { host: a.address, port: PUBLISHED_PORT };
    const other = { ...target, localAddress: '192.168.77.2' };
    const allow = ['192.168.77.1/32', '2001:db8::/32'];
    for (const node of [a, b]) await put(node, row([11, 12], { allow }));
    t.same((await a.dump()).services.find(({ key }) => key.kind === 'published')?.allow, allow);
    t.same(await names(async () => await client.askTcp(target)), ['web-a', 'web-b']);
    const refused = async () => (await a.counters())['drop-not-allowed'] ?? 0;
    const before = await refused();
    await t.rejects(
      client.askTcp({ ...other, timeoutMs: SILENCE_MS }),
      SILENT,
      'one address beside is not in the list',
    );
    t.ok((await refused()) > before, 'counted');
    for (const host of ['127.0.0.1', a.address]) {
      await t.resolves(a.holder.askTcp({ ...target, host }), 'the host itself always may');
    }
    for (const asker of [webA, plainA]) {
      await t.rejects(
        asker.askTcp({ ...target, timeoutMs: SILENCE_MS }),
        SILENT,
        'a container is a client like any other',
      );
    }
    await put(a, row([11, 12], { allow: [...allow, '10.0.0.0/16'] }));
    for (const asker of [webA, plainA]) await t.resolves(asker.askTcp(target));

    await streamTo(cluster, 'web-b');
    await put(a, row([11, 12], { allow: ['192.168.77.2/31'] }));
    await t.resolves(client.askTcp(other), 'the longest prefix decides');
    await t.rejects(
      client.askTcp({ ...target, localAddress: CLIENT_ADDRESS, timeoutMs: SILENCE_MS }),
      SILENT,
    );
    await goesOn(t, cluster, 'who is connected stays so');
    await put(a, row([11, 12], { allow: [] }));
    await t.rejects(
      client.askTcp({ ...other, timeoutMs: SILENCE_MS }),
      SILENT,
      'an empty list is nobody',
    );
    await put(a, row([11, 12], { allow: ['::/0'] }));
    await t.rejects(
      client.askTcp({ ...other, timeoutMs: SILENCE_MS }),
      SILENT,
      'IPv6 networks hold no IPv4 clients',
    );

    await a.agent.kill();
    await t.rejects(
      client.askTcp({ ...other, timeoutMs: SILENCE_MS }),
      SILENT,
      'also while nobody watches',
    );
    await world.openAgent(a);
    t.same((await a.dump()).services.find(({ key }) => key.kind === 'published')?.allow, ['::/0']);
    await put(a, row([11, 12]));
    await t.resolves(client.askTcp(other));
    await a.datapath('removeServices', [row([]).key]);
    const lists = a.run('bpftool', 'map', 'dump', 'pinned', `${a.directory}/skep/maps/sw_allow`);
    t.match(lists, /Found 0 elements/, 'no list is left behind');
  });
});

await t.test('UDP clients are looked at with every datagram', async (t) => {
  await withCluster(t, async ({ client, a }) => {
    const key = { kind: 'published', protocol: 'udp', port: PUBLISHED_PORT };
    const target = { host: a.address, port: PUBLISHED_PORT, localPort: 40_000 };
    await put(a, { ...row([11, 12]), key });
    await t.resolves(client.askUdp(target));
    await put(a, { ...row([11, 12]), key, allow: ['10.0.0.0/8'] });
    await t.rejects(client.askUdp({ ...target, timeoutMs: SILENCE_MS }), SILENT);
  });
});

await t.test('published on one address', async (t) => {
  await withCluster(t, async (cluster) => {
    const { client, a, b, webA, world } = cluster;
    a.run('ip', 'addr', 'add', `${SECOND_ADDRESS}/24`, 'dev', 'eth0');
    await a.datapath('setLocalAddresses', [a.address, SECOND_ADDRESS]);
    const first = { host: a.address, port: PUBLISHED_PORT };
    const second = { ...first, host: SECOND_ADDRESS };
    const loopback = { ...first, host: '127.0.0.1' };
    const marker = row([], { addressed: true });
    await put(a, landing(11), rowAt(SECOND_ADDRESS, [11, 12]), marker);
    await put(b, landing(12), marker);
    t.same(await names(async () => await client.askTcp(second)), ['web-a', 'web-b']);
    t.equal((await client.askTcp(second)).address, CLIENT_ADDRESS);
    await t.rejects(client.askTcp(first), PLAIN);
    await t.rejects(client.askTcp({ ...first, host: b.address }), PLAIN, 'not on other nodes');
    const seen = await a.holder.askTcp(second);
    t.equal(seen.peer, `${SECOND_ADDRESS}:${PUBLISHED_PORT}`, 'the host sees whom it asked');
    for (const target of [first, loopback]) await t.rejects(a.holder.askTcp(target), PLAIN);
    t.same(await names(async () => await webA.askTcp(second)), ['web-a', 'web-b']);

    // Another service on the same port: another address, another container port.
    await webA.serve(81);
    await put(a, landing(11, 81), { ...rowAt('127.0.0.1', [11]), targetPort: 81 });
    t.equal((await a.holder.askTcp(loopback)).name, 'web-a');
    t.equal((await a.holder.askTcp(second)).peer, seen.peer);
    await t.rejects(client.askTcp(first), PLAIN, 'loopback is for the host only');
    for (const front of ['169.254.74.1', '169.254.74.2', '169.254.75.3']) {
      inside(client, 'ip', 'route', 'replace', `${front}/32`, 'via', a.address, 'dev', 'br0');
      await t.rejects(client.askTcp({ ...first, host: front }), 'also under its other name');
    }

    const before = await a.dump();
    await a.agent.kill();
    await world.openAgent(a);
    t.same(await a.dump(), before, 'the next process finds the rows, and no twins of them');
    await t.resolves(a.holder.askTcp(second));
    await put(a, row([11, 12]));
    await a.datapath('removeServices', [
      rowAt(SECOND_ADDRESS, []).key,
      rowAt('127.0.0.1', []).key,
      landing(11).key,
    ]);
    const rows = a.run('bpftool', 'map', 'dump', 'pinned', `${a.directory}/skep/maps/sw_service`);
    t.match(rows, /Found 3 elements/, 'twins go with their rows');
    t.equal((await a.dump()).services.length, 3);
    for (const target of [first, second]) await t.resolves(client.askTcp(target));
    await t.resolves(a.holder.askTcp(loopback));
  });
});

await t.test('connections live through a change of the port in the container', async (t) => {
  await withCluster(t, async (cluster) => {
    const { client, a, b, webA, webB } = cluster;
    const published = { host: a.address, port: PUBLISHED_PORT };
    const OTHER_PORT = 81;
    for (const web of [webA, webB]) await web.serve(OTHER_PORT);
    for (const server of ['web-a', 'web-b']) {
      await streamTo(cluster, server);
      for (const targetPort of [OTHER_PORT, TARGET_PORT, OTHER_PORT])
        for (const node of [a, b]) {
          await put(node, row([11, 12], { targetPort }));
          await goesOn(t, cluster, `${server}, port ${targetPort}, told to ${node.address}`);
        }
      // Between the two there is a row without tasks, if the port is taken away first.
      for (const node of [a, b])
        await put(node, row([], { targetPort: OTHER_PORT, retired: true }));
      await goesOn(t, cluster, `${server}, published nowhere`);
      for (const node of [a, b]) await put(node, row([11, 12], { targetPort: OTHER_PORT }));
      t.same(await names(() => client.askTcp(published)), ['web-a', 'web-b']);
      const shown = () =>
        inside(server === 'web-a' ? webA : webB, 'ss', '-Htn', 'state', 'established');
      t.match(shown(), new RegExp(`:${TARGET_PORT} `), 'the old connection');
      await client.call('stopStream');
      await streamTo(cluster, server);
      t.match(shown(), new RegExp(`:${OTHER_PORT} `), 'a new one has the new port');
      await client.call('stopStream');
      for (const node of [a, b]) await put(node, row([11, 12]));
    }

    await t.test('also with another client port, and over a take-over', async (t) => {
      // The same client port to both nodes: towards the task the second connection has another one.
      const localPort = 41_000;
      for (const node of [a, b]) await put(node, row([12]));
      await client.call('hold', { host: b.address, port: PUBLISHED_PORT, localPort });
      const seen = (await client.call('openQuiet', { ...published, localPort })) as {
        port: number;
      };
      t.not(seen.port, localPort);
      for (const node of [a, b]) await put(node, row([12], { targetPort: OTHER_PORT }));
      await t.resolves(client.call('askQuiet'));
      await b.agent.kill();
      await cluster.world.openAgent(b);
      await put(b, row([12], { targetPort: OTHER_PORT, direct: false }));
      await t.resolves(client.call('askQuiet'));
    });
  });
});

await t.test('connections live through a change of addresses', async (t) => {
  await withCluster(t, async (cluster) => {
    const { client, a, b } = cluster;
    const target = { host: a.address, port: PUBLISHED_PORT };
    await streamTo(cluster, 'web-b');
    for (const node of [a, b]) {
      const task = node === a ? 11 : 12;
      await put(node, landing(task), rowAt(SECOND_ADDRESS, [11, 12]));
      await put(node, row([], { addressed: true }));
    }
    await goesOn(t, cluster, 'published on another address');
    await t.rejects(client.askTcp(target), PLAIN);
    for (const node of [a, b]) await put(node, rowAt(SECOND_ADDRESS, []));
    await goesOn(t, cluster, 'published nowhere');
    for (const node of [a, b]) await put(node, ...serviceRows([11, 12]));
    await goesOn(t, cluster, 'published everywhere');
  });
});
