/**
 * A service of three replicas updated one after the other while clients are connected: new connections
 * all the time, and held ones that a well-behaved client would end by itself, kept to their end here.
 * A held connection may end with its task's stop grace period, not before. Then skepd is killed and
 * restarted on every host in turn in the same load, where none may end.
 *   node dist/bench/update.js [HELD] [NEW_A_SECOND] [GRACE_SECONDS]
 */
import type { ConnectionResult, ConnectionTally } from '../test/e2e/support/connections.js';
import { HeldConnections } from '../test/e2e/support/held-connections.js';
import { sleep } from '../test/testbed/commands.js';
import { formSwarm, managerOf, runningTasks, socketOf } from '../test/testbed/swarm.js';
import {
  type Host,
  down,
  killSkepd,
  mustDocker,
  restartSkepd,
  up,
} from '../test/testbed/testbed.js';
import { buildLoadGenerator } from './support/load.js';
import { importLoadImage, LOAD_IMAGE } from './support/image.js';

const PORT = 6000;
const TARGET_PORT = 5000;
/** How long a host is without its daemon. */
const ABSENCE_MS = 5000;
/** Between two hosts, so that the one before has taken everything over. */
const PAUSE_MS = 5000;

const held = Number(process.argv[2] ?? 50);
const rate = Number(process.argv[3] ?? 500);
const graceSeconds = Number(process.argv[4] ?? 12);

/** An event of a container of the service. */
interface ContainerEvent {
  readonly id: string;
  readonly action: string;
  readonly atMs: number;
}

async function eventsSince(hosts: readonly Host[], sinceMs: number): Promise<ContainerEvent[]> {
  const events: ContainerEvent[] = [];
  for (const host of hosts) {
    const lines = await mustDocker(host.dockerSocket, [
      ...['events', '--since', String(sinceMs / 1000), '--until', String(Date.now() / 1000)],
      ...['--filter', 'type=container', '--filter', 'event=kill', '--filter', 'event=die'],
      ...['--format', '{{.ID}} {{.Action}} {{.TimeNano}}'],
    ]);
    for (const line of lines.split('\n').filter(Boolean)) {
      const [id = '', action = '', nanoseconds = ''] = line.split(' ');
      events.push({ id, action, atMs: Number(BigInt(nanoseconds) / 1_000_000n) });
    }
  }
  return events;
}

function print(name: string, tally: ConnectionTally): void {
  const { opened, exchanges, failed, slowestMs, errors } = tally;
  console.log(
    `  ${name.padEnd(6)}${String(opened).padStart(8)} opened${String(exchanges).padStart(9)} exchanges` +
      `${String(failed).padStart(6)} ended   slowest ${slowestMs} ms   ${JSON.stringify(errors)}`,
  );
}

/** Runs `work` while clients are connected. */
async function underLoad(
  hosts: readonly Host[],
  work: () => Promise<void>,
): Promise<ConnectionResult> {
  const targets = hosts.map((host) => `${host.address}:${PORT}`);
  const options = { heldTargets: targets, held, freshTargets: targets, rate };
  const connections = await HeldConnections.start(options);
  try {
    await work();
    return await connections.finish();
  } finally {
    connections.kill();
  }
}

async function update(hosts: readonly Host[], socket: string): Promise<void> {
  const sinceMs = Date.now();
  const result = await underLoad(hosts, async () => {
    await sleep(1000);
    await mustDocker(socket, ['service', 'update', '--quiet', '--force', 'echo']);
    await sleep(1000);
  });
  const events = await eventsSince(hosts, sinceMs);
  const dieMs = events.filter(({ action }) => action === 'die').map(({ atMs }) => atMs);
  // The client sees the end of a connection a moment after the engine has noted the container's.
  const early = result.held.failedAtMs.filter(
    (atMs) => !dieMs.some((died) => Math.abs(atMs - died) < 1000),
  );
  console.log(`\nrolling update, 3 replicas, ${held} connections held, ${rate} new ones a second`);
  print('new', result.fresh);
  print('held', result.held);
  console.log(`  held connections that ended before their container did: ${early.length}`);
  console.log(`  containers replaced: ${dieMs.length}`);
  const killMs = events.filter(({ action }) => action === 'kill');
  const graces = events
    .filter(({ action }) => action === 'die')
    .map(({ id, atMs }) => {
      const first = killMs.filter((event) => event.id === id).map((event) => event.atMs);
      return ((atMs - Math.min(...first)) / 1000).toFixed(1);
    });
  console.log(`  from the stop signal to the container's end: ${graces.join(', ')} s`);
}

async function restart(hosts: readonly Host[], socket: string): Promise<void> {
  const before = (await runningTasks(socket, 'echo')).map(({ id }) => id).sort();
  const result = await underLoad(hosts, async () => {
    for (const host of hosts) {
      await killSkepd(host);
      await sleep(ABSENCE_MS);
      await restartSkepd(host);
      await sleep(PAUSE_MS);
    }
  });
  const after = (await runningTasks(socket, 'echo')).map(({ id }) => id).sort();
  console.log(`\nskepd killed and started again on each host in turn, the same load`);
  print('new', result.fresh);
  print('held', result.held);
  console.log(`  tasks: ${after.join() === before.join() ? 'the same' : 'REPLACED'}`);
}

const hosts = await up(3);
try {
  const load = await buildLoadGenerator(hosts[0]?.directory ?? '.');
  for (const host of hosts) await importLoadImage(host.dockerSocket, load);
  await formSwarm(hosts, 'skep');
  const socket = socketOf(managerOf(hosts), 'skep');
  await mustDocker(socket, [
    ...['service', 'create', '--quiet', '--name', 'echo', '--replicas', '3'],
    ...['--publish', `published=${PORT},target=${TARGET_PORT}`],
    ...['--stop-grace-period', `${graceSeconds}s`, '--update-monitor', '1s'],
    ...['--replicas-max-per-node', '1'],
    ...[LOAD_IMAGE, '/load', 'server', String(TARGET_PORT)],
  ]);
  await update(hosts, socket);
  await restart(hosts, socket);
} finally {
  await down();
}
