/**
 * A host cut off from the others under load: how long requests from outside still go to its tasks,
 * and when they run elsewhere. Then short cuts that must change nothing, and a task killed. Stock
 * Swarm's times on the same engines in the same run, without requests: its mesh needs ip_vs.
 *   node dist/bench/failover.js [ROUNDS] [NEW_A_SECOND] [BLIPS]
 */
import type { ConnectionTally } from '../test/e2e/support/connections.js';
import { HeldConnections } from '../test/e2e/support/held-connections.js';
import { sleep, waitFor } from '../test/testbed/commands.js';
import { setUplink } from '../test/testbed/faults.js';
import { dockerRequest } from '../test/testbed/http.js';
import {
  type Flavour,
  containerOn,
  dissolveSwarm,
  formSwarm,
  managerOf,
  removeService,
  socketOf,
  tasksOf,
  waitForReplicas,
} from '../test/testbed/swarm.js';
import { type Host, docker, down, mustDocker, up } from '../test/testbed/testbed.js';
import { buildLoadGenerator } from './support/load.js';
import { importLoadImage, LOAD_IMAGE } from './support/image.js';
import { median } from './support/table.js';

const PORT = 6000;
const TARGET_PORT = 5000;
const REPLICAS = 6;
const BLIP_MS = 3000;
/** After a cut is over, until all is as before. */
const CALM_MS = 8000;
const LIMIT_MS = 60_000;

const rounds = Number(process.argv[2] ?? 3);
const rate = Number(process.argv[3] ?? 500);
const blips = Number(process.argv[4] ?? 10);

async function createService(socket: string): Promise<void> {
  await mustDocker(socket, [
    ...['service', 'create', '--detach', '--no-resolve-image', '--name', 'echo'],
    ...['--replicas', String(REPLICAS), '--publish', `published=${PORT},target=${TARGET_PORT}`],
    ...[LOAD_IMAGE, '/load', 'server', String(TARGET_PORT)],
  ]);
  await waitForReplicas(socket, 'echo', REPLICAS, LIMIT_MS);
}

interface NodeView {
  readonly ID: string;
  readonly Description: { readonly Hostname: string };
  readonly Status: { readonly State: string };
}

interface TaskView {
  readonly NodeID?: string;
  readonly DesiredState: string;
  readonly Status: { readonly State: string };
}

/**
 * Seconds from the cut until a manager calls the node down, and until its tasks run elsewhere. Asked
 * of the API: starting the CLI for it takes processor time from what is measured.
 */
async function timeRecovery(socket: string, cut: Host, cutMs: number): Promise<[number, number]> {
  const filters = encodeURIComponent(JSON.stringify({ service: ['echo'] }));
  let downSeconds = Number.NaN;
  await waitFor('the tasks to run elsewhere', LIMIT_MS, async () => {
    const nodes = (await dockerRequest(socket, 'GET', '/nodes')).body as NodeView[];
    const node = nodes.find(({ Description }) => Description.Hostname === cut.name);
    if (Number.isNaN(downSeconds) && node?.Status.State === 'down')
      downSeconds = (Date.now() - cutMs) / 1000;
    const { body } = await dockerRequest(socket, 'GET', `/tasks?filters=${filters}`);
    const elsewhere = (body as TaskView[]).filter(
      ({ NodeID, DesiredState, Status }) =>
        NodeID !== node?.ID && DesiredState === 'running' && Status.State === 'running',
    );
    return elsewhere.length >= REPLICAS ? true : undefined;
  });
  return [downSeconds, (Date.now() - cutMs) / 1000];
}

/** Requests to `entries` while `work` goes on. */
async function underLoad(
  entries: readonly Host[],
  work: () => Promise<void>,
): Promise<ConnectionTally> {
  const freshTargets = entries.map((host) => `${host.address}:${PORT}`);
  const connections = await HeldConnections.start({ heldTargets: [], held: 0, freshTargets, rate });
  try {
    await work();
    return (await connections.finish()).fresh;
  } finally {
    connections.kill();
  }
}

