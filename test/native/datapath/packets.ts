/** Builds and reads Ethernet frames for table tests, with every checksum right. */

export const ETHERNET_BYTES = 14;
const IP_BYTES = 20;
const TUNNEL_BYTES = 50;
const TUNNEL_PORT = 4789;
export const TCP = 6;
export const UDP = 17;
export const ICMP = 1;

/** What a test says about an IPv4 packet; the rest has defaults. */
export interface Ipv4Packet {
  readonly sourceMac: string;
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly ttl?: number;
  /** TCP flags, default SYN. */
  readonly flags?: number;
  /** Number of 4-byte no-operation options. */
  readonly options?: number;
  /** Content instead of `hello`. */
  readonly payload?: readonly number[];
  /** UDP without a checksum. */
  readonly zeroChecksum?: boolean;
  /** Flags and offset word of fragments. */
  readonly fragment?: number;
  readonly id?: number;
}

export function mac(text: string): number[] {
  return text.split(':').map((part) => Number.parseInt(part, 16));
}

export function ip(text: string): number[] {
  return text.split('.').map(Number);
}

function word(value: number): number[] {
  return [(value >> 8) & 0xff, value & 0xff];
}

/** The Internet checksum of RFC 1071. */
export function checksum(bytes: readonly number[]): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function pseudoHeader(packet: Ipv4Packet, length: number): number[] {
  return [...ip(packet.source), ...ip(packet.destination), 0, packet.protocol, ...word(length)];
}

function transport(packet: Ipv4Packet): number[] {
  const ports = [...word(packet.sourcePort ?? 40000), ...word(packet.destinationPort ?? 80)];
  const payload = packet.payload ?? [...Buffer.from('hello')];
  let header: number[];
  let checksumAt: number;
  if (packet.protocol === TCP) {
    header = [...ports, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, packet.flags ?? 2, 1, 0, 0, 0, 0, 0];
    checksumAt = 16;
  } else if (packet.protocol === UDP) {
    header = [...ports, ...word(8 + payload.length), 0, 0];
    checksumAt = 6;
    if (packet.zeroChecksum) return [...header, ...payload];
  } else {
    header = [8, 0, 0, 0, ...word(packet.sourcePort ?? 7), 0, 1];
    const body = [...header, ...payload];
    body.splice(2, 2, ...word(checksum(body)));
    return body;
  }
  const body = [...header, ...payload];
  body.splice(checksumAt, 2, ...word(checksum([...pseudoHeader(packet, body.length), ...body])));
  return body;
}

/** An Ethernet frame with an IPv4 packet. */
export function ipv4Frame(packet: Ipv4Packet): number[] {
  const options = Array.from({ length: (packet.options ?? 0) * 4 }, () => 1);
  const body = ((packet.fragment ?? 0) & 0x1fff) > 0 ? [1, 2, 3, 4, 5, 6, 7, 8] : transport(packet);
  const length = IP_BYTES + options.length + body.length;
  const header = [
    0x40 | ((IP_BYTES + options.length) / 4),
    0,
    ...word(length),
    ...word(packet.id ?? 1),
    ...word(packet.fragment ?? 0),
    packet.ttl ?? 64,
    packet.protocol,
    0,
    0,
    ...ip(packet.source),
    ...ip(packet.destination),
    ...options,
  ];
  header.splice(10, 2, ...word(checksum(header)));
  return [...mac('02:72:00:00:00:01'), ...mac(packet.sourceMac), 8, 0, ...header, ...body];
}

/** A frame of the mesh (or of another VNI), in the tunnel packet that brings it. */
export function tunnelFrame(
  inner: readonly number[],
  tunnel: {
    readonly source: string;
    readonly destination: string;
    readonly vni: number;
    readonly destinationMac: string;
    readonly sourceMac: string;
  },
): number[] {
  const frame = [...mac(tunnel.destinationMac), ...mac(tunnel.sourceMac), ...inner.slice(12)];
  const length = IP_BYTES + 16 + frame.length;
  const header = [0x45, 0, ...word(length), 0, 1, 0, 0, 64, UDP, 0, 0];
  header.push(...ip(tunnel.source), ...ip(tunnel.destination));
  header.splice(10, 2, ...word(checksum(header)));
  const udp = [...word(40_000), ...word(TUNNEL_PORT), ...word(length - IP_BYTES), 0, 0];
  const vxlan = [8, 0, 0, 0, (tunnel.vni >> 16) & 0xff, ...word(tunnel.vni & 0xffff), 0];
  const ethernet = [...mac('06:00:00:00:00:01'), ...mac('06:00:00:00:00:02'), 8, 0];
  return [...ethernet, ...header, ...udp, ...vxlan, ...frame];
}

/** An ARP request as Ethernet frame. */
export function arpRequest(senderMac: string, sender: string, target: string): number[] {
  const head = [...mac('ff:ff:ff:ff:ff:ff'), ...mac(senderMac), 8, 6];
  return [
    ...head,
    0,
    1,
    8,
    0,
    6,
    4,
    0,
    1,
    ...mac(senderMac),
    ...ip(sender),
    0,
    0,
    0,
    0,
    0,
    0,
    ...ip(target),
  ];
}

/** A frame read back. `sound` says whether every checksum is right. */
export interface ReadFrame {
  readonly destinationMac: string;
  readonly sourceMac: string;
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly protocol: number;
  /** Flags of a TCP segment, else 0. */
  readonly flags: number;
  readonly ttl: number;
  readonly sound: boolean;
}

function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

function transportIsSound(header: Buffer, body: Buffer): boolean {
  const protocol = header[9];
  if ((header.readUInt16BE(6) & 0x1fff) > 0) return true;
  if (protocol === UDP && body.readUInt16BE(6) === 0) return true;
  if (protocol === ICMP) return checksum([...body]) === 0;
  const pseudo = [...header.subarray(12, 20), 0, protocol ?? 0, ...word(body.length)];
  return checksum([...pseudo, ...body]) === 0;
}

/** Reads a frame; of a tunnel packet the frame inside, sound only if the outer headers are too. */
export function readFrame(bytes: Uint8Array): ReadFrame {
  const outer = readPlainFrame(bytes);
  if (outer.destinationPort !== TUNNEL_PORT) return outer;
  const inner = readPlainFrame(bytes.subarray(TUNNEL_BYTES));
  return { ...inner, sound: inner.sound && outer.sound };
}

function readPlainFrame(bytes: Uint8Array): ReadFrame {
  const frame = Buffer.from(bytes);
  const headerBytes = ((frame[ETHERNET_BYTES] ?? 0) & 0xf) * 4;
  const header = frame.subarray(ETHERNET_BYTES, ETHERNET_BYTES + headerBytes);
  const end = ETHERNET_BYTES + header.readUInt16BE(2);
  const body = frame.subarray(ETHERNET_BYTES + headerBytes, end);
  return {
    destinationMac: hex(frame.subarray(0, 6)),
    sourceMac: hex(frame.subarray(6, 12)),
    source: [...header.subarray(12, 16)].join('.'),
    destination: [...header.subarray(16, 20)].join('.'),
    sourcePort: body.readUInt16BE(0),
    destinationPort: body.readUInt16BE(2),
    protocol: header[9] ?? 0,
    flags: header[9] === TCP ? (body[13] ?? 0) : 0,
    ttl: header[8] ?? 0,
    sound: checksum([...header]) === 0 && transportIsSound(header, body),
  };
}
