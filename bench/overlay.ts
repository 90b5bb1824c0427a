/**
 * Container to container on two nodes: request/response, connect rate, stream and small UDP packets
 * over a Skep overlay, plain and encrypted, and a stock Swarm overlay, to the task's address and to
 * the service's virtual address, each against host to host, all on the same hosts in one run.
 *   node dist/bench/overlay.js [SECONDS] [ROUNDS] [plain]
 * `plain` leaves the encrypted overlay out.
 */
import { existsSync } from 'node:fs';
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
const KINDS: readonly LoadKind[] = ['rr', 'crr', 'stream', 'datagrams'];
/** What a virtual address may cost shows in these; all else goes the way of the task's address. */
const VIRTUAL_KINDS: readonly LoadKind[] = ['rr', 'crr'];
const seconds = Number(process.argv[2] ?? 2);
const rounds = Number(process.argv[3] ?? 3);
const withEncryption = process.argv[4] !== 'plain';

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

/** Results by the address that was asked. */
interface OverlayResults {
  readonly task: readonly Measurement[];
  readonly virtual: readonly Measurement[];
}

/** Stock Swarm's virtual addresses need ip_vs, which not every kernel has. */
function hasVirtual(flavour: Flavour): boolean {
  return flavour === 'skep' || existsSync('/proc/net/ip_vs');
}

/** Starts a service of one task on `host`. */
async function createOn(socket: string, host: Host, name: string): Promise<void> {
  await mustDocker(socket, [
    ...['service', 'create', '--detach', '--no-resolve-image', '--name', name, '--network'],
    ...['bench', '--constraint', `node.hostname==${host.name}`],
    ...[LOAD_IMAGE, '/load', 'server', String(PORT)],
  ]);
  await waitForReplicas(socket, name, 1, 30_000);
}

/** The service's address on the network, without its prefix length. */
async function virtualAddress(socket: string, service: string): Promise<string> {
  const format = '{{range .Endpoint.VirtualIPs}}{{.Addr}} {{end}}';
  const addresses = await mustDocker(socket, ['service', 'inspect', '--format', format, service]);
  return addresses.trim().split('/')[0] ?? '';
}

async function overlay(
  hosts: readonly Host[],
  flavour: Flavour,
  options: readonly string[] = [],
): Promise<OverlayResults> {
  const socket = socketOf(managerOf(hosts), flavour);
  await formSwarm(hosts, flavour);
  try {
    await mustDocker(socket, ['network', 'create', '-d', 'overlay', ...options, 'bench']);
    const [client, server] = hosts;
    if (client === undefined || server === undefined) throw new Error('two hosts are needed');
    await createOn(socket, client, 'client');
    await createOn(socket, server, 'load');
    const from = await containerOn(client, 'client');
    const to = await containerOn(server, 'load');
    const address = to.addresses['bench'];
    if (address === undefined) throw new Error('the server has no address on the overlay');
    const virtual = hasVirtual(flavour) ? await virtualAddress(socket, 'load') : undefined;
    const execute = async (args: readonly string[]): Promise<string> =>
      mustDocker(client.dockerSocket, ['exec', from.id, '/load', ...args]);
    // Stock nodes learn of each other's containers by gossip, after the tasks run.
    for (const one of virtual === undefined ? [address] : [address, virtual])
      await waitFor(`the server to be reachable as ${one}`, 30_000, async () =>
        execute(['rr', one, String(PORT), '0.1']),
      );
    const results = { task: [] as Measurement[], virtual: [] as Measurement[] };
    for (const kind of KINDS) {
      results.task.push(await measure(kind, address, PORT, seconds, execute));
      if (virtual !== undefined && VIRTUAL_KINDS.includes(kind))
        results.virtual.push(await measure(kind, virtual, PORT, seconds, execute));
    }
    return results;
  } finally {
    for (const service of ['client', 'load']) await removeService(hosts, flavour, service);
    await dissolveSwarm(hosts, flavour);
  }
}

const CASES = [
  'host to host',
  'Skep overlay',
  'Skep overlay, virtual address',
  'Skep overlay, encrypted',
  'stock Swarm overlay',
  'stock Swarm overlay, virtual addr.',
] as const;
type Case = (typeof CASES)[number];
const runs = new Map<Case, Measurement[]>(CASES.map((name) => [name, []]));
const add = (name: Case, results: readonly Measurement[]) => runs.get(name)?.push(...results);

const hosts = await up(2);
try {
  const load = await buildLoadGenerator(hosts[0]?.directory ?? '.');
  for (const host of hosts) await importLoadImage(host.dockerSocket, load);
  for (let round = 0; round < rounds; round++) {
    add('host to host', await hostToHost(hosts, load));
    const skep = await overlay(hosts, 'skep');
    add('Skep overlay', skep.task);
    add('Skep overlay, virtual address', skep.virtual);
    if (withEncryption)
      add('Skep overlay, encrypted', (await overlay(hosts, 'skep', ['--opt', 'encrypted'])).task);
    add('host to host', await hostToHost(hosts, load));
    const stock = await overlay(hosts, 'stock');
    add('stock Swarm overlay', stock.task);
    add('stock Swarm overlay, virtual addr.', stock.virtual);
  }
} finally {
  await down();
}
const cases: BenchCase[] = [...runs].map(([name, results]) => ({ name, runs: results }));
printTables(cases, 'host to host');
