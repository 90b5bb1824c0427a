/**
 * What may happen to a connection while it lives: floods of first packets, days of silence, entries
 * that are lost, backends that leave without a word, and services without any. Everything over the
 * real paths, with real TCP at both ends.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import {
  backendRows,
  type Cluster,
  PUBLISHED_PORT,
  serviceRows,
  startCluster,
  TARGET_PORT,
  VIP,
} from './cluster.js';
import { ipv4Frame, TCP, tunnelFrame, UDP } from './packets.js';
import { type Actor, type NodeOptions, World, type WorldNode } from './world.js';
import { age, type Entry, rowsOf } from './flow-rows.js';

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(300_000);

const CONNECTIONS = 1024;
/** Several times what the tables hold. */
const FLOOD = 12_000;
const DAYS_S = 4 * 86_400;
const MINUTES_S = 20 * 60;
/** SKEP_FLOW_REPLY. */
const REPLY_KIND = 2;

/** Removes rows of a map; those that have gone by themselves meanwhile are no error. */
function removeRows(node: WorldNode, map: string, wanted: (entry: Entry) => boolean): number {
  const path = `${node.directory}/skep/maps/${map}`;
  let removed = 0;
  for (const entry of rowsOf(node, map).filter(wanted)) {
    const hex = entry.key.map((byte) => byte.slice(2)).join(' ');
    const command = `bpftool map delete pinned ${path} key hex ${hex} 2>/dev/null && echo removed`;
    if (node.run('sh', '-c', `${command} || true`).includes('removed')) removed += 1;
  }
  return removed;
}

function uplinkOf(node: WorldNode): number {
  return Number(node.run('ip', '-o', 'link', 'show', 'eth0').split(':')[0]);
}

/** Floods a node with first packets for the published port. */
async function floodEntry(node: WorldNode, protocol: number, flags: number): Promise<void> {
  // Other clients for each kind: a second packet of a flow would settle it.
  const source = `198.${50 + flags}.0.0`;
  const packet = { sourceMac: '06:00:00:00:00:09', source, destination: node.address };
  const asked = { ...packet, protocol, flags, destinationPort: PUBLISHED_PORT };
  await node.agent.call('flood', 'from_uplink', asked, uplinkOf(node), FLOOD);
}

/** The flows of the quiet connections, of which a packet more than the first was seen. */
async function settled(node: WorldNode): Promise<number> {
  return rowsOf(node, 'sw_connection').length;
}

/** Clients with a quiet connection each: from outside to both tasks, and from a container. */
async function openQuietOnes({ client, a, plainA, world }: Cluster): Promise<readonly Actor[]> {
  const outside = [client];
  const names = new Set<string>();
  for (let tries = 0; names.size < 2 && tries < 32; tries += 1) {
    const actor =
      tries === 0 ? client : await world.actor(['nsenter', '-t', `${client.pid}`, '-n']);
    const seen = await actor.call('openQuiet', { host: a.address, port: PUBLISHED_PORT });
    const { name } = seen as { name: string };
    if (!names.has(name) && tries > 0) outside.push(actor);
    names.add(name);
  }
  await plainA.call('openQuiet', { host: VIP, port: TARGET_PORT });
  const all = [...outside, plainA];
  for (const actor of all) await actor.call('askQuiet');
  return all;
}

