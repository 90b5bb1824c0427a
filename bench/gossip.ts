/**
 * Rings of gossip cores in one process and virtual time: how fast news reach all members, how soon a
 * dead one is found, how often a living one is called dead under loss and pauses, and what it costs.
 * Every number of a seed is the same on every machine, but for the time it takes.
 *   node dist/bench/gossip.js [LARGEST]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { must } from '../test/testbed/commands.js';
import { packageRoot } from '../test/testbed/layout.js';

const LIMIT_MS = 3_600_000;
const largest = Number(process.argv[2] ?? 1000);

/** One line of the program's output. */
interface Figures {
  readonly members: number;
  readonly profile: 'fast' | 'lan';
  readonly loss: number;
  readonly pausesPerNodeHour: number;
  readonly nodeDays: number;
  readonly falseDeaths: number;
  readonly packetsPerSecond: number;
  readonly bytesPerSecond: number;
  readonly spreadP50Ms: number;
  readonly spreadP99Ms: number;
  readonly spreadMaxMs: number;
  readonly reached: number;
  readonly foundFirstP50Ms: number;
  readonly foundFirstMaxMs: number;
  readonly foundByAllP99Ms: number;
  readonly tookSeconds: number;
}

/** A ring to run. */
interface Case {
  readonly members: number;
  readonly profile: 'fast' | 'lan';
  readonly lossPercent: number;
  readonly pausesPerNodeHour: number;
  readonly seconds: number;
}

const CASES: readonly Case[] = [
  { members: 3, profile: 'fast', lossPercent: 1, pausesPerNodeHour: 0, seconds: 86_400 },
  { members: 10, profile: 'fast', lossPercent: 1, pausesPerNodeHour: 0, seconds: 43_200 },
  { members: 10, profile: 'fast', lossPercent: 5, pausesPerNodeHour: 0, seconds: 43_200 },
  { members: 10, profile: 'fast', lossPercent: 1, pausesPerNodeHour: 60, seconds: 7200 },
  { members: 10, profile: 'lan', lossPercent: 1, pausesPerNodeHour: 60, seconds: 7200 },
  { members: 100, profile: 'fast', lossPercent: 1, pausesPerNodeHour: 0, seconds: 7200 },
  { members: 100, profile: 'lan', lossPercent: 1, pausesPerNodeHour: 0, seconds: 7200 },
  { members: 1000, profile: 'fast', lossPercent: 1, pausesPerNodeHour: 0, seconds: 60 },
  { members: largest, profile: 'fast', lossPercent: 1, pausesPerNodeHour: 0, seconds: 30 },
];

/** Compiles the program; returns its path. */
async function build(directory: string): Promise<string> {
  const sources = path.join(packageRoot(), 'native/gossip/test');
  const program = path.join(directory, 'gossip-scale');
  await must('make', ['-C', sources, `OUT=${directory}`, program], { timeoutMs: LIMIT_MS });
  return program;
}

function line(figures: Figures): string {
  const { profile, members, loss, pausesPerNodeHour, falseDeaths, nodeDays } = figures;
  const perDay = falseDeaths / nodeDays;
  return [
    profile.padEnd(5),
    String(members).padStart(7),
    `${(loss * 100).toFixed(0)} %`.padStart(5),
    String(pausesPerNodeHour).padStart(7),
    `${falseDeaths} in ${nodeDays.toFixed(1)} (${perDay.toFixed(2)})`.padStart(20),
    `${figures.spreadP50Ms}/${figures.spreadP99Ms}/${figures.spreadMaxMs}`.padStart(14),
    `${(figures.reached * 100).toFixed(2)} %`.padStart(9),
    `${figures.foundFirstP50Ms}/${figures.foundFirstMaxMs}`.padStart(12),
    String(figures.foundByAllP99Ms).padStart(9),
    figures.packetsPerSecond.toFixed(1).padStart(10),
    figures.bytesPerSecond.toFixed(0).padStart(9),
    figures.tookSeconds.toFixed(0).padStart(6),
  ].join(' ');
}

const directory = mkdtempSync(path.join(os.tmpdir(), 'skep-gossip-'));
try {
  const program = await build(directory);
  console.log(
    'profile members  loss pauses/h  false deaths in node-days (a day)  news p50/p99/max ms  reached  ' +
      'found p50/max ms  by all p99  packets/s  bytes/s  took s',
  );
  const seen = new Set<string>();
  for (const { members, profile, lossPercent, pausesPerNodeHour, seconds } of CASES) {
    const args = [members, profile, lossPercent, pausesPerNodeHour, seconds, 1].map(String);
    if (
      members > Math.max(largest, 1000) ||
      seen.has(`${members} ${lossPercent} ${profile} ${pausesPerNodeHour}`)
    )
      continue;
    seen.add(`${members} ${lossPercent} ${profile} ${pausesPerNodeHour}`);
    console.log(line(JSON.parse(await must(program, args, { timeoutMs: LIMIT_MS })) as Figures));
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}
