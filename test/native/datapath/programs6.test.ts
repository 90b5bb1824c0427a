/**
 * Tables of IPv6 packets run through single programs by the kernel's test run: packet in, verdict,
 * packet out, and the counter a refusal must raise.
 */
import t from 'tap';
import { CLIENT_ADDRESS6, startCluster, VIP6 } from './cluster.js';
import { ETHERNET_BYTES, TCP, UDP } from './packets.js';
import {
  fragment,
  HOP_BY_HOP,
  ICMPV6,
  ip6,
  type Ipv6Packet,
  ipv6Frame,
  type ReadFrame6,
  readFrame6,
  ROUTING,
  solicitation,
} from './packets6.js';
import { macOf, World } from './world.js';

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(300_000);

const SHOT = 2;
const REDIRECT = 7;
const NEXT = -1;
const TUNNEL_BYTES = 50;
const OWN = 'fd00:10:0:2::15';
const GATEWAY = 'fd00:10:0:2::1';
const LINK_LOCAL = 'fe80::42:aff:fe00:115';
const ROUTERS = 'ff02::2';
const REPORTS = 'ff02::16';

const FROM_PLAIN: Ipv6Packet = {
  sourceMac: macOf('10.0.1.21'),
  source: OWN,
  destination: 'fd00:10:0:2::c',
  protocol: UDP,
};
const FROM_CLIENT: Ipv6Packet = {
  sourceMac: '06:00:00:00:00:09',
  source: CLIENT_ADDRESS6,
  destination: 'fd00:77::11',
  protocol: TCP,
  destinationPort: 8080,
};

interface Case {
  readonly name: string;
  readonly packet: Partial<Ipv6Packet> | readonly number[];
  readonly verdict: number;
  readonly out?: Partial<ReadFrame6>;
  /** Counter that must grow by one. */
  readonly reason?: string;
}

/** The frame, or what is in it if it is a tunnel packet; the outer IP header is IPv4. */
function innerOf(frame: Uint8Array): Uint8Array {
  return (frame[ETHERNET_BYTES] ?? 0) >> 4 === 4 ? frame.subarray(TUNNEL_BYTES) : frame;
}

const frame = ipv6Frame(FROM_PLAIN);
const shot = (name: string, packet: Case['packet'], reason: string): Case => ({
  name,
  packet,
  verdict: SHOT,
  reason,
});
const asked = solicitation(FROM_PLAIN, GATEWAY);
const eight = [0, 1, 4, 0, 0, 0, 0];

