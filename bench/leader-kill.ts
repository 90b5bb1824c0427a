/**
 * Three managers, writes through the two that stay at a steady rate, and the leader's skepd killed
 * again and again: how long until the next write is acknowledged, and whether every acknowledged
 * write is there afterwards, on all managers.
 *   node dist/bench/leader-kill.js [ROUNDS] [WRITES_A_SECOND]
 */
import { sleep } from '../test/testbed/commands.js';
import { ConfigWriter, lostWrites, removeConfigs } from '../test/testbed/config-writer.js';
import { allReachable, formManagers, leaderOf } from '../test/testbed/managers.js';
import { managerOf } from '../test/testbed/swarm.js';
import { type Host, down, killSkepd, restartSkepd, up } from '../test/testbed/testbed.js';
import { median } from './support/table.js';

const BEFORE_MS = 2_000;
const AFTER_MS = 5_000;

const rounds = Number(process.argv[2] ?? 10);
const rate = Number(process.argv[3] ?? 200);

interface RoundResult {
  readonly nextMs: number;
  readonly failed: number;
  readonly lost: number;
}

async function killRound(hosts: readonly Host[], round: number): Promise<RoundResult> {
  const leader = await leaderOf(hosts, managerOf(hosts));
  const entries = hosts.filter((host) => host !== leader);
  const writer = new ConfigWriter(entries, `r${round}`, rate);
  await sleep(BEFORE_MS);
  const killedMs = performance.now();
  await killSkepd(leader);
  const goneMs = performance.now();
  await sleep(AFTER_MS);
  const writes = await writer.stop();
  // Sent after the leader was certainly gone, so acknowledged by another one.
  const next = writes
    .filter(({ status, sentMs }) => status === 201 && sentMs >= goneMs)
    .map(({ answeredMs }) => answeredMs - killedMs);
  const inFlight = writes.filter(({ status }) => status !== 201);
  await restartSkepd(leader);
  for (const host of hosts) await allReachable(host, hosts.length);
  const lost = await lostWrites(hosts, writes);
  await removeConfigs(entries[0] as Host);
  const nextMs = Math.min(...next);
  const before = writes.filter(({ status, answeredMs }) => status === 201 && answeredMs < killedMs);
  const latencyMs = median(before.map(({ answeredMs, sentMs }) => answeredMs - sentMs));
  console.log(
    `  round ${round}: ${leader.name} killed; ${writes.length} writes (median ${latencyMs.toFixed(1)} ms ` +
      `before), next acknowledged ${(nextMs / 1000).toFixed(2)} s after, ` +
      `${inFlight.length} not acknowledged, ${lost.length} acknowledged and lost`,
  );
  return { nextMs, failed: inFlight.length, lost: lost.length };
}

const hosts = await up(3);
try {
  await formManagers(hosts);
  console.log(`leader killed under ${rate} writes a second, ${rounds} rounds`);
  const results: RoundResult[] = [];
  for (let round = 1; round <= rounds; round++) results.push(await killRound(hosts, round));
  const times = results.map(({ nextMs }) => nextMs / 1000).sort((a, b) => a - b);
  const sum = (pick: (result: RoundResult) => number): number =>
    results.reduce((total, result) => total + pick(result), 0);
  console.log(
    `next acknowledged write: median ${median(times).toFixed(2)} s, worst ` +
      `${times.at(-1)?.toFixed(2)} s; lost: ${sum(({ lost }) => lost)}`,
  );
} finally {
  await down();
}
