/** Limits and defaults of the certificate authority. */

/** How often a node id may collide before issuing gives up (SwarmKit). */
export const NODE_ID_ATTEMPTS_MAX = 3;

/** Longest wait of NodeCertificateStatus before it answers with what there is; callers poll. */
export const STATUS_WAIT_MS_MAX = 20_000;

/** Calls of NodeCertificateStatus that may wait at one time; anybody may make them. */
export const STATUS_WAITS_MAX = 1_024;

/** A removed node stays on the black list this long after its certificate expired (SwarmKit). */
export const BLACKLIST_GRACE_MS = 7 * 24 * 3_600_000;
