/**
 * Networks: create (overlays only), list, remove with SwarmKit's in-use rules
 * (controlapi/network.go). Subnets and identifiers are given by the allocator afterwards.
 */
import { clone, create } from '@bufbuild/protobuf';
import { PREDEFINED_NETWORK_LABEL } from '../../model/defaults.js';
import { deriveIpv6, hasRoom, sameIpv6, tooSmall } from '../../model/derived-addresses.js';
import type { Environment } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import { type Network, NetworkSchema } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type NetworkSpec,
  NetworkSpecSchema,
} from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  type Driver,
  type IPAMConfig,
  TaskState,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { newId } from '../../model/ids.js';
import { formatAddress, parseAddressRanges, RESERVED_LABEL } from '../../model/fixed-addresses.js';
import { DATA_PATH_FAMILY_LABEL, ENCRYPTED_DRIVER_OPTION } from '../../model/labels/keys.js';
import {
  containsAddress,
  firstAddress,
  formatIpv4,
  type IpPrefix,
  lastAddress,
  overlaps,
  parseIpPrefix,
} from '../../model/ip-prefix.js';
import type { ReadTransaction, Store } from '../../store/types.js';
import { checkDnsName, checkSkepLabels, invalid, precondition } from './annotations.js';
import { findIngress, isIngress, needsIngress } from './service-validation.js';

/** Reads and writes of networks. */
export class NetworkControl {
  constructor(
    private readonly store: Store,
    private readonly environment: Environment,
  ) {}

  list(): readonly Network[] {
    return this.store.view((read) => read.find('network', { by: 'all' }));
  }

  get(id: string): Network {
    return this.store.view((read) => required(read, id));
  }

  async create(spec: NetworkSpec): Promise<Network> {
    checkNetworkSpec(spec);
    const network = create(NetworkSchema, {
      id: newId(this.environment.random),
      spec: clone(NetworkSpecSchema, spec),
    });
    await this.store.update((write) => {
      checkEncryptedIngress(write, spec);
      const present = spec.ingress ? findIngress(write) : undefined;
      if (present !== undefined) {
        const text = `ingress network (${present.id}) is already present`;
        throw new SkepError('already_exists', text);
      }
      try {
        write.create('network', network);
      } catch (error) {
        // Names that differ in case only, or another manager was first: the store's plain error.
        throw new SkepError('unknown', SkepError.from(error).message, { cause: error });
      }
    });
    return this.get(network.id);
  }

  async remove(id: string): Promise<void> {
    await this.store.update((write) => {
      const network = required(write, id);
      if (isIngress(network)) checkIngressUnused(write);
      else checkUnused(write, network);
      write.delete('network', id);
    });
  }
}

function required(read: ReadTransaction, id: string): Network {
  const network = read.get('network', id);
  if (network === undefined) throw new SkepError('not_found', `network ${id} not found`);
  return network;
}

/** @throws SkepError */
export function checkNetworkSpec(spec: NetworkSpec): void {
  const driver = spec.driverConfig?.name ?? '';
  if (spec.ingress && driver !== '' && driver !== 'overlay') {
    const text = 'only overlay driver is currently supported for ingress network';
    throw new SkepError('unimplemented', text);
  }
  if (spec.attachable && spec.ingress) throw invalid('ingress network cannot be attachable');
  checkDnsName(spec.annotations);
  if (spec.annotations?.labels[PREDEFINED_NETWORK_LABEL] !== undefined) {
    throw new SkepError(
      'permission_denied',
      `label ${PREDEFINED_NETWORK_LABEL} is for internally created predefined networks ` +
        'and cannot be applied by users',
    );
  }
  checkSkepLabels('network', spec.annotations);
  checkDriver(spec.driverConfig, ['overlay']);
  checkDriver(spec.ipam?.driver, ['default', '']);
  const configs = spec.ipam?.configs ?? [];
  for (const config of configs) checkIpam(config);
  checkDualStack(configs);
  checkReserved(spec);
}

/** Reserved addresses lie in a subnet that is named: nobody knows what an automatic one will be. */
function checkReserved(spec: NetworkSpec): void {
  const text = spec.annotations?.labels[RESERVED_LABEL];
  if (text === undefined) return;
  if (spec.ingress) throw invalid(`label ${RESERVED_LABEL}: not on the ingress network`);
  const subnets = (spec.ipam?.configs ?? []).flatMap(({ subnet }) => parseIpPrefix(subnet) ?? []);
  const v4 = subnets.filter(({ version }) => version === 4);
  if (v4.length === 0) {
    throw invalid(
      `label ${RESERVED_LABEL}: the network needs an IPv4 subnet of its own (--subnet)`,
    );
  }
  for (const { first, last } of parseAddressRanges(text) ?? []) {
    const isInside = v4.some(
      (subnet) => first >= Number(firstAddress(subnet)) && last <= Number(lastAddress(subnet)),
    );
    if (isInside) continue;
    const range = `${formatAddress(first)}-${formatAddress(last)}`;
    throw invalid(`label ${RESERVED_LABEL}: ${range} is not within a subnet of the network`);
  }
}

