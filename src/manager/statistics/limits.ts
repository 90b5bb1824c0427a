/** Limits of what nodes tell of their tasks. */

/** Tasks in one report; a node with more of them tells of these. */
export const USAGE_TASKS_MAX = 1000;

/** A measurement is used for so long: nodes tell every 10 s, and two reports may be lost. */
export const USAGE_FRESH_MS = 30_000;

/** More CPUs than any host has; a node that tells of more is not believed. */
export const MILLI_CPUS_MAX = 10_000_000;
