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
  return networks.every(({ id }) => endpoint.virtualIps.some(({ networkId }) => networkId === id));
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
    const ports = (spec?.ports ?? []).map((port) => allocatePort(resources, kept, port));
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
  const left = [...(old?.ports ?? [])];
  const ports: PortConfig[] = [];
  for (const wanted of service.spec?.endpoint?.ports ?? []) {
    const index = left.findIndex((port) => answers(port, wanted));
    if (index >= 0) ports.push(...left.splice(index, 1));
  }
  const virtualIps = (old?.virtualIps ?? []).filter(({ networkId, addr }) =>
    networks.some(({ id }) => id === networkId && addr !== ''),
  );
  return create(EndpointSchema, { ports, virtualIps });
}

/** Whether an allocated port is the one `wanted` asks for; an unnumbered wish is met by any. */
function answers(port: PortConfig, wanted: PortConfig): boolean {
  return (
    port.name === wanted.name &&
    port.protocol === wanted.protocol &&
    port.targetPort === wanted.targetPort &&
    port.publishMode === wanted.publishMode &&
    (wanted.publishedPort === 0 || wanted.publishedPort === port.publishedPort)
  );
}

function allocatePort(resources: Resources, kept: Service, wanted: PortConfig): PortConfig {
  if (!isIngressPort(wanted)) return wanted;
  const present = kept.endpoint?.ports.find(
    (port) => answers(port, wanted) && port.publishedPort !== 0,
  );
  if (present !== undefined) return present;
  const { protocol, publishedPort } = wanted;
  const scope = publishRules(kept.spec?.annotations?.labels).get(publishedPort)?.scope;
  const number = resources.allocatePort(protocol, publishedPort, `service/${kept.id}`, scope);
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
  const addr = resources.allocateAddress(network.id, `service/${kept.id}`);
  if (addr === undefined) throw new SkepError('failed_precondition', NO_VIRTUAL_IP);
  return create(Endpoint_VirtualIPSchema, { networkId: network.id, addr });
}
