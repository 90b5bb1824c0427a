/** Services: API JSON to a service spec, and stored services to API JSON. */
import { create } from '@bufbuild/protobuf';
import type { Endpoint, Service } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type EndpointSpec,
  EndpointSpec_ResolutionMode,
  EndpointSpecSchema,
  GlobalJobSchema,
  GlobalServiceSchema,
  ReplicatedJobSchema,
  ReplicatedServiceSchema,
  type ServiceSpec,
  ServiceSpecSchema,
} from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  type PortConfig,
  PortConfig_Protocol,
  PortConfig_PublishMode,
  PortConfigSchema,
  type UpdateConfig,
  UpdateConfig_FailureAction,
  UpdateConfig_UpdateOrder,
  UpdateConfigSchema,
  type UpdateStatus,
  UpdateStatus_UpdateState,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { badRequest } from '../http/api-error.js';
import type { GoStruct } from '../http/go-struct.js';
import { float32Number, unlessEmpty, unlessZero } from '../http/json-text.js';
import {
  annotationFields,
  annotationsFromJson,
  durationOfNanos,
  durationToNanos,
  enumText,
  enumValue,
  goQuote,
  isSet,
  type JsonFields,
  metaFields,
  timestampToText,
  versionFields,
} from './common.js';
import {
  attachmentConfigFields,
  attachmentConfigsFromJson,
  taskSpecFields,
  taskSpecFromJson,
} from './task-spec.js';

/** A service as JSON; `status` is its `ServiceStatus`, where that is asked for. */
export function serviceFields(service: Service, status?: JsonFields): JsonFields {
  return {
    ID: service.id,
    ...metaFields(service.meta),
    Spec: service.spec && serviceSpecFields(service.spec),
    PreviousSpec: service.previousSpec && serviceSpecFields(service.previousSpec),
    Endpoint: endpointFields(service.endpoint),
    UpdateStatus: updateStatusFields(service.updateStatus),
    ServiceStatus: status,
    JobStatus: service.jobStatus && {
      JobIteration: versionFields(service.jobStatus.jobIteration?.index),
      LastExecution: timestampToText(service.jobStatus.lastExecution),
    },
  };
}

/** A service spec as JSON. */
export function serviceSpecFields(spec: ServiceSpec): JsonFields {
  const task = spec.task && taskSpecFields(spec.task);
  return {
    ...annotationFields(spec.annotations),
    TaskTemplate: {
      ...task,
      Runtime: spec.task?.runtime.case === 'container' ? 'container' : undefined,
    },
    Mode: modeFields(spec.mode),
    UpdateConfig: updateConfigFields(spec.update),
    RollbackConfig: updateConfigFields(spec.rollback),
    Networks: unlessEmpty(spec.networks.map(attachmentConfigFields)),
    EndpointSpec: spec.endpoint && endpointSpecFields(spec.endpoint),
  };
}

function modeFields(mode: ServiceSpec['mode']): JsonFields {
  switch (mode.case) {
    case 'replicated':
      return { Replicated: { Replicas: mode.value.replicas } };
    case 'global':
      return { Global: {} };
    case 'replicatedJob':
      return {
        ReplicatedJob: {
          MaxConcurrent: mode.value.maxConcurrent,
          TotalCompletions: mode.value.totalCompletions,
        },
      };
    case 'globalJob':
      return { GlobalJob: {} };
    case undefined:
      return {};
  }
}

function updateConfigFields(config: UpdateConfig | undefined): JsonFields | undefined {
  return (
    config && {
      Parallelism: config.parallelism,
      Delay: unlessZero(durationToNanos(config.delay)),
      FailureAction: enumText(UpdateConfig_FailureAction, config.failureAction),
      Monitor: unlessZero(durationToNanos(config.monitor)),
      MaxFailureRatio: float32Number(config.maxFailureRatio),
      Order: enumText(UpdateConfig_UpdateOrder, config.order).replace('_', '-'),
    }
  );
}

function updateStatusFields(status: UpdateStatus | undefined): JsonFields | undefined {
  if (status === undefined) return undefined;
  return {
    State:
      status.state === UpdateStatus_UpdateState.UNKNOWN
        ? undefined
        : enumText(UpdateStatus_UpdateState, status.state),
    StartedAt: isSet(status.startedAt) ? timestampToText(status.startedAt) : undefined,
    CompletedAt: isSet(status.completedAt) ? timestampToText(status.completedAt) : undefined,
    Message: unlessZero(status.message),
  };
}

/** One port as JSON. */
export function portFields(port: PortConfig): JsonFields {
  return {
    Name: unlessZero(port.name),
    Protocol: enumText(PortConfig_Protocol, port.protocol),
    TargetPort: unlessZero(port.targetPort),
    PublishedPort: unlessZero(port.publishedPort),
    PublishMode: enumText(PortConfig_PublishMode, port.publishMode),
  };
}

function endpointSpecFields(spec: EndpointSpec): JsonFields {
  return {
    Mode: enumText(EndpointSpec_ResolutionMode, spec.mode),
    Ports: unlessEmpty(spec.ports.map(portFields)),
  };
}

/** Without ports and addresses the engine shows an empty spec, whatever the mode. */
function endpointFields(endpoint: Endpoint | undefined): JsonFields {
  if (!endpoint?.ports.length && !endpoint?.virtualIps.length) return { Spec: {} };
  return {
    Spec: endpoint.spec === undefined ? {} : endpointSpecFields(endpoint.spec),
    Ports: unlessEmpty(endpoint.ports.map(portFields)),
    VirtualIPs: unlessEmpty(
      endpoint.virtualIps.map(({ networkId, addr }) => ({
        NetworkID: unlessZero(networkId),
        Addr: unlessZero(addr),
      })),
    ),
  };
}