/** Seconds from `fromMs` until the last request before `untilMs` began that failed or was late; 0 if none did. */
function lastLateSeconds(
  tally: ConnectionTally,
  fromMs: number,
  untilMs = Number.POSITIVE_INFINITY,
): number {
  const late = tally.lateFromMs.filter((ms) => ms >= fromMs && ms < untilMs);
  return late.length === 0 ? 0 : (Math.max(...late) - fromMs) / 1000;
}

async function heal(hosts: readonly Host[], cut: Host, flavour: Flavour): Promise<void> {
  await setUplink(cut, 'up');
  const socket = socketOf(managerOf(hosts), flavour);
  await waitFor(`${cut.name} to be ready`, LIMIT_MS, async () => {
    const format = '{{.Hostname}} {{.Status}}';
    const nodes = await mustDocker(socket, ['node', 'ls', '--format', format]);
    return nodes.includes(`${cut.name} Ready`) ? true : undefined;
  });
  await sleep(CALM_MS);
}

/** Spreads the tasks over all hosts again. */
async function spread(socket: string): Promise<void> {
  await mustDocker(socket, ['service', 'update', '--quiet', '--force', 'echo']);
}

async function cutUnderLoad(hosts: readonly Host[], socket: string): Promise<void> {
  const [h1, h2, h3] = hosts as [Host, Host, Host];
  const lates: number[] = [];
  const downs: number[] = [];
  const recoveries: number[] = [];
  for (let round = 0; round < rounds; round++) {
    let cutMs = 0;
    const tally = await underLoad([h1, h2], async () => {
      await sleep(1000);
      cutMs = Date.now();
      await setUplink(h3, 'down');
      const [downSeconds, recoverySeconds] = await timeRecovery(socket, h3, cutMs);
      downs.push(downSeconds);
      recoveries.push(recoverySeconds);
      await sleep(5000);
    });
    lates.push(lastLateSeconds(tally, cutMs));
    const { opened, failed, slowestMs, errors } = tally;
    console.log(
      `  round ${round + 1}: ${opened} requests, ${failed} failed, slowest ${slowestMs} ms ` +
        `${JSON.stringify(errors)}; last late one began ${lates.at(-1)?.toFixed(2)} s after the cut; ` +
        `down ${downs.at(-1)?.toFixed(1)} s, elsewhere ${recoveries.at(-1)?.toFixed(1)} s`,
    );
    await heal(hosts, h3, 'skep');
    await spread(socket);
  }
  print('Skep', downs, recoveries, lates);
}

async function cutStock(hosts: readonly Host[], socket: string): Promise<void> {
  const cut = hosts[2] as Host;
  const downs: number[] = [];
  const recoveries: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const cutMs = Date.now();
    await setUplink(cut, 'down');
    const [downSeconds, recoverySeconds] = await timeRecovery(socket, cut, cutMs);
    downs.push(downSeconds);
    recoveries.push(recoverySeconds);
    await heal(hosts, cut, 'stock');
    await spread(socket);
  }
  print('stock Swarm', downs, recoveries);
}

function print(
  name: string,
  downs: readonly number[],
  recoveries: readonly number[],
  lates?: readonly number[],
): void {
  const late = lates === undefined ? '-' : `${median(lates).toFixed(2)} s`;
  console.log(
    `  ${name.padEnd(14)}last request to the dead host ${late.padStart(7)}   node down ` +
      `${median(downs).toFixed(1)} s   tasks elsewhere ${median(recoveries).toFixed(1)} s`,
  );
}

