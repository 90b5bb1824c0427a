/** How often a node is to report, and how long it may stay silent. */
import { durationMs } from '../../model/defaults.js';
import type { RandomSource } from '../../model/environment.js';
import type { Cluster, Node } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { runsSkepd } from '../../model/agent-kind.js';
import { RESCHEDULE_AFTER_LABEL } from '../../model/labels/keys.js';
import { durationLabelMs } from '../../model/labels/read.js';
import {
  AGENT_HEARTBEAT_PERIOD_MS_MIN,
  AGENT_HEARTBEATS_PER_SECOND_MAX,
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
 * the default period, as fast as 500 heartbeats a second in the whole cluster allow, and are given up after
 * the cluster's `skep.reschedule_after`.
 */
export function planHeartbeat(
  cluster: Cluster | undefined,
  node: Node | undefined,
  nodeCount: number,
  random: RandomSource,
): HeartbeatPlan {
  const clusterMs = clusterPeriodMs(cluster);
  const isFast = runsSkepd(node) && clusterMs === HEARTBEAT_PERIOD_MS;
  const fastMs = Math.max(
    AGENT_HEARTBEAT_PERIOD_MS_MIN,
    (nodeCount * 1000) / AGENT_HEARTBEATS_PER_SECOND_MAX,
  );
  const baseMs = isFast ? Math.min(clusterMs, fastMs) : clusterMs;
  const periodMs = Math.round(baseMs * (1 + (random.next() * 2 - 1) * HEARTBEAT_JITTER));
  const graceMs = periodMs * HEARTBEAT_GRACE_PERIODS;
  if (!isFast) return { periodMs, graceMs };
  const afterMs = durationLabelMs(RESCHEDULE_AFTER_LABEL, cluster?.spec?.annotations?.labels);
  return { periodMs, graceMs: Math.max(graceMs, afterMs) };
}