const CONTAINER_CASES: readonly Case[] = [
  {
    name: 'to the same node: MAC of the other container, hop limit as it was',
    packet: { destination: 'fd00:10:0:2::b' },
    verdict: REDIRECT,
    out: { destinationMac: macOf('10.0.1.11'), hopLimit: 64, sound: true },
  },
  shot('another sender address', { source: 'fd00:10:0:2::c' }, 'drop-spoofed-address'),
  shot('a link-local sender', { source: LINK_LOCAL }, 'drop-spoofed-address'),
  shot('another sender MAC', { sourceMac: macOf('10.0.1.12') }, 'drop-spoofed-mac'),
  shot('multicast', { destination: 'ff02::fb' }, 'drop-multicast'),
  shot(
    'router solicitation',
    {
      source: LINK_LOCAL,
      destination: ROUTERS,
      protocol: ICMPV6,
      message: [133, 0, 0, 0, 0, 0, 0, 0],
    },
    'drop-multicast',
  ),
  shot(
    'listener report behind a hop-by-hop header',
    {
      source: LINK_LOCAL,
      destination: REPORTS,
      protocol: ICMPV6,
      message: [143, 0, 0, 0, 0, 0, 0, 0],
      extensions: [{ type: HOP_BY_HOP, rest: [0, 5, 2, 0, 0, 1, 0] }],
    },
    'drop-multicast',
  ),
  shot('nobody in the subnet', { destination: 'fd00:10:0:2::7' }, 'drop-unknown-destination'),
  shot(
    'in the subnet, above the host numbers',
    { destination: 'fd00:10:0:2::1:c' },
    'drop-network-isolation',
  ),
  shot('another network', { destination: 'fd00:10:0:1::b' }, 'drop-network-isolation'),
  shot("the host's own front", { destination: 'fd00:10:0:1:0:1:0:1' }, 'drop-network-isolation'),
  shot('link-local', { destination: 'fe80::1' }, 'drop-network-isolation'),
  shot('an IPv4 address in IPv6 form', { destination: '::ffff:a00:10b' }, 'drop-malformed'),
  shot('an IPv4 sender in IPv6 form', { source: '::ffff:a00:115' }, 'drop-malformed'),
  { name: 'outside', packet: { destination: '2001:db8::1' }, verdict: REDIRECT },
  shot('version 4 in an IPv6 frame', frame.with(14, 0x45), 'drop-malformed'),
  shot(
    'virtual address, cut in the ports',
    ipv6Frame({ ...FROM_PLAIN, destination: VIP6 }).slice(0, 56),
    'drop-malformed',
  ),
  shot(
    'five extension headers',
    {
      extensions: Array.from({ length: 5 }, () => ({
        type: ROUTING,
        rest: [0, ...eight.slice(1)],
      })),
    },
    'drop-malformed',
  ),
  shot(
    'virtual address, a later fragment without its first',
    { destination: VIP6, extensions: [fragment(8, false, 900)], raw: [1, 2, 3, 4] },
    'drop-fragment-without-first',
  ),
  {
    name: 'solicitation: who has the gateway',
    packet: asked,
    verdict: REDIRECT,
    reason: 'neighbour-answered',
    out: {
      destinationMac: macOf('10.0.1.21'),
      source: GATEWAY,
      destination: OWN,
      hopLimit: 255,
      sound: true,
      body: [136, 0, 0xe0, 0, 0, 0, ...ip6(GATEWAY), 2, 1, 2, 0x72, 0, 0, 0, 1],
    },
  },
  {
    name: 'solicitation: is the gateway still there',
    packet: { ...asked, destination: GATEWAY },
    verdict: REDIRECT,
    reason: 'neighbour-answered',
  },
  {
    name: 'solicitation from the link-local address',
    packet: { ...asked, source: LINK_LOCAL },
    verdict: REDIRECT,
    out: { destination: LINK_LOCAL, sound: true },
  },
  shot(
    'solicitation passed on by a router',
    { ...asked, hopLimit: 254 },
    'drop-neighbour-discovery',
  ),
  shot(
    'solicitation: is the own address taken',
    solicitation({ ...FROM_PLAIN, source: '::' }, OWN),
    'drop-neighbour-discovery',
  ),
  shot(
    'solicitation for the own address',
    solicitation(FROM_PLAIN, OWN),
    'drop-neighbour-discovery',
  ),
  shot(
    'solicitation for an address outside the subnet',
    solicitation(FROM_PLAIN, 'fd00:10:0:1::b'),
    'drop-neighbour-discovery',
  ),
  shot(
    'solicitation in the name of another',
    solicitation({ ...FROM_PLAIN, source: 'fd00:10:0:2::c' }, GATEWAY),
    'drop-spoofed-address',
  ),
  shot('solicitation cut short', ipv6Frame(asked).slice(0, 70), 'drop-neighbour-discovery'),
];

const UPLINK_CASES: readonly Case[] = [
  { name: 'a port nobody published', packet: { destinationPort: 22 }, verdict: NEXT },
  { name: 'another host', packet: { destination: 'fd00:77::50' }, verdict: NEXT },
  { name: 'ping', packet: { protocol: ICMPV6 }, verdict: NEXT },
  { name: 'a solicitation', packet: solicitation(FROM_CLIENT, 'fd00:77::11'), verdict: NEXT },
  { name: 'cut short', packet: ipv6Frame(FROM_CLIENT).slice(0, 56), verdict: NEXT },
  {
    name: 'published, last hop',
    packet: { hopLimit: 1, sourcePort: 42000 },
    verdict: SHOT,
    reason: 'drop-ttl-exceeded',
  },
];

