/**
 * Container to container on two nodes: request/response, connect rate and stream over a Skep
 * overlay, plain and encrypted, and a stock Swarm overlay, each against host to host, all on the same
 * hosts in one run.
 *   node dist/bench/overlay.js [SECONDS] [ROUNDS]
 */
import { type BenchCase, printTables } from './support/table.js';
import { type LoadKind, type Measurement, buildLoadGenerator, measure } from './support/load.js';
import { LOAD_IMAGE, importLoadImage } from './support/image.js';
import {
  type Flavour,
  containerOn,
  dissolveSwarm,
  formSwarm,
  managerOf,
  removeService,
  socketOf,
  waitForReplicas,
} from '../test/testbed/swarm.js';
import { must, startLogged, waitFor } from '../test/testbed/commands.js';
import { insideHost } from '../test/testbed/namespaces.js';
import { type Host, down, mustDocker, up } from '../test/testbed/testbed.js';

const PORT = 5000;
const KINDS: readonly LoadKind[] = ['rr', 'crr', 'stream'];
const seconds = Number(process.argv[2] ?? 2);
const rounds = Number(process.argv[3] ?? 3);

async function hostToHost(hosts: readonly Host[], load: string): Promise<Measurement[]> {
  const [client, server] = hosts;
  if (client === undefined || server === undefined) throw new Error('two hosts are needed');
  const process_ = startLogged(
    'nsenter',
    [...insideHost(server.holderPid), load, 'server', String(PORT)],
    `${server.directory}/load.log`,
  );
  try {
    const results: Measurement[] = [];
    await new Promise((resolve) => setTimeout(resolve, 200));
    for (const kind of KINDS)
      results.push(
        await measure(kind, server.address, PORT, seconds, async (args) =>
          must('nsenter', [...insideHost(client.holderPid), load, ...args]),
        ),
      );
    return results;
  } finally {
    await must('nsenter', [...insideHost(server.holderPid), 'pkill', '-x', 'load']);
    process_.unref();
  }
}

async function overlay(
  hosts: readonly Host[],
  flavour: Flavour,
  options: readonly string[] = [],
): Promise<Measurement[]> {
  const socket = socketOf(managerOf(hosts), flavour);
  await formSwarm(hosts, flavour);
  try {
    await mustDocker(socket, ['network', 'create', '-d', 'overlay', ...options, 'bench']);
    await mustDocker(socket, [
      ...['service', 'create', '--detach', '--name', 'load', '--mode', 'global'],
      ...['--network', 'bench', LOAD_IMAGE, '/load', 'server', String(PORT)],
    ]);
    await waitForReplicas(socket, 'load', hosts.length, 30_000);
    const [client, server] = hosts;
    if (client === undefined || server === undefined) throw new Error('two hosts are needed');
    const from = await containerOn(client, 'load');
    const to = await containerOn(server, 'load');
    const address = to.addresses['bench'];
    if (address === undefined) throw new Error('the server has no address on the overlay');
    const execute = async (args: readonly string[]): Promise<string> =>
      mustDocker(client.dockerSocket, ['exec', from.id, '/load', ...args]);
    // Stock nodes learn of each other's containers by gossip, after the tasks run.
    await waitFor('the server to be reachable', 30_000, async () =>
      execute(['rr', address, String(PORT), '0.1']),
    );
    const results: Measurement[] = [];
    for (const kind of KINDS) results.push(await measure(kind, address, PORT, seconds, execute));
    return results;
  } finally {
    await removeService(hosts, flavour, 'load');
    await dissolveSwarm(hosts, flavour);
  }
}

type Case = 'host to host' | 'Skep overlay' | 'Skep overlay, encrypted' | 'stock Swarm overlay';
const runs: Record<Case, Measurement[]> = {
  'host to host': [],
  'Skep overlay': [],
  'Skep overlay, encrypted': [],
  'stock Swarm overlay': [],
};
const hosts = await up(2);
try {
  const load = await buildLoadGenerator(hosts[0]?.directory ?? '.');
  for (const host of hosts) await importLoadImage(host.dockerSocket, load);
  for (let round = 0; round < rounds; round++) {
    runs['host to host'].push(...(await hostToHost(hosts, load)));
    runs['Skep overlay'].push(...(await overlay(hosts, 'skep')));
    const encrypted = await overlay(hosts, 'skep', ['--opt', 'encrypted']);
    runs['Skep overlay, encrypted'].push(...encrypted);
    runs['host to host'].push(...(await hostToHost(hosts, load)));
    runs['stock Swarm overlay'].push(...(await overlay(hosts, 'stock')));
  }
} finally {
  await down();
}
const cases: BenchCase[] = Object.entries(runs).map(([name, results]) => ({ name, runs: results }));
printTables(cases, 'host to host');
