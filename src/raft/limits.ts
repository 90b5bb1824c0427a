/** Limits and defaults of the consensus core. */

/** Ticks between heartbeats (SwarmKit's HeartbeatTick). */
export const HEARTBEAT_TICKS = 1;

/** Ticks without a leader before an election; each node draws from [n, 2n) (ElectionTick). */
export const ELECTION_TICKS = 10;

/** Bytes of entries in one append message; a larger single entry goes alone (MaxSizePerMsg). */
export const MESSAGE_BYTES_MAX = 65_535;

/** Append messages on their way to one follower (MaxInflightMsgs). */
export const INFLIGHT_MESSAGES_MAX = 256;

/** Bytes on their way to one follower. */
export const INFLIGHT_BYTES_MAX = 16 * 1024 * 1024;

/** Bytes of proposals that are not committed yet; beyond it proposals are dropped. */
export const UNCOMMITTED_BYTES_MAX = 6 * 1024 * 1024;

/** Bytes of committed entries handed out in one Ready, to bound the time apply takes. */
export const APPLY_BYTES_MAX = 4 * 1024 * 1024;

/** Read requests waiting for confirmation or for the leader's first commit. */
export const PENDING_READS_MAX = 10_000;
