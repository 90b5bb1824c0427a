/** Times and bounds of the scheduler, with the reason of each. */

/** A node with this many recent failures of a task spec is taken last (SwarmKit's maxFailures). */
export const NODE_FAILURES_MAX = 5;

/** Failures older than this are forgotten (SwarmKit's monitorFailures). */
export const FAILURE_WINDOW_MS = 5 * 60_000;

/** Specs whose failures are remembered; those that failed longest ago are dropped beyond it. */
export const FAILING_SPECS_MAX = 1000;

/** Kinds of placement (constraints, platforms, preferences) whose order of nodes is kept up to date. */
export const NODE_CLASSES_MAX = 64;

/**
 * Quiet time before waiting tasks are tried again after a change of the cluster, and the longest
 * such time: SwarmKit's debounce. New tasks do not wait for it.
 */
export const RETRY_QUIET_PERIOD_MS = 50;

/** See {@link RETRY_QUIET_PERIOD_MS}. */
export const RETRY_MAX_DELAY_MS = 1000;
