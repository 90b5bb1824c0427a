/** Keys of the labels by which a service is scaled, and what they must say together. */

/** Fewest replicas. */
export const AUTOSCALE_MIN_LABEL = 'skep.autoscale.min';
/** Most replicas. */
export const AUTOSCALE_MAX_LABEL = 'skep.autoscale.max';
/** CPU that a task should use, percent. */
export const AUTOSCALE_CPU_LABEL = 'skep.autoscale.cpu';
/** How long a need must last. */
export const AUTOSCALE_WINDOW_LABEL = 'skep.autoscale.window';
/** How long after a change there is no other. */
export const AUTOSCALE_COOLDOWN_LABEL = 'skep.autoscale.cooldown';
/** Whether changes are only told. */
export const AUTOSCALE_DRY_RUN_LABEL = 'skep.autoscale.dry-run';

/** What is wrong with these labels together, each being right for itself; undefined: nothing. */
export function autoscaleProblem(labels: Readonly<Record<string, string>>): string | undefined {
  const [max, cpu] = [labels[AUTOSCALE_MAX_LABEL], labels[AUTOSCALE_CPU_LABEL]];
  if ((max === undefined) !== (cpu === undefined))
    return `labels ${AUTOSCALE_MAX_LABEL} and ${AUTOSCALE_CPU_LABEL} go together`;
  const min = labels[AUTOSCALE_MIN_LABEL];
  if (max === undefined || min === undefined || Number(min) <= Number(max)) return undefined;
  return `label ${AUTOSCALE_MIN_LABEL}: must be at most ${max} (${AUTOSCALE_MAX_LABEL}), not ${min}`;
}
