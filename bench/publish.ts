/**
 * A published port: host mode, ingress with a local and with a remote backend, each against the
 * container's own address on the same host, asked from the outside client (the container's own
 * address from the host that runs it, and over the overlay from a container of the other host).
 *   node dist/bench/publish.js [SECONDS] [ROUNDS]
 */
import { type BenchCase, printTables } from './support/table.js';
import { type LoadKind, type Measurement, buildLoadGenerator, measure } from './support/load.js';
import { LOAD_IMAGE, importLoadImage } from './support/image.js';
import {
  containerOn,
  formSwarm,
  managerOf,
  socketOf,
  waitForReplicas,
} from '../test/testbed/swarm.js';
import { must } from '../test/testbed/commands.js';
import { CLIENT_NAMESPACE } from '../test/testbed/layout.js';
import { insideHost } from '../test/testbed/namespaces.js';
import { type Host, down, mustDocker, up } from '../test/testbed/testbed.js';

const PORT = 5000;
const INGRESS_PORT = 6000;
const HOST_MODE_PORT = 7000;
const NETWORK = 'bench';
const KINDS: readonly LoadKind[] = ['rr', 'crr', 'stream'];
const seconds = Number(process.argv[2] ?? 2);
const rounds = Number(process.argv[3] ?? 3);

type CaseName =
  | 'container address, same host'
  | 'host mode'
  | 'ingress, local backend'
  | 'ingress, remote backend'
  | 'overlay to that container';

/** Publishes both ports of the generator: the stream port is the next one. */
function publish(mode: 'host' | 'ingress', port: number): string[] {
  return [0, 1].flatMap((offset) => [
    '--publish',
    `mode=${mode},published=${port + offset},target=${PORT + offset}`,
  ]);
}

async function createServices(socket: string, manager: Host, server: Host): Promise<void> {
  await mustDocker(socket, ['network', 'create', '-d', 'overlay', NETWORK]);
  await mustDocker(socket, [
    ...['service', 'create', '--detach', '--no-resolve-image', '--name', 'client'],
    ...['--constraint', `node.hostname==${manager.name}`, '--network', NETWORK],
    ...[LOAD_IMAGE, '/load', 'server', String(PORT)],
  ]);
  await waitForReplicas(socket, 'client', 1, 30_000);
  for (const [name, mode, port] of [
    ['ingress', 'ingress', INGRESS_PORT],
    ['hostmode', 'host', HOST_MODE_PORT],
  ] as const) {
    await mustDocker(socket, [
      ...['service', 'create', '--detach', '--no-resolve-image', '--name', name],
      ...['--network', NETWORK],
      ...['--constraint', `node.hostname==${server.name}`, ...publish(mode, port)],
      ...[LOAD_IMAGE, '/load', 'server', String(PORT)],
    ]);
    await waitForReplicas(socket, name, 1, 30_000);
  }
}

const runs: Record<CaseName, Measurement[]> = {
  'container address, same host': [],
  'host mode': [],
  'ingress, local backend': [],
  'ingress, remote backend': [],
  'overlay to that container': [],
};

const hosts = await up(2);
try {
  const load = await buildLoadGenerator(hosts[0]?.directory ?? '.');
  for (const host of hosts) await importLoadImage(host.dockerSocket, load);
  await formSwarm(hosts, 'skep');
  const manager = managerOf(hosts);
  const server = hosts[1];
  if (server === undefined) throw new Error('two hosts are needed');
  await createServices(socketOf(manager, 'skep'), manager, server);
  const { addresses } = await containerOn(server, 'ingress');
  const address = addresses['ingress'];
  const overlayAddress = addresses[NETWORK];
  if (address === undefined || overlayAddress === undefined)
    throw new Error(`the server has no address on ingress or on ${NETWORK}`);
  const client = await containerOn(manager, 'client');
  const fromContainer = async (args: readonly string[]): Promise<string> =>
    mustDocker(manager.dockerSocket, ['exec', client.id, '/load', ...args]);
  const fromHost = async (args: readonly string[]): Promise<string> =>
    must('nsenter', [...insideHost(server.holderPid), load, ...args]);
  const fromClient = async (args: readonly string[]): Promise<string> =>
    must('nsenter', [`--net=/var/run/netns/${CLIENT_NAMESPACE}`, load, ...args]);
  for (let round = 0; round < rounds; round++)
    for (const kind of KINDS) {
      runs['container address, same host'].push(
        await measure(kind, address, PORT, seconds, fromHost),
      );
      runs['host mode'].push(
        await measure(kind, server.address, HOST_MODE_PORT, seconds, fromClient),
      );
      runs['ingress, local backend'].push(
        await measure(kind, server.address, INGRESS_PORT, seconds, fromClient),
      );
      runs['ingress, remote backend'].push(
        await measure(kind, manager.address, INGRESS_PORT, seconds, fromClient),
      );
      runs['overlay to that container'].push(
        await measure(kind, overlayAddress, PORT, seconds, fromContainer),
      );
    }
} finally {
  await down();
}
const cases: BenchCase[] = Object.entries(runs).map(([name, results]) => ({ name, runs: results }));
printTables(cases, 'container address, same host');