/** Cuts shorter than what makes a node count as down. */
async function blink(hosts: readonly Host[], socket: string): Promise<void> {
  const [h1, h2, h3] = hosts as [Host, Host, Host];
  const tasksBefore = (await tasksOf(socket, 'echo')).map(({ id }) => id).sort();
  const lates: number[] = [];
  const returns: number[] = [];
  let lateAfterHeal = 0;
  for (let blip = 0; blip < blips; blip++) {
    let cutMs = 0;
    let healMs = 0;
    const tally = await underLoad([h1, h2], async () => {
      await sleep(500);
      cutMs = Date.now();
      await setUplink(h3, 'down');
      await sleep(BLIP_MS - (Date.now() - cutMs));
      healMs = Date.now();
      await setUplink(h3, 'up');
      await waitForTraffic(h3);
      returns.push((Date.now() - healMs) / 1000);
      await sleep(2000);
    });
    lates.push(lastLateSeconds(tally, cutMs, healMs));
    lateAfterHeal += tally.lateFromMs.filter((ms) => ms >= healMs).length;
  }
  const tasksAfter = (await tasksOf(socket, 'echo')).map(({ id }) => id).sort();
  console.log(
    `  last late request began ${Math.max(...lates).toFixed(2)} s after the cut at most, ` +
      `${lateAfterHeal} after a heal; traffic was back ${median(returns).toFixed(2)} s after the heal, ` +
      `${Math.max(...returns).toFixed(2)} s at most; ` +
      `tasks: ${tasksBefore.join() === tasksAfter.join() ? 'the same' : 'REPLACED'}`,
  );
}

/** Packets the host has given to its containers. */
async function acceptedOn(host: Host): Promise<number> {
  const { body } = await dockerRequest(host.skepSocket, 'GET', '/skep/net/counters');
  const { Counters } = body as { Counters: { Reason: string; Packets: number }[] };
  return Counters.find(({ Reason }) => Reason === 'forward-container')?.Packets ?? 0;
}

/** Waits until packets from outside reach the host's containers again. */
async function waitForTraffic(host: Host): Promise<void> {
  let before = await acceptedOn(host);
  await waitFor(`traffic to ${host.name}`, LIMIT_MS, async () => {
    const now = await acceptedOn(host);
    const isMoving = now - before > 5;
    before = now;
    return isMoving ? true : undefined;
  });
}

/** A task's process killed from outside: how long requests still go there. */
async function killTask(hosts: readonly Host[], socket: string): Promise<void> {
  const [h1, h2, h3] = hosts as [Host, Host, Host];
  const lates: number[] = [];
  let failed = 0;
  for (let round = 0; round < rounds; round++) {
    let killMs = 0;
    const tally = await underLoad([h1, h2], async () => {
      await sleep(1000);
      const { id } = await containerOn(h3, 'echo');
      killMs = Date.now();
      await docker(h3.dockerSocket, ['kill', '--signal', 'KILL', id]);
      await waitForReplicas(socket, 'echo', REPLICAS, LIMIT_MS);
      await sleep(2000);
    });
    failed += tally.failed;
    lates.push(lastLateSeconds(tally, killMs));
    await sleep(3000);
  }
  console.log(
    `  last late request began ${median(lates).toFixed(2)} s after the command (median of ` +
      `${rounds}), ${Math.max(...lates).toFixed(2)} s at most; ${failed} requests failed`,
  );
}

const hosts = await up(3);
try {
  const load = await buildLoadGenerator(hosts[0]?.directory ?? '.');
  for (const host of hosts) await importLoadImage(host.dockerSocket, load);
  await formSwarm(hosts, 'skep');
  const socket = socketOf(managerOf(hosts), 'skep');
  await createService(socket);
  console.log(`\na host cut off, ${rate} requests a second to the two others`);
  await cutUnderLoad(hosts, socket);
  console.log(`\n${blips} cuts of ${BLIP_MS / 1000} s`);
  await blink(hosts, socket);
  console.log('\na task killed');
  await killTask(hosts, socket);
  await removeService(hosts, 'skep', 'echo');
  await dissolveSwarm(hosts, 'skep');

  await formSwarm(hosts, 'stock');
  const stockSocket = socketOf(managerOf(hosts), 'stock');
  await createService(stockSocket);
  console.log('\na host cut off');
  await cutStock(hosts, stockSocket);
} finally {
  await down();
}
