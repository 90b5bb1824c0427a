/**
 * A port's publish mode toggled while clients are connected: two replicas on two of three hosts, held
 * connections through all three, new connections to the two with a task, as `docker service update`
 * changes the port from ingress to host mode and back. Counts what fails and what is replaced.
 *   node dist/bench/toggle.js [TOGGLES] [HELD] [NEW_A_SECOND]
 */
import { median } from './support/table.js';
import { buildLoadGenerator } from './support/load.js';
import { importLoadImage, LOAD_IMAGE } from './support/image.js';
import type { ConnectionTally } from '../test/e2e/support/connections.js';
import { HeldConnections } from '../test/e2e/support/held-connections.js';
import { sleep, waitFor } from '../test/testbed/commands.js';
import { formSwarm, managerOf, socketOf } from '../test/testbed/swarm.js';
import { type Host, down, inClient, mustDocker, up } from '../test/testbed/testbed.js';

const PORT = 6000;
const TARGET_PORT = 5000;
/** Between toggles, so that each mode is in force under load for a while. */
const PAUSE_MS = 2000;

const toggles = Number(process.argv[2] ?? 10);
const held = Number(process.argv[3] ?? 50);
const rate = Number(process.argv[4] ?? 500);

const port = (mode: string) => `mode=${mode},published=${PORT},target=${TARGET_PORT}`;

async function containerIds(hosts: readonly Host[]): Promise<string> {
  const filter = 'label=com.docker.swarm.service.name=echo';
  const lists = await Promise.all(
    hosts.map(async (host) => mustDocker(host.dockerSocket, ['ps', '-q', '--filter', filter])),
  );
  return lists.join('\n').split('\n').filter(Boolean).sort().join(' ');
}

/** Milliseconds from the command until a node without a task has followed. */
async function toggle(socket: string, bystander: Host, from: string, to: string): Promise<number> {
  const startMs = performance.now();
  await mustDocker(socket, [
    ...['service', 'update', '--detach', '--publish-rm', port(from)],
    ...['--publish-add', port(to), 'echo'],
  ]);
  await waitFor(`${bystander.name} to follow`, 30_000, async () => {
    const url = `http://${bystander.address}:${PORT}/`;
    // 7: refused. An echo service answers no HTTP, but it accepts.
    const { code } = await inClient(['curl', '-s', '-o', '/dev/null', '--max-time', '1', url]);
    return (code === 7) === (to === 'host') ? true : undefined;
  });
  return performance.now() - startMs;
}

function print(name: string, tally: ConnectionTally): void {
  const { opened, exchanges, failed, slowestMs, errors } = tally;
  console.log(
    `  ${name.padEnd(6)}${String(opened).padStart(8)} opened${String(exchanges).padStart(9)} exchanges` +
      `${String(failed).padStart(6)} failed   slowest ${slowestMs} ms   ${JSON.stringify(errors)}`,
  );
}

const hosts = await up(3);
try {
  const [h1, h2, h3] = hosts as [Host, Host, Host];
  const load = await buildLoadGenerator(h1.directory);
  for (const host of hosts) await importLoadImage(host.dockerSocket, load);
  await formSwarm(hosts, 'skep');
  const socket = socketOf(managerOf(hosts), 'skep');
  await mustDocker(socket, [
    ...['service', 'create', '--name', 'echo', '--replicas', '2', '--publish', port('ingress')],
    ...['--constraint', `node.hostname!=${h1.name}`],
    ...[LOAD_IMAGE, '/load', 'server', String(TARGET_PORT)],
  ]);
  const before = await containerIds(hosts);
  const at = (host: Host) => `${host.address}:${PORT}`;
  const options = { heldTargets: hosts.map(at), held, freshTargets: [at(h2), at(h3)], rate };
  const connections = await HeldConnections.start(options);
  const followedMs: number[] = [];
  try {
    for (let turn = 0; turn < toggles; turn++) {
      const [from, to] = turn % 2 === 0 ? ['ingress', 'host'] : ['host', 'ingress'];
      followedMs.push(await toggle(socket, h1, from ?? '', to ?? ''));
      await sleep(PAUSE_MS);
    }
    const result = await connections.finish();
    console.log(`\n${toggles} toggles, ${held} connections held, ${rate} new ones a second`);
    print('held', result.held);
    print('new', result.fresh);
  } finally {
    connections.kill();
  }
  const same = (await containerIds(hosts)) === before;
  console.log(`  containers: ${same ? 'the same' : 'REPLACED'}`);
  console.log(
    `  from the command until a third node has followed: ${median(followedMs).toFixed(0)} ms`,
  );
} finally {
  await down();
}
