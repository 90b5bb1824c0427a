/** Periods, limits and texts of the dispatcher (SwarmKit manager/dispatcher). */

/** Period of heartbeats when the cluster does not say otherwise. */
export const HEARTBEAT_PERIOD_MS = 5_000;

/** Heartbeat periods vary at random by this share either way: 0.5 s of 5 s. */
export const HEARTBEAT_JITTER = 0.1;

/** Periods without a heartbeat after which a node counts as down. */
export const HEARTBEAT_GRACE_PERIODS = 3;

/** After a change of leader nodes get so many times the usual grace. */
export const UNKNOWN_GRACE_FACTOR = 2;

/** Shortest period of our own agents. */
export const AGENT_HEARTBEAT_PERIOD_MS_MIN = 1_000;

/** Heartbeats of our own agents a second, cluster-wide, that the period keeps below. */
export const AGENT_HEARTBEATS_PER_SECOND_MAX = 500;

/**
 * While an agent is silent but its node may be there, how often the latter is looked at. How long this
 * may last is the cluster's setting `skep.agent_grace`.
 */
export const SILENT_AGENT_CHECK_MS = 100;

/** After a change of leader nodes that have not registered yet are looked at this often. */
export const MISSING_NODE_CHECK_MS = 200;

/** A node that was seen this lately, by gossip or data path, answers: only its agent is silent. */
export const SEEN_LATELY_MS = 700;

/**
 * Of a node of which gossip knows nothing the last heartbeat may be this much older than its silence: as
 * much longer it is waited for.
 */
export const UNSEEN_GRACE_MS = AGENT_HEARTBEAT_PERIOD_MS_MIN * (1 + HEARTBEAT_JITTER);

/**
 * The last part of a node's grace, which only begins once the rest has passed on a manager that runs: one
 * that stood still reads what its nodes said meanwhile before it calls them silent.
 */
export const LAST_CHANCE_MS = 1_000;

/** How often a leader looks at its clock, and how late it must be for having stood still. */
export const STANDSTILL_LOOK_MS = 500;
export const STANDSTILL_MIN_MS = 1_000;

/**
 * A leader that is new or stood still waits for its nodes so many times as long as they spread their calls over:
 * one who is refused the first time calls again.
 */
export const RECONNECT_SPREAD_FACTOR = 3;

/** Registrations of one node within the period that are let through. */
export const REGISTRATIONS_MAX = 3;
export const REGISTRATION_PERIOD_MS = 8_000;

/** Tasks of a node that stays down this long are given up as orphaned. */
export const NODE_DOWN_PERIOD_MS = 24 * 3_600_000;

/** Modifications after which an assignment message is sent without further delay. */
export const ASSIGNMENT_BATCH_MAX = 100;

/** Questions for secrets that one plugin is asked at once. */
export const SECRET_QUESTIONS_MAX = 16;

/** How long changes are gathered before an assignment message is sent. SwarmKit takes 100 ms. */
export const ASSIGNMENT_BATCH_MS = 10;

/** A node description or a task status larger than this is refused. */
export const NODE_DESCRIPTION_BYTES_MAX = 256 * 1024;
export const TASK_STATUS_BYTES_MAX = 64 * 1024;

/** Updates in one UpdateTaskStatus call (SwarmKit batches as many). */
export const TASK_UPDATES_MAX = 10_000;

/** Streams of one kind that a node may have open; a new one ends the oldest. */
export const STREAMS_PER_NODE_MAX = 4;

/** Removed nodes that agents are told of. */
export const REMOVED_NODES_TOLD_MAX = 1000;

/** Node status messages. */
export const MESSAGE_HEARTBEAT_FAILURE = 'heartbeat failure';
export const MESSAGE_UNKNOWN_HEARTBEAT_FAILURE = 'heartbeat failure for node in "unknown" state';
export const MESSAGE_LEADERSHIP_CHANGE =
  'Node moved to "unknown" state due to leadership change in cluster';
export const MESSAGE_AGENT_SILENT = 'agent is silent, the data path of the node answers';
