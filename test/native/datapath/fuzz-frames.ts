/**
 * Frames for the fuzzer: sound ones of every kind the programs know, and seeded mutations of them.
 */
import type { SeededRandom } from '../../support/simulated-environment.js';
import { arpRequest, ICMP, ip, type Ipv4Packet, ipv4Frame, mac, TCP, UDP } from './packets.js';

const FRAME_BYTES_MAX = 1400;
const INTERESTING = [
  0, 1, 2, 4, 5, 6, 8, 0x11, 0x3f, 0x40, 0x45, 0x60, 0x7f, 0x80, 0x86, 0xfe, 0xff,
];
const SCTP = 132;
const TCP_FLAGS = [0x02, 0x10, 0x12, 0x18, 0x11, 0x04, 0x14, 0x00, 0xff];

/** Sender and the addresses it may mean. */
export interface CorpusOptions {
  readonly sourceMac: string;
  readonly source: string;
  readonly destinations: readonly string[];
  readonly ports: readonly number[];
}

/** One sound frame for each destination, protocol and port, and the odd ones. */
export function corpus(options: CorpusOptions): readonly (readonly number[])[] {
  const { sourceMac, source } = options;
  const frames: number[][] = [];
  for (const destination of options.destinations) {
    const base: Ipv4Packet = { sourceMac, source, destination, protocol: UDP };
    frames.push(arpRequest(sourceMac, source, destination));
    frames.push(ipv4Frame({ ...base, protocol: ICMP }));
    frames.push(icmpError(base, { ...base, source: destination, destination: source }));
    frames.push(ipv4Frame({ ...base, protocol: SCTP }), ipv4Frame({ ...base, protocol: 47 }));
    for (const destinationPort of options.ports) {
      for (const flags of TCP_FLAGS) {
        frames.push(ipv4Frame({ ...base, protocol: TCP, destinationPort, flags }));
      }
      frames.push(ipv4Frame({ ...base, destinationPort }));
      frames.push(ipv4Frame({ ...base, destinationPort, zeroChecksum: true, options: 3, ttl: 1 }));
      for (const fragment of [0x2000, 0x2001, 0x0003, 0x1fff]) {
        frames.push(ipv4Frame({ ...base, destinationPort, fragment, id: 7 }));
      }
    }
  }
  return frames;
}

/** A "fragmentation needed" about `quoted`. */
function icmpError(packet: Ipv4Packet, quoted: Ipv4Packet): number[] {
  const quote = ipv4Frame({ ...quoted, protocol: TCP, sourcePort: 80, destinationPort: 4000 });
  const frame = ipv4Frame({ ...packet, protocol: ICMP }).slice(0, 34);
  return [...frame, 3, 4, 0, 0, 0, 0, 5, 0, ...quote.slice(14, 14 + 28)];
}

/** `inner` inside VXLAN, as one host sends it to another. */
export function inTunnel(
  inner: readonly number[],
  options: { readonly source: string; readonly destination: string; readonly vni: number },
): number[] {
  const { source, destination, vni } = options;
  const outer = ipv4Frame({
    ...{ sourceMac: '02:00:00:00:00:07', source, destination, protocol: UDP },
    ...{ sourcePort: 40_000, destinationPort: 4789, zeroChecksum: true },
  }).slice(0, 42);
  const vxlan = [8, 0, 0, 0, (vni >> 16) & 0xff, (vni >> 8) & 0xff, vni & 0xff, 0];
  const length = 20 + 8 + 8 + inner.length;
  outer.splice(16, 2, length >> 8, length & 0xff);
  outer.splice(38, 2, (length - 20) >> 8, (length - 20) & 0xff);
  return withHeaderChecksum([...outer, ...vxlan, ...inner]);
}

/** The mesh's inner MAC addresses: what kind of packet, and whose. */
export function asMesh(inner: readonly number[], kind: number, id: string): number[] {
  return [...mac(`02:${kind.toString(16)}:00:00:00:00`).slice(0, 2), ...ip(id), ...inner.slice(6)];
}

function withHeaderChecksum(frame: number[]): number[] {
  frame.splice(24, 2, 0, 0);
  let sum = 0;
  for (let at = 14; at < 34; at += 2) sum += ((frame[at] ?? 0) << 8) | (frame[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  frame.splice(24, 2, (~sum >> 8) & 0xff, ~sum & 0xff);
  return frame;
}

/** A random frame: a mutated one of `frames`, one unchanged, or noise. */
export function fuzzed(random: SeededRandom, frames: readonly (readonly number[])[]): Uint8Array {
  const dice = random.integer(0, 19);
  if (dice === 0) return noise(random);
  const frame = [...random.pick(frames)];
  if (dice === 1) return Uint8Array.from(frame);
  const mutations = random.integer(1, 4);
  for (let i = 0; i < mutations; i++) mutate(random, frame);
  // Half of them keep a right header checksum, so that they get further.
  const bytes = random.chance(0.5) && frame.length >= 34 ? withHeaderChecksum(frame) : frame;
  return Uint8Array.from(bytes.slice(0, FRAME_BYTES_MAX));
}

function noise(random: SeededRandom): Uint8Array {
  return random.bytes(random.integer(14, FRAME_BYTES_MAX));
}

function mutate(random: SeededRandom, frame: number[]): void {
  const at = random.integer(0, Math.max(0, frame.length - 1));
  switch (random.integer(0, 6)) {
    case 0:
      frame[at] = (frame[at] ?? 0) ^ (1 << random.integer(0, 7));
      break;
    case 1:
      frame[at] = random.pick(INTERESTING);
      break;
    case 2:
      frame.length = Math.max(14, at);
      break;
    case 3:
      frame.push(...random.bytes(random.integer(1, 64)));
      break;
    case 4: {
      // Some header's word, where lengths, offsets and ports are.
      const word = 12 + 2 * random.integer(0, 30);
      frame.splice(word, 2, random.pick(INTERESTING), random.pick(INTERESTING));
      break;
    }
    case 5:
      frame.splice(at, random.integer(1, 4));
      break;
    default:
      frame.splice(at, 0, ...random.bytes(random.integer(1, 4)));
  }
  if (frame.length < 14) frame.push(...random.bytes(14 - frame.length));
}
