/**
 * Direct return over the real thing: nodes that probe each other, clients with real connections, and
 * a switch between the nodes that begins to drop foreign source addresses, and stops to.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { DirectReport, DirectState } from '../../../src/network/direct/types.js';
import { watched } from './capture.js';
import { type Cluster, PUBLISHED_PORT, serviceRows, startCluster } from './cluster.js';
import { type Actor, completeOnCard, inside, World, type WorldNode } from './world.js';

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(300_000);

/** Both nodes' ids in cluster.ts. */
const ID_A = '10.0.0.2';
const ID_B = '10.0.0.3';
/** What docs/datapath.md promises about a network that stops to carry it. */
const WITHDRAWN_MS = 10_000;
/** That, and what the machine is busy with. */
const WITHIN_MS = 20_000;
const TRANSFER_BYTES = 4 << 20;

const rows = (direct: boolean) =>
  serviceRows([12])
    .filter(({ key }) => key.kind === 'published')
    .map((row) => ({ ...row, ...(direct ? { direct } : {}) }));

async function stateOf(node: WorldNode): Promise<DirectState['kind'] | undefined> {
  const { nodes } = (await node.agent.call('direct')) as DirectReport;
  return nodes[0]?.state.kind;
}

/** Both ends of a way know that it is proven. */
async function untilProven({ a, b }: Cluster): Promise<void> {
  await until(a, 'proven');
  const end = Date.now() + WITHIN_MS;
  while (!((await b.agent.call('direct')) as DirectReport).nodes.some((row) => row.asBackend)) {
    if (Date.now() > end) throw new Error('the backend node was not told');
    await sleep(50);
  }
}

async function until(node: WorldNode, kind: DirectState['kind']): Promise<void> {
  const end = Date.now() + WITHIN_MS;
  while ((await stateOf(node)) !== kind) {
    if (Date.now() > end) throw new Error(`not ${kind}, but ${await stateOf(node)}`);
    await sleep(50);
  }
}

/** Bytes that went in and out of a node's underlay interface. */
function wireBytes(node: WorldNode): number {
  const text = node.run('ip', '-j', '-s', 'link', 'show', 'eth0');
  const [link] = JSON.parse(text) as [
    { stats64: { rx: { bytes: number }; tx: { bytes: number } } },
  ];
  return link.stats64.rx.bytes + link.stats64.tx.bytes;
}

/** The rows of the published ports, on both nodes, changed live. */
async function wish({ a, b }: Cluster, direct: boolean): Promise<void> {
  for (const node of [a, b]) await node.datapath('putServices', rows(direct));
}

async function start(world: World): Promise<Cluster> {
  const cluster = await startCluster(world);
  guard(cluster.client, cluster.b);
  const { a, b } = cluster;
  await wish(cluster, true);
  const peerA = { owner: 'node-a', nodeId: ID_A, tunnelAddress: a.address, answers: true };
  const peerB = { owner: 'node-b', nodeId: ID_B, tunnelAddress: b.address, answers: true };
  await b.agent.call('openDirect', ID_B, [peerA]);
  await a.agent.call('openDirect', ID_A, [peerB]);
  return cluster;
}

/** The switch drops what a node sends under another address than its own. */
function guard(client: Actor, node: WorldNode): void {
  inside(
    ...([client, 'nft'] as const),
    'add table bridge guard;' +
      'add chain bridge guard input {type filter hook prerouting priority 0;};' +
      `add rule bridge guard input ether saddr ${macOfUplink(node)} ip saddr != ${node.address} drop`,
  );
}

const unguard = (client: Actor) => inside(client, 'nft', 'delete', 'table', 'bridge', 'guard');

/** More clients than one, each with a connection that never rests. */
async function streams({ world, client, a }: Cluster, count: number): Promise<readonly Actor[]> {
  const actors: Actor[] = [];
  for (let index = 0; index < count; index += 1) {
    const actor = await world.actor(['nsenter', '-t', `${client.pid}`, '-n']);
    await actor.call('startStream', { host: a.address, port: PUBLISHED_PORT });
    actors.push(actor);
  }
  return actors;
}

/** Every stream goes on, and none has failed. */
async function goOn(t: Test, actors: readonly Actor[], where: string): Promise<void> {
  for (const actor of actors) {
    const { answered } = await actor.tally();
    const end = Date.now() + WITHIN_MS;
    let now = await actor.tally();
    while (now.answered < answered + 10 && now.failure === undefined && Date.now() < end) {
      await sleep(50);
      now = await actor.tally();
    }
    t.equal(now.failure, undefined, where);
    t.ok(now.answered >= answered + 10, `${where}: ${now.answered - answered} answers more`);
  }
}

async function returned(node: WorldNode): Promise<number> {
  return (await node.counters())['direct-returned'] ?? 0;
}

/** An actor among a host's own processes. */
async function hostActor(cluster: Cluster, node: WorldNode): Promise<Actor> {
  return await cluster.world.actor(node.enter());
}