async function testFlood(t: Test, cluster: Cluster): Promise<void> {
  const { a, client } = cluster;
  const quiet = await openQuietOnes(cluster);
  const before = await settled(a);
  for (const [name, protocol, flags] of [
    ['SYN', TCP, 0x02],
    ['ACK', TCP, 0x10],
    ['UDP', UDP, 0],
  ] as const) {
    await t.test(`${FLOOD} first packets: ${name}`, async (t) => {
      const chosen = async () => (await a.counters())['service-connection'] ?? 0;
      const chosenBefore = await chosen();
      const flooding = floodEntry(a, protocol, flags);
      for (const actor of quiet) await t.resolves(actor.call('askQuiet'), 'meanwhile');
      await flooding;
      t.ok((await chosen()) - chosenBefore >= FLOOD, 'every one was a flow of its own');
      t.ok(rowsOf(a, 'sw_opening').length <= CONNECTIONS / 4, 'most were pushed out again');
      t.ok((await settled(a)) >= before, 'none of the established ones was');
      for (const actor of quiet) await t.resolves(actor.call('askQuiet'), 'afterwards');
      const target = { host: a.address, port: PUBLISHED_PORT };
      await t.resolves(client.askTcp(target), 'a new connection');
      await t.resolves(client.askUdp(target), 'a new datagram');
    });
  }
}

async function testMeshFlood(t: Test, cluster: Cluster): Promise<void> {
  const { a, b } = cluster;
  const quiet = await openQuietOnes(cluster);
  await t.test('the backend\u2019s node, flooded through the mesh', async (t) => {
    const index = uplinkOf(b);
    for (let port = 1; port <= 2000; port += 1) {
      const source = `198.51.${port >> 8}.${port & 0xff}`;
      const packet = { sourceMac: '06:00:00:00:00:09', source, destination: a.address };
      const inner = ipv4Frame({ ...packet, protocol: TCP, destinationPort: PUBLISHED_PORT });
      const frame = tunnelFrame(inner, {
        ...{ source: a.address, destination: b.address, vni: 1 },
        ...{ destinationMac: '02:73:0a:00:00:0c', sourceMac: '02:74:0a:00:00:02' },
      });
      await b.agent.call('testRun', 'from_uplink', frame, index);
    }
    t.ok(rowsOf(b, 'sw_opening').length <= CONNECTIONS / 4);
    for (const actor of quiet) await t.resolves(actor.call('askQuiet'));
  });
}

async function testSilence(t: Test, cluster: Cluster): Promise<void> {
  const { a, b } = cluster;
  const quiet = await openQuietOnes(cluster);
  for (const [name, seconds] of [
    ['20 minutes', MINUTES_S],
    ['4 days', DAYS_S],
    ['8 days, past the timeout: nobody else wants the tuple', 2 * DAYS_S],
  ] as const) {
    await t.test(`silent for ${name}`, async (t) => {
      t.ok(age(a, seconds) > 0 && age(b, seconds) > 0);
      for (const actor of quiet) await t.resolves(actor.call('askQuiet'));
    });
  }
}

async function testLostEntries(t: Test, cluster: Cluster): Promise<void> {
  const { a, b } = cluster;
  const quiet = await openQuietOnes(cluster);
  await t.test('all entries of both nodes lost, three times', async (t) => {
    for (let round = 0; round < 3; round += 1) {
      for (const node of [a, b]) {
        // A flow is among the opening ones until the client's kernel has acknowledged the echo, which may
        // be now: from there it goes to the others.
        const removed = ['sw_opening', 'sw_connection'].map((map) =>
          removeRows(node, map, () => true),
        );
        t.ok(Math.max(...removed) > 0);
      }
      for (const actor of quiet) await t.resolves(actor.call('askQuiet'), 'the same backend again');
    }
  });
  await t.test('the reply entries alone', async (t) => {
    for (const actor of quiet) await actor.call('askQuiet');
    // The kind is the last byte but two of the key.
    const isReply = ({ key }: Entry) => Number.parseInt(key[41] ?? '', 16) === REPLY_KIND;
    t.ok(removeRows(a, 'sw_connection', isReply) > 0);
    // Looked after once a second.
    await sleep(1100);
    for (const actor of quiet) await t.resolves(actor.call('askQuiet'));
  });
}

