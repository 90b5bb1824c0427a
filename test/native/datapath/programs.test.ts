/**
 * Tables of packets run through single programs by the kernel's test run: packet in, verdict, packet
 * out, and the counter a refusal must raise.
 */
import t from 'tap';
import { startCluster, VIP } from './cluster.js';
import {
  arpRequest,
  ETHERNET_BYTES,
  ICMP,
  type Ipv4Packet,
  ipv4Frame,
  type ReadFrame,
  readFrame,
  TCP,
  UDP,
} from './packets.js';
import { macOf, World } from './world.js';

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(300_000);

const SHOT = 2;
const REDIRECT = 7;
const NEXT = -1;
const CLIENT_MAC = '06:00:00:00:00:09';

interface Case {
  readonly name: string;
  readonly program: 'from_container' | 'from_uplink';
  readonly packet: Partial<Ipv4Packet> | readonly number[];
  readonly verdict: number;
  readonly out?: Partial<ReadFrame>;
  /** Counter that must grow by one. */
  readonly reason?: string;
}

const FROM_PLAIN: Ipv4Packet = {
  sourceMac: macOf('10.0.1.21'),
  source: '10.0.1.21',
  destination: '10.0.1.12',
  protocol: UDP,
};
const FROM_CLIENT: Ipv4Packet = {
  sourceMac: CLIENT_MAC,
  source: '192.168.77.1',
  destination: '192.168.77.11',
  protocol: TCP,
  destinationPort: 8080,
};

const frame = ipv4Frame(FROM_PLAIN);
const broken = (at: number, value: number) => frame.with(at, value);

const CONTAINER_CASES: readonly Case[] = [
  { name: 'to another node', packet: {}, verdict: REDIRECT, out: { ttl: 64, sound: true } },
  {
    name: 'to the same node: MAC of the other container',
    packet: { destination: '10.0.1.11' },
    verdict: REDIRECT,
    out: { destinationMac: macOf('10.0.1.11'), sound: true },
  },
  ...([TCP, UDP, ICMP] as const).map(
    (protocol): Omit<Case, 'program'> => ({
      name: `virtual address, protocol ${protocol}`,
      packet: { destination: VIP, protocol, sourcePort: 41000 },
      verdict: REDIRECT,
      out: { source: '10.0.1.21', sound: true },
    }),
  ),
  {
    name: 'virtual address, IP options',
    packet: { destination: VIP, protocol: TCP, options: 3, sourcePort: 41001 },
    verdict: REDIRECT,
    out: { source: '10.0.1.21', sound: true },
  },
  {
    name: 'virtual address, UDP without checksum keeps none',
    packet: { destination: VIP, zeroChecksum: true, sourcePort: 41002 },
    verdict: REDIRECT,
    out: { sound: true },
  },
  {
    name: 'virtual address, a later fragment without its first',
    packet: { destination: VIP, fragment: 0x0001, id: 900 },
    verdict: SHOT,
    reason: 'drop-fragment-without-first',
  },
  {
    name: 'another sender address',
    packet: { source: '10.0.1.12' },
    verdict: SHOT,
    reason: 'drop-spoofed-address',
  },
  {
    name: 'another sender MAC',
    packet: { sourceMac: macOf('10.0.1.12') },
    verdict: SHOT,
    reason: 'drop-spoofed-mac',
  },
  {
    name: 'what the host keeps to itself',
    packet: { destination: '127.0.0.1' },
    verdict: SHOT,
    reason: 'drop-loopback-address',
  },
  {
    name: 'multicast',
    packet: { destination: '224.0.0.251' },
    verdict: SHOT,
    reason: 'drop-multicast',
  },
  {
    name: 'broadcast',
    packet: { destination: '255.255.255.255' },
    verdict: SHOT,
    reason: 'drop-multicast',
  },
  {
    name: 'DNS address, another port',
    packet: { destination: '169.254.75.2', destinationPort: 22 },
    verdict: SHOT,
    reason: 'drop-dns-port',
  },
  { name: 'outside', packet: { destination: '192.0.2.1' }, verdict: REDIRECT },
  {
    name: 'version 6 in an IPv4 frame',
    packet: broken(ETHERNET_BYTES, 0x65),
    verdict: SHOT,
    reason: 'drop-malformed',
  },
  {
    name: 'header of 16 bytes',
    packet: broken(ETHERNET_BYTES, 0x44),
    verdict: SHOT,
    reason: 'drop-malformed',
  },
  {
    name: 'virtual address, cut in the ports',
    packet: ipv4Frame({ ...FROM_PLAIN, destination: VIP }).slice(0, 36),
    verdict: SHOT,
    reason: 'drop-malformed',
  },
  {
    name: 'neither IPv4 nor IPv6',
    packet: [...broken(12, 0x88).with(13, 0xcc), ...frame],
    verdict: SHOT,
    reason: 'drop-not-ip',
  },
  {
    name: 'version 4 in an IPv6 frame',
    packet: [...broken(12, 0x86).with(13, 0xdd), ...frame],
    verdict: SHOT,
    reason: 'drop-malformed',
  },
  {
    name: 'ARP: who has the gateway',
    packet: arpRequest(FROM_PLAIN.sourceMac, FROM_PLAIN.source, '10.0.1.1'),
    verdict: REDIRECT,
    reason: 'arp-answered',
  },
  {
    name: 'ARP: probe for the own address stays unanswered',
    packet: arpRequest(FROM_PLAIN.sourceMac, '0.0.0.0', FROM_PLAIN.source),
    verdict: SHOT,
  },
  {
    name: 'ARP: announcement stays unanswered',
    packet: arpRequest(FROM_PLAIN.sourceMac, FROM_PLAIN.source, FROM_PLAIN.source),
    verdict: SHOT,
  },
  {
    name: 'ARP: in the name of another',
    packet: arpRequest(FROM_PLAIN.sourceMac, '10.0.1.12', '10.0.1.1'),
    verdict: SHOT,
    reason: 'drop-spoofed-address',
  },
].map((row) => ({ ...row, program: 'from_container' as const }));

