/**
 * Addresses that labels ask for: a network reserves ranges (`skep.reserved`), services name addresses
 * of these as their virtual one (`skep.vip.<network>`) and as those of their slots
 * (`skep.addresses.<network>`). They are labels because Swarm's specs have no field for them.
 */
import type { Network } from './gen/docker/swarmkit/v1/objects_pb.js';
import { firstAddress, formatIpv4, lastAddress, parseIpPrefix, parseIpv4 } from './ip-prefix.js';

/** Of a network: addresses that are given only to those whose labels ask for them. */
export const RESERVED_LABEL = 'skep.reserved';

/** Label that the docker CLI puts on the services of a stack. */
const NAMESPACE_LABEL = 'com.docker.stack.namespace';

/** What the labels of services look like: kind, then network. */
const KEY = /^skep\.(vip|addresses)\.([A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?)$/;

/** Ranges in one label. */
const RANGES_MAX = 64;

type Labels = Readonly<Record<string, string>> | undefined;

/** IPv4 addresses as numbers, both ends included. */
export interface AddressRange {
  readonly first: number;
  readonly last: number;
}

/** Kind and network of a label key; undefined when it is none of these. */
export function fixedAddressLabel(
  key: string,
): { readonly kind: 'vip' | 'addresses'; readonly network: string } | undefined {
  const match = KEY.exec(key);
  if (match === null) return undefined;
  return { kind: match[1] === 'vip' ? 'vip' : 'addresses', network: match[2] ?? '' };
}

/**
 * `10.0.9.7`, `10.0.9.10-10.0.9.19` and `10.0.9.192/26`, separated by commas, in the order given;
 * undefined when malformed, or when an address is named twice.
 */
export function parseAddressRanges(text: string): readonly AddressRange[] | undefined {
  const parts = text.split(',');
  if (parts.length > RANGES_MAX) return undefined;
  const ranges: AddressRange[] = [];
  for (const part of parts) {
    const range = parseRange(part.trim());
    if (range === undefined || ranges.some((other) => rangesMeet(range, other))) return undefined;
    ranges.push(range);
  }
  return ranges;
}

/** One IPv4 address as a number; undefined when malformed. */
export function parseFixedAddress(text: string): number | undefined {
  const address = parseIpv4(text);
  return address === undefined ? undefined : Number(address);
}

/** `10.0.9.7` of a number. */
export function formatAddress(address: number): string {
  return formatIpv4(BigInt(address));
}

/** How many addresses these are. */
export function addressCount(ranges: readonly AddressRange[]): number {
  return ranges.reduce((sum, { first, last }) => sum + last - first + 1, 0);
}

/** The nth of the addresses, the first being 1; undefined when there are fewer. */
export function nthAddress(ranges: readonly AddressRange[], n: number): number | undefined {
  let before = 0;
  for (const { first, last } of ranges) {
    const count = last - first + 1;
    if (n > before && n <= before + count) return first + n - before - 1;
    before += count;
  }
  return undefined;
}

/** Whether one of the ranges has the address. */
export function hasAddress(ranges: readonly AddressRange[], address: number): boolean {
  return ranges.some(({ first, last }) => address >= first && address <= last);
}

/** Whether two ranges share an address. */
export function rangesMeet(a: AddressRange, b: AddressRange): boolean {
  return a.first <= b.last && b.first <= a.last;
}

/** What a network reserves. */
export function reservedOf(network: Network): readonly AddressRange[] {
  const text = network.spec?.annotations?.labels[RESERVED_LABEL];
  return text === undefined ? [] : (parseAddressRanges(text) ?? []);
}

/** Whether `name` in a label of a service means the network: its name or id, or its name in the service's stack. */
export function meansNetwork(name: string, network: Network, labels: Labels): boolean {
  const full = network.spec?.annotations?.name ?? '';
  const namespace = labels?.[NAMESPACE_LABEL];
  return (
    name === full ||
    name === network.id ||
    (namespace !== undefined && `${namespace}_${name}` === full)
  );
}

/** The virtual address that the labels of a service ask for on a network. */
export function fixedVip(labels: Labels, network: Network): number | undefined {
  const text = labelFor('vip', labels, network);
  return text === undefined ? undefined : parseFixedAddress(text);
}

/** The addresses that the labels of a service name for its slots on a network. */
export function fixedAddresses(
  labels: Labels,
  network: Network,
): readonly AddressRange[] | undefined {
  const text = labelFor('addresses', labels, network);
  return text === undefined ? undefined : parseAddressRanges(text);
}

function labelFor(kind: 'vip' | 'addresses', labels: Labels, network: Network): string | undefined {
  for (const [key, value] of Object.entries(labels ?? {})) {
    const label = fixedAddressLabel(key);
    if (label?.kind === kind && meansNetwork(label.network, network, labels)) return value;
  }
  return undefined;
}

function parseRange(text: string): AddressRange | undefined {
  if (text.includes('/')) {
    const prefix = parseIpPrefix(text);
    if (prefix?.version !== 4) return undefined;
    return { first: Number(firstAddress(prefix)), last: Number(lastAddress(prefix)) };
  }
  const [firstText = '', lastText = firstText, ...rest] = text.split('-');
  const [first, last] = [parseFixedAddress(firstText), parseFixedAddress(lastText)];
  if (first === undefined || last === undefined || rest.length > 0 || last < first)
    return undefined;
  return { first, last };
}
