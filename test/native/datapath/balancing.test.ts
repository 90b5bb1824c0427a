/**
 * How new flows get their backends, packet by packet through the kernel's test run: the four
 * policies, the same choice on every node, ranges of ports, and what is answered when nobody is
 * there.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { ConnectionRow } from '../../../src/native/datapath-types.js';
import {
  backendRows,
  CLIENT_ADDRESS,
  type Cluster,
  INGRESS,
  PUBLISHED_PORT,
  serviceRows,
  startCluster,
  TARGET_PORT,
  VIP,
} from './cluster.js';
import {
  ICMP,
  type Ipv4Packet,
  ipv4Frame,
  type ReadFrame,
  readFrame,
  TCP,
  tunnelFrame,
  UDP,
} from './packets.js';
import { macOf, TUNNEL_PORT, World, type WorldNode } from './world.js';

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(300_000);

/** Longest wait for a datagram, and the time in which a second one would have come. */
const PATIENCE_MS = 5000;
const SPREAD_MS = 50;
const REDIRECT = 7;
const SHOT = 2;
const NEXT = -1;
const ACK = 0x10;
const RST = 0x04;
const CLIENT_MAC = '06:00:00:00:00:09';
const TASKS = { '10.0.0.11': 11, '10.0.0.12': 12 } as const;

interface Result {
  readonly verdict: number;
  readonly out: ReadFrame;
}

/** Runs a program of a node on a frame. */
async function runFrame(
  node: WorldNode,
  program: string,
  interfaceName: string,
  frame: readonly number[],
): Promise<Result> {
  const index = Number(node.run('ip', '-o', 'link', 'show', interfaceName).split(':')[0]);
  const result = await node.agent.call('testRun', program, frame, index);
  const { verdict, packet } = result as { verdict: number; packet: number[] };
  return { verdict, out: readFrame(Uint8Array.from(packet)) };
}

/** A client's packet for a published port, as it comes in on the underlay. */
async function ask(node: WorldNode, packet: Partial<Ipv4Packet>): Promise<Result> {
  const frame = ipv4Frame({
    sourceMac: CLIENT_MAC,
    source: CLIENT_ADDRESS,
    destination: node.address,
    protocol: TCP,
    destinationPort: PUBLISHED_PORT,
    ...packet,
  });
  return await runFrame(node, 'from_uplink', 'eth0', frame);
}

/** The task a packet went to: by its new destination, or by its id on the mesh. */
function taskOf({ out }: Result): number {
  const here = TASKS[out.destination as keyof typeof TASKS];
  return here ?? Number.parseInt(out.destinationMac.slice(-2), 16);
}

async function grown(node: WorldNode, run: () => Promise<unknown>, reason: string) {
  const before = (await node.counters())[reason] ?? 0;
  await run();
  return ((await node.counters())[reason] ?? 0) - before;
}

async function until(check: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + PATIENCE_MS;
  while (!(await check())) {
    if (Date.now() > end) throw new Error(`not within ${PATIENCE_MS} ms`);
    await sleep(5);
  }
}

/** The published rows of `web` with a policy or another setting. */
function rowsWith(more: object, tasks: readonly number[] = [11, 12]) {
  return serviceRows(tasks).map((row) => ({ ...row, ...more }));
}

async function tasksOf(node: WorldNode, packets: readonly Partial<Ipv4Packet>[]) {
  const tasks: number[] = [];
  for (const packet of packets) tasks.push(taskOf(await ask(node, packet)));
  return tasks;
}

const PORTS = Array.from({ length: 48 }, (_, index) => 30_000 + index);

