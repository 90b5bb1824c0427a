/** `/services` and below, except logs. */
import type { Control } from '../../manager/control/types.js';
import type { Service, Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type ContainerSpec,
  ContainerSpec_PullOptionsSchema,
  ReplicatedServiceSchema,
  type ServiceSpec,
} from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import { create } from '@bufbuild/protobuf';
import { withDefaults } from '../convert/service-defaults.js';
import { serviceFields, serviceSpecFromJson } from '../convert/service.js';
import { Filters } from '../filters.js';
import { ApiError, badRequest } from '../http/api-error.js';
import { type ApiRequest, empty, json, type Reply } from '../http/request.js';
import { type Route, versionLess } from '../http/router.js';
import { randomName } from '../names.js';
import { serviceStatusFields } from '../service-status.js';
import { control, findNetwork, findService, type RouteContext } from './context.js';
import { findEngineNetwork } from './engine-networks.js';

const FILTER_KEYS = ['name', 'id', 'label', 'mode', 'runtime'];

const MODE_TEXT = {
  replicated: 'replicated',
  global: 'global',
  replicatedJob: 'replicated-job',
  globalJob: 'global-job',
} as const;

/** The routes. */
export function serviceRoutes(context: RouteContext): readonly Route[] {
  return [
    { method: 'GET', pattern: '/services', handler: (request) => list(context, request) },
    {
      method: 'POST',
      pattern: '/services/create',
      handler: (request) => createService(context, request),
    },
    { method: 'GET', pattern: '/services/:id', handler: (request) => inspect(context, request) },
    { method: 'DELETE', pattern: '/services/:id', handler: (request) => remove(context, request) },
    {
      method: 'POST',
      pattern: '/services/:id/update',
      handler: (request) => update(context, request),
    },
  ];
}

function list(context: RouteContext, request: ApiRequest): Reply {
  const filters = Filters.parse(request.query.get('filters'), 400);
  const withStatus = request.strictBool('status', true) ?? false;
  const manager = control(context);
  filters.checkKeys(FILTER_KEYS);
  const services = manager.listServices().filter((service) => matches(service, filters));
  if (!withStatus) return json(services.map((service) => serviceFields(service)));
  const tasks = tasksByService(manager);
  return json(
    services.map((service) =>
      serviceFields(service, serviceStatusFields(service, tasks.get(service.id) ?? [])),
    ),
  );
}

function matches(service: Service, filters: Filters): boolean {
  const { annotations, mode, task } = service.spec ?? {};
  const runtime = task?.runtime.case === 'generic' ? task.runtime.value.kind : task?.runtime.case;
  const runtimes = filters.has('runtime') ? filters.get('runtime') : ['container'];
  return (
    filters.prefix('name', annotations?.name ?? '') &&
    filters.prefix('id', service.id) &&
    filters.labels('label', annotations?.labels ?? {}) &&
    runtimes.includes(runtime ?? '') &&
    filters.exact('mode', mode?.case === undefined ? '' : MODE_TEXT[mode.case])
  );
}

function tasksByService(manager: Control): ReadonlyMap<string, readonly Task[]> {
  const result = new Map<string, Task[]>();
  for (const task of manager.listTasks()) {
    const list = result.get(task.serviceId);
    if (list === undefined) result.set(task.serviceId, [task]);
    else list.push(task);
  }
  return result;
}

function inspect(context: RouteContext, request: ApiRequest): Reply {
  const insertDefaults = request.strictBool('insertDefaults', true) ?? false;
  const service = findService(control(context), request.param('id'));
  return json(serviceFields(insertDefaults ? withDefaults(service) : service));
}

async function createService(context: RouteContext, request: ApiRequest): Promise<Reply> {
  const body = await request.struct('swarm.ServiceSpec');
  const manager = control(context);
  const name = () => randomName(context.environment.random);
  const spec = adjustForVersion(serviceSpecFromJson(body, name), request.version);
  await resolveNetworks(context, manager, spec);
  const auth = request.header('X-Registry-Auth');
  const container = containerOf(spec);
  if (auth !== '' && container !== undefined) container.pullOptions = pullOptions(auth);
  const service = await manager.createService(spec);
  return json({ ID: service.id }, 201);
}

