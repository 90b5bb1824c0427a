/**
 * Direct return packet by packet: what the entry node says to the backend's node, which replies leave
 * there at once and which take the tunnel, and what counts as a probe.
 */
import t, { type Test } from 'tap';
import { type Cluster, INGRESS, serviceRows, startCluster } from './cluster.js';
import {
  ICMP,
  type Ipv4Packet,
  ipv4Frame,
  type ReadFrame,
  readFrame,
  TCP,
  UDP,
} from './packets.js';
import { tunnelFrame } from './packets.js';
import { macOf, World, type WorldNode } from './world.js';

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(300_000);

const SHOT = 2;
const REDIRECT = 7;
const SYN = 0x02;
const SYN_ACK = 0x12;
const ACK = 0x10;
const A = '192.168.77.11';
const B = '192.168.77.12';
const CLIENT = '192.168.77.1';
const TASK_B = '10.0.0.12';
const TO_TASK = '02:73:0a:00:00:0c';
const TO_TASK_DIRECT = '02:f3:0a:00:00:0c';
const TO_ENTRY = /^02:75:/;
const MAGIC = [...Buffer.from('SKPD')];
const NONCE = '000102030405060708090a0b0c0d0e0f';

const FROM_CLIENT: Ipv4Packet = {
  ...{ sourceMac: '06:00:00:00:00:09', source: CLIENT, destination: A },
  ...{ protocol: TCP, sourcePort: 50_000, destinationPort: 8080, flags: SYN },
};
const FROM_TASK: Ipv4Packet = {
  ...{ sourceMac: macOf(TASK_B), source: TASK_B, destination: CLIENT },
  ...{ protocol: TCP, sourcePort: 80, destinationPort: 50_000, flags: SYN_ACK },
};

interface Ran {
  readonly verdict: number;
  readonly frame: ReadFrame;
  readonly tunnelled: boolean;
}

/** Runs a program of a node on a frame. */
async function run(node: WorldNode, program: string, device: string, bytes: readonly number[]) {
  const index = Number(node.run('ip', '-o', 'link', 'show', device).split(':')[0]);
  const result = await node.agent.call('testRun', program, bytes, index);
  const { verdict, packet } = result as { verdict: number; packet: number[] };
  return { verdict, packet: Uint8Array.from(packet) };
}

/** A node's programs as a test uses them. */
async function programsOf(node: WorldNode) {
  const link = (await node.dump()).links.find(({ address }) => address === TASK_B);
  const ran = ({ verdict, packet }: Awaited<ReturnType<typeof run>>): Ran => ({
    verdict,
    frame: readFrame(packet),
    tunnelled: packet.length > 36 && ((packet[36] ?? 0) << 8) + (packet[37] ?? 0) === 4789,
  });
  return {
    uplink: async (bytes: readonly number[]) => ran(await run(node, 'from_uplink', 'eth0', bytes)),
    task: async (packet: Partial<Ipv4Packet>) =>
      ran(
        await run(
          ...([node, 'from_container', link?.interfaceName ?? ''] as const),
          ipv4Frame({ ...FROM_TASK, ...packet }),
        ),
      ),
  };
}

/** The counters that grew, and by how much. */
async function grown(node: WorldNode, work: () => Promise<unknown>) {
  const before = await node.counters();
  await work();
  const after = await node.counters();
  const rows = Object.entries(after).map(([name, n]) => [name, n - (before[name] ?? 0)] as const);
  return Object.fromEntries(rows.filter(([name, n]) => name.includes('direct') && n !== 0));
}

const ways = (tunnelAddress: string, asEntry: boolean, asBackend: boolean) => [
  { tunnelAddress, asEntry, asBackend },
];

/** The published rows with their only task on B. */
const rows = (direct: boolean) =>
  serviceRows([12])
    .filter(({ key }) => key.kind === 'published')
    .map((row) => ({ ...row, ...(direct ? { direct } : {}) }));

