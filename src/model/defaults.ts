/**
 * Defaults of the cluster's objects, as SwarmKit has them (api/defaults, manager), and the reading
 * of protobuf durations and timestamps as milliseconds.
 */
import {
  type Duration,
  type Timestamp,
  timestampFromMs,
  timestampMs,
} from '@bufbuild/protobuf/wkt';
import type { Clock } from './environment.js';
import type { Task } from './gen/docker/swarmkit/v1/objects_pb.js';
import {
  RestartPolicy_RestartCondition,
  type UpdateConfig,
  UpdateConfig_FailureAction,
  UpdateConfig_UpdateOrder,
} from './gen/docker/swarmkit/v1/types_pb.js';

/** How long a container may take to stop before it is killed. */
export const DEFAULT_STOP_GRACE_PERIOD_MS = 10_000;

/** Between the end of a task and the start of its replacement. */
export const DEFAULT_RESTART_DELAY_MS = 5000;

/** Restart condition of tasks without a restart policy. */
export const DEFAULT_RESTART_CONDITION = RestartPolicy_RestartCondition.ANY;

/** How long an updated task is watched for failure. */
export const DEFAULT_UPDATE_MONITOR_MS = 5000;

/** Tasks kept a slot, the running one included, when the cluster does not say. */
export const DEFAULT_TASK_HISTORY_RETENTION_LIMIT = 5;

/** Address pool of a cluster that was given none. */
export const DEFAULT_ADDRESS_POOL = '10.0.0.0/8';

/** Prefix length of the subnets cut from the pool. */
export const DEFAULT_SUBNET_SIZE = 24;

/** Label of the networks every swarm has from the start (`bridge`, `host`). */
export const PREDEFINED_NETWORK_LABEL = 'com.docker.swarm.predefined';

/** How a service is updated or rolled back, with every default filled in. */
export interface UpdateSettings {
  /** Slots updated at once; 0 means all. */
  readonly parallelism: number;
  readonly delayMs: number;
  readonly failureAction: UpdateConfig_FailureAction;
  readonly monitorMs: number;
  /** Share of failed slots, 0 to 1, above which the failure action is taken. */
  readonly maxFailureRatio: number;
  readonly order: UpdateConfig_UpdateOrder;
}

/** `config` with defaults for what it leaves out. */
export function updateSettings(config: UpdateConfig | undefined): UpdateSettings {
  return {
    parallelism: config === undefined ? 1 : Number(config.parallelism),
    delayMs: durationMs(config?.delay) ?? 0,
    failureAction: config?.failureAction ?? UpdateConfig_FailureAction.PAUSE,
    monitorMs: durationMs(config?.monitor) ?? DEFAULT_UPDATE_MONITOR_MS,
    maxFailureRatio: config?.maxFailureRatio ?? 0,
    order: config?.order ?? UpdateConfig_UpdateOrder.STOP_FIRST,
  };
}

/** A protobuf duration in milliseconds; undefined stays undefined. */
export function durationMs(duration: Duration | undefined): number | undefined {
  if (duration === undefined) return undefined;
  return Number(duration.seconds) * 1000 + duration.nanos / 1e6;
}

/** The wall clock as a protobuf timestamp. */
export function timestampNow(clock: Clock): Timestamp {
  return timestampFromMs(clock.nowMs());
}

/** A protobuf timestamp in milliseconds since the epoch; undefined stays undefined. */
export function timestampToMs(timestamp: Timestamp | undefined): number | undefined {
  return timestamp === undefined ? undefined : timestampMs(timestamp);
}

/** When the task's observed state was last set: by a manager's clock if possible, else the agent's. */
export function taskTimestampMs(task: Task): number | undefined {
  return timestampToMs(task.status?.appliedAt ?? task.status?.timestamp);
}
