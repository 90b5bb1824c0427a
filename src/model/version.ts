/**
 * Skep's own version, as told to managers in engine label `skep.agent`. Equal to package.json's.
 */
export const SKEP_VERSION = '0.1.0';
