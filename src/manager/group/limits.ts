/** Limits and defaults of the managers' group. */

/** How long a request waits for a leader (SwarmKit: ten ticks of a second). */
export const LEADER_WAIT_MS = 10_000;

/** Pause between two tries while there is no leader. */
export const LEADER_POLL_MS = 25;

/** How long a write waits for a leader that takes it: Docker's limit on a swarm request. */
export const WRITE_WAIT_MS = 20_000;

/** A new member has this long to catch up before its joining counts as failed. */
export const CATCH_UP_MS = 60_000;

/** A learner with at most this many entries to go becomes a voter. */
export const CATCH_UP_ENTRIES = 100;

/** Looks at a learner's progress this often. */
export const CATCH_UP_POLL_MS = 20;

/** A newcomer that was refused is forgotten this long after: its connections end with it, and the answer must arrive. */
export const FORGET_DELAY_MS = 250;

/** How often roles, members and their reachability are compared with the store. */
export const ROLES_PERIOD_MS = 500;
