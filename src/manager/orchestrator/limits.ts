/** Times and bounds of the orchestrators, with the reason of each. */

/** First pause before a failed pass is repeated; doubles up to {@link RETRY_DELAY_MS_MAX}. */
export const RETRY_DELAY_MS_MIN = 100;

/** Longest pause before a failed pass is repeated. */
export const RETRY_DELAY_MS_MAX = 5000;

/** A replacement starts at the latest this long after its creation although the old task still runs. */
export const OLD_TASK_TIMEOUT_MS = 60_000;

/** The task reaper collects for this long. */
export const REAP_DELAY_MS = 250;

/** The task reaper runs at once when this many slots or tasks wait for it. */
export const REAP_BATCH_MAX = 1000;

/** A scheduled job is started late by this much at most, after a change of leader. */
export const CRON_LATE_MS = 60_000;

/** Longest sleep until the next scheduled job: the clock may be set meanwhile. */
export const CRON_SLEEP_MS_MAX = 60_000;

/** After a task that was moved to another node has ended too early, its service is left alone so long. */
export const MOVE_REST_MS = 60_000;

/** A run of moves that could move nothing is tried again after this. */
export const MOVE_RETRY_MS = 5000;

/** A task that is to stand better elsewhere stays if its replacement has not got a node within this. */
export const MOVE_PATIENCE_MS = 10_000;

/** A node must be ready and active for so long before tasks are moved to it. */
export const STABLE_NODE_MS = 30_000;

/** Between two looks for better places because of nodes that became stable, while many do. */
export const STABLE_NODES_PAUSE_MS = 1_000;

/** The spread of services is looked at this long after a change, which seldom comes alone. */
export const REBALANCE_QUIET_MS = 1000;

/** The spread of services is looked at so often also without a change: nodes become good again by time alone. */
export const REBALANCE_CHECK_MS = 60_000;

/** How often the load of services that are scaled by it is looked at. */
export const AUTOSCALE_PERIOD_MS = 10_000;

/** A load this near to the one wanted, as a share of it, is as wanted. */
export const AUTOSCALE_TOLERANCE = 0.1;
