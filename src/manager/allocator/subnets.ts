/**
 * Subnets of the cluster: cut from the default address pools one after the other, or given by the
 * user, and never overlapping (libnetwork ipam, global address space).
 */
import { SkepError } from '../../model/errors.js';
import type { Network } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { NetworkSpec } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  firstAddress,
  formatIpv4,
  type IpPrefix,
  lastAddress,
  overlaps,
  parseIpPrefix,
} from '../../model/ip-prefix.js';

/** Docker's text for a subnet that is not free. */
export const POOL_OVERLAP =
  'invalid pool request: Pool overlaps with other one on this address space';

/** Docker's text for exhausted default pools. */
export const POOL_EXHAUSTED =
  'could not find an available, non-overlapping IPv4 address pool among the defaults to assign ' +
  'to the network';

/** Where subnets come from when the user names none. */
export interface AddressPools {
  readonly pools: readonly IpPrefix[];
  /** Prefix length of each subnet. */
  readonly subnetSize: number;
}

/** The subnets all networks hold. */
export class Subnets {
  /** Subnets in use, by the network that holds them. */
  readonly #held = new Map<string, readonly IpPrefix[]>();
  /** Position in the pools behind the last subnet cut from them. */
  #cursor = 0;

  /** Notes what a network holds (none: frees). */
  set(networkId: string, subnets: readonly IpPrefix[]): void {
    if (subnets.length === 0) this.#held.delete(networkId);
    else this.#held.set(networkId, subnets);
  }

  /** After a rebuild: goes on behind this subnet, which was cut from the pools. */
  resumeBehind(subnet: IpPrefix, { pools, subnetSize }: AddressPools): void {
    const position = positionOf(subnet, pools, subnetSize);
    if (position !== undefined && position >= this.#cursor) this.#cursor = position + 1;
  }

  /** Whether `prefix` shares an address with a subnet of another network. */
  isTaken(prefix: IpPrefix, exceptNetworkId = ''): boolean {
    for (const [networkId, subnets] of this.#held) {
      if (networkId === exceptNetworkId) continue;
      if (subnets.some((subnet) => overlaps(subnet, prefix))) return true;
    }
    return false;
  }

  /** The next free subnet of the pools; undefined when there is none. Not yet held. */
  next({ pools, subnetSize }: AddressPools): IpPrefix | undefined {
    const total = pools.reduce((sum, pool) => sum + subnetCount(pool, subnetSize), 0);
    for (let tried = 0; tried < total; tried++) {
      const position = (this.#cursor + tried) % total;
      const subnet = subnetAt(position, pools, subnetSize);
      if (subnet === undefined || this.isTaken(subnet)) continue;
      this.#cursor = position + 1;
      return subnet;
    }
    return undefined;
  }
}

/**
 * Refuses a network whose subnets are taken, so that the user hears of it at once rather than from
 * tasks that never start.
 * @throws SkepError invalid_argument with Docker's text
 */
export function assertSubnetsFree(spec: NetworkSpec, networks: readonly Network[]): void {
  const taken = networks.flatMap(subnetsOf);
  const wanted = (spec.ipam?.configs ?? []).flatMap(({ subnet }) => parseIpPrefix(subnet) ?? []);
  for (const [index, subnet] of wanted.entries()) {
    const others = [...taken, ...wanted.slice(0, index)];
    if (others.some((other) => overlaps(other, subnet))) {
      throw new SkepError('invalid_argument', POOL_OVERLAP);
    }
  }
}

/** The subnets a network was given. */
export function subnetsOf(network: Network): readonly IpPrefix[] {
  return (network.ipam?.configs ?? []).flatMap(({ subnet }) => parseIpPrefix(subnet) ?? []);
}

/** `10.0.1.0/24` of an IPv4 prefix. */
export function formatSubnet(prefix: IpPrefix): string {
  return `${formatIpv4(firstAddress(prefix))}/${prefix.length}`;
}

function subnetCount(pool: IpPrefix, subnetSize: number): number {
  return pool.length > subnetSize ? 0 : 2 ** (subnetSize - pool.length);
}

function subnetAt(
  position: number,
  pools: readonly IpPrefix[],
  subnetSize: number,
): IpPrefix | undefined {
  let rest = position;
  for (const pool of pools) {
    const count = subnetCount(pool, subnetSize);
    if (rest < count) {
      const address = firstAddress(pool) + (BigInt(rest) << BigInt(32 - subnetSize));
      return { version: 4, address, length: subnetSize };
    }
    rest -= count;
  }
  return undefined;
}

function positionOf(
  subnet: IpPrefix,
  pools: readonly IpPrefix[],
  subnetSize: number,
): number | undefined {
  let before = 0;
  for (const pool of pools) {
    if (overlaps(pool, subnet) && lastAddress(subnet) <= lastAddress(pool)) {
      const offset = firstAddress(subnet) - firstAddress(pool);
      return before + Number(offset >> BigInt(32 - subnetSize));
    }
    before += subnetCount(pool, subnetSize);
  }
  return undefined;
}
