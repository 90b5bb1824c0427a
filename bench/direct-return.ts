/**
 * Direct return against return by tunnel: a published port, its task on another node than the one
 * asked, the label switched live between the runs of each pair. How many bytes and packets the
 * underlay interface of the node asked carries for each transaction (or byte of a stream), both
 * directions together, beside what the client gets.
 *   node dist/bench/direct-return.js [SECONDS] [ROUNDS]
 */
import { LOAD_IMAGE, importLoadImage } from './support/image.js';
import { type LoadKind, type Measurement, buildLoadGenerator, measure } from './support/load.js';
import { median, printTables } from './support/table.js';
import { must, waitFor } from '../test/testbed/commands.js';
import { CLIENT_NAMESPACE } from '../test/testbed/layout.js';
import { formSwarm, managerOf, socketOf, waitForReplicas } from '../test/testbed/swarm.js';
import { type Host, down, inHost, mustDocker, skep, up } from '../test/testbed/testbed.js';

const PORT = 6000;
const TARGET_PORT = 5000;
const SERVICE = 'echo';
const KINDS = ['rr', 'crr', 'download', 'stream'] as const satisfies readonly LoadKind[];
const WAYS = ['tunnel', 'direct'] as const;
type Way = (typeof WAYS)[number];
const seconds = Number(process.argv[2] ?? 2);
const rounds = Number(process.argv[3] ?? 5);

/** What the node asked carried, for each unit of work. */
interface Carried {
  readonly kind: LoadKind;
  readonly bytes: number;
  readonly packets: number;
}

/** The sums of both directions of a host's underlay interface. */
async function counted(host: Host): Promise<{ bytes: number; packets: number }> {
  const { stdout } = await inHost(host, ['ip', '-j', '-s', 'link', 'show', 'eth0']);
  const [link] = JSON.parse(stdout) as [
    { stats64: Record<'rx' | 'tx', { bytes: number; packets: number }> },
  ];
  const { rx, tx } = link.stats64;
  return { bytes: rx.bytes + tx.bytes, packets: rx.packets + tx.packets };
}

async function create(socket: string, server: Host): Promise<void> {
  const ports = [0, 1, 2].flatMap((offset) => [
    '--publish',
    `published=${PORT + offset},target=${TARGET_PORT + offset}`,
  ]);
  await mustDocker(socket, [
    ...['service', 'create', '--detach', '--no-resolve-image', '--name', SERVICE, ...ports],
    ...['--constraint', `node.hostname==${server.name}`],
    ...[LOAD_IMAGE, '/load', 'server', String(TARGET_PORT)],
  ]);
  await waitForReplicas(socket, SERVICE, 1, 30_000);
}

/** Replies that a node's tasks sent either way to clients of other nodes. */
async function returned(server: Host): Promise<Record<Way, number>> {
  const { stdout } = await skep(server, ['net', 'counters']);
  const of = (name: string) => Number(new RegExp(`^${name} +(\\d+)`, 'm').exec(stdout)?.[1] ?? 0);
  return { tunnel: of('mesh-returned'), direct: of('direct-returned') };
}

/** Switches the service, and waits until all replies of a short run go that way. */
async function change(socket: string, server: Host, way: Way, run: () => Promise<unknown>) {
  const label = `skep.lb.return=${way}`;
  await mustDocker(socket, ['service', 'update', '--detach', '--label-add', label, SERVICE]);
  const other = way === 'tunnel' ? 'direct' : 'tunnel';
  await waitFor(`return by ${way}`, 30_000, async () => {
    const before = await returned(server);
    await run();
    const after = await returned(server);
    return after[way] > before[way] && after[other] === before[other] ? true : undefined;
  });
}

const runs: Record<Way, Measurement[]> = { tunnel: [], direct: [] };
const carried: Record<Way, Carried[]> = { tunnel: [], direct: [] };

const hosts = await up(2);
try {
  const [first, server] = hosts as readonly [Host, Host];
  const load = await buildLoadGenerator(first.directory);
  for (const host of hosts) await importLoadImage(host.dockerSocket, load);
  await formSwarm(hosts, 'skep');
  const asked = managerOf(hosts);
  const socket = socketOf(asked, 'skep');
  await create(socket, server);
  const fromClient = async (args: readonly string[]): Promise<string> =>
    must('nsenter', [`--net=/var/run/netns/${CLIENT_NAMESPACE}`, load, ...args]);
  for (let round = 0; round < rounds; round += 1) {
    // Which comes first alternates, so that neither gains by its place.
    for (const way of round % 2 === 0 ? WAYS : WAYS.toReversed()) {
      const short = ['rr', asked.address, String(PORT), '0.1'];
      await change(socket, server, way, async () => await fromClient(short));
      for (const kind of KINDS) {
        const before = await counted(asked);
        const run = await measure(kind, asked.address, PORT, seconds, fromClient);
        const after = await counted(asked);
        // Transactions, or bytes of a stream.
        const units = run.rate * seconds * (kind === 'rr' || kind === 'crr' ? 1 : 1e9 / 8);
        runs[way].push(run);
        carried[way].push({
          kind,
          bytes: (after.bytes - before.bytes) / units,
          packets: (after.packets - before.packets) / units,
        });
      }
    }
  }
} finally {
  await down();
}

console.log('\ncarried by the node asked for each transaction, or byte of a stream');
for (const kind of KINDS) {
  const of = (way: Way, what: 'bytes' | 'packets') =>
    median(carried[way].filter((row) => row.kind === kind).map((row) => row[what]));
  for (const what of ['bytes', 'packets'] as const) {
    const [tunnel, direct] = [of('tunnel', what), of('direct', what)];
    console.log(
      `  ${kind.padEnd(10)}${what.padEnd(9)}tunnel ${tunnel.toPrecision(4).padStart(10)}` +
        `   direct ${direct.toPrecision(4).padStart(10)}   ratio ${(direct / tunnel).toFixed(3)}`,
    );
  }
}
printTables(
  WAYS.map((way) => ({ name: `return by ${way}`, runs: runs[way] })),
  'return by tunnel',
);