async function testVanished(t: Test, { a, b, client, plainA }: Cluster): Promise<void> {
  const target = { host: a.address, port: PUBLISHED_PORT };
  await t.test('a backend that left without a word: asked elsewhere, at once', async (t) => {
    let name = '';
    for (let tries = 0; name !== 'web-b' && tries < 32; tries += 1) {
      name = ((await client.call('openQuiet', target)) as { name: string }).name;
    }
    t.equal(name, 'web-b');
    const link = (await b.dump()).links.find((row) => row.address === '10.0.0.12');
    await b.datapath('detachLink', link?.interfaceName ?? '');
    const before = await a.counters();
    for (let tries = 0; tries < 24; tries += 1) {
      t.equal((await client.askTcp(target)).name, 'web-a');
      t.equal((await client.askUdp(target)).name, 'web-a');
    }
    await t.rejects(client.call('askQuiet'), /ECONNRESET/, 'its connection is reset');
    const after = await a.counters();
    const more = (name: string) => (after[name] ?? 0) - (before[name] ?? 0);
    t.ok(more('service-reselected') > 0, 'some were asked twice');
    t.ok(more('reset-sent') > 0);
    t.ok(((await b.counters())['mesh-refused'] ?? 0) > 0);
  });

  await t.test('known to be gone: the connection is reset, UDP goes on', async (t) => {
    await plainA.call('openQuiet', { host: VIP, port: TARGET_PORT });
    for (const task of [11, 12]) {
      await a.datapath('removeBackends', [{ vni: 4097, address: `10.0.1.${task}` }]);
    }
    await t.rejects(plainA.call('askQuiet'), /ECONNRESET/);
    await a.datapath('putBackends', backendRows(11, b.address));
  });
}

async function testNobody(t: Test, { a, client, plainA }: Cluster): Promise<void> {
  const draining = backendRows(11, '192.168.77.12', 'draining');
  const stream = (await client.call('startStream', {
    host: a.address,
    port: PUBLISHED_PORT,
  })) as { name: string };
  await a.datapath('putBackends', draining);
  await a.datapath('putServices', serviceRows([]));
  await t.test('the last one drains: its connections go on', async (t) => {
    const { answered } = await client.tally();
    await sleep(200);
    t.ok((await client.tally()).answered > answered, stream.name);
    t.equal((await client.tally()).failure, undefined);
    await client.call('stopStream');
  });
  const refused = { code: 'ECONNREFUSED' };
  for (const [name, actor, host, port] of [
    ['from outside', client, a.address, PUBLISHED_PORT],
    ['from the host', a.holder, '127.0.0.1', PUBLISHED_PORT],
    ['from the host, own address', a.holder, a.address, PUBLISHED_PORT],
    ['from a container to its node', plainA, a.address, PUBLISHED_PORT],
    ['from a container to the virtual address', plainA, VIP, TARGET_PORT],
    ['from the host to the virtual address', a.holder, VIP, TARGET_PORT],
  ] as const) {
    await t.test(`nobody there, ${name}: refused`, async (t) => {
      await t.rejects(actor.askTcp({ host, port }), refused, 'TCP');
      t.equal(await actor.call('probeUdp', host, port), 'ECONNREFUSED', 'UDP');
    });
  }
}

const TESTS: readonly [string, (t: Test, cluster: Cluster) => Promise<void>][] = [
  ['floods', testFlood],
  ['a flood through the mesh', testMeshFlood],
  ['silence', testSilence],
  ['lost entries', testLostEntries],
  ['backends that vanish', testVanished],
  ['nobody there', testNobody],
];
const VARIANTS: readonly [string, NodeOptions][] = [
  ['directly', {}],
  ['tunnel device', { forceTunnelDevice: true }],
];

for (const [name, run] of TESTS) {
  for (const [variant, options] of VARIANTS) {
    await t.test(`${name} (${variant})`, async (t) => {
      const world = new World();
      t.teardown(async () => await world.close());
      const limits = { connections: CONNECTIONS };
      await run(t, await startCluster(world, { ...options, limits }));
    });
  }
}
