/**
 * Which addresses a node listens on and tells others, from what the user wrote and what the host
 * has (rules and texts: moby daemon/cluster/listen_addr.go). Managers and gossip are reached
 * over IPv4 only; the data path may be either.
 */
import { isIP, isIPv4 } from 'node:net';
import { SkepError } from '../model/errors.js';
import { MANAGER_PORT_DEFAULT } from '../model/swarm-ports.js';

/** One address of one interface of this host. */
export interface SystemAddress {
  readonly interfaceName: string;
  readonly address: string;
}

/** Interfaces that Docker leaves out when it looks for the host's address, and ours. */
const OWN_INTERFACES = /^(lo|docker|br-|veth|sw-|cni|flannel)/;

/** The host's own IPv4 addresses among all it has: without loopback, and what we and the engine made. */
export function systemAddresses(all: readonly SystemAddress[]): readonly SystemAddress[] {
  return all.filter(
    ({ interfaceName, address }) =>
      isIPv4(address) && !OWN_INTERFACES.test(interfaceName) && !address.startsWith('127.'),
  );
}

/** A listen or advertise address, taken apart. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

const LISTEN_TEXT =
  'listen address must be an IP address or network interface (with optional port number)';
const ADVERTISE_TEXT =
  'advertise address must be a non-zero IP address or network interface (with optional port number)';

/** `host[:port]` with brackets around IPv6 hosts; undefined if it is neither. */
export function splitHostPort(value: string, defaultPort: number): HostPort | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:]*))(?::(\d{1,5}))?$/.exec(value);
  if (match === null) return isIP(value) === 6 ? { host: value, port: defaultPort } : undefined;
  const host = match[1] ?? match[2] ?? '';
  const port = match[3] === undefined ? defaultPort : Number(match[3]);
  return port >= 1 && port <= 65_535 ? { host, port } : undefined;
}

/** An address that this node has recorded, taken apart. @throws SkepError data_loss */
export function recordedHostPort(value: string): HostPort {
  const parts = splitHostPort(value, MANAGER_PORT_DEFAULT);
  if (parts === undefined) throw new SkepError('data_loss', `recorded address ${value} is damaged`);
  return parts;
}

function invalid(message: string): SkepError {
  return new SkepError('invalid_argument', message);
}

/**
 * The only address of an interface, of those in `among`; `family` is for the text.
 * @throws SkepError invalid_argument where there are several
 */
export function interfaceAddress(
  name: string,
  among: readonly SystemAddress[],
  family: 'IPv4' | 'IPv6' = 'IPv4',
): string | undefined {
  const own = among.filter((entry) => entry.interfaceName === name);
  const [first, second] = own;
  if (first === undefined) return undefined;
  if (second !== undefined)
    throw invalid(
      `interface ${name} has more than one ${family} address (${first.address} and ${second.address})`,
    );
  return first.address;
}

/** Resolves `--listen-addr`; `0.0.0.0:2377` when empty. */
export function resolveListenAddress(value: string, system: readonly SystemAddress[]): HostPort {
  const parts = splitHostPort(value === '' ? '0.0.0.0' : value, MANAGER_PORT_DEFAULT);
  if (parts === undefined || parts.host === '') throw invalid(LISTEN_TEXT);
  if (isIPv4(parts.host)) return parts;
  const address = interfaceAddress(parts.host, system);
  if (address === undefined) throw invalid(LISTEN_TEXT);
  return { host: address, port: parts.port };
}

/**
 * Resolves `--advertise-addr`: given, else the listen address when it is one of the host's, else
 * the host's only address.
 */
export function resolveAdvertiseAddress(
  value: string,
  listen: HostPort,
  system: readonly SystemAddress[],
): HostPort {
  if (value !== '') {
    const parts = splitHostPort(value, listen.port);
    if (parts === undefined || parts.host === '') throw invalid(ADVERTISE_TEXT);
    if (isIPv4(parts.host)) {
      if (parts.host === '0.0.0.0') throw invalid(ADVERTISE_TEXT);
      return parts;
    }
    if (isIP(parts.host) === 6)
      throw invalid(
        `advertise address ${parts.host}: managers and gossip are reached over IPv4; tunnels may use IPv6 (--data-path-addr)`,
      );
    const address = interfaceAddress(parts.host, system);
    if (address === undefined) throw invalid(ADVERTISE_TEXT);
    return { host: address, port: parts.port };
  }
  if (listen.host !== '0.0.0.0') return listen;
  return { host: onlySystemAddress(system), port: listen.port };
}

/** The host's only address. @throws SkepError invalid_argument naming two when there are more. */
export function onlySystemAddress(system: readonly SystemAddress[]): string {
  const [first, second] = system;
  if (first === undefined) throw invalid("could not find the system's IP address");
  if (second === undefined) return first.address;
  if (first.interfaceName === second.interfaceName)
    throw invalid(
      'could not choose an IP address to advertise since this system has multiple addresses on ' +
        `interface ${first.interfaceName} (${first.address} and ${second.address}) - specify one ` +
        'with --advertise-addr',
    );
  throw invalid(
    'could not choose an IP address to advertise since this system has multiple addresses on ' +
      `different interfaces (${first.address} on ${first.interfaceName} and ${second.address} on ` +
      `${second.interfaceName}) - specify one with --advertise-addr`,
  );
}

/** Address pools of `swarm init`. Docker answers bad ones with 500, hence the code. */
export function resolveAddressPools(
  pools: readonly string[],
  subnetSize: number,
): { readonly pools: readonly string[]; readonly subnetSize: number } {
  const size = subnetSize === 0 ? 24 : subnetSize;
  if (!Number.isInteger(size) || size < 1 || size > 29)
    throw new SkepError('unknown', `subnet size is out of range: ${subnetSize}`);
  for (const pool of pools) {
    const [address, length] = pool.split('/');
    const prefix = Number(length);
    if (!isIPv4(address ?? '') || !/^\d{1,2}$/.test(length ?? '') || prefix > 32)
      throw new SkepError('unknown', `invalid CIDR address: ${pool}`);
    if (prefix > size)
      throw new SkepError(
        'unknown',
        `invalid CIDR: "${pool}". Subnet size is too small for pool: ${size}`,
      );
  }
  return { pools: pools.length === 0 ? ['10.0.0.0/8'] : pools, subnetSize: size };
}
