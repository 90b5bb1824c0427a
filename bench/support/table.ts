/**
 * Prints measurements side by side: the median of each case's runs and its ratio to the baseline
 * of the same run.
 */
import type { LoadKind, Measurement } from './load.js';

/** All runs of one case. */
export interface BenchCase {
  readonly name: string;
  readonly runs: readonly Measurement[];
}

/** The middle value; the mean of both for an even count. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}

const TITLES: Readonly<Record<LoadKind, string>> = {
  rr: 'request/response on one connection, transactions/s',
  crr: 'connect, request/response, close, transactions/s',
  stream: 'stream, Gbit/s',
  download: 'stream from the service, Gbit/s',
  datagrams: 'UDP packets of 64 bytes that arrived, packets/s',
};

/** Prints one table a kind; `baseline` names the case ratios refer to. */
export function printTables(cases: readonly BenchCase[], baseline: string): void {
  for (const kind of ['rr', 'crr', 'stream', 'download', 'datagrams'] as const) {
    const rows = cases
      .map((entry) => ({ name: entry.name, runs: entry.runs.filter((run) => run.kind === kind) }))
      .filter((entry) => entry.runs.length > 0);
    if (rows.length === 0) continue;
    const base = median(
      rows.find((row) => row.name === baseline)?.runs.map((run) => run.rate) ?? [],
    );
    const isStream = kind === 'stream' || kind === 'download';
    const unit = isStream ? 'CPU s/GB' : 'CPU s/100k';
    console.log(`\n${TITLES[kind]}`);
    console.log(
      `  case${' '.repeat(30)}${'rate'.padStart(12)}${'ratio'.padStart(8)}${'p50 us'.padStart(10)}` +
        `${'p99 us'.padStart(10)}${unit.padStart(12)}`,
    );
    for (const row of rows) {
      const rate = median(row.runs.map((run) => run.rate));
      const p50 = median(row.runs.map((run) => run.p50Us));
      const p99 = median(row.runs.map((run) => run.p99Us));
      const cpu = median(row.runs.map((run) => run.cpuSeconds));
      console.log(
        `  ${row.name.padEnd(34)}${rate.toFixed(isStream ? 2 : 0).padStart(12)}` +
          `${(rate / base).toFixed(2).padStart(8)}${latency(p50)}${latency(p99)}` +
          cpu.toFixed(2).padStart(12),
      );
    }
  }
}

function latency(value: number): string {
  return (Number.isNaN(value) ? '-' : value.toFixed(1)).padStart(10);
}
