/**
 * IP prefixes as numbers: parsing, printing and comparing IPv4 and IPv6 CIDR text without the
 * operating system.
 */

/** An address with its prefix length; `address` keeps its host bits. */
export interface IpPrefix {
  readonly version: 4 | 6;
  readonly address: bigint;
  /** Bits of the network part. */
  readonly length: number;
}

const WIDTH = { 4: 32, 6: 128 } as const;

/** Parses `10.0.0.0/24` or `fd00::/64`; undefined when malformed. */
export function parseIpPrefix(text: string): IpPrefix | undefined {
  const [addressText, lengthText, ...rest] = text.split('/');
  if (addressText === undefined || lengthText === undefined || rest.length > 0) return undefined;
  const version = addressText.includes(':') ? 6 : 4;
  const address = version === 4 ? parseIpv4(addressText) : parseIpv6(addressText);
  if (address === undefined || !/^\d{1,3}$/.test(lengthText)) return undefined;
  const length = Number(lengthText);
  return length > WIDTH[version] ? undefined : { version, address, length };
}

/** Parses a dotted quad; undefined when malformed. */
export function parseIpv4(text: string): bigint | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  let value = 0n;
  for (const part of parts) {
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
    value = value * 256n + BigInt(part);
  }
  return value;
}

function parseIpv6(text: string): bigint | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const groups = halves.map((half) => (half === '' ? [] : half.split(':')));
  const head = groups[0] ?? [];
  const tail = groups[1] ?? [];
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  let value = 0n;
  for (const group of [...head, ...Array<string>(missing).fill('0'), ...tail]) {
    if (!/^[0-9a-f]{1,4}$/i.test(group)) return undefined;
    value = value * 65536n + BigInt(`0x${group}`);
  }
  return value;
}

/** `address` as a dotted quad. */
export function formatIpv4(address: bigint): string {
  return [24n, 16n, 8n, 0n].map((shift) => ((address >> shift) & 255n).toString()).join('.');
}

/** `address` as IPv6 text in the form of RFC 5952. */
export function formatIpv6(address: bigint): string {
  const groups = Array.from(
    { length: 8 },
    (_, index) => (address >> BigInt(112 - 16 * index)) & 0xffffn,
  );
  let best = { at: -1, length: 1 };
  for (let at = 0; at < groups.length; at++) {
    let length = 0;
    while (groups[at + length] === 0n) length += 1;
    if (length > best.length) best = { at, length };
  }
  const text = groups.map((group) => group.toString(16));
  if (best.at < 0) return text.join(':');
  return `${text.slice(0, best.at).join(':')}::${text.slice(best.at + best.length).join(':')}`;
}

/** First address of the prefix, host bits cleared. */
export function firstAddress(prefix: IpPrefix): bigint {
  return (prefix.address >> hostBits(prefix)) << hostBits(prefix);
}

/** Last address of the prefix. */
export function lastAddress(prefix: IpPrefix): bigint {
  return firstAddress(prefix) + (1n << hostBits(prefix)) - 1n;
}

/** Whether two prefixes share an address. */
export function overlaps(a: IpPrefix, b: IpPrefix): boolean {
  return (
    a.version === b.version &&
    firstAddress(a) <= lastAddress(b) &&
    firstAddress(b) <= lastAddress(a)
  );
}

/** Whether the address of `inner` lies in `outer`. */
export function containsAddress(outer: IpPrefix, inner: IpPrefix): boolean {
  return (
    outer.version === inner.version &&
    inner.address >= firstAddress(outer) &&
    inner.address <= lastAddress(outer)
  );
}

function hostBits(prefix: IpPrefix): bigint {
  return BigInt(WIDTH[prefix.version] - prefix.length);
}
