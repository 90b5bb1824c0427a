/** Limits of the log broker. */

/** Log messages and bytes that wait for a reader of a subscription; publishers wait beyond it. */
export const WAITING_MESSAGES_MAX = 1_024;
export const WAITING_BYTES_MAX = 8 * 1024 * 1024;

/** Log subscriptions open at one time. */
export const SUBSCRIPTIONS_MAX = 1_024;

/** Reasons of an incomplete stream that are listed; more are counted. */
export const REASONS_MAX = 100;