async function testPolicies(t: Test, { a, b }: Cluster): Promise<void> {
  await t.test('maglev: the same choice on every node, both tasks', async (t) => {
    const packets = PORTS.map((sourcePort) => ({ sourcePort }));
    const onA = await tasksOf(a, packets);
    t.same(await tasksOf(b, packets), onA);
    t.same(new Set(onA), new Set([11, 12]));
    t.same(await tasksOf(a, packets), onA, 'and the same again');
  });

  await t.test('client-ip: all ports of a client to one task, on every node', async (t) => {
    for (const node of [a, b]) {
      await node.datapath('putServices', rowsWith({ policy: 'client-ip' }));
    }
    const seen = new Set<number>();
    for (let host = 1; host <= 24; host += 1) {
      const source = `203.0.113.${host}`;
      const packets = [31_000, 31_001, 31_002].map((sourcePort) => ({ source, sourcePort }));
      const tasks = new Set([...(await tasksOf(a, packets)), ...(await tasksOf(b, packets))]);
      t.equal(tasks.size, 1, source);
      for (const task of tasks) seen.add(task);
    }
    t.equal(seen.size, 2, 'both tasks have clients');
  });

  await t.test('least-conn: the task with fewer open connections', async (t) => {
    await a.datapath('putServices', rowsWith({ policy: 'least-conn' }));
    const ports = PORTS.slice(0, 12).map((port) => port + 2000);
    const packets = ports.map((sourcePort) => ({ sourcePort }));
    const tasks = await tasksOf(a, packets);
    t.equal(tasks.filter((task) => task === 11).length, 6, 'one after the other');
    // All connections to 11 end: the next six go there.
    for (const [index, sourcePort] of ports.entries()) {
      if (tasks[index] === 11) await ask(a, { sourcePort, flags: RST | ACK });
    }
    const next = await tasksOf(
      a,
      PORTS.slice(0, 6).map((port) => ({ sourcePort: port + 3000 })),
    );
    t.same(next, [11, 11, 11, 11, 11, 11]);
    await a.datapath('repair');
    const after = await tasksOf(
      a,
      PORTS.slice(0, 4).map((port) => ({ sourcePort: port + 4000 })),
    );
    t.equal(after.filter((task) => task === 11).length, 2, 'counted anew, they are even');
  });

  await t.test('local-first: the task here, another one only without it', async (t) => {
    for (const node of [a, b]) {
      await node.datapath('putServices', rowsWith({ policy: 'local-first' }));
    }
    const packets = PORTS.slice(0, 12).map((port) => ({ sourcePort: port + 5000 }));
    t.same(new Set(await tasksOf(a, packets)), new Set([11]));
    t.same(new Set(await tasksOf(b, packets)), new Set([12]));
    const draining = backendRows(11, b.address).map((row) =>
      row.address === '10.0.0.11' ? { ...row, state: 'draining' } : row,
    );
    await a.datapath('putBackends', draining);
    const others = packets.map(({ sourcePort }) => ({ sourcePort: sourcePort + 100 }));
    t.same(new Set(await tasksOf(a, others)), new Set([12]), 'spills over');
    await a.datapath('putBackends', backendRows(11, b.address));
    t.same(new Set(await tasksOf(a, others)), new Set([12]), 'flows stay where they are');
    const later = packets.map(({ sourcePort }) => ({ sourcePort: sourcePort + 200 }));
    t.same(new Set(await tasksOf(a, later)), new Set([11]), 'and back');
    for (const node of [a, b]) await node.datapath('putServices', serviceRows([11, 12]));
  });

  await t.test('what is in force can be read back', async (t) => {
    const row = { key: { kind: 'published', protocol: 'tcp', port: 9000 }, targetPort: 90 };
    const wanted = { ...row, ports: 5, policy: 'least-conn', backends: [] };
    await a.datapath('putServices', [wanted]);
    const { services } = await a.dump();
    t.match(
      services.find(({ key }) => key.kind === 'published' && key.port === 9000),
      wanted,
    );
    await a.datapath('removeServices', [row.key]);
  });
}

async function testRanges(t: Test, { a, b }: Cluster): Promise<void> {
  const key = { kind: 'published', protocol: 'tcp', port: 20_000 } as const;
  const backends = [{ vni: INGRESS, address: '10.0.0.11' }];
  const range = { key, targetPort: 30_001, ports: 10_000, backends };
  const port = async (destinationPort: number) => await ask(a, { destinationPort });

  await t.test('ten thousand ports are one row', async (t) => {
    await a.datapath('putServices', [range]);
    for (const asked of [20_000, 20_001, 24_095, 24_096, 25_555, 29_999]) {
      const { verdict, out } = await port(asked);
      t.equal(verdict, REDIRECT);
      t.match(out, { destination: '10.0.0.11', destinationPort: asked + 10_001, sound: true });
    }
    for (const asked of [19_999, 30_000]) t.equal((await port(asked)).verdict, NEXT);
    t.equal((await ask(a, { destinationPort: 20_001, protocol: UDP })).verdict, NEXT);
  });

  await t.test('a range that moves, and one that goes', async (t) => {
    await a.datapath('putServices', [{ ...range, ports: 100, targetPort: 80 }]);
    t.equal((await port(20_099)).out.destinationPort, 179);
    t.equal((await port(20_100)).verdict, NEXT, 'its end is gone');
    await a.datapath('removeServices', [key]);
    for (const asked of [20_000, 20_050]) t.equal((await port(asked)).verdict, NEXT);
  });

  await t.test('on the backend\u2019s node too', async (t) => {
    await b.datapath('putServices', [{ ...range, backends: [] }]);
    const frame = ipv4Frame({
      ...{ sourceMac: CLIENT_MAC, source: CLIENT_ADDRESS, destination: a.address },
      ...{ protocol: TCP, destinationPort: 25_000 },
    });
    const { verdict, out } = await runFrame(
      b,
      'from_uplink',
      'eth0',
      meshFrame(a, b, frame, 0x73, 12),
    );
    t.equal(verdict, REDIRECT);
    t.match(out, { destination: '10.0.0.12', destinationPort: 35_001, sound: true });
    await b.datapath('removeServices', [key]);
  });
}

