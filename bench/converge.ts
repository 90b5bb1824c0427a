/**
 * From `service create` to all tasks running, and from `service rm` to no container left: 30 tasks
 * on an overlay over three engines, Skep and stock Swarm one after the other on the same engines,
 * alternating, and the same containers made by hand, without a swarm. Waits that are not the swarm's are left out: no registry is asked for the image, and
 * the tasks' stop signal ends them at once instead of after a grace period.
 *   node dist/bench/converge.js [ROUNDS] [TASKS]
 */
import { type CpuSeconds, CpuMeter } from './support/cpu-meter.js';
import {
  type EngineNetwork,
  prepareNetwork,
  type Started,
  startAlone,
} from './support/engine-alone.js';
import { median } from './support/table.js';
import { sleep, waitFor } from '../test/testbed/commands.js';
import { dockerRequest } from '../test/testbed/http.js';
import { WEB_IMAGE } from '../test/testbed/layout.js';
import {
  type Flavour,
  dissolveSwarm,
  formSwarm,
  managerOf,
  removeNetwork,
  removeService,
  socketOf,
} from '../test/testbed/swarm.js';
import { type Host, down, mustDocker, up } from '../test/testbed/testbed.js';

const rounds = Number(process.argv[2] ?? 3);
const tasks = Number(process.argv[3] ?? 30);

/** Pause between two looks at the tasks: as the CLI's, so that looking costs what it costs there. */
const POLL_MS = 150;

/** One phase of one round: wall clock, and CPU time of all skepd and all engines. */
interface Phase extends CpuSeconds {
  readonly seconds: number;
}

interface Round {
  readonly create: Phase;
  readonly remove: Phase;
}

async function phase(meter: CpuMeter, work: () => Promise<void>): Promise<Phase> {
  const before = meter.read();
  const start = performance.now();
  await work();
  const seconds = (performance.now() - start) / 1000;
  const after = meter.read();
  return {
    seconds,
    skepd: after.skepd - before.skepd,
    engines: after.engines - before.engines,
  };
}

/** Creates the service; every task runs, as the manager's API tells. */
async function createAndWait(socket: string): Promise<void> {
  await mustDocker(socket, [
    ...[
      'service',
      'create',
      '--detach',
      '--no-resolve-image',
      '--name',
      'many',
      '--replicas',
      String(tasks),
    ],
    ...['--stop-signal', 'SIGKILL', '--network', 'converge', WEB_IMAGE],
  ]);
  const filter = encodeURIComponent('{"service":["many"],"desired-state":["running"]}');
  await waitFor(`${tasks} running tasks`, 120_000, async () => {
    await sleep(POLL_MS);
    const answer = await dockerRequest(socket, 'GET', `/v1.41/tasks?filters=${filter}`);
    const listed = answer.body as { readonly Status: { readonly State: string } }[];
    const running = listed.filter((task) => task.Status.State === 'running');
    return running.length >= tasks ? true : undefined;
  });
}

async function runRound(hosts: readonly Host[], flavour: Flavour, meter: CpuMeter): Promise<Round> {
  const socket = socketOf(managerOf(hosts), flavour);
  await formSwarm(hosts, flavour);
  await mustDocker(socket, ['network', 'create', '-d', 'overlay', 'converge']);
  const create = await phase(meter, () => createAndWait(socket));
  const remove = await phase(meter, () => removeService(hosts, flavour, 'many'));
  await removeNetwork(hosts, flavour, 'converge');
  // Not after a failure: its message would hide the cause, and all hosts go anyway.
  await dissolveSwarm(hosts, flavour);
  return { create, remove };
}

async function runAlone(
  hosts: readonly Host[],
  kind: EngineNetwork,
  meter: CpuMeter,
): Promise<Round> {
  const network = await prepareNetwork(hosts, kind);
  let started: Started | undefined;
  const create = await phase(meter, async () => {
    started = await startAlone(hosts, WEB_IMAGE, tasks, network);
  });
  return { create, remove: await phase(meter, async () => started?.remove()) };
}

function describe({ seconds, skepd, engines }: Phase): string {
  const cpu = `CPU skepd ${skepd.toFixed(2)} engines ${engines.toFixed(2)}`;
  return `${seconds.toFixed(2).padStart(6)} s (${cpu})`;
}

/** What is compared, the baseline first; the last two make their containers without a swarm. */
const CASES = ['stock', 'skep', 'engine, bridge', 'engine, no network'] as const;
type Case = (typeof CASES)[number];

async function runCase(hosts: readonly Host[], which: Case, meter: CpuMeter): Promise<Round> {
  switch (which) {
    case 'stock':
    case 'skep':
      return await runRound(hosts, which, meter);
    case 'engine, bridge':
      return await runAlone(hosts, 'bridge', meter);
    case 'engine, no network':
      return await runAlone(hosts, 'none', meter);
  }
}

function summarise(results: Readonly<Record<Case, readonly Round[]>>): void {
  for (const part of ['create', 'remove'] as const) {
    const middle = (which: Case): Phase => {
      const phases = results[which].map((round) => round[part]);
      const of = (field: keyof Phase): number => median(phases.map((each) => each[field]));
      return { seconds: of('seconds'), skepd: of('skepd'), engines: of('engines') };
    };
    const stock = middle('stock');
    const what = part === 'create' ? 'create to all running' : 'remove to no container left';
    console.log(`\n${what}: ${tasks} tasks over 3 engines, medians of ${rounds}`);
    for (const which of CASES) {
      const each = middle(which);
      const ratio = (each.seconds / stock.seconds).toFixed(2);
      console.log(`  ${which.padEnd(18)}  ${describe(each)}  ${ratio}`);
    }
  }
}

const results: Record<Case, Round[]> = {
  stock: [],
  skep: [],
  'engine, bridge': [],
  'engine, no network': [],
};
const hosts = await up(3);
try {
  const meter = new CpuMeter(hosts);
  for (let number = 1; number <= rounds; number++)
    for (const which of CASES) {
      const round = await runCase(hosts, which, meter);
      results[which].push(round);
      console.log(
        `round ${number}  ${which.padEnd(18)}  create ${describe(round.create)}` +
          `  remove ${describe(round.remove)}`,
      );
    }
} finally {
  await down();
  await CpuMeter.close();
}
summarise(results);