/** Members' IPv6 addresses are derived from their IPv4 ones, subnet by subnet. */
function checkDualStack(configs: readonly IPAMConfig[]): void {
  const v4 = configs.filter(({ subnet }) => !subnet.includes(':'));
  const v6 = configs.filter(({ subnet }) => subnet.includes(':'));
  if (v6.length > Math.max(1, v4.length)) {
    throw invalid('ipam configuration: each IPv6 subnet needs an IPv4 subnet beside it');
  }
  for (const [index, { subnet: subnet6, gateway, range }] of v6.entries()) {
    if (range !== '') throw invalid(`ipam configuration: ${subnet6} cannot have an address range`);
    if (!isForNetworks(subnet6))
      throw invalid(`ipam configuration: ${subnet6} has addresses that mean something else`);
    const partner = v4[index];
    if (partner === undefined) continue;
    const subnets = { subnet: partner.subnet, subnet6 };
    if (!hasRoom(subnets)) throw invalid(`ipam configuration: ${tooSmall(subnets)}`);
    if (gateway === '') continue;
    const derived = deriveIpv6(subnets, partner.gateway || firstHost(partner.subnet));
    if (!sameIpv6(derived, gateway))
      throw invalid(`ipam configuration: the IPv6 gateway beside ${partner.subnet} is ${derived}`);
  }
}

/** What the gateway of an IPv4 subnet is unless it is given. */
function firstHost(subnet: string): string {
  const prefix = parseIpPrefix(subnet);
  return prefix === undefined ? '' : formatIpv4(firstAddress(prefix) + 1n);
}

/** ::/96 (unspecified, loopback), IPv4-mapped, link-local, multicast. */
const SPECIAL_PREFIXES = ['::/96', '::ffff:0:0/96', 'fe80::/10', 'ff00::/8'].flatMap(
  (text) => parseIpPrefix(text) ?? [],
);

/** False for IPv6 prefixes with unspecified, loopback, IPv4-mapped, link-local or multicast addresses. */
function isForNetworks(subnet6: string): boolean {
  const prefix = parseIpPrefix(subnet6);
  return prefix !== undefined && !SPECIAL_PREFIXES.some((special) => overlaps(prefix, special));
}

/** Every node is on the ingress network: where WireGuard cannot be used by any, nothing would work. */
function checkEncryptedIngress(read: ReadTransaction, spec: NetworkSpec): void {
  const isEncrypted = spec.driverConfig?.options[ENCRYPTED_DRIVER_OPTION] !== undefined;
  if (!spec.ingress || !isEncrypted) return;
  const [cluster] = read.find('cluster', { by: 'all' });
  if (cluster?.spec?.annotations?.labels[DATA_PATH_FAMILY_LABEL] !== 'ipv6') return;
  throw precondition('an encrypted ingress network needs data path addresses of IPv4');
}

/** SwarmKit asks its plugins for drivers it does not know; there are none to be found here. */
function checkDriver(driver: Driver | undefined, known: readonly string[]): void {
  if (driver === undefined || known.includes(driver.name)) return;
  if (driver.name === '') throw invalid('driver name: if driver is specified name is required');
  throw invalid(`error during lookup of plugin ${driver.name}`);
}

function checkIpam(config: IPAMConfig): void {
  const { subnet: subnetText, range, gateway } = config;
  if (subnetText === '' && range === '' && gateway === '') {
    throw invalid('ipam configuration: cannot be empty');
  }
  const subnet = parseIpPrefix(subnetText);
  if (subnet === undefined) throw invalid(`ipam configuration: invalid subnet ${subnetText}`);
  if (range !== '') checkInside(subnet, subnetText, parseIpPrefix(range), 'range', range);
  if (gateway === '') return;
  const host = parseIpPrefix(`${gateway}/${gateway.includes(':') ? 128 : 32}`);
  checkInside(subnet, subnetText, host, 'gateway', gateway);
}

function checkInside(
  subnet: IpPrefix,
  subnetText: string,
  inner: IpPrefix | undefined,
  what: string,
  text: string,
): void {
  if (inner === undefined) throw invalid(`ipam configuration: invalid ${what} ${text}`);
  if (inner.version !== subnet.version || !containsAddress(subnet, inner)) {
    throw invalid(`ipam configuration: subnet ${subnetText} does not contain ${what} ${text}`);
  }
}

function checkIngressUnused(read: ReadTransaction): void {
  const user = read.find('service', { by: 'all' }).find((service) => needsIngress(service.spec));
  if (user === undefined) return;
  throw precondition(`ingress network cannot be removed because service ${user.id} depends on it`);
}

function checkUnused(read: ReadTransaction, network: Network): void {
  const annotations = network.spec?.annotations;
  if (annotations?.labels[PREDEFINED_NETWORK_LABEL] === 'true') {
    throw precondition(
      `network ${network.id} (${annotations.name}) is a swarm predefined network ` +
        'and cannot be removed',
    );
  }
  const selector = { by: 'referencedNetwork', networkId: network.id } as const;
  const service = read.find('service', selector)[0];
  if (service !== undefined) {
    throw precondition(`network ${network.id} is in use by service ${service.id}`);
  }
  const task = read
    .find('task', selector)
    .find(
      (candidate) =>
        candidate.desiredState <= TaskState.RUNNING &&
        (candidate.status?.state ?? TaskState.NEW) <= TaskState.RUNNING,
    );
  if (task !== undefined) {
    throw precondition(`network ${network.id} is in use by task ${task.id}`);
  }
}