/** A client's packet on the mesh VNI, from one node to another. */
function meshFrame(
  from: WorldNode,
  to: WorldNode,
  inner: readonly number[],
  kind: number,
  task: number,
): readonly number[] {
  const hex = (value: number) => value.toString(16).padStart(2, '0');
  return tunnelFrame(inner, {
    ...{ source: from.address, destination: to.address, vni: 1 },
    destinationMac: `02:${hex(kind)}:0a:00:00:${hex(task)}`,
    sourceMac: `02:74:0a:00:00:${from.address.endsWith('11') ? '02' : '03'}`,
  });
}

async function testRefusals(t: Test, { a }: Cluster): Promise<void> {
  await a.datapath('putServices', serviceRows([]));
  const link = (await a.dump()).links.find((row) => row.address === '10.0.1.21');
  const container = (packet: Partial<Ipv4Packet>) =>
    ipv4Frame({
      ...{ sourceMac: macOf('10.0.1.21'), source: '10.0.1.21', destination: VIP },
      ...{ protocol: TCP, destinationPort: TARGET_PORT, ...packet },
    });
  const fromContainer = async (packet: Partial<Ipv4Packet>) =>
    await runFrame(a, 'from_container', link?.interfaceName ?? '', container(packet));
  const refused = (
    result: Result,
    packet: { source: string; protocol: number; flags?: number },
  ) => {
    t.equal(result.verdict, REDIRECT);
    t.match(result.out, { ...packet, sound: true, ttl: 64 });
  };

  await t.test('a published port without backends', async () => {
    const front = { source: a.address, destination: CLIENT_ADDRESS };
    refused(await ask(a, {}), { ...front, protocol: TCP, flags: RST | ACK });
    refused(await ask(a, { flags: ACK }), { ...front, protocol: TCP, flags: RST });
    refused(await ask(a, { protocol: UDP }), { ...front, protocol: ICMP });
    refused(await ask(a, { protocol: UDP, zeroChecksum: true }), { ...front, protocol: ICMP });
    refused(await ask(a, { protocol: UDP, options: 4 }), { ...front, protocol: ICMP });
  });

  await t.test('a virtual address without backends', async () => {
    const front = { source: VIP, destination: '10.0.1.21' };
    refused(await fromContainer({}), { ...front, protocol: TCP, flags: RST | ACK });
    refused(await fromContainer({ options: 2 }), { ...front, protocol: TCP, flags: RST | ACK });
    refused(await fromContainer({ protocol: UDP }), { ...front, protocol: ICMP });
    refused(await fromContainer({ protocol: ICMP }), { ...front, protocol: ICMP });
  });

  await t.test('what is never answered', async (t) => {
    t.equal((await ask(a, { flags: RST })).verdict, SHOT, 'a reset');
    t.equal((await ask(a, { protocol: UDP, source: '224.0.0.9' })).verdict, SHOT, 'multicast');
    const flood = async () => {
      const source = '198.51.0.0';
      const packet = { sourceMac: CLIENT_MAC, source, destination: a.address, protocol: UDP };
      const index = Number(a.run('ip', '-o', 'link', 'show', 'eth0').split(':')[0]);
      const asked = { ...packet, destinationPort: PUBLISHED_PORT };
      await a.agent.call('flood', 'from_uplink', asked, index, 5000);
    };
    const sent = await grown(a, flood, 'unreachable-sent');
    // It may last a few of the seconds that each have a thousand.
    t.ok(sent >= 500 && sent < 5000, `${sent} errors about 5000 datagrams`);
  });
  await a.datapath('putServices', serviceRows([11, 12]));
}

