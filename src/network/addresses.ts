/**
 * IPv4 and MAC addresses as text and numbers. Everything that comes from another machine passes
 * through the parsers here; `undefined` means "not an address". Tunnels may be IPv6.
 */
import { formatIpv6, parseIpPrefix } from '../model/ip-prefix.js';

const OCTET = /^(0|[1-9]\d{0,2})$/;
const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/;

/** A subnet: network address as an unsigned number and prefix length. */
export interface Cidr {
  readonly network: number;
  readonly prefixLength: number;
}

/** `a.b.c.d` as an unsigned 32-bit number. */
export function parseIpv4(text: string): number | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  let value = 0;
  for (const part of parts) {
    const octet = Number(part);
    if (!OCTET.test(part) || octet > 255) return undefined;
    value = value * 256 + octet;
  }
  return value;
}

/** True for a dotted IPv4 address. */
export function isIpv4(text: string): boolean {
  return parseIpv4(text) !== undefined;
}

/** An unsigned 32-bit number as `a.b.c.d`. */
export function formatIpv4(value: number): string {
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 0xff).join('.');
}

/** `a.b.c.d/len` as the address and its prefix length. */
export function parseAddressWithPrefix(
  text: string,
): { readonly address: string; readonly prefixLength: number } | undefined {
  const slash = text.indexOf('/');
  if (slash < 0) return undefined;
  const address = text.slice(0, slash);
  const length = text.slice(slash + 1);
  const prefixLength = Number(length);
  if (!isIpv4(address) || !/^\d{1,2}$/.test(length) || prefixLength > 32) return undefined;
  return { address, prefixLength };
}

/** Address part of `a.b.c.d` or `a.b.c.d/len`. */
export function bareAddress(text: string): string | undefined {
  return isIpv4(text) ? text : parseAddressWithPrefix(text)?.address;
}

/** A subnet; host bits are cut off. */
export function parseCidr(text: string): Cidr | undefined {
  const parsed = parseAddressWithPrefix(text);
  const address = parsed && parseIpv4(parsed.address);
  if (parsed === undefined || address === undefined) return undefined;
  return { network: maskOf(address, parsed.prefixLength), prefixLength: parsed.prefixLength };
}

/** True if `address` lies in `subnet` (both as text; false for anything malformed). */
export function subnetContains(subnet: string, address: string): boolean {
  const cidr = parseCidr(subnet);
  const value = parseIpv4(address);
  return (
    cidr !== undefined && value !== undefined && maskOf(value, cidr.prefixLength) === cidr.network
  );
}

function maskOf(address: number, prefixLength: number): number {
  const size = 2 ** (32 - prefixLength);
  return Math.floor(address / size) * size;
}

/** The MAC address of an overlay interface: `02:42:` and the IPv4 octets, as in stock Swarm. */
export function macOf(address: string): string {
  const octets = address.split('.').map((part) => Number(part).toString(16).padStart(2, '0'));
  return `02:42:${octets.join(':')}`;
}

/** True for six lower-case hexadecimal octets. */
export function isMac(text: string): boolean {
  return MAC.test(text);
}

/** Neither multicast, loopback, unspecified nor broadcast: an IPv4 address that can be one end of a tunnel. */
export function isUnicast(address: string): boolean {
  const value = parseIpv4(address);
  if (value === undefined) return false;
  const first = value >>> 24;
  return first !== 0 && first !== 127 && first < 224;
}

/**
 * A tunnel's address in the one form it is compared in: dotted IPv4, or IPv6 as RFC 5952 writes it.
 * Undefined for what cannot be one: malformed, loopback, multicast, link-local, IPv4 in IPv6 form.
 */
export function tunnelAddressOf(text: string): string | undefined {
  if (isIpv4(text)) return isUnicast(text) ? text : undefined;
  const v6 = parseIpPrefix(`${text}/128`);
  if (v6?.version !== 6) return undefined;
  const first = Number(v6.address >> 112n);
  const isGlobal = first !== 0 && first < 0xfe00;
  return isGlobal ? formatIpv6(v6.address) : undefined;
}
