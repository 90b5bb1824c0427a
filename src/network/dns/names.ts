/**
 * Names on overlay networks: which addresses a name means for a container, given the networks it
 * is on. Pure; rules as in stock Swarm (services, `tasks.`, aliases, container names, network
 * suffixes).
 */
import { formatIpv6 } from '../../model/ip-prefix.js';
import { ipv6Of, type NetworkInfo, subnetOf } from '../network-info.js';
import type { EndpointView, NetworkView } from '../view.js';

/** Names of one network. */
export interface NameTable {
  readonly networkName: string;
  readonly internal: boolean;
  /** Lower-case name to IPv4 addresses. */
  readonly addresses: ReadonlyMap<string, ReadonlySet<string>>;
  /** The IPv6 address that belongs to an IPv4 address of this network, if it has any. */
  readonly ipv6Of: (address: string) => string | undefined;
  /** Container address, of either family in canonical text, to container name. */
  readonly containers: ReadonlyMap<string, string>;
}

/** Tables by network id. The ingress network has no names. */
export function buildNameTables(
  networks: readonly NetworkView[],
  endpoints: readonly EndpointView[],
): ReadonlyMap<string, NameTable> {
  const tables = new Map<string, MutableTable>();
  for (const { info } of networks) {
    if (!info.ingress) tables.set(info.id, new MutableTable(info));
  }
  for (const endpoint of endpoints) {
    // Draining and unhealthy endpoints have no names.
    if (!endpoint.disabled) tables.get(endpoint.networkId)?.add(endpoint);
  }
  return tables;
}

class MutableTable implements NameTable {
  readonly networkName: string;
  readonly internal: boolean;
  readonly addresses = new Map<string, Set<string>>();
  readonly containers = new Map<string, string>();

  readonly ipv6Of: (address: string) => string | undefined;

  constructor(info: NetworkInfo) {
    this.networkName = info.name;
    this.internal = info.internal;
    this.ipv6Of = (address) => {
      const subnet = subnetOf(info, address);
      return subnet && ipv6Of(subnet, address);
    };
  }

  add(endpoint: EndpointView): void {
    const { endpointIp, virtualIp, serviceName, serviceId } = endpoint;
    if (serviceId !== '') {
      for (const name of [serviceName, ...endpoint.aliases]) {
        this.name(name, virtualIp === '' ? endpointIp : virtualIp);
        if (name !== '') this.name(`tasks.${name}`, endpointIp);
      }
    }
    for (const name of [endpoint.name, ...endpoint.taskAliases]) this.name(name, endpointIp);
    if (endpoint.name === '') return;
    this.containers.set(endpointIp, endpoint.name);
    const address6 = this.ipv6Of(endpointIp);
    if (address6 !== undefined) this.containers.set(address6, endpoint.name);
  }

  private name(name: string, address: string): void {
    if (name === '') return;
    const key = name.toLowerCase();
    const addresses = this.addresses.get(key) ?? new Set<string>();
    addresses.add(address);
    this.addresses.set(key, addresses);
  }
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
): ReadonlySet<string> | undefined {
  const wanted = name.toLowerCase().replace(/\.$/, '');
  const labels = wanted.split('.');
  for (let split = labels.length; split > 0; split -= 1) {
    const local = labels.slice(0, split).join('.');
    const network = labels.slice(split).join('.');
    for (const table of tables) {
      if (network !== '' && table.networkName.toLowerCase() !== network) continue;
      const addresses = table.addresses.get(local);
      if (addresses === undefined) continue;
      return family === 4
        ? addresses
        : new Set([...addresses].flatMap((a) => table.ipv6Of(a) ?? []));
    }
  }
  return undefined;
}

/** `container.network` for the address a PTR question names. Virtual addresses have no name. */
export function lookUpPointer(tables: readonly NameTable[], name: string): string | undefined {
  const address = pointedAt(name);
  if (address === undefined) return undefined;
  for (const table of tables) {
    const container = table.containers.get(address);
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
