/**
 * Which addresses a node listens on and tells others, from what the user wrote and what the host
 * has (rules and texts: moby daemon/cluster/listen_addr.go). Managers and gossip are reached
 * over IPv4 only: an address of the other family is refused with the text Docker has for unusable
 * ones. The data path may be either.
 */
import { isIP, isIPv4 } from 'node:net';
import { SkepError } from '../model/errors.js';
import { tunnelAddressOf } from '../network/addresses.js';
import { GOSSIP_PORT } from '../network/limits.js';

/** Port of managers when none is given. */
export const MANAGER_PORT_DEFAULT = 2377;

/** One address of one interface of this host. */
export interface SystemAddress {
  readonly interfaceName: string;
  readonly address: string;
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
const DATA_PATH_TEXT =
  'data path address must be a non-zero IP address or network interface (without a port number)';

/** `host[:port]` with brackets around IPv6 hosts; undefined if it is neither. */
export function splitHostPort(value: string, defaultPort: number): HostPort | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:]*))(?::(\d{1,5}))?$/.exec(value);
  if (match === null) return isIP(value) === 6 ? { host: value, port: defaultPort } : undefined;
  const host = match[1] ?? match[2] ?? '';
  const port = match[3] === undefined ? defaultPort : Number(match[3]);
  return port >= 1 && port <= 65_535 ? { host, port } : undefined;
}

function invalid(message: string): SkepError {
  return new SkepError('invalid_argument', message);
}

/** The IPv4 address of an interface. @throws SkepError invalid_argument */
function interfaceAddress(name: string, system: readonly SystemAddress[]): string | undefined {
  const own = system.filter((entry) => entry.interfaceName === name);
  const [first, second] = own;
  if (first === undefined) return undefined;
  if (second !== undefined)
    throw invalid(
      `interface ${name} has more than one IPv4 address (${first.address} and ${second.address})`,
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

/** Resolves `--data-path-addr`: an address or interface, else the advertised address. */
export function resolveDataPathAddress(
  value: string,
  advertise: HostPort,
  system: readonly SystemAddress[],
): string {
  if (value === '') return advertise.host;
  if (value === '0.0.0.0') throw invalid(DATA_PATH_TEXT);
  if (isIPv4(value)) return value;
  if (isIP(value) === 6) {
    const tunnel = tunnelAddressOf(value);
    if (tunnel === undefined) throw invalid(DATA_PATH_TEXT);
    return tunnel;
  }
  const address = interfaceAddress(value, system);
  if (address === undefined) throw invalid(DATA_PATH_TEXT);
  return address;
}

/** Resolves `--data-path-port`. Docker answers a bad one with 500, hence the code. */
export function resolveDataPathPort(value: number): number {
  if (value === 0) return 4789;
  if (!Number.isInteger(value) || value < 1024 || value > 49_151)
    throw new SkepError(
      'unknown',
      `Datapath port number is not in valid range (1024-49151) : ${value}`,
    );
  if (value === GOSSIP_PORT)
    throw new SkepError('unknown', `Datapath port number ${value} is used by the swarm itself`);
  return value;
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