async function update(context: RouteContext, request: ApiRequest): Promise<Reply> {
  const body = await request.struct('swarm.ServiceSpec');
  const version = request.objectVersion('service', true);
  const manager = control(context);
  const spec = adjustForVersion(
    serviceSpecFromJson(body, () => ''),
    request.version,
  );
  await resolveNetworks(context, manager, spec);
  const current = findService(manager, request.param('id'));
  keepCredentials(spec, current, request);
  const rollback = request.query.get('rollback') ?? '';
  if (rollback !== '' && rollback !== 'none' && rollback !== 'previous') {
    throw new ApiError(500, `unrecognized rollback option ${rollback}`);
  }
  await manager.updateService(current.id, version, spec, {
    rollback: rollback === 'previous' ? 'previous' : 'none',
  });
  return json({ Warnings: null });
}

async function remove(context: RouteContext, request: ApiRequest): Promise<Reply> {
  const manager = control(context);
  await manager.removeService(findService(manager, request.param('id')).id);
  return empty();
}

/** Modes that came with API 1.41; `undefined` is none of them. */
const JOB_MODES = new Set<string | undefined>(['replicatedJob', 'globalJob']);

/** Features that clients of an older API version cannot mean are dropped, as the engine does. */
function adjustForVersion(spec: ServiceSpec, version: string): ServiceSpec {
  if (version === '') return spec;
  const container = containerOf(spec);
  if (container !== undefined && versionLess(version, '1.40')) {
    container.sysctls = {};
    const { credentialSpec } = container.privileges ?? {};
    if (credentialSpec?.source.case === 'config') credentialSpec.source = { case: undefined };
    container.configs = container.configs.filter(({ target }) => target.case !== 'runtime');
  }
  if (versionLess(version, '1.40') && spec.task?.placement) spec.task.placement.maxReplicas = 0n;
  if (versionLess(version, '1.41') && JOB_MODES.has(spec.mode.case)) {
    spec.mode = { case: 'replicated', value: create(ReplicatedServiceSchema, { replicas: 1n }) };
  }
  if (container !== undefined && versionLess(version, '1.41')) {
    container.capabilityAdd = [];
    container.capabilityDrop = [];
    container.ulimits = [];
    container.pidsLimit = 0n;
  }
  return spec;
}

function containerOf(spec: ServiceSpec | undefined): ContainerSpec | undefined {
  const runtime = spec?.task?.runtime;
  return runtime?.case === 'container' ? runtime.value : undefined;
}

function pullOptions(registryAuth: string): NonNullable<ContainerSpec['pullOptions']> {
  return create(ContainerSpec_PullOptionsSchema, { registryAuth });
}

/** Registry credentials of an update: the header's, else those of the named spec. */
function keepCredentials(spec: ServiceSpec, current: Service, request: ApiRequest): void {
  const from = request.query.get('registryAuthFrom') ?? '';
  const container = containerOf(spec);
  if (container === undefined) return;
  const auth = request.header('X-Registry-Auth');
  if (auth !== '') {
    container.pullOptions = pullOptions(auth);
    return;
  }
  if (from !== '' && from !== 'spec' && from !== 'previous-spec') {
    throw new ApiError(500, 'unsupported registryAuthFrom value');
  }
  if (from === 'previous-spec' && current.previousSpec === undefined) {
    throw new ApiError(500, 'service does not have a previous spec');
  }
  const source = containerOf(from === 'previous-spec' ? current.previousSpec : current.spec);
  if (source === undefined) throw new ApiError(500, 'service does not use container tasks');
  if (source.pullOptions !== undefined) container.pullOptions = source.pullOptions;
}

/**
 * Network names and prefixes become ids. Services of clients before API 1.44 may name networks at
 * the top level; they count when the task template has none.
 */
async function resolveNetworks(
  context: RouteContext,
  manager: Control,
  spec: ServiceSpec,
): Promise<void> {
  const own = spec.task?.networks ?? [];
  for (const network of own.length > 0 ? own : spec.networks) {
    if (network.target === '') throw badRequest('network name must be provided');
    try {
      network.target = findNetwork(manager, network.target).id;
    } catch (error) {
      const local = await findEngineNetwork(context, network.target);
      if (local !== undefined && local.swarmId === '') {
        throw new ApiError(
          403,
          `The network ${local.name} cannot be used with services. Only networks scoped to the ` +
            'swarm can be used, such as those created with the overlay driver.',
        );
      }
      // The engine's plain error, which is 500 and not the 404 of a route about a network.
      if (error instanceof ApiError && error.status === 404) throw new ApiError(500, error.message);
      throw error;
    }
  }
}
