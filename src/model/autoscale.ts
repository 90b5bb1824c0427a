/** How a service is scaled by the CPU its tasks use: the `skep.autoscale.*` labels, read. */
import { choiceLabel, durationLabelMs, numberLabel } from './labels/read.js';
import {
  AUTOSCALE_COOLDOWN_LABEL,
  AUTOSCALE_CPU_LABEL,
  AUTOSCALE_DRY_RUN_LABEL,
  AUTOSCALE_MAX_LABEL,
  AUTOSCALE_MIN_LABEL,
  AUTOSCALE_WINDOW_LABEL,
} from './autoscale-labels.js';

/** What the labels of a service say. */
export interface AutoscaleSettings {
  /** Fewest and most replicas. */
  readonly min: number;
  readonly max: number;
  /** What a task should use on average, in percent of what it may. */
  readonly cpuPercent: number;
  readonly windowMs: number;
  readonly cooldownMs: number;
  /** Tell what would be done, and do nothing. */
  readonly isDryRun: boolean;
}

type Labels = Readonly<Record<string, string>> | undefined;

/** The settings in these labels of a service; undefined if it is not to be scaled. */
export function autoscaleSettings(labels: Labels): AutoscaleSettings | undefined {
  const [min, max, cpuPercent] = [
    AUTOSCALE_MIN_LABEL,
    AUTOSCALE_MAX_LABEL,
    AUTOSCALE_CPU_LABEL,
  ].map((key) => numberLabel(key, labels));
  // Zero stands for a label that is not set.
  if (min === undefined || max === undefined || cpuPercent === undefined) return undefined;
  if (max === 0 || cpuPercent === 0 || min > max) return undefined;
  return {
    min,
    max,
    cpuPercent,
    windowMs: durationLabelMs(AUTOSCALE_WINDOW_LABEL, labels),
    cooldownMs: durationLabelMs(AUTOSCALE_COOLDOWN_LABEL, labels),
    isDryRun: choiceLabel(AUTOSCALE_DRY_RUN_LABEL, labels) === 'true',
  };
}

/** Whether nodes are to tell what the tasks of a service with these labels use. */
export function isMeasured(labels: Labels): boolean {
  return autoscaleSettings(labels) !== undefined;
}