async function testEntry(t: Test, { a }: Cluster): Promise<void> {
  const { uplink } = await programsOf(a);
  let sourcePort = 50_000;
  const ask = async (packet: Partial<Ipv4Packet> = {}) =>
    await uplink(ipv4Frame({ ...FROM_CLIENT, sourcePort, ...packet }));
  const told = async (packet?: Partial<Ipv4Packet>) => (await ask(packet)).frame.destinationMac;

  await t.test('a service that returns through the tunnel', async (t) => {
    await a.datapath('setDirectWays', ways(B, true, false));
    await a.datapath('putServices', rows(false));
    const counted = await grown(a, async () => t.equal(await told(), TO_TASK));
    t.same(counted, {});
  });
  await t.test('one that wants direct return, before anything is proven', async (t) => {
    await a.datapath('putServices', rows(true));
    for (const [name, proven] of [
      ['nothing', []],
      ['another node', ways('192.168.77.13', true, true)],
      ['the other way only', ways(B, false, true)],
    ] as const) {
      await a.datapath('setDirectWays', proven);
      sourcePort += 1;
      const counted = await grown(a, async () => t.equal(await told(), TO_TASK, name));
      t.same(counted, { 'direct-withheld': 1 }, name);
    }
  });
  for (const protocol of [TCP, UDP]) {
    await t.test(`once it is proven, protocol ${protocol}`, async (t) => {
      await a.datapath('setDirectWays', ways(B, true, false));
      sourcePort += 1;
      const first = await ask({ protocol });
      t.match(first, { verdict: REDIRECT, tunnelled: true });
      t.match(first.frame, { destinationMac: TO_TASK_DIRECT, sound: true, ttl: 63 });
      t.match(first.frame, { source: CLIENT, destination: A, destinationPort: 8080 });
      t.equal(await told({ protocol, flags: ACK }), TO_TASK_DIRECT);
      await a.datapath('setDirectWays', []);
      t.equal(await told({ protocol, flags: ACK }), TO_TASK, 'an open flow goes back');
      await a.datapath('setDirectWays', ways(B, true, false));
      t.equal(await told({ protocol, flags: ACK }), TO_TASK_DIRECT, 'and forth');
      await a.datapath('putServices', rows(false));
      t.equal(await told({ protocol, flags: ACK }), TO_TASK, 'as the service wishes');
      await a.datapath('putServices', rows(true));
    });
  }
  await t.test('a client that repeats itself keeps to the tunnel', async (t) => {
    sourcePort += 1;
    t.equal(await told(), TO_TASK_DIRECT);
    const counted = await grown(a, async () => t.equal(await told(), TO_TASK));
    t.same(counted, { 'direct-repeated': 1, 'direct-withheld': 1 });
    t.equal(await told({ flags: ACK }), TO_TASK, 'for the life of the connection');
    t.equal(await told({ flags: 0x11 }), TO_TASK);
    t.equal(await told(), TO_TASK_DIRECT, 'the next one tries anew');
  });
  await t.test('another address of the node is not the one that is tried', async (t) => {
    await a.datapath('setLocalAddresses', [A, '192.168.77.99']);
    sourcePort += 1;
    t.equal(await told({ destination: '192.168.77.99' }), TO_TASK);
    await a.datapath('setLocalAddresses', [A]);
  });
  await t.test('an error about a reply goes to the backend as ever', async (t) => {
    sourcePort += 1;
    t.equal(await told(), TO_TASK_DIRECT);
    // Quotes the reply, as the client saw it: from the entry node's address.
    const reply = { ...FROM_CLIENT, source: A, destination: CLIENT };
    const quoted = ipv4Frame({ ...reply, sourcePort: 8080, destinationPort: sourcePort });
    const { frame } = await uplink(icmpError('192.168.77.9', A, quoted));
    t.match(frame, { destinationMac: TO_TASK, protocol: ICMP, sound: true });
  });
}

