/**
 * Gives a network what it needs: subnets and gateways, VXLAN identifiers, and the driver state
 * agents make it from (libnetwork cnmallocator, overlay manager).
 */
import { create } from '@bufbuild/protobuf';
import { deriveIpv6, hasRoom, sameIpv6, tooSmall } from '../../model/derived-addresses.js';
import { SkepError } from '../../model/errors.js';
import type { Network } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  DriverSchema,
  type IPAMConfig,
  IPAMConfig_AddressFamily as AddressFamily,
  IPAMConfigSchema,
  IPAMOptionsSchema,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import {
  firstAddress,
  formatIpv4,
  type IpPrefix,
  overlaps,
  parseIpPrefix,
} from '../../model/ip-prefix.js';
import { VNI_FIRST, VNI_LAST } from './limits.js';
import { type Resources, VXLAN_ID_LIST, vniList } from './resources.js';
import { formatSubnet, POOL_EXHAUSTED, POOL_OVERLAP } from './subnets.js';

/** The network driver of swarm networks that name none. */
export const OVERLAY_DRIVER = 'overlay';

/** Option of address management in SwarmKit: addresses are given one after the other. */
const SERIAL_ALLOCATION = 'com.docker.network.ipam.serial';

/** Drivers whose networks exist on each node for itself and have no cluster-wide addresses. */
const NODE_LOCAL_DRIVERS = new Set(['bridge', 'host', 'ipvlan', 'macvlan', 'null']);

/** The driver of a network. */
export function driverName(network: Network): string {
  const name = network.spec?.driverConfig?.name ?? '';
  return name === '' ? OVERLAY_DRIVER : name;
}

/** Whether the network has no cluster-wide addresses. */
export function isNodeLocal(network: Network): boolean {
  return NODE_LOCAL_DRIVERS.has(driverName(network));
}

/** Whether the network has been given all it needs. */
export function isAllocated(network: Network): boolean {
  if (network.driverState === undefined) return false;
  if (isNodeLocal(network)) return true;
  const configs = network.ipam?.configs ?? [];
  return configs.length > 0 && configs.every(({ subnet }) => subnet !== '');
}

/**
 * The network with subnets, gateways and identifiers, which it then holds in `resources`.
 * @throws SkepError failed_precondition or invalid_argument with Docker's text; nothing is held
 */
export function allocateNetwork(resources: Resources, network: Network): Network {
  const name = driverName(network);
  if (isNodeLocal(network)) {
    const ipam = create(IPAMOptionsSchema, { driver: create(DriverSchema) });
    return { ...network, driverState: create(DriverSchema, { name }), ipam };
  }
  try {
    const configs = allocateConfigs(resources, network);
    const vnis = allocateVnis(resources, network, configs);
    const driver = network.spec?.ipam?.driver;
    const ipamDriver = driver === undefined || driver.name === '' ? 'default' : driver.name;
    const allocated: Network = {
      ...network,
      driverState: create(DriverSchema, { name, options: { [VXLAN_ID_LIST]: vnis.join(',') } }),
      ipam: create(IPAMOptionsSchema, {
        driver: create(DriverSchema, {
          name: ipamDriver,
          options: ipamOptions(driver?.options ?? {}),
        }),
        configs,
      }),
    };
    resources.observeNetwork(allocated);
    return allocated;
  } catch (error) {
    resources.observeNetwork(network);
    throw error;
  }
}

/** Options that a user gave, and the one that SwarmKit adds to them. */
function ipamOptions(given: Readonly<Record<string, string>>): Record<string, string> {
  return Object.keys(given).length === 0 ? {} : { ...given, [SERIAL_ALLOCATION]: 'true' };
}

function allocateConfigs(resources: Resources, network: Network): IPAMConfig[] {
  const given = network.spec?.ipam?.configs ?? [];
  // Members have IPv4 addresses, and IPv6 ones derived from them: an IPv4 subnet there must be.
  const automatic = create(IPAMConfigSchema, { family: AddressFamily.IPV4 });
  const wanted = given.some((config) => !config.subnet.includes(':'))
    ? given
    : [automatic, ...given];
  const own: IpPrefix[] = [];
  const configs = wanted.map((config) => {
    const prefix = chooseSubnet(resources, network, config);
    if (own.some((other) => overlaps(other, prefix))) {
      throw new SkepError('invalid_argument', POOL_OVERLAP);
    }
    own.push(prefix);
    if (prefix.version === 6) return config;
    const subnet = config.subnet === '' ? formatSubnet(prefix) : config.subnet;
    const gateway = config.gateway === '' ? firstGateway(prefix, config) : config.gateway;
    return { ...config, subnet, gateway };
  });
  return withGateways6(configs);
}

/** IPv6 gateways are derived, as all addresses of the network are: the first from the first. */
function withGateways6(configs: readonly IPAMConfig[]): IPAMConfig[] {
  const v4 = configs.filter(({ subnet }) => !subnet.includes(':'));
  const v6 = configs.filter(({ subnet }) => subnet.includes(':'));
  return configs.map((config) => {
    const partner = v4[v6.indexOf(config)];
    if (partner === undefined || !v6.includes(config)) return config;
    const subnets = { subnet: partner.subnet, subnet6: config.subnet };
    if (!hasRoom(subnets)) throw new SkepError('invalid_argument', tooSmall(subnets));
    const gateway = deriveIpv6(subnets, partner.gateway);
    if (config.gateway !== '' && !sameIpv6(config.gateway, gateway)) {
      const text = `the IPv6 gateway beside ${partner.gateway} is ${gateway}`;
      throw new SkepError('invalid_argument', text);
    }
    return { ...config, gateway };
  });
}

function chooseSubnet(resources: Resources, network: Network, config: IPAMConfig): IpPrefix {
  if (config.subnet === '') {
    const next = resources.subnets.next(resources.pools);
    if (next === undefined) throw new SkepError('failed_precondition', POOL_EXHAUSTED);
    return next;
  }
  const prefix = parseIpPrefix(config.subnet);
  if (prefix === undefined) {
    throw new SkepError('invalid_argument', `invalid subnet ${config.subnet}`);
  }
  if (resources.subnets.isTaken(prefix, network.id)) {
    throw new SkepError('invalid_argument', POOL_OVERLAP);
  }
  return prefix;
}

/** The first address of the range, or of the subnet. */
function firstGateway(prefix: IpPrefix, config: IPAMConfig): string {
  const range = parseIpPrefix(config.range);
  const first = firstAddress(range ?? prefix);
  return formatIpv4(first === firstAddress(prefix) ? first + 1n : first);
}

function allocateVnis(
  resources: Resources,
  network: Network,
  configs: readonly IPAMConfig[],
): readonly number[] {
  const requested = vniList(network.spec?.driverConfig?.options[VXLAN_ID_LIST] ?? '');
  const subnets = configs.filter(({ subnet }) => parseIpPrefix(subnet)?.version === 4);
  return subnets.map((_, index) => {
    const wanted = requested[index];
    if (wanted !== undefined && (wanted < VNI_FIRST || wanted > VNI_LAST)) {
      throw new SkepError('invalid_argument', `vxlan id ${wanted} is out of range`);
    }
    const vni = resources.allocateVni(`network/${network.id}`, wanted);
    if (vni === undefined) {
      throw new SkepError('failed_precondition', 'failed to allocate vxlan id');
    }
    return vni;
  });
}
