/**
 * How many replicas a service needs, from what its tasks use, and when that is reason enough to change
 * their number. Pure; docs/labels.md has the rule in words.
 */
import type { AutoscaleSettings } from '../../model/autoscale.js';
import { AUTOSCALE_TOLERANCE } from './limits.js';

/** What is known of a service at one moment. */
export interface ServiceLoad {
  readonly replicas: number;
  /** Percent that each task with a fresh measurement uses of what it may. */
  readonly percents: readonly number[];
}

/** Replicas needed for this load, within the bounds; undefined while too little is known of it. */
export function neededReplicas(
  { replicas, percents }: ServiceLoad,
  { cpuPercent, min, max }: AutoscaleSettings,
): number | undefined {
  const known = percents.length;
  if (known === 0 || 2 * known < replicas) return undefined;
  const sum = percents.reduce((a, b) => a + b, 0);
  const isHigh = sum > known * cpuPercent;
  // What is not known is taken to speak against a change.
  const missing = Math.max(0, replicas - known);
  const load = (sum + (isHigh ? 0 : missing * cpuPercent)) / cpuPercent;
  const isNear = Math.abs(load / replicas - 1) <= AUTOSCALE_TOLERANCE;
  const needed = Math.ceil(load);
  const bounded = isNear || needed > replicas !== isHigh ? replicas : needed;
  return Math.min(max, Math.max(min, bounded));
}

/** What was needed of late. */
export class ScaleHistory {
  #samples: { readonly atMs: number; readonly needed: number }[] = [];
  /** Since when what is needed is known without a gap, for the present number of replicas. */
  #sinceMs: number | undefined;
  #replicas = -1;
  #changedMs = -Infinity;

  /** Notes what is needed now (`undefined`: not known); times are monotonic milliseconds. */
  note(nowMs: number, replicas: number, needed: number | undefined): void {
    if (needed === undefined || replicas !== this.#replicas) this.#clear();
    this.#replicas = replicas;
    if (needed === undefined) return;
    this.#sinceMs ??= nowMs;
    this.#samples.push({ atMs: nowMs, needed });
  }

  /** The number of replicas to go to now; undefined: none, for the time being. */
  decide(
    nowMs: number,
    { windowMs, cooldownMs }: Pick<AutoscaleSettings, 'windowMs' | 'cooldownMs'>,
  ): number | undefined {
    this.#samples = this.#samples.filter(({ atMs }) => nowMs - atMs <= windowMs);
    if (this.#sinceMs === undefined || nowMs - this.#sinceMs < windowMs) return undefined;
    if (nowMs - this.#changedMs < cooldownMs) return undefined;
    const needs = this.#samples.map(({ needed }) => needed);
    if (needs.length === 0) return undefined;
    // Of what was needed all the time the least change.
    const [least, most] = [Math.min(...needs), Math.max(...needs)];
    if (least > this.#replicas) return least;
    return most < this.#replicas ? most : undefined;
  }

  /** A decision was carried out, or told. */
  decided(nowMs: number): void {
    this.#changedMs = nowMs;
    this.#clear();
  }

  #clear(): void {
    this.#samples = [];
    this.#sinceMs = undefined;
  }
}
