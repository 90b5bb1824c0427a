/** What a run of like operations took. */

/** Rate and percentiles of one run. */
export interface LatencySummary {
  readonly ratePerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** Sums up the times of operations that took `durationMs` altogether, side by side or not. */
export function summaryOf(tookMs: readonly number[], durationMs: number): LatencySummary {
  const sorted = Float64Array.from(tookMs).sort();
  const at = (share: number): number =>
    sorted[Math.floor(share * (sorted.length - 1))] ?? Number.NaN;
  return {
    ratePerSecond: (sorted.length / durationMs) * 1000,
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    maxMs: at(1),
  };
}