async function testMeshRefusals(t: Test, { a, b }: Cluster): Promise<void> {
  const syn = (sourcePort: number, more: Partial<Ipv4Packet> = {}) =>
    ipv4Frame({
      ...{ sourceMac: CLIENT_MAC, source: CLIENT_ADDRESS, destination: a.address },
      ...{ protocol: TCP, destinationPort: PUBLISHED_PORT, sourcePort, ...more },
    });

  await t.test('a backend that is not here: back to the entry node, as it came', async (t) => {
    for (const more of [{}, { protocol: UDP }, { flags: ACK }]) {
      const frame = meshFrame(a, b, syn(50_000, more), 0x73, 99);
      const { verdict, out } = await runFrame(b, 'from_uplink', 'eth0', frame);
      t.equal(verdict, REDIRECT);
      t.match(out, { destinationMac: '02:78:0a:00:00:63', source: CLIENT_ADDRESS });
      t.match(out, { destination: a.address, destinationPort: PUBLISHED_PORT });
    }
  });

  // These come through the tunnel device, which a test run cannot stand in for: they are really sent.
  const giveBack = async (inner: readonly number[], task: number, reason: string) => {
    const payload = Buffer.from(meshFrame(b, a, inner, 0x78, task).slice(42)).toString('hex');
    const before = (await a.counters())[reason] ?? 0;
    return await grown(
      a,
      async () => {
        await b.holder.call('sendUdp', a.address, TUNNEL_PORT, payload);
        await until(async () => ((await a.counters())[reason] ?? 0) > before);
        await sleep(SPREAD_MS);
      },
      reason,
    );
  };
  const flowOf = async (sourcePort: number) =>
    ((await a.datapath('connections', 4096)) as readonly ConnectionRow[]).find(
      (row) => row.kind === 'service' && row.sourcePort === sourcePort,
    );

  await t.test('given back: what opens a flow goes elsewhere, the middle is reset', async (t) => {
    const ports = PORTS.map((port) => port + 10_000);
    for (const protocol of [TCP, UDP]) {
      const tasks = await tasksOf(
        a,
        ports.map((sourcePort) => ({ sourcePort, protocol })),
      );
      const sourcePort = ports[tasks.indexOf(12)] ?? 0;
      const inner = syn(sourcePort, { protocol });
      t.equal(await giveBack(inner, 12, 'service-reselected'), 1);
      t.equal(taskOf(await ask(a, { sourcePort, protocol, flags: ACK })), 11, 'it stays there');
      t.equal(await giveBack(inner, 12, 'drop-mesh-refusal'), 1, 'not with that backend any more');
    }
    const middle = PORTS.map((port) => port + 11_000);
    const tasks = await tasksOf(
      a,
      middle.map((sourcePort) => ({ sourcePort })),
    );
    const sourcePort = middle[tasks.indexOf(12)] ?? 0;
    await ask(a, { sourcePort, flags: ACK });
    t.equal(await giveBack(syn(sourcePort, { flags: ACK }), 12, 'reset-sent'), 1);
    t.equal((await flowOf(sourcePort))?.state, 'reset');
  });

  await t.test('nobody else can refuse a flow', async (t) => {
    const ports = PORTS.map((port) => port + 12_000);
    const tasks = await tasksOf(
      a,
      ports.map((sourcePort) => ({ sourcePort })),
    );
    const sourcePort = ports[tasks.indexOf(11)] ?? 0;
    const inner = syn(sourcePort);
    t.equal(await giveBack(inner, 11, 'drop-mesh-refusal'), 1, 'a task here, refused by another');
    t.equal((await flowOf(sourcePort))?.other, '10.0.0.11');
    t.equal(await giveBack(syn(5), 12, 'drop-mesh-refusal'), 1, 'a flow that does not exist');
  });
}

await t.test('balancing', async (t) => {
  const world = new World();
  t.teardown(async () => await world.close());
  const cluster = await startCluster(world);
  await testPolicies(t, cluster);
  await testRanges(t, cluster);
  await testRefusals(t, cluster);
  await testMeshRefusals(t, cluster);
});
