/**
 * Limits and defaults of the agent, with their reasons. Those that SwarmKit has too carry its
 * values, so that a stock manager sees nothing new.
 */

/** Session backoff: random in [0, b), b from the first value doubling to the second (agent.go). */
export const SESSION_BACKOFF_MIN_MS = 100;
/** Largest session backoff. */
export const SESSION_BACKOFF_MAX_MS = 8_000;
/** One unary call, and the wait for the first session message. */
export const RPC_TIMEOUT_MS = 5_000;

/**
 * A report of task states, which the manager answers once it is stored: longer than its own limit on that
 * (20 s). A manager whose disk is slow is no dead one; heartbeats tell.
 */
export const STATUS_TIMEOUT_MS = 25_000;
/** States on the way to the one that is wanted wait so long for the next ones, which say more. */
export const STATUS_GATHER_MS = 50;
/** How often the node's description is read again; a change reconnects the session. */
export const DESCRIPTION_PERIOD_MS = 20_000;
/** Used until a heartbeat answer names the manager's period. */
export const HEARTBEAT_DEFAULT_MS = 5_000;
/** A manager cannot make us send heartbeats more often than this. */
export const HEARTBEAT_MIN_MS = 50;
/** ... nor more seldom: a wild answer must not make the node look dead for good. */
export const HEARTBEAT_MAX_MS = 600_000;
/** Task states sent in one call; further ones wait for the next. */
export const STATUS_BATCH_MAX = 1_000;
/** Pause after the file of a task was written, so that states that follow each other share the next write. */
export const TASK_FILE_PAUSE_MS = 100;
/** Pause before a temporary error of a task is tried again. */
export const TASK_RETRY_MS = 1_000;
/** Creates, starts and pulls running at once on one engine: it serialises most of them anyway. */
export const ENGINE_OPERATIONS_MAX = 8;
/** Stops wait for grace periods, hence many more at once. */
export const ENGINE_STOPS_MAX = 128;
/** Looks at the readiness of tasks at once: a node with thousands of tasks must not start a process for each. */
export const READINESS_LOOKS_MAX = 64;
/** Longest pause between looks at a new task, which an update waits for. */
export const READINESS_FIRST_INTERVAL_MS = 1_000;
/** Tasks a node will hold; a manager sending more is refused task by task. */
export const TASKS_MAX = 10_000;
/** Secrets and configs held in memory. */
export const DEPENDENCIES_MAX = 20_000;
/** Local image present: how long a registry may stay silent before we go on without it. */
export const PULL_SILENCE_LOCAL_MS = 2_000;
/** No local image: a silent registry gives an error after this. */
export const PULL_SILENCE_MS = 60_000;
/** A failed pull of an image that is present is not tried again for this long. */
export const PULL_FAILURE_MEMORY_MS = 30_000;
/** Failed pulls remembered. */
export const PULL_FAILURES_MAX = 1_000;
/** Reconnection of the engine's event stream: first and longest pause. */
export const EVENTS_BACKOFF_MIN_MS = 100;
/** Longest pause before the event stream is opened again. */
export const EVENTS_BACKOFF_MAX_MS = 2_000;
/** How far back a new event stream reaches, so that no event falls between two streams. */
export const EVENTS_OVERLAP_MS = 1_000;
/** One line of the engine's event stream. */
export const EVENT_LINE_MAX_BYTES = 1 << 20;
/** Rate of one log subscription (SwarmKit: 10 MB/s). */
export const LOG_RATE_BYTES_PER_S = 10_000_000;
/** Payload of one log message; the engine splits longer lines itself (16 KiB). */
export const LOG_MESSAGE_MAX_BYTES = 1 << 20;
/** Messages handed over in one publish frame. */
export const LOG_BATCH_MAX = 64;
/** Log subscriptions served at once. */
export const LOG_SUBSCRIPTIONS_MAX = 256;
/** Attach of a container to an attachable network (Docker: 20 s). */
export const ATTACH_TIMEOUT_MS = 20_000;
/** A leaving node waits this long for its tasks to stop (Docker: 15 s). */
export const LEAVE_TIMEOUT_MS = 15_000;
/** Docker's stop grace period where the service names none (defaults/service.go). */
export const STOP_GRACE_DEFAULT_S = 10;
/** A stopping daemon waits this long for effects to settle: an engine that hangs must not hold it. */
export const STOP_TIMEOUT_MS = 5_000;
/**
 * How often the CPU time of tasks is read that are to be scaled by it, and the most tasks told of in one
 * call: the manager's limits (src/manager/statistics).
 */
export const USAGE_PERIOD_MS = 10_000;
/** See {@link USAGE_PERIOD_MS}. */
export const USAGE_TASKS_MAX = 1_000;