/** "Fragmentation needed" about a frame. */
function icmpError(source: string, destination: string, about: readonly number[]): number[] {
  const frame = ipv4Frame({
    ...{ sourceMac: '06:00:00:00:00:09', source, destination, protocol: ICMP },
    payload: about.slice(14, 42),
  });
  // Type, code and MTU instead of an echo request's.
  frame.splice(34, 8, 3, 4, 0, 0, 0, 0, 5, 0x78);
  const body = frame.slice(34);
  let sum = 0;
  for (let at = 0; at < body.length; at += 2) sum += ((body[at] ?? 0) << 8) + (body[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  frame.splice(36, 2, (~sum >> 8) & 0xff, ~sum & 0xff);
  return frame;
}

async function testBackend(t: Test, { b }: Cluster): Promise<void> {
  const { uplink, task } = await programsOf(b);
  const tunnel = { source: A, destination: B, vni: 1, sourceMac: '02:74:0a:00:00:02' };
  const arrive = async (destinationMac: string, packet: Partial<Ipv4Packet> = {}) =>
    await uplink(
      tunnelFrame(ipv4Frame({ ...FROM_CLIENT, ...packet }), { ...tunnel, destinationMac }),
    );
  const direct = { verdict: REDIRECT, tunnelled: false };
  const through = { verdict: REDIRECT, tunnelled: true };
  await b.datapath('setDirectWays', ways(A, false, true));

  for (const protocol of [TCP, UDP]) {
    await t.test(`the reply leaves at once, protocol ${protocol}`, async (t) => {
      t.match((await arrive(TO_TASK_DIRECT, { protocol })).frame, { destination: TASK_B });
      let reply = await task({ protocol });
      const counted = await grown(b, async () => {
        reply = await task({ protocol });
      });
      t.match(reply, direct);
      t.match(reply.frame, { source: A, sourcePort: 8080, destination: CLIENT, sound: true });
      t.match(reply.frame, { destinationPort: 50_000, ttl: 63 });
      t.same(counted, { 'direct-returned': 1 });
    });
  }
  await t.test('each packet of the client may change that', async (t) => {
    await arrive(TO_TASK, { flags: ACK });
    const reply = await task({ flags: ACK });
    t.match(reply, through);
    t.match(reply.frame, { destinationMac: TO_ENTRY, source: A, sourcePort: 8080, sound: true });
    await arrive(TO_TASK_DIRECT, { flags: ACK });
    t.match(await task({ flags: ACK }), direct);
  });
  await t.test('it takes this node’s own proof too, also in the middle', async (t) => {
    for (const proven of [[], ways(A, true, false), ways('192.168.77.13', true, true)]) {
      await b.datapath('setDirectWays', proven);
      t.match(await task({ flags: ACK }), through);
    }
    await arrive(TO_TASK_DIRECT, { sourcePort: 50_001 });
    t.match(await task({ destinationPort: 50_001 }), through);
    await b.datapath('setDirectWays', ways(A, false, true));
    t.match(await task({ flags: ACK }), direct, 'a flow that was direct before');
    await arrive(TO_TASK_DIRECT, { sourcePort: 50_001, flags: ACK });
    t.match(await task({ destinationPort: 50_001, flags: ACK }), direct);
  });
  for (const [name, source] of [
    ['no route leads', '203.0.113.9'],
    ['that is this host', B],
    ['behind another interface', '10.0.1.200'],
  ] as const) {
    await t.test(`a client ${name}: the tunnel`, async (t) => {
      await arrive(TO_TASK_DIRECT, { source });
      t.match(await task({ destination: source }), through);
    });
  }
  await t.test('a task’s error about a client’s packet', async (t) => {
    const asked = ipv4Frame({ ...FROM_CLIENT, destination: TASK_B, destinationPort: 80 });
    const frame = icmpError(TASK_B, CLIENT, asked);
    frame.splice(6, 6, ...ipv4Frame(FROM_TASK).slice(6, 12));
    const link = (await b.dump()).links.find(({ address }) => address === TASK_B);
    const name = link?.interfaceName ?? '';
    const { verdict, packet } = await run(b, 'from_container', name, frame);
    t.equal(verdict, REDIRECT);
    t.match(readFrame(packet), { source: A, destination: CLIENT, protocol: ICMP, sound: true });
  });
  await t.test('the client’s error about a reply reaches the task', async (t) => {
    const reply = { ...FROM_CLIENT, source: A, destination: CLIENT };
    const quoted = ipv4Frame({ ...reply, sourcePort: 8080, destinationPort: 50_000 });
    const error = icmpError('192.168.77.9', A, quoted);
    const { frame } = await uplink(tunnelFrame(error, { ...tunnel, destinationMac: TO_TASK }));
    t.match(frame, { destination: TASK_B, protocol: ICMP, sound: true });
    t.match(await task({ flags: ACK }), direct, 'and changes nothing else');
  });
  await t.test('a second entry node, same client and port', async (t) => {
    await b.datapath('putNodes', [{ nodeId: '10.0.0.4', tunnelAddress: '192.168.77.13' }]);
    const second = { ...tunnel, source: '192.168.77.13', destinationMac: TO_TASK_DIRECT };
    const front = ipv4Frame({ ...FROM_CLIENT, destination: '192.168.77.13' });
    const { frame } = await uplink(tunnelFrame(front, second));
    t.not(frame.sourcePort, 50_000, 'it is given another port at the task');
    t.match(await task({ destinationPort: frame.sourcePort }), through, 'nothing proven there');
    t.match(await task({ flags: ACK }), direct, 'the first one goes on');
    await b.datapath('removeNodes', ['10.0.0.4']);
  });
}

async function testProbes(t: Test, { a }: Cluster): Promise<void> {
  const uplink = async (bytes: readonly number[]) => await run(a, 'from_uplink', 'eth0', bytes);
  const probe = (payload: readonly number[], source = A) =>
    ipv4Frame({
      ...{ sourceMac: '06:00:00:00:00:09', source, destination: A, protocol: UDP, payload },
      ...{ sourcePort: 4789, destinationPort: 4789 },
    });
  const nonce = [...Buffer.from(NONCE, 'hex')];
  const other = nonce.map((byte) => byte ^ 0xff);
  await a.agent.call('awaitProbes', [NONCE]);
  for (const [name, payload] of [
    ['another nonce', [...MAGIC, ...other]],
    ['another magic', [0, 0, 0, 0, ...nonce]],
    ['cut short', [...MAGIC, ...nonce.slice(1)]],
    ['nothing', []],
  ] as const) {
    await t.test(`no probe: ${name}`, async (t) => {
      const counted = await grown(a, async () => {
        t.equal((await uplink(probe(payload))).verdict, SHOT);
      });
      t.same(counted, { 'drop-direct-probe': 1 });
      t.same(await a.agent.call('probesSeen'), { [NONCE]: 0 });
    });
  }
  await t.test('a probe from another address is none', async (t) => {
    const counted = await grown(a, async () => await uplink(probe([...MAGIC, ...nonce], B)));
    t.same(counted, {});
    t.same(await a.agent.call('probesSeen'), { [NONCE]: 0 });
  });
  await t.test('the one that is awaited', async (t) => {
    const counted = await grown(a, async () => {
      t.equal((await uplink(probe([...MAGIC, ...nonce, 0, 0, 0, 0]))).verdict, SHOT);
    });
    t.same(counted, { 'direct-probe-seen': 1 });
    t.same(await a.agent.call('probesSeen'), { [NONCE]: 20 + 8 + 24 });
    await a.agent.call('awaitProbes', [NONCE, '11'.repeat(16)]);
    t.match(await a.agent.call('probesSeen'), { [NONCE]: 52 }, 'what is known stays');
    await a.agent.call('awaitProbes', []);
    t.same(await a.agent.call('probesSeen'), {});
  });
}

await t.test('direct return', async (t) => {
  const world = new World();
  t.teardown(async () => await world.close());
  const cluster = await startCluster(world);
  const vnis = (await cluster.b.dump()).services.map(({ backends }) => backends[0]?.vni);
  t.ok(vnis.includes(INGRESS));
  await t.test('entry node', async (t) => await testEntry(t, cluster));
  await t.test('backend node', async (t) => await testBackend(t, cluster));
  await t.test('probes', async (t) => await testProbes(t, cluster));
  await t.test('the rows say so, also to a new process', async (t) => {
    await cluster.a.agent.kill();
    await world.openAgent(cluster.a);
    const { services } = await cluster.a.dump();
    const published = services.filter(({ key }) => key.kind === 'published');
    t.same(
      published.map(({ direct }) => direct),
      [true, true],
    );
  });
});
