/**
 * What a task of a service may be: resources, restart policy, placement, container, health check
 * (SwarmKit controlapi/service.go, validateTaskSpec). Texts are SwarmKit's.
 */
import { create } from '@bufbuild/protobuf';
import type { Duration } from '@bufbuild/protobuf/wkt';
import { parseConstraints } from '../../model/constraint.js';
import { resourceKind } from '../../model/generic-resources.js';
import { SkepError } from '../../model/errors.js';
import { TaskSchema } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { ContainerSpec, TaskSpec } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  type Annotations,
  type HealthConfig,
  type Mount,
  Mount_Type as MountType,
  type Placement,
  type Resources,
  type RestartPolicy,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { expandTask } from '../../model/template/expansion.js';
import { checkLabels } from '../../model/labels/check.js';
import { invalid } from './annotations.js';
import { isImageReference } from './image-reference.js';
import { CPU_MIN_NANO, HEALTH_DURATION_MIN_MS, MEMORY_MIN_BYTES } from './limits.js';

/** @throws SkepError invalid_argument; unknown for constraints, as SwarmKit has it */
export function checkTaskSpec(task: TaskSpec | undefined, service?: Annotations): void {
  checkResources(task?.resources?.limits);
  checkResources(task?.resources?.reservations);
  checkRestart(task?.restart);
  checkPlacement(task?.placement);
  switch (task?.runtime.case) {
    case 'container':
      checkContainer(expandedContainer(task, task.runtime.value, service));
      return;
    case 'generic':
      throw new SkepError('unimplemented', 'RuntimeSpec: unimplemented runtime in service spec');
    case 'attachment':
      throw new SkepError('unimplemented', 'RuntimeSpec: unimplemented runtime in service spec');
    default:
      throw invalid('TaskSpec: missing runtime');
  }
}

/** Whether a duration is given and below zero. */
export function isNegative(duration: Duration | undefined): boolean {
  return duration !== undefined && (duration.seconds < 0n || duration.nanos < 0);
}

function checkResources(resources: Resources | undefined): void {
  if (resources === undefined) return;
  const { nanoCpus, memoryBytes, generic } = resources;
  if (nanoCpus !== 0n && nanoCpus < CPU_MIN_NANO) {
    const [value, least] = [goFloat(Number(nanoCpus) / 1e9), goFloat(Number(CPU_MIN_NANO) / 1e9)];
    throw invalid(`invalid cpu value ${value}: Must be at least ${least}`);
  }
  if (memoryBytes !== 0n && memoryBytes < MEMORY_MIN_BYTES) {
    throw invalid(`invalid memory value ${memoryBytes}: Must be at least 4MiB`);
  }
  // Which members of a named kind a task gets is the scheduler's choice.
  const named = generic.find(({ resource }) => resource.case !== 'discreteResourceSpec');
  if (named !== undefined) throw invalid(`invalid argument for resource ${resourceKind(named)}`);
}

/** A number as Go's %g prints it: exponents have two digits and begin below 1e-4. */
function goFloat(value: number): string {
  if (value === 0 || Math.abs(value) >= 1e-4) return String(value);
  return value.toExponential().replace(/e([+-])(\d)$/, 'e$10$2');
}

function checkRestart(restart: RestartPolicy | undefined): void {
  if (isNegative(restart?.delay)) throw invalid('TaskSpec: restart-delay cannot be negative');
  if (isNegative(restart?.window)) throw invalid('TaskSpec: restart-window cannot be negative');
}

function checkPlacement(placement: Placement | undefined): void {
  try {
    parseConstraints(placement?.constraints ?? []);
  } catch (error) {
    // SwarmKit hands the parser's error through without a code of its own.
    throw new SkepError('unknown', SkepError.from(error).message, { cause: error });
  }
}

/**
 * The container of a made-up task, so that templates that cannot be filled in are refused here.
 * SwarmKit gives it no labels, and refuses `.Service.Labels.x` even where the service has one.
 */
function expandedContainer(
  task: TaskSpec,
  container: ContainerSpec,
  service: Annotations | undefined,
): ContainerSpec {
  const madeUp = create(TaskSchema, {
    spec: task,
    serviceId: 'serviceid',
    slot: 1n,
    nodeId: 'nodeid',
    annotations: { name: 'taskname' },
    serviceAnnotations: { name: 'servicename', labels: service?.labels ?? {} },
  });
  const node = { hostname: 'nodeHostname', architecture: 'architecture', os: 'os' };
  const runtime = expandTask(madeUp, node).spec?.runtime;
  return runtime?.case === 'container' ? runtime.value : container;
}

function checkContainer(container: ContainerSpec): void {
  if (container.image === '') throw invalid('ContainerSpec: image reference must be provided');
  if (!isImageReference(container.image)) {
    throw invalid(
      `ContainerSpec: ${JSON.stringify(container.image)} is not a valid repository/tag`,
    );
  }
  checkLabels('container', container.labels);
  checkMounts(container.mounts);
  checkHealth(container.healthcheck);
}

function checkMounts(mounts: readonly Mount[]): void {
  const targets = new Set<string>();
  for (const mount of mounts) {
    if (mount.type === MountType.CLUSTER)
      throw new SkepError('unimplemented', 'cluster volumes (CSI) are not supported');
    if (targets.has(mount.target)) {
      throw invalid(`ContainerSpec: duplicate mount point: ${mount.target}`);
    }
    targets.add(mount.target);
  }
}

function checkHealth(health: HealthConfig | undefined): void {
  if (health === undefined) return;
  const durations = {
    Interval: health.interval,
    Timeout: health.timeout,
    StartPeriod: health.startPeriod,
    StartInterval: health.startInterval,
  };
  for (const [name, duration] of Object.entries(durations)) {
    if (duration === undefined) continue;
    const valueMs = Number(duration.seconds) * 1000 + duration.nanos / 1e6;
    if (valueMs !== 0 && valueMs < HEALTH_DURATION_MIN_MS) {
      throw invalid(`ContainerSpec: ${name} in HealthConfig cannot be less than 1ms`);
    }
  }
  if (health.retries < 0) {
    throw invalid('ContainerSpec: Retries in HealthConfig cannot be negative');
  }
}
