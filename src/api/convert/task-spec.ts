/**
 * The task template of a service: runtime, resources, restart policy, placement, networks, log
 * driver. A pids limit lives in the container spec on the wire and under Resources in the API.
 */
import { create } from '@bufbuild/protobuf';
import {
  type ContainerSpec,
  type TaskSpec,
  TaskSpecSchema,
} from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  DiscreteGenericResourceSchema,
  type GenericResource,
  GenericResourceSchema,
  NamedGenericResourceSchema,
  type NetworkAttachmentConfig,
  NetworkAttachmentConfigSchema,
  type Placement,
  PlacementPreferenceSchema,
  PlacementSchema,
  PlatformSchema,
  type ResourceRequirements,
  ResourceRequirementsSchema,
  type Resources,
  ResourcesSchema,
  type RestartPolicy,
  RestartPolicy_RestartCondition,
  RestartPolicySchema,
  SpreadOverSchema,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { ApiError, badRequest } from '../http/api-error.js';
import type { GoStruct } from '../http/go-struct.js';
import { mapUnlessEmpty, unlessEmpty, unlessZero } from '../http/json-text.js';
import {
  driverFields,
  driverFromJson,
  durationToNanos,
  goQuote,
  type JsonFields,
  optionalDuration,
} from './common.js';
import { containerSpecFromJson } from './container-from-json.js';
import { containerSpecFields } from './container-to-json.js';

const CONDITION_TEXT: Record<RestartPolicy_RestartCondition, string> = {
  [RestartPolicy_RestartCondition.NONE]: 'none',
  [RestartPolicy_RestartCondition.ON_FAILURE]: 'on-failure',
  [RestartPolicy_RestartCondition.ANY]: 'any',
};

/** The task spec as JSON; `Runtime` is added by services only, as in the engine. */
export function taskSpecFields(spec: TaskSpec): JsonFields {
  const { runtime } = spec;
  return {
    ContainerSpec: runtime.case === 'container' ? containerSpecFields(runtime.value) : undefined,
    NetworkAttachmentSpec:
      runtime.case === 'attachment' ? { ContainerID: runtime.value.containerId } : undefined,
    Resources: resourceFields(
      spec.resources,
      runtime.case === 'container' ? runtime.value : undefined,
    ),
    RestartPolicy: restartFields(spec.restart),
    Placement: placementFields(spec.placement),
    Networks: unlessEmpty(spec.networks.map(attachmentConfigFields)),
    LogDriver: driverFields(spec.logDriver),
    ForceUpdate: spec.forceUpdate,
  };
}

/** `Networks[]` of a service or task spec. */
export function attachmentConfigFields(config: NetworkAttachmentConfig): JsonFields {
  return {
    Target: unlessZero(config.target),
    Aliases: unlessEmpty(config.aliases),
    DriverOpts: mapUnlessEmpty(config.driverAttachmentOpts),
  };
}

/** `Networks[]` from JSON; targets as the client wrote them. */
export function attachmentConfigsFromJson(json: GoStruct): NetworkAttachmentConfig[] {
  return json.structs('Networks', 'swarm.NetworkAttachmentConfig').map((network) =>
    create(NetworkAttachmentConfigSchema, {
      target: network.string('Target'),
      aliases: network.strings('Aliases'),
      driverAttachmentOpts: network.stringMap('DriverOpts'),
    }),
  );
}

/** `[{DiscreteResourceSpec|NamedResourceSpec}]`. */
export function genericResourceFields(resources: readonly GenericResource[]): JsonFields[] {
  return resources.map(({ resource }) => {
    switch (resource.case) {
      case 'discreteResourceSpec':
        return {
          DiscreteResourceSpec: {
            Kind: unlessZero(resource.value.kind),
            Value: unlessZero(resource.value.value),
          },
        };
      case 'namedResourceSpec':
        return {
          NamedResourceSpec: {
            Kind: unlessZero(resource.value.kind),
            Value: unlessZero(resource.value.value),
          },
        };
      case undefined:
        return {};
    }
  });
}