/**
 * A service spec from JSON. Network targets are as the client wrote them.
 * @param randomName makes a name when the client gave none
 * @throws ApiError 400 with the engine's texts
 */
export function serviceSpecFromJson(json: GoStruct, randomName: () => string): ServiceSpec {
  const annotations = annotationsFromJson(json);
  if (annotations.name === '') annotations.name = randomName();
  const spec = create(ServiceSpecSchema, {
    annotations,
    task: taskSpecFromJson(json.nested('TaskTemplate', 'swarm.TaskSpec')),
    networks: attachmentConfigsFromJson(json),
    mode: modeFromJson(json.nested('Mode', 'swarm.ServiceMode')),
  });
  const update = json.optionalStruct('UpdateConfig', 'swarm.UpdateConfig');
  if (update !== undefined) spec.update = updateConfigFromJson(update);
  const rollback = json.optionalStruct('RollbackConfig', 'swarm.UpdateConfig');
  if (rollback !== undefined) spec.rollback = updateConfigFromJson(rollback);
  const endpoint = json.optionalStruct('EndpointSpec', 'swarm.EndpointSpec');
  if (endpoint !== undefined) spec.endpoint = endpointSpecFromJson(endpoint);
  return spec;
}

function modeFromJson(json: GoStruct): ServiceSpec['mode'] {
  const replicated = json.optionalStruct('Replicated', 'swarm.ReplicatedService');
  const global = json.optionalStruct('Global', 'swarm.GlobalService');
  const replicatedJob = json.optionalStruct('ReplicatedJob', 'swarm.ReplicatedJob');
  const globalJob = json.optionalStruct('GlobalJob', 'swarm.GlobalJob');
  const given = [replicated, global, replicatedJob, globalJob].filter((mode) => mode !== undefined);
  if (given.length > 1) throw badRequest('must specify only one service mode');
  if (global !== undefined) return { case: 'global', value: create(GlobalServiceSchema) };
  if (globalJob !== undefined) return { case: 'globalJob', value: create(GlobalJobSchema) };
  if (replicatedJob !== undefined) {
    const maxConcurrent = replicatedJob.optionalUint64('MaxConcurrent') ?? 1n;
    const totalCompletions = replicatedJob.optionalUint64('TotalCompletions') ?? maxConcurrent;
    const value = create(ReplicatedJobSchema, { maxConcurrent, totalCompletions });
    return { case: 'replicatedJob', value };
  }
  const replicas = replicated?.optionalUint64('Replicas') ?? 1n;
  return { case: 'replicated', value: create(ReplicatedServiceSchema, { replicas }) };
}

function updateConfigFromJson(json: GoStruct): UpdateConfig {
  const action = json.string('FailureAction');
  const order = json.string('Order');
  const monitor = json.int64('Monitor', 'time.Duration');
  return create(UpdateConfigSchema, {
    parallelism: json.uint64('Parallelism'),
    delay: durationOfNanos(json.int64('Delay', 'time.Duration')),
    maxFailureRatio: json.float32('MaxFailureRatio'),
    failureAction: failureActionFromText(action),
    order: orderFromText(order),
    ...(monitor === 0n ? {} : { monitor: durationOfNanos(monitor) }),
  });
}

function failureActionFromText(text: string): UpdateConfig_FailureAction {
  switch (text) {
    case '':
    case 'pause':
      return UpdateConfig_FailureAction.PAUSE;
    case 'continue':
      return UpdateConfig_FailureAction.CONTINUE;
    case 'rollback':
      return UpdateConfig_FailureAction.ROLLBACK;
    default:
      throw badRequest(`unrecognized update failure action ${text}`);
  }
}

function orderFromText(text: string): UpdateConfig_UpdateOrder {
  switch (text) {
    case '':
    case 'stop-first':
      return UpdateConfig_UpdateOrder.STOP_FIRST;
    case 'start-first':
      return UpdateConfig_UpdateOrder.START_FIRST;
    default:
      throw badRequest(`unrecognized update order ${text}`);
  }
}

/** Unknown protocols and publish modes become tcp and ingress without an error, as in the engine. */
function endpointSpecFromJson(json: GoStruct): EndpointSpec {
  const mode = json.string('Mode', 'swarm.ResolutionMode');
  if (mode !== '' && mode !== 'vip' && mode !== 'dnsrr') {
    throw badRequest(`invalid resolution mode: ${goQuote(mode)}`);
  }
  return create(EndpointSpecSchema, {
    mode: mode === 'dnsrr' ? EndpointSpec_ResolutionMode.DNSRR : EndpointSpec_ResolutionMode.VIP,
    ports: json.structs('Ports', 'swarm.PortConfig').map((port) =>
      create(PortConfigSchema, {
        name: port.string('Name'),
        protocol:
          enumValue(PortConfig_Protocol, port.string('Protocol', 'swarm.PortConfigProtocol')) ??
          PortConfig_Protocol.TCP,
        targetPort: port.uint32('TargetPort'),
        publishedPort: port.uint32('PublishedPort'),
        publishMode:
          enumValue(
            PortConfig_PublishMode,
            port.string('PublishMode', 'swarm.PortConfigPublishMode'),
          ) ?? PortConfig_PublishMode.INGRESS,
      }),
    ),
  });
}
