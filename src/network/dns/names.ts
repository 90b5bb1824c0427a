/**
 * Names on overlay networks: which addresses a name means for a container, given the networks it
 * is on. Pure; rules as in stock Swarm (services, `tasks.`, aliases, container names, network
 * suffixes).
 */
import { deriveIpv6 } from '../../model/derived-addresses.js';
import { formatIpv6 } from '../../model/ip-prefix.js';
import { subnetContains } from '../addresses.js';

/** A network with names, as the name server needs it. */
export interface NamedNetwork {
  readonly id: string;
  readonly name: string;
  /** Nothing of it leaves the host, questions included. */
  readonly internal: boolean;
  /** CIDR each; IPv6 addresses are derived from the IPv4 ones. */
  readonly subnets: readonly { readonly subnet: string; readonly subnet6?: string }[];
}

/** Names of one endpoint. */
export interface NameRow {
  /** Unique on its network. */
  readonly key: string;
  /** Container name; empty: none. */
  readonly name: string;
  /** Of a service; empty: it belongs to none. */
  readonly serviceName: string;
  /** Further names of the service. */
  readonly aliases: readonly string[];
  /** Empty: the service has none (dnsrr). */
  readonly virtualIp: string;
  readonly endpointIp: string;
  /** Further names of this one. */
  readonly taskAliases: readonly string[];
}

/** Names of one network, to be asked. */
export interface NameTable {
  readonly networkName: string;
  readonly internal: boolean;
  /** IPv4 addresses of a lower-case name. */
  addressesOf(name: string): readonly string[] | undefined;
  /** The IPv6 address that belongs to an IPv4 address of this network, if it has any. */
  ipv6Of(address: string): string | undefined;
  /** Name of the container with an address of either family, in canonical text. */
  containerAt(address: string): string | undefined;
}

/** How many endpoints stand for an address under one name; most names have one of each. */
type Claims = string | Map<string, number>;

/** Names of one network, kept up to date row by row. */
export class NetworkNames implements NameTable {
  private network: NamedNetwork;
  private readonly byKey = new Map<string, NameRow>();
  private readonly claims = new Map<string, Claims>();
  /** Container address to the key of its row. */
  private readonly containers = new Map<string, string>();

  constructor(network: NamedNetwork) {
    this.network = network;
  }

  get info(): NamedNetwork {
    return this.network;
  }

  get networkName(): string {
    return this.network.name;
  }

  get internal(): boolean {
    return this.network.internal;
  }

  get size(): number {
    return this.byKey.size;
  }

  rows(): Iterable<NameRow> {
    return this.byKey.values();
  }

  /** The network was changed; its rows stay. */
  describe(network: NamedNetwork): void {
    this.network = network;
    // Pointers of IPv6 depend on the subnets.
    const rows = [...this.byKey.values()];
    for (const { key } of rows) this.delete(key);
    for (const row of rows) this.put(row);
  }

  /** Adds a row, or replaces the one with its key. */
  put(row: NameRow): void {
    this.delete(row.key);
    this.byKey.set(row.key, row);
    for (const [name, address] of namesOf(row)) this.claim(name, address);
    if (row.name !== '')
      for (const at of this.addressesOfRow(row)) this.containers.set(at, row.key);
  }

  delete(key: string): void {
    const row = this.byKey.get(key);
    if (row === undefined) return;
    this.byKey.delete(key);
    for (const [name, address] of namesOf(row)) this.release(name, address);
    for (const at of this.addressesOfRow(row))
      if (this.containers.get(at) === key) this.containers.delete(at);
  }

  /** Keeps the rows with these keys only. */
  retain(keys: ReadonlySet<string>): void {
    for (const key of this.byKey.keys()) if (!keys.has(key)) this.delete(key);
  }

  addressesOf(name: string): readonly string[] | undefined {
    const claims = this.claims.get(name);
    if (claims === undefined) return undefined;
    return typeof claims === 'string' ? [claims] : [...claims.keys()];
  }

