/**
 * The addresses that a service's labels ask for, against its networks, its own spec and what other
 * services ask for. What is only still in use, by something that ends, the allocator waits for.
 */
import { autoscaleSettings } from '../../model/autoscale.js';
import {
  addressCount,
  type AddressRange,
  fixedAddresses,
  fixedAddressLabel,
  fixedVip,
  formatAddress,
  hasAddress,
  meansNetwork,
  nthAddress,
  parseAddressRanges,
  parseFixedAddress,
  rangesMeet,
  RESERVED_LABEL,
  reservedOf,
} from '../../model/fixed-addresses.js';
import type { Network } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  EndpointSpec_ResolutionMode as ResolutionMode,
  type ServiceSpec,
} from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import { UpdateConfig_UpdateOrder as UpdateOrder } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { firstAddress, lastAddress, parseIpPrefix } from '../../model/ip-prefix.js';
import { isOver, isWanted } from '../../model/task-state.js';
import type { ReadTransaction } from '../../store/types.js';
import { numberOf } from '../orchestrator/fixed-addresses.js';
import { invalid } from './annotations.js';

/** One label, with the network it means. */
interface Claim {
  readonly key: string;
  readonly kind: 'vip' | 'addresses';
  readonly network: Network;
  readonly ranges: readonly AddressRange[];
}

/** @throws SkepError invalid_argument */
export function checkFixedAddresses(
  read: ReadTransaction,
  spec: ServiceSpec,
  serviceId: string,
): void {
  const claims = claimsOf(read, spec);
  for (const [index, claim] of claims.entries()) {
    checkMayHave(claim, spec);
    checkReserved(claim);
    for (const other of claims.slice(0, index)) checkApart(claim, other);
    checkOthers(read, claim, serviceId);
    if (claim.kind === 'addresses') checkSlots(read, claim, spec, serviceId);
  }
}

function claimsOf(read: ReadTransaction, spec: ServiceSpec): readonly Claim[] {
  const labels = spec.annotations?.labels ?? {};
  const keys = Object.keys(labels).filter((key) => fixedAddressLabel(key) !== undefined);
  if (keys.length === 0) return [];
  const ofTask = spec.task?.networks ?? [];
  const networks = (ofTask.length > 0 ? ofTask : spec.networks).flatMap(({ target }) => {
    const byId = read.get('network', target);
    return byId ?? read.find('network', { by: 'name', name: target })[0] ?? [];
  });
  return keys.flatMap((key): Claim[] => {
    const label = fixedAddressLabel(key);
    if (label === undefined) return [];
    const network = networks.find((each) => meansNetwork(label.network, each, labels));
    if (network === undefined) {
      throw invalid(`label ${key}: the service is not on network ${label.network}`);
    }
    const ranges = parseAddressRanges(labels[key] ?? '') ?? [];
    return [{ key, kind: label.kind, network, ranges }];
  });
}

function checkMayHave({ key, kind }: Claim, spec: ServiceSpec): void {
  if (kind === 'vip') {
    if (spec.endpoint?.mode !== ResolutionMode.DNSRR) return;
    throw invalid(`label ${key}: a service in dnsrr mode has no virtual address`);
  }
  if (spec.mode.case !== 'replicated') {
    throw invalid(`label ${key}: only replicated services have slots`);
  }
  for (const config of [spec.update, spec.rollback]) {
    if (config?.order !== UpdateOrder.START_FIRST) continue;
    throw invalid(
      `label ${key}: two tasks in one slot cannot have one address, so that updates and rollbacks ` +
        'have to be stop-first',
    );
  }
}

function checkReserved({ key, network, ranges }: Claim): void {
  const name = nameOf(network);
  const reserved = reservedOf(network);
  if (reserved.length === 0) {
    throw invalid(`label ${key}: network ${name} was made without label ${RESERVED_LABEL}`);
  }
  for (const range of ranges) {
    const outside = firstOutside(range, reserved);
    if (outside === undefined) continue;
    const text = network.spec?.annotations?.labels[RESERVED_LABEL] ?? '';
    const address = formatAddress(outside);
    throw invalid(
      `label ${key}: ${address} is not among the reserved addresses of network ${name} (${text})`,
    );
  }
  const unusable = unusableOf(network).find((address) => hasAddress(ranges, address));
  if (unusable === undefined) return;
  throw invalid(
    `label ${key}: ${formatAddress(unusable)} is a gateway of network ${name}, or an end of its subnet`,
  );
}

