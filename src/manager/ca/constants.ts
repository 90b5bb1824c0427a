/** Limits and defaults of the certificate authority. */

/** How often a node id may collide before issuing gives up (SwarmKit). */
export const NODE_ID_ATTEMPTS_MAX = 3;

/** Longest wait of NodeCertificateStatus before it answers with what there is; callers poll. */
export const STATUS_WAIT_MS_MAX = 20_000;

/** Calls of NodeCertificateStatus that may wait at one time; anybody may make them. */
export const STATUS_WAITS_MAX = 1_024;

/** A removed node stays on the black list this long after its certificate expired (SwarmKit). */
export const BLACKLIST_GRACE_MS = 7 * 24 * 3_600_000;

/** A root certificate given by a user must be valid for this much longer: one year (SwarmKit). */
export const ROOT_CA_REST_MS_MIN = 365 * 24 * 3_600_000;

/** Nodes that are told to renew at one time during a rotation of the root, and the pause between. */
export const ROTATION_BATCH_MAX = 30;
export const ROTATION_BATCH_PERIOD_MS = 3_000;

/** A node that was told, and reports no certificate of the new root, is told again after this. */
export const ROTATION_ASK_AGAIN_MS = 30_000;

/** A call to an external authority (SwarmKit), and the largest answer that is read. */
export const EXTERNAL_CA_TIMEOUT_MS = 5_000;
export const EXTERNAL_CA_ANSWER_BYTES_MAX = 1 << 20;

/** Pause before a request that could not be signed is tried again. */
export const SIGNING_RETRY_MS = 5_000;
