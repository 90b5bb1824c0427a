/**
 * What a service may be, apart from its tasks: name, mode, update policy, endpoint, networks, and
 * ports that others hold already (SwarmKit controlapi/service.go).
 */
import { SkepError } from '../../model/errors.js';
import type { Network, Service } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type EndpointSpec,
  EndpointSpec_ResolutionMode as ResolutionMode,
  type ServiceSpec,
} from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  type PortConfig,
  PortConfig_PublishMode as PublishMode,
  type UpdateConfig,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import type { ReadTransaction } from '../../store/types.js';
import { checkDnsName, checkSkepLabels, invalid, precondition } from './annotations.js';
import { checkReferences } from './references.js';
import { checkTaskSpec, isNegative } from './task-validation.js';

const INT64_MAX = 2n ** 63n - 1n;

/** Everything that can be said of a spec alone. @throws SkepError */
export function checkServiceSpec(spec: ServiceSpec): void {
  checkDnsName(spec.annotations);
  checkSkepLabels('service', spec.annotations);
  checkTaskSpec(spec.task);
  checkMode(spec);
  checkUpdate(spec.update);
  checkEndpoint(spec.endpoint);
  checkReferences(spec.task);
}

/** Whether a service cannot work without the ingress network. */
export function needsIngress(spec: ServiceSpec | undefined): boolean {
  const ports = spec?.endpoint?.ports ?? [];
  return ports.some((port) => port.publishMode === PublishMode.INGRESS);
}

/** Whether a network is the ingress network. */
export function isIngress(network: Network): boolean {
  return (
    network.spec?.ingress === true ||
    // Clusters from before the field: known by its label (SwarmKit allocator.IsIngressNetwork).
    network.spec?.annotations?.labels['com.docker.swarm.internal'] !== undefined
  );
}

/** The ingress network, if there is one. */
export function findIngress(transaction: ReadTransaction): Network | undefined {
  return transaction.find('network', { by: 'all' }).find(isIngress);
}

/** @throws SkepError failed_precondition when ingress ports are wanted and no network carries them */
export function checkIngressPresent(transaction: ReadTransaction, spec: ServiceSpec): void {
  if (needsIngress(spec) && findIngress(transaction) === undefined) {
    throw precondition('service needs ingress network, but no ingress network is present');
  }
}

/** @throws SkepError invalid_argument if the service names the ingress network */
export function checkServiceNetworks(transaction: ReadTransaction, spec: ServiceSpec): void {
  for (const attachment of [...spec.networks, ...(spec.task?.networks ?? [])]) {
    const network = transaction.get('network', attachment.target);
    if (network !== undefined && isIngress(network)) {
      const name = JSON.stringify(network.spec?.annotations?.name ?? '');
      throw invalid(`Service cannot be explicitly attached to the ingress network ${name}`);
    }
  }
}

function checkMode(spec: ServiceSpec): void {
  const { mode } = spec;
  switch (mode.case) {
    case 'replicated':
      if (mode.value.replicas > INT64_MAX) {
        throw invalid('Number of replicas must be non-negative');
      }
      return;
    case 'replicatedJob':
      if (mode.value.maxConcurrent > INT64_MAX) {
        throw invalid('Maximum concurrent jobs must not be negative');
      }
      if (mode.value.totalCompletions > INT64_MAX) {
        throw invalid('Total completed jobs must not be negative');
      }
      break;
    case 'globalJob':
      break;
    case 'global':
      return;
    case undefined:
      throw invalid('Unrecognized service mode');
  }
  if (spec.update !== undefined) throw invalid('Jobs may not have an update config');
}

function checkUpdate(update: UpdateConfig | undefined): void {
  if (update === undefined) return;
  if (isNegative(update.delay)) throw invalid('TaskSpec: update-delay cannot be negative');
  if (isNegative(update.monitor)) throw invalid('TaskSpec: update-monitor cannot be negative');
  const ratio = update.maxFailureRatio;
  if (!(ratio >= 0 && ratio <= 1)) {
    throw invalid('TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1');
  }
}

function checkEndpoint(endpoint: EndpointSpec | undefined): void {
  if (endpoint === undefined) return;
  const ingress = endpoint.ports.some((port) => port.publishMode === PublishMode.INGRESS);
  if (endpoint.mode === ResolutionMode.DNSRR && ingress) {
    throw invalid("EndpointSpec: port published with ingress mode can't be used with dnsrr mode");
  }
  const published = new Set<string>();
  for (const port of endpoint.ports) {
    // Port 0 is chosen later, each time another.
    if (port.publishedPort === 0) continue;
    if (published.has(portKey(port))) {
      throw invalid('EndpointSpec: duplicate published ports provided');
    }
    published.add(portKey(port));
  }
}

function portKey(port: PortConfig): string {
  return `${port.publishedPort}/${port.protocol}`;
}

/**
 * Published ports that another service holds. Host-mode ports of several services are fine: the
 * scheduler keeps them on different nodes.
 * @throws SkepError invalid_argument
 */
export function checkPortConflicts(
  transaction: ReadTransaction,
  spec: ServiceSpec,
  serviceId: string,
): void {
  const wanted = { ingress: new Set<string>(), host: new Set<string>() };
  for (const port of spec.endpoint?.ports ?? []) {
    if (port.publishedPort === 0) continue;
    const set = port.publishMode === PublishMode.HOST ? wanted.host : wanted.ingress;
    set.add(portKey(port));
  }
  if (wanted.ingress.size === 0 && wanted.host.size === 0) return;
  for (const service of transaction.find('service', { by: 'all' })) {
    if (service.id === serviceId) continue;
    const held = [...(service.spec?.endpoint?.ports ?? []), ...(service.endpoint?.ports ?? [])];
    for (const port of held) checkPortFree(port, service, wanted);
  }
}

function checkPortFree(
  port: PortConfig,
  holder: Service,
  wanted: { readonly ingress: ReadonlySet<string>; readonly host: ReadonlySet<string> },
): void {
  if (port.publishedPort === 0) return;
  const key = portKey(port);
  const byHost = port.publishMode === PublishMode.HOST;
  const conflict = wanted.ingress.has(key) || (!byHost && wanted.host.has(key));
  if (!conflict) return;
  const name = holder.spec?.annotations?.name ?? '';
  const how = byHost ? 'a host-published port' : 'an ingress port';
  throw invalid(
    `port '${port.publishedPort}' is already in use by service '${name}' (${holder.id}) as ${how}`,
  );
}

/** An already_exists of the store in the words of the Control API, which differ by kind. */
export function nameConflict(kind: string, name: string, error: unknown): SkepError {
  const known = SkepError.from(error);
  if (known.code !== 'already_exists') return known;
  const text = `${kind} ${name} already exists`;
  return new SkepError('already_exists', kind === 'service' ? `${known.message}: ${text}` : text);
}
