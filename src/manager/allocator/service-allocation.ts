/**
 * Gives a service its endpoint: a virtual address on each of its networks and its published ports
 * (SwarmKit manager/allocator, libnetwork cnmallocator).
 */
import { create, equals } from '@bufbuild/protobuf';
import { SkepError } from '../../model/errors.js';
import {
  Endpoint_VirtualIPSchema,
  type Endpoint_VirtualIP as VirtualIp,
  EndpointSchema,
  type Network,
  type Service,
} from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  EndpointSpec_ResolutionMode as ResolutionMode,
  EndpointSpecSchema,
} from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import type {
  NetworkAttachmentConfig,
  PortConfig,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import {
  fixedVip,
  formatAddress,
  hasAddress,
  parseFixedAddress,
  reservedOf,
} from '../../model/fixed-addresses.js';
import { publishRules } from '../../model/publish-rules.js';
import type { ReadTransaction } from '../../store/types.js';
import { isAllocated, isNodeLocal } from './network-allocation.js';
import { isIngressPort, type Resources } from './resources.js';

/** SwarmKit's text for a network without a free address for a service. */
export const NO_VIRTUAL_IP = 'could not find an available IP while allocating VIP';

/** The routing mesh's network, if the cluster has one. */
export function ingressNetwork(transaction: ReadTransaction): Network | undefined {
  return transaction.find('network', { by: 'all' }).find(({ spec }) => spec?.ingress === true);
}

/** A network by id, or (predefined ones) by name. */
export function findNetwork(transaction: ReadTransaction, target: string): Network | undefined {
  const byId = transaction.get('network', target);
  return byId ?? transaction.find('network', { by: 'name', name: target })[0];
}

/** The networks the service's spec attaches its tasks to. */
export function attachmentConfigs(service: Service): readonly NetworkAttachmentConfig[] {
  const ofTask = service.spec?.task?.networks ?? [];
  return ofTask.length > 0 ? ofTask : (service.spec?.networks ?? []);
}

/** Networks on which the service needs a virtual address; undefined while one of them is not ready. */
function virtualIpNetworks(
  transaction: ReadTransaction,
  service: Service,
): readonly Network[] | undefined {
  if (service.spec?.endpoint?.mode === ResolutionMode.DNSRR) return [];
  const networks = attachmentConfigs(service).map(({ target }) => findNetwork(transaction, target));
  if ((service.spec?.endpoint?.ports ?? []).some(isIngressPort)) {
    networks.unshift(ingressNetwork(transaction));
  }
  const ready: Network[] = [];
  for (const network of networks) {
    if (network === undefined || !isAllocated(network)) return undefined;
    if (!isNodeLocal(network) && !ready.includes(network)) ready.push(network);
  }
  return ready;
}

/** Whether the service's endpoint is what its spec asks for. */
export function isServiceAllocated(transaction: ReadTransaction, service: Service): boolean {
  const spec = service.spec?.endpoint;
  const networks = virtualIpNetworks(transaction, service);
  if (networks === undefined) return false;
  const { endpoint } = service;
  if (endpoint === undefined) return spec === undefined && networks.length === 0;
  const empty = create(EndpointSpecSchema);
  if (!equals(EndpointSpecSchema, endpoint.spec ?? empty, spec ?? empty)) return false;
  if (endpoint.ports.some((port) => isIngressPort(port) && port.publishedPort === 0)) return false;
  if (endpoint.ports.length !== (spec?.ports.length ?? 0)) return false;
  if (endpoint.virtualIps.length !== networks.length) return false;
  return networks.every((network) =>
    endpoint.virtualIps.some((virtual) => isWantedVip(service, network, virtual)),
  );
}

/** Whether the service may keep this virtual address on the network: the one its labels ask for, or any. */
function isWantedVip(service: Service, network: Network, { networkId, addr }: VirtualIp): boolean {
  if (networkId !== network.id || addr === '') return false;
  const wanted = fixedVip(service.spec?.annotations?.labels, network);
  const actual = parseFixedAddress(addr.split('/')[0] ?? '');
  if (wanted !== undefined) return actual === wanted;
  return actual === undefined || !hasAddress(reservedOf(network), actual);
}

/** A task or service waits for the very address its labels ask for. */
export function fixedInUse(address: number, network: Network): string {
  const name = network.spec?.annotations?.name ?? '';
  return `address ${formatAddress(address)} of network ${name} is still in use`;
}

/**
 * The service with the endpoint its spec asks for, which it then holds in `resources`. What it had
 * and still needs, it keeps.
 * @returns undefined while a network it needs is not ready
 * @throws SkepError failed_precondition when an address or port is not to be had; nothing changes
 */
export function allocateService(
  resources: Resources,
  transaction: ReadTransaction,
  service: Service,
): Service | undefined {
  const networks = virtualIpNetworks(transaction, service);
  if (networks === undefined) return undefined;
  const spec = service.spec?.endpoint;
  if (spec === undefined && networks.length === 0) return { ...service, endpoint: undefined };
  // Ports and addresses the new spec drops are free for others at once.
  const kept = { ...service, endpoint: keptEndpoint(service, networks) };
  resources.observeService(kept);
  try {
    const present = indexPorts(kept.endpoint?.ports ?? []);
    const rules = publishRules(kept.spec?.annotations?.labels);
    const ports = (spec?.ports ?? []).map(
      (port) => findPresent(present, port) ?? allocatePort(resources, kept.id, port, rules),
    );
    const virtualIps = networks.map((network) => allocateVirtualIp(resources, kept, network));
    const endpoint = create(EndpointSchema, { ports: [...ports], virtualIps: [...virtualIps] });
    if (spec !== undefined) endpoint.spec = spec;
    const allocated = { ...service, endpoint };
    resources.observeService(allocated);
    return allocated;
  } catch (error) {
    resources.observeService(service);
    throw error;
  }
}

/** What of the present endpoint the spec still asks for. */
function keptEndpoint(service: Service, networks: readonly Network[]) {
  const old = service.endpoint;
  const left = indexPorts(old?.ports ?? []);
  const ports: PortConfig[] = [];
  for (const wanted of service.spec?.endpoint?.ports ?? []) {
    const index = left.get(wishOf(wanted));
    const number = wanted.publishedPort === 0 ? index?.keys().next().value : wanted.publishedPort;
    const port = number === undefined ? undefined : index?.get(number);
    if (port === undefined) continue;
    index?.delete(port.publishedPort);
    ports.push(port);
  }
  const virtualIps = (old?.virtualIps ?? []).filter((virtual) =>
    networks.some((network) => isWantedVip(service, network, virtual)),
  );
  return create(EndpointSchema, { ports, virtualIps });
}

/** Ports by what asks for them, then by published number: services have tens of thousands of them. */
type PortIndex = ReadonlyMap<string, Map<number, PortConfig>>;

function indexPorts(ports: readonly PortConfig[]): PortIndex {
  const index = new Map<string, Map<number, PortConfig>>();
  for (const port of ports) {
    const wish = wishOf(port);
    const numbers = index.get(wish) ?? new Map<number, PortConfig>();
    index.set(wish, numbers.set(port.publishedPort, port));
  }
  return index;
}

/** All of a port but its number: an unnumbered wish is met by any. */
function wishOf({ name, protocol, targetPort, publishMode }: PortConfig): string {
  return `${protocol} ${publishMode} ${targetPort} ${name}`;
}

/** The allocated port that is what `wanted` asks for; a host-mode one is allocated with its task. */
function findPresent(present: PortIndex, wanted: PortConfig): PortConfig | undefined {
  if (!isIngressPort(wanted)) return wanted;
  const numbers = present.get(wishOf(wanted));
  if (wanted.publishedPort !== 0) return numbers?.get(wanted.publishedPort);
  return [...(numbers?.values() ?? [])].find(({ publishedPort }) => publishedPort !== 0);
}

function allocatePort(
  resources: Resources,
  serviceId: string,
  wanted: PortConfig,
  rules: ReturnType<typeof publishRules>,
): PortConfig {
  const { protocol, publishedPort } = wanted;
  const scope = rules.get(publishedPort)?.scope;
  const number = resources.allocatePort(protocol, publishedPort, `service/${serviceId}`, scope);
  if (number === undefined) {
    const text =
      publishedPort === 0
        ? 'could not find an available port'
        : `port '${publishedPort}' is already in use`;
    throw new SkepError('failed_precondition', text);
  }
  return { ...wanted, publishedPort: number };
}

function allocateVirtualIp(resources: Resources, kept: Service, network: Network): VirtualIp {
  const present = kept.endpoint?.virtualIps.find(({ networkId }) => networkId === network.id);
  if (present !== undefined) return present;
  const fixed = fixedVip(kept.spec?.annotations?.labels, network);
  const wish = fixed === undefined ? undefined : ({ kind: 'fixed', address: fixed } as const);
  const addr = resources.allocateAddress(network.id, `service/${kept.id}`, wish);
  if (addr === undefined) {
    const text = fixed === undefined ? NO_VIRTUAL_IP : fixedInUse(fixed, network);
    throw new SkepError('failed_precondition', text);
  }
  return create(Endpoint_VirtualIPSchema, { networkId: network.id, addr });
}