const UPLINK_CASES: readonly Case[] = [
  { name: 'a port nobody published', packet: { destinationPort: 22 }, verdict: NEXT },
  { name: 'another host', packet: { destination: '192.168.77.50' }, verdict: NEXT },
  { name: 'ping', packet: { protocol: ICMP }, verdict: NEXT },
  { name: 'cut short', packet: ipv4Frame(FROM_CLIENT).slice(0, 36), verdict: NEXT },
  {
    name: 'published, last hop',
    packet: { ttl: 1, sourcePort: 42000 },
    verdict: SHOT,
    reason: 'drop-ttl-exceeded',
  },
].map((row) => ({ ...row, program: 'from_uplink' as const }));

await t.test('programs', async (t) => {
  const world = new World();
  t.teardown(async () => await world.close());
  const { a } = await startCluster(world);
  const link = (await a.dump()).links.find((row) => row.address === FROM_PLAIN.source);
  // The mount namespace shows another namespace's /sys, so the index comes from ip.
  const index = (name: string) => Number(a.run('ip', '-o', 'link', 'show', name).split(':')[0]);
  const indexes = {
    from_container: index(link?.interfaceName ?? ''),
    from_uplink: index('eth0'),
  };

  async function run(each: Case) {
    const base = each.program === 'from_container' ? FROM_PLAIN : FROM_CLIENT;
    const bytes = Array.isArray(each.packet)
      ? (each.packet as number[])
      : ipv4Frame({ ...base, ...(each.packet as Partial<Ipv4Packet>) });
    const result = await a.agent.call('testRun', each.program, bytes, indexes[each.program]);
    const { verdict, packet } = result as { verdict: number; packet: number[] };
    return { verdict, packet: Uint8Array.from(packet) };
  }

  for (const each of [...CONTAINER_CASES, ...UPLINK_CASES]) {
    const before = await a.counters();
    const { verdict, packet } = await run(each);
    t.equal(verdict, each.verdict, `${each.program}: ${each.name}`);
    if (each.out) t.match(readFrame(packet), each.out, `${each.name}: packet`);
    if (each.reason) {
      const grown = ((await a.counters())[each.reason] ?? 0) - (before[each.reason] ?? 0);
      t.equal(grown, 1, `${each.name}: ${each.reason}`);
    }
  }

  // Which task a connection goes to is a function of the client's end; both tasks get some. One is
  // rewritten here, the other one's packets go onto the mesh as they are.
  for (const protocol of [TCP, UDP]) {
    const outs = new Map<string, ReadFrame>();
    for (let sourcePort = 43_001; sourcePort <= 43_032; sourcePort += 1) {
      const packet = { protocol, sourcePort };
      const { verdict, packet: out } = await run({
        ...{ name: '', program: 'from_uplink', packet, verdict: REDIRECT },
      });
      t.equal(verdict, REDIRECT);
      const read = readFrame(out);
      outs.set(read.destination, read);
    }
    t.match(
      [...outs.values()].sort((x, y) => x.destination.localeCompare(y.destination)),
      [
        {
          destination: '10.0.0.11',
          destinationPort: 80,
          ttl: 63,
          sound: true,
          source: FROM_CLIENT.source,
        },
        {
          destination: FROM_CLIENT.destination,
          destinationPort: 8080,
          destinationMac: '02:73:0a:00:00:0c',
          sourceMac: '02:74:0a:00:00:02',
          ttl: 63,
          sound: true,
        },
      ],
    );
  }

  // A fragmented datagram to a published port: the later part follows the first.
  for (let id = 1; id <= 2; id++) {
    const packet = { protocol: UDP, sourcePort: 44000 + id, id };
    const first = await run({
      name: '',
      program: 'from_uplink',
      packet: { ...packet, fragment: 0x2000 },
      verdict: 7,
    });
    const later = await run({
      name: '',
      program: 'from_uplink',
      packet: { ...packet, fragment: 0x0002 },
      verdict: 7,
    });
    t.equal(later.verdict, REDIRECT);
    t.equal(readFrame(later.packet).destination, readFrame(first.packet).destination);
    t.ok(readFrame(later.packet).sound);
  }
});
