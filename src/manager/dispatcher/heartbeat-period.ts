/** How often a node is to report, and how long it may stay silent. */
import { durationMs } from '../../model/defaults.js';
import type { RandomSource } from '../../model/environment.js';
import type { Cluster, Node } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  AGENT_GRACE_PERIODS,
  AGENT_HEARTBEAT_PERIOD_MS_MIN,
  AGENT_HEARTBEATS_PER_SECOND_MAX,
  AGENT_LABEL,
  HEARTBEAT_GRACE_PERIODS,
  HEARTBEAT_JITTER,
  HEARTBEAT_PERIOD_MS,
} from './constants.js';

/** One choice of a heartbeat period, in whole milliseconds. */
export interface HeartbeatPlan {
  readonly periodMs: number;
  /** Silence after which the node counts as gone. */
  readonly graceMs: number;
}

/** The cluster's period, 5 s unless its spec says otherwise. */
export function clusterPeriodMs(cluster: Cluster | undefined): number {
  const configured = durationMs(cluster?.spec?.dispatcher?.heartbeatPeriod) ?? 0;
  return configured > 0 ? configured : HEARTBEAT_PERIOD_MS;
}

/**
 * The next period of a node: the cluster's ±10 %. Agents of ours report faster while the cluster has
 * the default period, as fast as 500 heartbeats a second in the whole cluster allow.
 */
export function planHeartbeat(
  cluster: Cluster | undefined,
  node: Node | undefined,
  nodeCount: number,
  random: RandomSource,
): HeartbeatPlan {
  const clusterMs = clusterPeriodMs(cluster);
  const isOurs = node?.description?.engine?.labels[AGENT_LABEL] !== undefined;
  const isFast = isOurs && clusterMs === HEARTBEAT_PERIOD_MS;
  const fastMs = Math.max(
    AGENT_HEARTBEAT_PERIOD_MS_MIN,
    (nodeCount * 1000) / AGENT_HEARTBEATS_PER_SECOND_MAX,
  );
  const baseMs = isFast ? Math.min(clusterMs, fastMs) : clusterMs;
  const periodMs = Math.round(baseMs * (1 + (random.next() * 2 - 1) * HEARTBEAT_JITTER));
  const periods = isFast ? AGENT_GRACE_PERIODS : HEARTBEAT_GRACE_PERIODS;
  return { periodMs, graceMs: Math.min(periodMs * periods, clusterMs * HEARTBEAT_GRACE_PERIODS) };
}