/** NanoCPUs, MemoryBytes, GenericResources. */
export function resourcesFields(resources: Resources | undefined): JsonFields {
  return {
    NanoCPUs: unlessZero(resources?.nanoCpus ?? 0n),
    MemoryBytes: unlessZero(resources?.memoryBytes ?? 0n),
    GenericResources: unlessEmpty(genericResourceFields(resources?.generic ?? [])),
  };
}

function resourceFields(
  resources: ResourceRequirements | undefined,
  container: ContainerSpec | undefined,
): JsonFields | undefined {
  const pids = container?.pidsLimit ?? 0n;
  if (resources === undefined && pids === 0n) return undefined;
  const limits = resources?.limits;
  return {
    Limits:
      limits === undefined && pids === 0n
        ? undefined
        : {
            NanoCPUs: unlessZero(limits?.nanoCpus ?? 0n),
            MemoryBytes: unlessZero(limits?.memoryBytes ?? 0n),
            Pids: unlessZero(pids),
          },
    Reservations: resources?.reservations && resourcesFields(resources.reservations),
  };
}

function restartFields(policy: RestartPolicy | undefined): JsonFields | undefined {
  return (
    policy && {
      Condition: CONDITION_TEXT[policy.condition] ?? 'any',
      Delay: policy.delay && durationToNanos(policy.delay),
      MaxAttempts: policy.maxAttempts,
      Window: policy.window && durationToNanos(policy.window),
    }
  );
}

function placementFields(placement: Placement | undefined): JsonFields | undefined {
  return (
    placement && {
      Constraints: unlessEmpty(placement.constraints),
      Preferences: unlessEmpty(
        placement.preferences.flatMap(({ Preference }) =>
          Preference.case === 'spread'
            ? [{ Spread: { SpreadDescriptor: Preference.value.spreadDescriptor } }]
            : [],
        ),
      ),
      MaxReplicas: unlessZero(placement.maxReplicas),
      Platforms: unlessEmpty(
        placement.platforms.map(({ architecture, os }) => ({
          Architecture: unlessZero(architecture),
          OS: unlessZero(os),
        })),
      ),
    }
  );
}

/** A task template from JSON. @throws ApiError 400 with the engine's texts */
export function taskSpecFromJson(json: GoStruct): TaskSpec {
  const spec = create(TaskSpecSchema, {
    networks: attachmentConfigsFromJson(json),
    forceUpdate: json.uint64('ForceUpdate'),
  });
  const resources = json.optionalStruct('Resources', 'swarm.ResourceRequirements');
  if (resources !== undefined) spec.resources = resourcesFromJson(resources);
  const logDriver = driverFromJson(json, 'LogDriver', 'swarm.Driver');
  if (logDriver !== undefined) spec.logDriver = logDriver;
  spec.runtime = { case: 'container', value: runtimeFromJson(json, resources) };
  const restart = json.optionalStruct('RestartPolicy', 'swarm.RestartPolicy');
  if (restart !== undefined) spec.restart = restartFromJson(restart);
  const placement = json.optionalStruct('Placement', 'swarm.Placement');
  if (placement !== undefined) spec.placement = placementFromJson(placement);
  return spec;
}

function runtimeFromJson(json: GoStruct, resources: GoStruct | undefined): ContainerSpec {
  const runtime = json.string('Runtime', 'swarm.RuntimeType');
  if (runtime === 'plugin') {
    if (!json.has('PluginSpec')) throw badRequest('mismatched Runtime and *Spec fields');
    throw new ApiError(500, 'runtime type "plugin" only supported in experimental');
  }
  if (runtime !== '' && runtime !== 'container') throw badRequest('unsupported runtime');
  const container = json.optionalStruct('ContainerSpec', 'swarm.ContainerSpec');
  if (container === undefined) throw badRequest('mismatched Runtime and *Spec fields');
  const spec = containerSpecFromJson(container);
  const limits = resources?.optionalStruct('Limits', 'swarm.Limit');
  if (limits !== undefined) spec.pidsLimit = limits.int64('Pids');
  return spec;
}

