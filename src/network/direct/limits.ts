/**
 * Limits and defaults of direct return, each with its unit and reason.
 */

/** A nonce nobody can guess: only who was asked for a probe can send one that counts. */
export const DIRECT_NONCE_BYTES = 16;

/** Length of the short probe's IP packet: headers, magic and nonce, and a few bytes. */
export const SHORT_PROBE_BYTES = 64;

/** A probe must have arrived within this. */
export const PROBE_WAIT_MS = 700;

/** Pause between rounds while all is well, and once it is known that nothing passes. */
export const DIRECT_PAUSE_MS = 5000;
/** Pause between rounds while that is being found out. */
export const DIRECT_DOUBT_PAUSE_MS = 500;

/** Rounds in a row that must fail before a way is given up: single lost packets mean nothing. */
export const DIRECT_STRIKES = 3;

/** Rounds begun in one tick; with more peers each is looked at more rarely. */
export const DIRECT_ROUNDS_PER_TICK = 4;

/** Probes sent for one peer in a second: a round asks for two. */
export const PROBES_PER_SECOND = 8;

/** A way is used towards an entry node this long after it said that probes arrive there. */
export const PROVEN_LIFE_MS = 20_000;

/** The kernel's rows are written again this often, also if nothing changed: others may have changed them. */
export const DIRECT_WRITE_MS = 5000;
