/**
 * The load generator and its measurements: built once per run, started anywhere, its results with
 * the CPU time the whole machine spent meanwhile.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { must } from '../../test/testbed/commands.js';
import { packageRoot } from '../../test/testbed/layout.js';

/** What is measured. */
export type LoadKind = 'rr' | 'crr' | 'stream' | 'download' | 'datagrams';

/** One measurement. `rate` is transactions or received packets a second, for a stream gigabits a second. */
export interface Measurement {
  readonly kind: LoadKind;
  readonly rate: number;
  /** Median and 99th percentile of a transaction in microseconds; NaN for a stream and datagrams. */
  readonly p50Us: number;
  readonly p99Us: number;
  /** CPU seconds of the whole machine per 100,000 transactions or packets, or per gigabyte. */
  readonly cpuSeconds: number;
}

/** Builds the static generator into `directory`; returns its path. */
export async function buildLoadGenerator(directory: string): Promise<string> {
  const output = path.join(directory, 'load');
  const source = path.join(packageRoot(), 'bench/load/load.c');
  await must('gcc', ['-O2', '-Wall', '-static', '-pthread', '-o', output, source]);
  return output;
}

/** CPU seconds the machine has been busy since boot, over all processors. */
function busySeconds(): number {
  const fields = (readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? '').trim().split(/\s+/);
  const [user, nice, system, , , irq, softirq] = fields.slice(1).map(Number);
  return ((user ?? 0) + (nice ?? 0) + (system ?? 0) + (irq ?? 0) + (softirq ?? 0)) / 100;
}

/** Runs a client (`execute` gets the generator's arguments) and returns what it measured. */
export async function measure(
  kind: LoadKind,
  address: string,
  port: number,
  seconds: number,
  execute: (args: readonly string[]) => Promise<string>,
): Promise<Measurement> {
  const before = busySeconds();
  const output = await execute([kind, address, String(port), String(seconds)]);
  const busy = busySeconds() - before;
  const result = JSON.parse(output) as {
    count?: number;
    bytes?: number;
    seconds: number;
    p50_us?: number;
    p99_us?: number;
  };
  if (result.bytes !== undefined) {
    const gigabytes = result.bytes / 1e9;
    return {
      kind,
      rate: (gigabytes * 8) / result.seconds,
      p50Us: Number.NaN,
      p99Us: Number.NaN,
      cpuSeconds: busy / gigabytes,
    };
  }
  const count = result.count ?? 0;
  return {
    kind,
    rate: count / result.seconds,
    p50Us: result.p50_us ?? Number.NaN,
    p99Us: result.p99_us ?? Number.NaN,
    cpuSeconds: (busy / count) * 100_000,
  };
}