  ipv6Of(address: string): string | undefined {
    for (const { subnet, subnet6 } of this.network.subnets)
      if (subnet6 !== undefined && subnetContains(subnet, address))
        return deriveIpv6({ subnet, subnet6 }, address);
    return undefined;
  }

  containerAt(address: string): string | undefined {
    return this.byKey.get(this.containers.get(address) ?? '')?.name;
  }

  private addressesOfRow({ endpointIp }: NameRow): readonly string[] {
    const address6 = this.ipv6Of(endpointIp);
    return address6 === undefined ? [endpointIp] : [endpointIp, address6];
  }

  private claim(name: string, address: string): void {
    const claims = this.claims.get(name);
    if (claims === undefined) this.claims.set(name, address);
    else {
      const counts = typeof claims === 'string' ? new Map([[claims, 1]]) : claims;
      counts.set(address, (counts.get(address) ?? 0) + 1);
      this.claims.set(name, counts);
    }
  }

  private release(name: string, address: string): void {
    const claims = this.claims.get(name);
    if (claims === undefined) return;
    if (typeof claims === 'string') {
      this.claims.delete(name);
      return;
    }
    const count = (claims.get(address) ?? 0) - 1;
    if (count > 0) claims.set(address, count);
    else claims.delete(address);
    if (claims.size === 0) this.claims.delete(name);
  }
}

/** Each name a row stands for, in lower case, with its address. */
function* namesOf(row: NameRow): Iterable<readonly [string, string]> {
  const { serviceName, aliases, virtualIp, endpointIp } = row;
  if (serviceName !== '' || aliases.length > 0) {
    for (const name of [serviceName, ...aliases]) {
      if (name === '') continue;
      const key = name.toLowerCase();
      yield [key, virtualIp === '' ? endpointIp : virtualIp];
      yield [`tasks.${key}`, endpointIp];
    }
  }
  for (const name of [row.name, ...row.taskAliases])
    if (name !== '') yield [name.toLowerCase(), endpointIp];
}

/**
 * Addresses of `name` for a container on `tables`, in the order of its networks: `a.b.c` is tried
 * as it is, then as `a.b` on network `c`, then as `a` on network `b.c`. IPv6 ones are those of the
 * members the IPv4 ones mean; none if their network has no IPv6. Undefined: not a name here.
 */
export function lookUp(
  tables: readonly NameTable[],
  name: string,
  family: 4 | 6 = 4,
): readonly string[] | undefined {
  const wanted = name.toLowerCase().replace(/\.$/, '');
  const labels = wanted.split('.');
  for (let split = labels.length; split > 0; split -= 1) {
    const local = labels.slice(0, split).join('.');
    const network = labels.slice(split).join('.');
    for (const table of tables) {
      if (network !== '' && table.networkName.toLowerCase() !== network) continue;
      const addresses = table.addressesOf(local);
      if (addresses === undefined) continue;
      return family === 4 ? addresses : addresses.flatMap((a) => table.ipv6Of(a) ?? []);
    }
  }
  return undefined;
}

/** `container.network` for the address a PTR question names. Virtual addresses have no name. */
export function lookUpPointer(tables: readonly NameTable[], name: string): string | undefined {
  const address = pointedAt(name);
  if (address === undefined) return undefined;
  for (const table of tables) {
    const container = table.containerAt(address);
    if (container !== undefined) return `${container}.${table.networkName}`;
  }
  return undefined;
}

/** The address behind `d.c.b.a.in-addr.arpa` (RFC 1035) or 32 digits and `ip6.arpa` (RFC 3596). */
function pointedAt(name: string): string | undefined {
  const four = /^(\d+)\.(\d+)\.(\d+)\.(\d+)\.in-addr\.arpa\.?$/i.exec(name);
  if (four !== null) return four.slice(1, 5).reverse().join('.');
  const six = /^((?:[0-9a-f]\.){32})ip6\.arpa\.?$/i.exec(name);
  if (six === null) return undefined;
  const digits = (six[1] ?? '').split('.').reverse().join('');
  return formatIpv6(BigInt(`0x${digits}`));
}
