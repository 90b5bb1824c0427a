/** Ranges and times of the allocator, with the reason of each. */

/** First VXLAN network identifier given out (below are reserved; the mesh uses 1). */
export const VNI_FIRST = 4096;

/** Last VXLAN network identifier (24 bits). */
export const VNI_LAST = 2 ** 24 - 1;

/** First port given to a published port without a number. */
export const DYNAMIC_PORT_FIRST = 30_000;

/** Last port given to a published port without a number. */
export const DYNAMIC_PORT_LAST = 32_767;

/** What could not be allocated is tried again this often, besides whenever something is freed. */
export const STUCK_RETRY_PERIOD_MS = 5 * 60_000;
