/**
 * Which address and port a node's tunnels have: from what the user wrote, what the host has, and of
 * which family the swarm's data path is. The address has to be the host's own: tunnels begin there.
 */
import { isIP, isIPv4 } from 'node:net';
import { SkepError } from '../model/errors.js';
import type { DataPathFamily } from '../model/labels/keys.js';
import { encryptionPorts, GOSSIP_PORT, TUNNEL_PORT_DEFAULT } from '../model/swarm-ports.js';
import { tunnelAddressOf } from '../network/addresses.js';
import { PATH_PORT } from '../network/paths/limits.js';
import { interfaceAddress, type SystemAddress, systemAddresses } from './addresses.js';

const ADDRESS_TEXT =
  'data path address must be a non-zero IP address or network interface (without a port number)';
const FAMILY_NAMES = { ipv4: 'IPv4', ipv6: 'IPv6' } as const;

/** What an address is chosen from. */
export interface DataPathWish {
  /** `--data-path-addr`: an address, an interface, or empty. */
  readonly value: string;
  /** The advertised address, used where nothing is wished. */
  readonly advertised: string;
  /** Addresses of the host, both families, with the interface of each. */
  readonly own: readonly SystemAddress[];
}

/** The family of a data path address. */
export function dataPathFamily(address: string): DataPathFamily {
  return isIPv4(address) ? 'ipv4' : 'ipv6';
}

/**
 * The data path address. `family` is the swarm's; undefined when it is being founded or does not say.
 * @throws SkepError invalid_argument with Docker's text, or with what to do
 */
export function resolveDataPathAddress(wish: DataPathWish, family?: DataPathFamily): string {
  const { value, own } = wish;
  if (value === '') return unwished(wish, family);
  if (isIP(value) === 0) return ofInterface(value, usable(own), family);
  const address = tunnelAddressOf(value);
  if (value === '0.0.0.0' || value === '::') throw invalid(ADDRESS_TEXT);
  if (address === undefined)
    throw invalid(`data path address ${value} is not one that other nodes can reach`);
  if (!own.some((entry) => entry.address === address))
    throw invalid(`no interface of this host has the data path address ${value}`);
  if (family !== undefined && family !== dataPathFamily(address)) throw otherFamily(value, family);
  return address;
}

function unwished({ advertised, own }: DataPathWish, family: DataPathFamily | undefined): string {
  // In a swarm of one node that advertises itself to itself, clients come from outside all the same.
  const [outside] = advertised.startsWith('127.') ? systemAddresses(own) : [];
  if (outside !== undefined) return outside.address;
  const holder = own.find(({ address }) => address === advertised);
  if (holder === undefined)
    throw invalid(
      `no interface of this host has the address ${advertised}: give one that it has with --data-path-addr`,
    );
  if (family === undefined || family === dataPathFamily(advertised)) return advertised;
  return ofInterface(holder.interfaceName, usable(own), family);
}

function usable(own: readonly SystemAddress[]): readonly SystemAddress[] {
  return own.filter(({ address }) => tunnelAddressOf(address) === address);
}

function ofInterface(
  name: string,
  own: readonly SystemAddress[],
  family: DataPathFamily | undefined,
): string {
  if (name === 'lo') throw invalid('data path interface lo is this host alone');
  if (!own.some(({ interfaceName }) => interfaceName === name)) throw invalid(ADDRESS_TEXT);
  // As Docker does: IPv4 where the interface has it.
  for (const wanted of family === undefined ? (['ipv4', 'ipv6'] as const) : [family]) {
    const among = own.filter(({ address }) => dataPathFamily(address) === wanted);
    const address = interfaceAddress(name, among, FAMILY_NAMES[wanted]);
    if (address !== undefined) return address;
  }
  throw otherFamily(`of interface ${name}`, family ?? 'ipv4');
}

function otherFamily(what: string, family: DataPathFamily): SkepError {
  const name = FAMILY_NAMES[family];
  return invalid(
    `the data path of this swarm is of ${name}, and the data path address ${what} is not: give an ${name} address of this host with --data-path-addr`,
  );
}

/** Resolves `--data-path-port`. Docker answers a bad one with 500, hence the code. */
export function resolveDataPathPort(value: number): number {
  if (value === 0) return TUNNEL_PORT_DEFAULT;
  if (!Number.isInteger(value) || value < 1024 || value > 49_151)
    throw new SkepError(
      'unknown',
      `Datapath port number is not in valid range (1024-49151) : ${value}`,
    );
  if (value === GOSSIP_PORT || value === PATH_PORT || encryptionPorts({}).includes(value))
    throw new SkepError('unknown', `Datapath port number ${value} is used by the swarm itself`);
  return value;
}

function invalid(message: string): SkepError {
  return new SkepError('invalid_argument', message);
}
