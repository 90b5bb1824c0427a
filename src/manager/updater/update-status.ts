/**
 * The update status of a service and how it changes, with SwarmKit's messages
 * (manager/orchestrator/update).
 */
import { create } from '@bufbuild/protobuf';
import { timestampNow } from '../../model/defaults.js';
import type { Environment } from '../../model/environment.js';
import type { Service } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  UpdateStatus_UpdateState as UpdateState,
  UpdateStatusSchema,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';

/** Whether an update or rollback was stopped and waits for the user. */
export function isPaused(service: Service): boolean {
  const state = service.updateStatus?.state;
  return state === UpdateState.PAUSED || state === UpdateState.ROLLBACK_PAUSED;
}

/** Whether the service is on its way back to its previous spec. */
export function isRollingBack(service: Service): boolean {
  return service.updateStatus?.state === UpdateState.ROLLBACK_STARTED;
}

/** Whether the status says that an update or rollback is under way. */
export function isInProgress(service: Service): boolean {
  return isRollingBack(service) || service.updateStatus?.state === UpdateState.UPDATING;
}

/** The service with an update begun; unchanged when it has a status already. */
export function withUpdateStarted(environment: Environment, service: Service): Service {
  if (service.updateStatus !== undefined) return service;
  return {
    ...service,
    updateStatus: create(UpdateStatusSchema, {
      state: UpdateState.UPDATING,
      startedAt: timestampNow(environment.clock),
      message: 'update in progress',
    }),
  };
}

/** The service with its update or rollback completed; unchanged when it has no status. */
export function withUpdateCompleted(environment: Environment, service: Service): Service {
  const status = service.updateStatus;
  if (status === undefined) return service;
  const completedAt = timestampNow(environment.clock);
  const outcome = isRollingBack(service)
    ? { state: UpdateState.ROLLBACK_COMPLETED, message: 'rollback completed' }
    : { state: UpdateState.COMPLETED, message: 'update completed' };
  return { ...service, updateStatus: { ...status, ...outcome, completedAt } };
}

/** The service with its update or rollback stopped; unchanged when it has no status. */
export function withUpdatePaused(service: Service, message: string): Service {
  const status = service.updateStatus;
  if (status === undefined) return service;
  const state = isRollingBack(service) ? UpdateState.ROLLBACK_PAUSED : UpdateState.PAUSED;
  return { ...service, updateStatus: { ...status, state, message } };
}

/**
 * The service back at its previous spec and spec version, so that tasks the update did not reach
 * are clean again. Undefined when there is nothing to go back to.
 */
export function withRollbackStarted(service: Service, message: string): Service | undefined {
  const status = service.updateStatus;
  if (status === undefined || service.previousSpec === undefined) return undefined;
  return {
    ...service,
    spec: service.previousSpec,
    specVersion: service.previousSpecVersion,
    previousSpec: undefined,
    previousSpecVersion: undefined,
    updateStatus: { ...status, state: UpdateState.ROLLBACK_STARTED, message },
  };
}
