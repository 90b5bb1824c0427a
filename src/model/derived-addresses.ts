/**
 * Where the IPv6 addresses of overlay networks come from. Nobody allocates them: a member's IPv6
 * address is the network's IPv6 subnet with the host number of the member's IPv4 address as
 * interface id, so every node computes the same one out of records that only carry IPv4. The ingress
 * network's IPv6 subnet is derived from the network's id, which is random and known to every node. Pure functions; the BPF programs do the
 * same arithmetic (native/bpf/lib/address.h).
 */
import { createHash } from 'node:crypto';
import { SkepError } from './errors.js';
import { firstAddress, formatIpv6, type IpPrefix, parseIpPrefix, parseIpv4 } from './ip-prefix.js';

const V4_BITS = 32;
const V6_BITS = 128;

/** The subnets of a dual-stack network, as CIDRs. */
export interface DualSubnets {
  readonly subnet: string;
  readonly subnet6: string;
}

function prefixOf(cidr: string, version: 4 | 6): IpPrefix {
  const prefix = parseIpPrefix(cidr);
  if (prefix?.version !== version)
    throw new SkepError('invalid_argument', `not an IPv${version} subnet: ${cidr}`);
  return prefix;
}

/** True if every IPv4 host number of the network fits behind the IPv6 prefix. */
export function hasRoom({ subnet, subnet6 }: DualSubnets): boolean {
  const hostBits = V4_BITS - prefixOf(subnet, 4).length;
  return prefixOf(subnet6, 6).length + hostBits <= V6_BITS;
}

/** What to say where {@link hasRoom} is false. */
export function tooSmall({ subnet, subnet6 }: DualSubnets): string {
  return `IPv6 subnet ${subnet6} has fewer addresses than ${subnet}`;
}

/**
 * The IPv6 address that belongs to a member's IPv4 address (plain addresses, no prefix length).
 * @throws SkepError invalid_argument: not addresses of these families
 */
export function deriveIpv6(subnets: DualSubnets, address: string): string {
  const member = parseIpv4(address);
  if (member === undefined)
    throw new SkepError('invalid_argument', `not an IPv4 address: ${address}`);
  const hostMask = (1n << BigInt(V4_BITS - prefixOf(subnets.subnet, 4).length)) - 1n;
  return formatIpv6(firstAddress(prefixOf(subnets.subnet6, 6)) | (member & hostMask));
}

/** True for two texts of one IPv6 address. */
export function sameIpv6(a: string, b: string): boolean {
  return parseIpPrefix(`${a}/${V6_BITS}`)?.address === parseIpPrefix(`${b}/${V6_BITS}`)?.address;
}

/**
 * The ingress network's IPv6 subnet: a unique local /64 (RFC 4193) whose global id and subnet id are
 * the first 56 bits of the SHA-256 of the network's id.
 */
export function ingressSubnet6(networkId: string): string {
  const hash = createHash('sha256').update(networkId).digest();
  const head = (0xfdn << 56n) | (hash.readBigUInt64BE(0) >> 8n);
  return `${formatIpv6(head << 64n)}/64`;
}
