/** The spec of a cluster that was told nothing: Swarm's defaults (SwarmKit manager.go, defaultClusterObject). */
import { create } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { DEFAULT_TASK_HISTORY_RETENTION_LIMIT } from './defaults.js';
import { type ClusterSpec, ClusterSpecSchema } from './gen/docker/swarmkit/v1/specs_pb.js';

const SNAPSHOT_INTERVAL_ENTRIES = 10_000n;
const LOG_ENTRIES_FOR_SLOW_FOLLOWERS = 500n;
const HEARTBEAT_TICK = 1;
const ELECTION_TICK = 10;
const HEARTBEAT_PERIOD_MS = 5000;
const NODE_CERTIFICATE_EXPIRY_MS = 90 * 24 * 3600 * 1000;

/** A new one each time. */
export function newClusterSpec(): ClusterSpec {
  return create(ClusterSpecSchema, {
    annotations: { name: 'default' },
    orchestration: { taskHistoryRetentionLimit: BigInt(DEFAULT_TASK_HISTORY_RETENTION_LIMIT) },
    raft: {
      snapshotInterval: SNAPSHOT_INTERVAL_ENTRIES,
      keepOldSnapshots: 0n,
      logEntriesForSlowFollowers: LOG_ENTRIES_FOR_SLOW_FOLLOWERS,
      heartbeatTick: HEARTBEAT_TICK,
      electionTick: ELECTION_TICK,
    },
    dispatcher: { heartbeatPeriod: durationFromMs(HEARTBEAT_PERIOD_MS) },
    caConfig: { nodeCertExpiry: durationFromMs(NODE_CERTIFICATE_EXPIRY_MS) },
    taskDefaults: {},
    encryptionConfig: { autoLockManagers: false },
  });
}