function resourcesFromJson(json: GoStruct): ResourceRequirements {
  const requirements = create(ResourceRequirementsSchema);
  const limits = json.optionalStruct('Limits', 'swarm.Limit');
  if (limits !== undefined) {
    requirements.limits = create(ResourcesSchema, {
      nanoCpus: limits.int64('NanoCPUs'),
      memoryBytes: limits.int64('MemoryBytes'),
    });
  }
  const reservations = json.optionalStruct('Reservations', 'swarm.Resources');
  if (reservations !== undefined) {
    requirements.reservations = create(ResourcesSchema, {
      nanoCpus: reservations.int64('NanoCPUs'),
      memoryBytes: reservations.int64('MemoryBytes'),
      generic: reservations
        .structs('GenericResources', 'swarm.GenericResource')
        .flatMap(genericResourceFromJson),
    });
  }
  return requirements;
}

function genericResourceFromJson(json: GoStruct): GenericResource[] {
  const discrete = json.optionalStruct('DiscreteResourceSpec', 'swarm.DiscreteGenericResource');
  if (discrete !== undefined) {
    const value = create(DiscreteGenericResourceSchema, {
      kind: discrete.string('Kind'),
      value: discrete.int64('Value'),
    });
    const resource = { case: 'discreteResourceSpec', value } as const;
    return [create(GenericResourceSchema, { resource })];
  }
  const named = json.optionalStruct('NamedResourceSpec', 'swarm.NamedGenericResource');
  if (named === undefined) return [];
  const value = create(NamedGenericResourceSchema, {
    kind: named.string('Kind'),
    value: named.string('Value'),
  });
  return [create(GenericResourceSchema, { resource: { case: 'namedResourceSpec', value } })];
}

function restartFromJson(json: GoStruct): RestartPolicy {
  const text = json.string('Condition', 'swarm.RestartPolicyCondition');
  const policy = create(RestartPolicySchema, {
    condition: conditionFromText(text),
    maxAttempts: json.uint64('MaxAttempts'),
  });
  const delay = optionalDuration(json, 'Delay');
  if (delay !== undefined) policy.delay = delay;
  const window = optionalDuration(json, 'Window');
  if (window !== undefined) policy.window = window;
  return policy;
}

function conditionFromText(text: string): RestartPolicy_RestartCondition {
  switch (text) {
    case 'none':
      return RestartPolicy_RestartCondition.NONE;
    case 'on-failure':
      return RestartPolicy_RestartCondition.ON_FAILURE;
    case 'any':
    case '':
      return RestartPolicy_RestartCondition.ANY;
    default:
      throw badRequest(`invalid RestartCondition: ${goQuote(text)}`);
  }
}

function placementFromJson(json: GoStruct): Placement {
  return create(PlacementSchema, {
    constraints: json.strings('Constraints'),
    maxReplicas: json.uint64('MaxReplicas'),
    preferences: json.structs('Preferences', 'swarm.PlacementPreference').flatMap((preference) => {
      const spread = preference.optionalStruct('Spread', 'swarm.SpreadOver');
      if (spread === undefined) return [];
      const value = create(SpreadOverSchema, {
        spreadDescriptor: spread.string('SpreadDescriptor'),
      });
      return [create(PlacementPreferenceSchema, { Preference: { case: 'spread', value } })];
    }),
    platforms: json.structs('Platforms', 'swarm.Platform').map((platform) =>
      create(PlatformSchema, {
        architecture: platform.string('Architecture'),
        os: platform.string('OS'),
      }),
    ),
  });
}
