/**
 * How replies of a service's published ports get back to outside clients when the task is on another
 * node than the one that was asked (`skep.lb.return`). A label, because Swarm has no field for it.
 */

/** Label of a service. */
export const LB_RETURN_LABEL = 'skep.lb.return';

/** Its values; the first is the default. Docs/datapath.md says what each does. */
export const RETURN_PATHS = ['tunnel', 'direct'] as const;

/** One of {@link RETURN_PATHS}. */
export type ReturnPath = (typeof RETURN_PATHS)[number];

/** The way among a service's labels. What is none, which only other software can have stored, counts as not set. */
export function returnPath(labels: Readonly<Record<string, string>> | undefined): ReturnPath {
  return RETURN_PATHS.find((name) => name === labels?.[LB_RETURN_LABEL]) ?? 'tunnel';
}
