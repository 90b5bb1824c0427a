/**
 * What `?insertDefaults=true` adds to a service spec: SwarmKit's defaults for everything the user
 * left open (reference: SwarmKit api/defaults/service.go).
 */
import { clone, create } from '@bufbuild/protobuf';
import { type Service, ServiceSchema } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { ContainerSpec_DNSConfigSchema } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  PlacementSchema,
  ResourceRequirementsSchema,
  RestartPolicy_RestartCondition,
  RestartPolicySchema,
  type UpdateConfig,
  UpdateConfig_FailureAction,
  UpdateConfig_UpdateOrder,
  UpdateConfigSchema,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { durationOfNanos } from './common.js';

const SECOND_NANOS = 1_000_000_000n;
const STOP_GRACE_NANOS = 10n * SECOND_NANOS;
const RESTART_DELAY_NANOS = 5n * SECOND_NANOS;
const UPDATE_MONITOR_NANOS = 5n * SECOND_NANOS;

/** A copy of `service` with the defaults in its spec. */
export function withDefaults(service: Service): Service {
  const copy = clone(ServiceSchema, service);
  const { spec } = copy;
  if (spec === undefined) return copy;
  const runtime = spec.task?.runtime;
  if (runtime?.case === 'container') {
    runtime.value.stopGracePeriod ??= durationOfNanos(STOP_GRACE_NANOS);
    runtime.value.dnsConfig ??= create(ContainerSpec_DNSConfigSchema);
  }
  if (spec.task !== undefined) {
    spec.task.restart ??= create(RestartPolicySchema, {
      condition: RestartPolicy_RestartCondition.ANY,
    });
    spec.task.resources ??= create(ResourceRequirementsSchema);
    spec.task.placement ??= create(PlacementSchema);
    spec.task.restart.delay ??= durationOfNanos(RESTART_DELAY_NANOS);
  }
  spec.update = updateWithDefaults(spec.update);
  spec.rollback = updateWithDefaults(spec.rollback);
  return copy;
}

function updateWithDefaults(config: UpdateConfig | undefined): UpdateConfig {
  const result =
    config ??
    create(UpdateConfigSchema, {
      parallelism: 1n,
      failureAction: UpdateConfig_FailureAction.PAUSE,
      order: UpdateConfig_UpdateOrder.STOP_FIRST,
    });
  result.monitor ??= durationOfNanos(UPDATE_MONITOR_NANOS);
  return result;
}
