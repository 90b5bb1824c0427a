/** Tasks as API JSON. */
import type { Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState, type TaskStatus } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { unlessEmpty, unlessZero } from '../http/json-text.js';
import {
  annotationFields,
  enumText,
  type JsonFields,
  metaFields,
  timestampToText,
  versionFields,
} from './common.js';
import { attachmentFields } from './network.js';
import { portFields } from './service.js';
import { genericResourceFields, taskSpecFields } from './task-spec.js';

/** A task as JSON. */
export function taskFields(task: Task): JsonFields {
  return {
    ID: task.id,
    ...metaFields(task.meta),
    ...annotationFields(task.annotations),
    Spec: task.spec === undefined ? {} : taskSpecFields(task.spec),
    ServiceID: unlessZero(task.serviceId),
    Slot: unlessZero(task.slot),
    NodeID: unlessZero(task.nodeId),
    Status: statusFields(task.status),
    DesiredState: enumText(TaskState, task.desiredState),
    NetworksAttachments: unlessEmpty(task.networks.map(attachmentFields)),
    GenericResources: unlessEmpty(genericResourceFields(task.assignedGenericResources)),
    JobIteration: task.jobIteration && versionFields(task.jobIteration.index),
  };
}

function statusFields(status: TaskStatus | undefined): JsonFields {
  const container = status?.runtimeStatus.case === 'container' ? status.runtimeStatus.value : null;
  return {
    Timestamp: timestampToText(status?.timestamp),
    State: enumText(TaskState, status?.state ?? TaskState.NEW),
    Message: unlessZero(status?.message ?? ''),
    Err: unlessZero(status?.err ?? ''),
    ContainerStatus: container
      ? { ContainerID: container.containerId, PID: container.pid, ExitCode: container.exitCode }
      : undefined,
    PortStatus: { Ports: unlessEmpty(status?.portStatus?.ports.map(portFields) ?? []) },
  };
}
