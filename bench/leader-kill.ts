/**
 * Three managers, writes through the two that stay at a steady rate, and the leader's skepd killed
 * again and again: how long until the next write is acknowledged, and whether every acknowledged
 * write is there afterwards, on all managers.
 *   node dist/bench/leader-kill.js [ROUNDS] [WRITES_A_SECOND]
 */
import { sleep, waitFor } from '../test/testbed/commands.js';
import { dockerRequest } from '../test/testbed/http.js';
import { managerOf } from '../test/testbed/swarm.js';
import {
  type Host,
  docker,
  down,
  killSkepd,
  mustDocker,
  restartSkepd,
  up,
} from '../test/testbed/testbed.js';
import { median } from './support/table.js';

const BEFORE_MS = 2_000;
const AFTER_MS = 5_000;
const LIMIT_MS = 60_000;
const API = '/v1.41/configs';

const rounds = Number(process.argv[2] ?? 10);
const rate = Number(process.argv[3] ?? 200);

/** A write and what became of it; times in ms of `performance.now()`. */
interface Write {
  readonly name: string;
  readonly sentMs: number;
  answeredMs: number;
  status: number;
}

interface ConfigJson {
  readonly ID: string;
  readonly Spec: { readonly Name: string };
}

async function leaderOf(hosts: readonly Host[], asked: Host): Promise<Host> {
  const format = '{{.Hostname}} {{.ManagerStatus}}';
  const lines = await mustDocker(asked.skepSocket, ['node', 'ls', '--format', format]);
  const leader = hosts.find(({ name }) => lines.split('\n').includes(`${name} Leader`));
  if (leader === undefined) throw new Error(`no leader among ${lines}`);
  return leader;
}

async function allReachable(hosts: readonly Host[]): Promise<void> {
  for (const host of hosts)
    await waitFor(`${host.name} to see all managers`, LIMIT_MS, async () => {
      const shown = await docker(host.skepSocket, ['node', 'ls', '--format', '{{.ManagerStatus}}']);
      const states = shown.stdout.trim().split('\n').sort();
      return states.join() === 'Leader,Reachable,Reachable' ? true : undefined;
    });
}

/** Writes through `entries` in turn until `end` says so; resolves when all are answered. */
async function writeSteadily(
  entries: readonly Host[],
  prefix: string,
  isOver: () => boolean,
): Promise<readonly Write[]> {
  const writes: Write[] = [];
  const answers: Promise<void>[] = [];
  const startMs = performance.now();
  while (!isOver()) {
    const due = Math.floor(((performance.now() - startMs) / 1000) * rate);
    while (writes.length < due) {
      const name = `${prefix}-${writes.length}`;
      const write: Write = { name, sentMs: performance.now(), answeredMs: 0, status: 0 };
      const entry = entries[writes.length % entries.length] as Host;
      writes.push(write);
      const body = { Name: name, Data: Buffer.from(name).toString('base64') };
      answers.push(
        dockerRequest(entry.skepSocket, 'POST', `${API}/create`, body).then(
          ({ status }) => {
            write.status = status;
            write.answeredMs = performance.now();
          },
          () => {
            write.answeredMs = performance.now();
          },
        ),
      );
    }
    await sleep(5);
  }
  await Promise.all(answers);
  return writes;
}

async function configsOf(host: Host): Promise<readonly ConfigJson[]> {
  const { body, status } = await dockerRequest(host.skepSocket, 'GET', API);
  if (status !== 200) throw new Error(`configs of ${host.name}: status ${status}`);
  return body as readonly ConfigJson[];
}

/** Names of acknowledged writes that some manager does not have. */
async function lostWrites(
  hosts: readonly Host[],
  writes: readonly Write[],
): Promise<readonly string[]> {
  const acknowledged = writes.filter(({ status }) => status === 201).map(({ name }) => name);
  const lost = new Set<string>();
  for (const host of hosts) {
    const names = new Set((await configsOf(host)).map(({ Spec }) => Spec.Name));
    for (const name of acknowledged) if (!names.has(name)) lost.add(name);
  }
  return [...lost];
}

async function removeAll(host: Host): Promise<void> {
  const configs = await configsOf(host);
  for (let at = 0; at < configs.length; at += 50)
    await Promise.all(
      configs
        .slice(at, at + 50)
        .map(async ({ ID }) => dockerRequest(host.skepSocket, 'DELETE', `${API}/${ID}`)),
    );
}

interface RoundResult {
  readonly nextMs: number;
  readonly failed: number;
  readonly lost: number;
}

async function killRound(hosts: readonly Host[], round: number): Promise<RoundResult> {
  const leader = await leaderOf(hosts, managerOf(hosts));
  const entries = hosts.filter((host) => host !== leader);
  let isOver = false;
  const writing = writeSteadily(entries, `r${round}`, () => isOver);
  await sleep(BEFORE_MS);
  const killedMs = performance.now();
  await killSkepd(leader);
  const goneMs = performance.now();
  await sleep(AFTER_MS);
  isOver = true;
  const writes = await writing;
  // Sent after the leader was certainly gone, so acknowledged by another one.
  const next = writes
    .filter(({ status, sentMs }) => status === 201 && sentMs >= goneMs)
    .map(({ answeredMs }) => answeredMs - killedMs);
  const inFlight = writes.filter(({ status }) => status !== 201);
  await restartSkepd(leader);
  await allReachable(hosts);
  const lost = await lostWrites(hosts, writes);
  await removeAll(entries[0] as Host);
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
  const first = managerOf(hosts);
  await mustDocker(first.skepSocket, ['swarm', 'init', '--advertise-addr', first.address]);
  const token = await mustDocker(first.skepSocket, ['swarm', 'join-token', '-q', 'manager']);
  for (const host of hosts.slice(1))
    await mustDocker(host.skepSocket, [
      ...['swarm', 'join', '--token', token, '--advertise-addr', host.address],
      `${first.address}:2377`,
    ]);
  await allReachable(hosts);
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
