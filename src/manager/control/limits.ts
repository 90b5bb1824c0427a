/** Limits of what a cluster may contain, as SwarmKit has them (controlapi, api/validation). */

/** Least CPU share a task can ask for: a thousandth. */
export const CPU_MIN_NANO = 1_000_000n;
/** Least memory a task can ask for. */
export const MEMORY_MIN_BYTES = 4n * 1024n * 1024n;
/** Least duration in a health check. */
export const HEALTH_DURATION_MIN_MS = 1;
/** A secret must be smaller than this. */
export const SECRET_BYTES_LIMIT = 512_000;
/** A config must be smaller than this. */
export const CONFIG_BYTES_LIMIT = 1_024_000;
/** Least lifetime of node certificates. */
export const CERTIFICATE_EXPIRY_MIN_MS = 3_600_000;
