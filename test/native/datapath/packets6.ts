/** Builds and reads Ethernet frames with IPv6 packets for table tests, with every checksum right. */
import { checksum, ETHERNET_BYTES, mac, TCP, UDP } from './packets.js';
import { formatIpv6, parseIpPrefix } from '../../../src/model/ip-prefix.js';

export const ICMPV6 = 58;
export const HOP_BY_HOP = 0;
export const ROUTING = 43;
export const FRAGMENT = 44;
export const IP6_BYTES = 40;

/** What a test says about an IPv6 packet; the rest has defaults. */
export interface Ipv6Packet {
  readonly sourceMac: string;
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly hopLimit?: number;
  /** TCP flags, default SYN. */
  readonly flags?: number;
  /** Extension headers before the transport header: their type and bytes without the first. */
  readonly extensions?: readonly { readonly type: number; readonly rest: readonly number[] }[];
  /** The whole ICMPv6 message but its checksum, which is at 2. */
  readonly message?: readonly number[];
  /** Bytes instead of a transport header, for later fragments. */
  readonly raw?: readonly number[];
}

/** The 16 bytes of an address; also of one in IPv4-mapped form given as `::ffff:` and hex groups. */
export function ip6(text: string): number[] {
  const value = parseIpPrefix(`${text}/128`)?.address ?? 0n;
  return Array.from({ length: 16 }, (_, index) =>
    Number((value >> BigInt(120 - 8 * index)) & 0xffn),
  );
}

function word(value: number): number[] {
  return [(value >> 8) & 0xff, value & 0xff];
}

function pseudoHeader(
  packet: Pick<Ipv6Packet, 'source' | 'destination' | 'protocol'>,
  length: number,
) {
  return [
    ...ip6(packet.source),
    ...ip6(packet.destination),
    0,
    0,
    ...word(length),
    0,
    0,
    0,
    packet.protocol,
  ];
}

function transport(packet: Ipv6Packet): number[] {
  const ports = [...word(packet.sourcePort ?? 40000), ...word(packet.destinationPort ?? 80)];
  const payload = [...Buffer.from('hello')];
  let body: number[];
  let checksumAt = 2;
  if (packet.protocol === TCP) {
    const rest = [0, 0, 0, 1, 0, 0, 0, 0, 0x50, packet.flags ?? 2, 1, 0, 0, 0, 0, 0];
    body = [...ports, ...rest, ...payload];
    checksumAt = 16;
  } else if (packet.protocol === UDP) {
    body = [...ports, ...word(8 + payload.length), 0, 0, ...payload];
    checksumAt = 6;
  } else {
    body = [...(packet.message ?? [128, 0, 0, 0, ...word(packet.sourcePort ?? 7), 0, 1])];
  }
  body.splice(checksumAt, 2, ...word(checksum([...pseudoHeader(packet, body.length), ...body])));
  return body;
}

/** An Ethernet frame with an IPv6 packet. */
export function ipv6Frame(packet: Ipv6Packet): number[] {
  const extensions = packet.extensions ?? [];
  const types = [...extensions.map(({ type }) => type), packet.protocol];
  const headers = extensions.flatMap(({ rest }, index) => [types[index + 1] ?? 0, ...rest]);
  const body = [...headers, ...(packet.raw ?? transport(packet))];
  const head = [0x60, 0, 0, 0, ...word(body.length), types[0] ?? 0, packet.hopLimit ?? 64];
  const header = [...head, ...ip6(packet.source), ...ip6(packet.destination)];
  return [...mac('02:72:00:00:00:01'), ...mac(packet.sourceMac), 0x86, 0xdd, ...header, ...body];
}

/** A fragment header: offset in bytes, whether more follow, and the id. */
export function fragment(offset: number, more: boolean, id: number) {
  return { type: FRAGMENT, rest: [0, ...word(offset | Number(more)), 0, 0, ...word(id)] };
}

/** A neighbour solicitation as the stack sends it. */
export function solicitation(
  from: Pick<Ipv6Packet, 'sourceMac' | 'source'>,
  target: string,
): Ipv6Packet {
  const low = ip6(target)
    .slice(13)
    .map((byte) => byte.toString(16).padStart(2, '0'));
  return {
    ...from,
    destination: `ff02:0:0:0:0:1:ff${low[0]}:${low[1]}${low[2]}`,
    protocol: ICMPV6,
    hopLimit: 255,
    message: [135, 0, 0, 0, 0, 0, 0, 0, ...ip6(target), 1, 1, ...mac(from.sourceMac)],
  };
}

/** A frame read back. `sound` says whether the transport's checksum is right. */
export interface ReadFrame6 {
  readonly destinationMac: string;
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly hopLimit: number;
  readonly body: readonly number[];
  readonly sound: boolean;
}

function textOf(bytes: readonly number[]): string {
  return formatIpv6(bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n));
}

/** Reads a frame without extension headers, or with `skip` bytes of them before `protocol`. */
export function readFrame6(bytes: Uint8Array, skip = 0, protocol?: number): ReadFrame6 {
  const frame = [...bytes].slice(ETHERNET_BYTES);
  const length = ((frame[4] ?? 0) << 8) | (frame[5] ?? 0);
  const body = frame.slice(IP6_BYTES + skip, IP6_BYTES + length);
  const read = {
    destinationMac: [...bytes.subarray(0, 6)].map((b) => b.toString(16).padStart(2, '0')).join(':'),
    source: textOf(frame.slice(8, 24)),
    destination: textOf(frame.slice(24, 40)),
    protocol: protocol ?? frame[6] ?? 0,
    hopLimit: frame[7] ?? 0,
    body,
  };
  return { ...read, sound: checksum([...pseudoHeader(read, body.length), ...body]) === 0 };
}