await t.test('programs, IPv6', async (t) => {
  const world = new World();
  t.teardown(async () => await world.close());
  const { a } = await startCluster(world);
  const link = (await a.dump()).links.find((row) => row.address === '10.0.1.21');
  const index = (name: string) => Number(a.run('ip', '-o', 'link', 'show', name).split(':')[0]);
  const indexes = { from_container: index(link?.interfaceName ?? ''), from_uplink: index('eth0') };

  async function run(program: keyof typeof indexes, packet: readonly number[]) {
    const result = await a.agent.call('testRun', program, packet, indexes[program]);
    const out = result as { verdict: number; packet: number[] };
    return { verdict: out.verdict, packet: Uint8Array.from(out.packet) };
  }

  for (const [program, base, cases] of [
    ['from_container', FROM_PLAIN, CONTAINER_CASES],
    ['from_uplink', FROM_CLIENT, UPLINK_CASES],
  ] as const)
    for (const each of cases) {
      const before = await a.counters();
      const bytes = Array.isArray(each.packet)
        ? (each.packet as number[])
        : ipv6Frame({ ...base, ...(each.packet as Partial<Ipv6Packet>) });
      const { verdict, packet } = await run(program, bytes);
      t.equal(verdict, each.verdict, `${program}: ${each.name}`);
      if (each.out?.body) {
        const { body, ...rest } = each.out;
        const read = readFrame6(packet);
        // Without its checksum, which "sound" is about.
        t.same([...read.body.slice(0, 2), ...read.body.slice(4)], body, `${each.name}: message`);
        t.match(read, rest, `${each.name}: packet`);
      } else if (each.out) {
        t.match(readFrame6(packet), each.out, `${each.name}: packet`);
      }
      if (each.reason) {
        const grown = ((await a.counters())[each.reason] ?? 0) - (before[each.reason] ?? 0);
        t.equal(grown, 1, `${each.name}: ${each.reason}`);
      }
    }

  /**
   * One flow to each task: one rewritten, one as it was but in a tunnel. Which flow goes where is up to
   * a hash of its ports.
   */
  async function bothTasks(program: keyof typeof indexes, packet: Ipv6Packet, skip = 0) {
    const outs = new Map<string, ReadFrame6>();
    for (let sourcePort = 43001; outs.size < 2 && sourcePort < 43065; sourcePort++) {
      const { verdict, packet: out } = await run(program, ipv6Frame({ ...packet, sourcePort }));
      t.equal(verdict, REDIRECT);
      const read = readFrame6(innerOf(out), skip, packet.protocol);
      outs.set(read.destination, read);
    }
    return [...outs.values()].sort((x, y) => x.destination.length - y.destination.length);
  }

  for (const protocol of [TCP, UDP]) {
    const outs = await bothTasks('from_uplink', { ...FROM_CLIENT, protocol });
    const local = outs.find(({ destination }) => destination === 'fd00:10:0:1::b');
    t.match(local, { source: CLIENT_ADDRESS6, hopLimit: 63, sound: true });
    t.same(local?.body.slice(2, 4), [0, 80], 'target port');
    const remote = outs.find(({ destination }) => destination === 'fd00:77::11');
    t.match(remote, { destinationMac: '02:73:0a:00:00:0c', hopLimit: 63, sound: true });
    t.same(remote?.body.slice(2, 4), [0x1f, 0x90], 'published port');
  }
  for (const [protocol, extensions] of [
    [TCP, []],
    [UDP, []],
    [ICMPV6, []],
    [UDP, [{ type: HOP_BY_HOP, rest: [0, ...eight.slice(1)] }]],
  ] as const) {
    const packet = { ...FROM_PLAIN, destination: VIP6, protocol, extensions };
    const outs = await bothTasks('from_container', packet, extensions.length * 8);
    t.same(
      outs.map(({ destination }) => destination).sort(),
      ['fd00:10:0:2::b', 'fd00:10:0:2::c'],
      `virtual address, protocol ${protocol}`,
    );
    t.ok(outs.every(({ sound, source }) => sound && source === OWN));
  }
  for (let id = 1; id <= 2; id++) {
    const whole = { ...FROM_CLIENT, protocol: UDP, sourcePort: 44000 + id };
    const first = await run(
      'from_uplink',
      ipv6Frame({ ...whole, extensions: [fragment(0, true, id)] }),
    );
    const later = await run(
      'from_uplink',
      ipv6Frame({ ...whole, extensions: [fragment(8, false, id)], raw: [1, 2, 3, 4] }),
    );
    t.equal(later.verdict, REDIRECT);
    t.equal(
      readFrame6(innerOf(later.packet)).destination,
      readFrame6(innerOf(first.packet)).destination,
    );
    t.ok(readFrame6(innerOf(first.packet), 8, UDP).sound, 'first fragment');
  }
});