await t.test('one network', async (t) => {
  const world = new World();
  t.teardown(async () => await world.close());
  const cluster = await start(world);
  const { a, b, client, webB } = cluster;
  const published = { host: a.address, port: PUBLISHED_PORT };

  const askByTunnel = async (t: Test) => {
    const before = await returned(b);
    for (let i = 0; i < 8; i += 1) {
      t.equal((await client.askTcp(published)).name, 'web-b');
      t.equal((await client.askUdp(published)).name, 'web-b');
    }
    t.equal(await returned(b), before);
  };

  await t.test('a network that drops foreign addresses from the beginning', async (t) => {
    const actors = await streams(cluster, 1);
    await askByTunnel(t);
    await until(a, 'lost');
    await askByTunnel(t);
    await goOn(t, actors, 'a connection from before it was known');
    const { nodes } = (await a.agent.call('direct')) as DirectReport;
    t.match(nodes[0]?.text, /node-b .* do not arrive/);
    const counters = await a.counters();
    t.ok((counters['direct-withheld'] ?? 0) > 0);
    t.equal(counters['direct-repeated'], 0, 'no client had to ask twice');
    for (const actor of actors) await actor.call('stopStream');
  });

  await t.test('a network that carries it', async (t) => {
    unguard(client);
    await untilProven(cluster);

    await t.test('clients are answered straight, and the task sees them', async (t) => {
      const before = await returned(b);
      const seen = await client.askTcp(published);
      t.match(seen, { name: 'web-b', address: '192.168.77.1', peer: `${a.address}:8080` });
      t.match(await client.askUdp(published), { name: 'web-b', address: '192.168.77.1' });
      t.ok((await returned(b)) > before);
      t.equal((await a.counters())['direct-repeated'], 0);
    });

    await t.test('no byte of a reply crosses the entry node', async (t) => {
      completeOnCard(b); // So that the client verifies checksums, which it leaves be between virtual cards.
      const seenByA = async () =>
        await watched(a.holder, '"web-b"', async () => {
          t.equal((await client.askTcp(published)).name, 'web-b');
          t.equal((await client.askUdp(published)).name, 'web-b');
          const back = await client.call('fetchTcp', a.address, PUBLISHED_PORT, TRANSFER_BYTES);
          t.equal(back, TRANSFER_BYTES);
        });
      const direct = await seenByA();
      t.ok(direct.packets > 0, 'requests do');
      t.match(direct, { hits: 0, lost: 0 });
      await wish(cluster, false);
      t.ok((await seenByA()).hits >= 3, 'with return by tunnel they all do');
      await wish(cluster, true);
    });

    await t.test('the entry node carries half of the bytes', async (t) => {
      const transfer = async (direct: boolean) => {
        await wish(cluster, direct);
        const before = wireBytes(a);
        const back = await client.call('fetchTcp', a.address, PUBLISHED_PORT, TRANSFER_BYTES);
        t.equal(back, TRANSFER_BYTES);
        return wireBytes(a) - before;
      };
      const tunnel = await transfer(false);
      const direct = await transfer(true);
      t.comment(`${tunnel} bytes with return by tunnel, ${direct} direct`);
      const ratio = direct / tunnel;
      t.ok(ratio > 0.4 && ratio < 0.6, `an echo: ${ratio.toFixed(3)} of the bytes`);
    });

    await t.test('who is not outside is answered as ever', async (t) => {
      const before = await returned(b);
      const fromA = await hostActor(cluster, a);
      const fromB = await hostActor(cluster, b);
      for (const [actor, host] of [
        [fromA, '127.0.0.1'],
        [fromA, a.address],
        [fromB, '127.0.0.1'],
        [fromB, b.address],
        [webB, a.address],
        [cluster.plainA, a.address],
      ] as const) {
        const target = { host, port: PUBLISHED_PORT };
        t.equal((await actor.askTcp(target)).name, 'web-b', host);
        t.equal((await actor.askUdp(target)).name, 'web-b', host);
      }
      t.equal((await client.askTcp({ host: b.address, port: PUBLISHED_PORT })).name, 'web-b');
      t.equal(await returned(b), before, 'none of it directly');
      t.equal((await fromB.askTcp(published)).name, 'web-b', 'a host that asks another node');
      t.equal(await returned(b), before, 'is not reached over the wire by itself');
    });

    await t.test('switched to and fro under connections', async (t) => {
      const actors = await streams(cluster, 3);
      for (let round = 0; round < 2; round += 1) {
        for (const direct of [false, true]) {
          await wish(cluster, direct);
          await goOn(t, actors, `round ${round}, ${direct ? 'direct' : 'tunnel'}`);
          const before = await returned(b);
          await goOn(t, actors, 'and on');
          t.equal((await returned(b)) > before, direct, 'that way indeed');
        }
      }
      for (const actor of actors) await actor.call('stopStream');
    });

    await t.test('a task that drains, and one that is gone', async (t) => {
      const [held] = await streams(cluster, 1);
      const rest = { vni: 4096, address: '10.0.0.12' };
      await a.datapath('putBackends', [{ ...rest, state: 'draining', tunnelAddress: b.address }]);
      if (held !== undefined) await goOn(t, [held], 'a connection it has');
      await t.rejects(client.askTcp(published), { code: 'ECONNREFUSED' }, 'new ones are refused');
      await a.datapath('putBackends', [{ ...rest, state: 'active', tunnelAddress: b.address }]);
      t.equal((await client.askTcp(published)).name, 'web-b');
      await held?.call('stopStream');
      const link = (await b.dump()).links.find(({ address }) => address === '10.0.0.12');
      await b.datapath('detachLink', link?.interfaceName);
      await t.rejects(client.askTcp({ ...published, timeoutMs: 5000 }), { code: 'ECONNREFUSED' });
      await b.datapath('attachLink', link);
      t.equal((await client.askTcp(published)).name, 'web-b');
    });

    await t.test('a closed port of the task', async (t) => {
      const closed = serviceRows([12])
        .filter(({ key }) => key.kind === 'published')
        .map((row) => ({ ...row, key: { ...row.key, port: 8081 }, targetPort: 81, direct: true }));
      for (const node of [a, b]) await node.datapath('putServices', closed);
      const before = await returned(b);
      await t.rejects(client.askTcp({ ...published, port: 8081 }), { code: 'ECONNREFUSED' });
      t.equal(await client.call('probeUdp', a.address, 8081), 'ECONNREFUSED', 'its ICMP error too');
      t.ok((await returned(b)) >= before + 2);
    });

    await t.test('a new process of the entry node', async (t) => {
      const actors = await streams(cluster, 2);
      await a.agent.kill();
      await cluster.world.openAgent(a);
      await goOn(t, actors, 'while nothing is known');
      const peerB = { owner: 'node-b', nodeId: ID_B, tunnelAddress: b.address, answers: true };
      await a.agent.call('openDirect', ID_A, [peerB]);
      await untilProven(cluster);
      await goOn(t, actors, 'once it is proven anew');
      for (const actor of actors) await actor.call('stopStream');
    });
  });

  await t.test('a network that stops to carry it', async (t) => {
    const actors = await streams(cluster, 3);
    await goOn(t, actors, 'directly');

    await t.test('it drops foreign addresses', async (t) => {
      const beganMs = Date.now();
      guard(client, b);
      await until(a, 'lost');
      const tookMs = Date.now() - beganMs;
      t.ok(tookMs < WITHDRAWN_MS, `withdrawn after ${tookMs} ms`);
      await goOn(t, actors, 'connections that were direct');
      await askByTunnel(t);
    });
    await t.test('it carries them again', async (t) => {
      unguard(client);
      await untilProven(cluster);
      await goOn(t, actors, 'the same ones');
      const before = await returned(b);
      t.equal((await client.askTcp(published)).name, 'web-b');
      t.ok((await returned(b)) > before);
    });
    await t.test('a client that only it does not let through', async (t) => {
      // What probes cannot see: a filter on the way to the client alone.
      inside(
        ...([client, 'nft'] as const),
        'add table bridge near; add chain bridge near in {type filter hook prerouting priority 0;};' +
          `add rule bridge near in ip saddr ${a.address} tcp sport 8080 ` +
          `ether saddr ${macOfUplink(b)} drop`,
      );
      t.equal((await client.askTcp({ ...published, timeoutMs: 10_000 })).name, 'web-b');
      t.ok(((await a.counters())['direct-repeated'] ?? 0) > 0, 'it asked once more');
      inside(client, 'nft', 'delete', 'table', 'bridge', 'near');
      await goOn(t, actors, 'the others');
    });
  });
});

function macOfUplink(node: WorldNode): string {
  return (JSON.parse(node.run('ip', '-j', 'link', 'show', 'eth0')) as [{ address: string }])[0]
    .address;
}

await t.test('a node that sends through its tunnel device returns nothing directly', async (t) => {
  const world = new World();
  t.teardown(async () => await world.close());
  const cluster = await startCluster(world, { forceTunnelDevice: true });
  const { a, b, client } = cluster;
  await wish(cluster, true);
  const peerA = { owner: 'node-a', nodeId: ID_A, tunnelAddress: a.address, answers: true };
  const peerB = { owner: 'node-b', nodeId: ID_B, tunnelAddress: b.address, answers: true };
  await b.agent.call('openDirect', ID_B, [peerA]);
  await a.agent.call('openDirect', ID_A, [peerB]);
  await until(a, 'unable');
  t.equal((await client.askTcp({ host: a.address, port: PUBLISHED_PORT })).name, 'web-b');
  t.equal(await returned(b), 0);
});