/** The first address of the range that is not reserved. Reserved ranges do not overlap each other. */
function firstOutside(range: AddressRange, reserved: readonly AddressRange[]): number | undefined {
  let next = range.first;
  for (const { first, last } of [...reserved].sort((a, b) => a.first - b.first)) {
    if (next >= first && next <= last) next = last + 1;
    if (next > range.last) return undefined;
  }
  return next;
}

/** Gateways, and first and last addresses of subnets. */
function unusableOf(network: Network): readonly number[] {
  return (network.ipam?.configs ?? network.spec?.ipam?.configs ?? []).flatMap((config) => {
    const subnet = parseIpPrefix(config.subnet);
    const ends =
      subnet?.version === 4 ? [Number(firstAddress(subnet)), Number(lastAddress(subnet))] : [];
    return [...ends, parseFixedAddress(config.gateway) ?? []].flat();
  });
}

/** Two labels of one service. */
function checkApart(claim: Claim, other: Claim): void {
  if (claim.network.id !== other.network.id) return;
  if (claim.kind === other.kind) {
    throw invalid(`labels ${other.key} and ${claim.key} mean the same network`);
  }
  const both = common(claim.ranges, other.ranges);
  if (both === undefined) return;
  throw invalid(`label ${claim.key}: ${formatAddress(both)} is named by ${other.key} too`);
}

function checkOthers(read: ReadTransaction, claim: Claim, serviceId: string): void {
  const { key, network, ranges } = claim;
  const users = read.find('service', { by: 'referencedNetwork', networkId: network.id });
  for (const { id, spec } of users) {
    if (id === serviceId) continue;
    const labels = spec?.annotations?.labels;
    const vip = fixedVip(labels, network);
    const held = [
      ...(vip === undefined ? [] : [{ first: vip, last: vip }]),
      ...(fixedAddresses(labels, network) ?? []),
    ];
    const both = common(ranges, held);
    if (both === undefined) continue;
    const name = spec?.annotations?.name ?? '';
    throw invalid(
      `label ${key}: ${formatAddress(both)} is already taken by service '${name}' (${id})`,
    );
  }
}

/** Each slot has an address, which no task of another slot has now. */
function checkSlots(
  read: ReadTransaction,
  { key, network, ranges }: Claim,
  spec: ServiceSpec,
  serviceId: string,
): void {
  const count = addressCount(ranges);
  const replicas = spec.mode.case === 'replicated' ? Number(spec.mode.value.replicas) : 0;
  const { max = 0 } = autoscaleSettings(spec.annotations?.labels) ?? {};
  if (max > count) {
    throw invalid(
      `label ${key}: ${count} addresses for up to ${max} replicas (skep.autoscale.max)`,
    );
  }
  if (replicas > count) {
    throw invalid(`label ${key}: ${count} addresses for ${replicas} replicas`);
  }
  for (const task of read.find('task', { by: 'service', serviceId })) {
    if (isOver(task)) continue;
    const slot = Number(task.slot);
    if (isWanted(task) && nthAddress(ranges, slot) === undefined) {
      throw invalid(`label ${key}: ${count} addresses, but slot ${slot} is in use`);
    }
    const attachment = task.networks.find((each) => each.network?.id === network.id);
    const address = numberOf(attachment?.addresses[0]);
    if (address === undefined || !hasAddress(ranges, address)) continue;
    if (nthAddress(ranges, slot) === address) continue;
    throw invalid(
      `label ${key}: ${formatAddress(address)} is that of slot ${slot} now, and cannot become that of another`,
    );
  }
}

/** An address that is in both. */
function common(a: readonly AddressRange[], b: readonly AddressRange[]): number | undefined {
  for (const one of a) {
    const other = b.find((range) => rangesMeet(one, range));
    if (other !== undefined) return Math.max(one.first, other.first);
  }
  return undefined;
}

function nameOf(network: Network): string {
  return network.spec?.annotations?.name ?? network.id;
}
