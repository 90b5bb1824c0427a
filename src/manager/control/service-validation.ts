/**
 * What a service may be, apart from its tasks: name, mode, update policy, endpoint and networks
 * (SwarmKit controlapi/service.go).
 */
import { SkepError } from '../../model/errors.js';
import type { Network } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type EndpointSpec,
  EndpointSpec_ResolutionMode as ResolutionMode,
  type ServiceSpec,
} from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  PortConfig_PublishMode as PublishMode,
  type UpdateConfig,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { reservedKinds } from '../../model/container-settings.js';
import { resourceKind } from '../../model/generic-resources.js';
import { CRON_LABEL } from '../../model/labels/keys.js';
import { namesReadiness, readiness } from '../../model/readiness.js';
import { ALLOW_BYTES_MAX, networksBytes, publishRules } from '../../model/publish-rules.js';
import type { ReadTransaction } from '../../store/types.js';
import { checkDnsName, checkSkepLabels, invalid, precondition } from './annotations.js';
import { portKey } from './port-conflicts.js';
import { checkReferences } from './references.js';
import { checkTaskSpec, isNegative } from './task-validation.js';

/** Each port is an object of its own in every copy of the service: more would hold a manager up for seconds. */
const SERVICE_PORTS_MAX = 16_384;

const INT64_MAX = 2n ** 63n - 1n;

/** Everything that can be said of a spec alone. @throws SkepError */
export function checkServiceSpec(spec: ServiceSpec): void {
  checkDnsName(spec.annotations);
  checkSkepLabels('service', spec.annotations);
  checkTaskSpec(spec.task, spec.annotations);
  checkMode(spec);
  checkSchedule(spec);
  checkUpdate(spec.update);
  checkEndpoint(spec.endpoint);
  checkPublishRules(spec);
  checkReadiness(spec);
  checkReservedKinds(spec);
  checkReferences(spec.task);
}

function checkSchedule({ annotations, mode }: ServiceSpec): void {
  if (annotations?.labels[CRON_LABEL] === undefined) return;
  if (mode.case === 'replicatedJob' || mode.case === 'globalJob') return;
  throw invalid(`label ${CRON_LABEL} is for jobs: --mode replicated-job or global-job`);
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
  if (endpoint.ports.length > SERVICE_PORTS_MAX) {
    throw invalid(`EndpointSpec: more than ${SERVICE_PORTS_MAX} published ports`);
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

/**
 * A rule for a port that is not published is most likely a typing error, and the port meant is open
 * to everybody.
 */
function checkPublishRules(spec: ServiceSpec): void {
  const published = new Set((spec.endpoint?.ports ?? []).map((port) => port.publishedPort));
  let bytes = 0;
  for (const [port, { allow }] of publishRules(spec.annotations?.labels)) {
    if (!published.has(port)) {
      throw invalid(`label skep.publish.${port}: the service does not publish port ${port}`);
    }
    bytes += networksBytes(allow ?? []);
  }
  if (bytes <= ALLOW_BYTES_MAX) return;
  throw invalid(
    `skep.publish labels name too many networks: ${bytes} bytes of at most ${ALLOW_BYTES_MAX} ` +
      '(5 for an IPv4, 17 for an IPv6 network)',
  );
}

/** Settings of a probe that nobody makes are most likely a typing error. */
function checkReadiness(spec: ServiceSpec): void {
  const labels = spec.annotations?.labels;
  if (!namesReadiness(labels) || readiness(labels) !== undefined) return;
  throw invalid(
    'skep.readiness labels: one of skep.readiness.cmd, skep.readiness.http and skep.readiness.tcp ' +
      'must be set',
  );
}

/** Settings of containers that stand for resources which the service does not reserve would reject every task. */
function checkReservedKinds({ annotations, task }: ServiceSpec): void {
  const container = task?.runtime.case === 'container' ? task.runtime.value.labels : undefined;
  const reserved = (task?.resources?.reservations?.generic ?? []).map(resourceKind);
  for (const [label, kind] of reservedKinds(annotations?.labels, container)) {
    if (reserved.includes(kind)) continue;
    throw invalid(
      `label ${label}: the service reserves no generic resource ${kind} (--generic-resource ${kind}=1)`,
    );
  }
}

/** An already_exists of the store in the words of the Control API, which differ by kind. */
export function nameConflict(kind: string, name: string, error: unknown): SkepError {
  const known = SkepError.from(error);
  if (known.code !== 'already_exists') return known;
  const text = `${kind} ${name} already exists`;
  return new SkepError('already_exists', kind === 'service' ? `${known.message}: ${text}` : text);
}
