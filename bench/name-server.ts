/**
 * What the process of the name server takes: memory (Pss: pages others have too by share), CPU at rest, for
 * questions and for all names, with networks of several sizes; and how long a change takes to be in force.
 *   node dist/bench/name-server.js [ENDPOINTS...]
 */
import { mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { type NameConnection, startNameServer } from '../src/network/dns/name-connection.js';
import { NameFeed, type WantedNames } from '../src/network/dns/name-feed.js';
import { NAME_SERVER_NODE } from '../src/network/dns/name-keeper.js';
import type { NameRow } from '../src/network/dns/names.js';
import type { NamedContainer } from '../src/network/dns/protocol.js';
import { must, sleep } from '../test/testbed/commands.js';
import { packageRoot } from '../test/testbed/layout.js';
import { Containers } from '../test/network/support/namespaces.js';
import { median } from './support/table.js';

const REST_S = 20;
const QUESTIONS = 20_000;
const CHANGES = 20;
const TICKS_PER_S = 100;
const SETTINGS = {
  ...{ isFilling: false, ttlSeconds: 5, address: '127.0.0.1', port: 0 },
  resolvConf: '/dev/null',
};

interface Times {
  readonly p50Ms: number;
}

const sizes = process.argv.slice(2).map(Number);
if (sizes.length === 0) sizes.push(100, 10_000, 100_000);

/** Endpoints of services with ten tasks each, named as tasks are. */
function rowsOf(count: number): Map<string, NameRow> {
  const rows = new Map<string, NameRow>();
  for (let index = 0; index < count; index += 1) {
    const service = Math.floor(index / 10);
    const key = `other ${index.toString(16).padStart(64, '0')}`;
    const id = index.toString(36).padStart(25, 'x');
    rows.set(key, {
      ...{ key, name: `service${service}.${index % 10}.${id}`, serviceName: `service${service}` },
      ...{ aliases: [], virtualIp: `10.200.${service >> 8}.${service & 255}` },
      endpointIp: `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`,
      taskAliases: [id.slice(0, 12)],
    });
  }
  return rows;
}

function memoryMiB(pid: number): { readonly rss: number; readonly pss: number } {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const of = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1]) / 1024;
  return { rss: of('Rss'), pss: of('Pss') };
}

function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return ((Number(stat[11]) + Number(stat[12])) * 1000) / TICKS_PER_S;
}

/** skepd's side of a process of its own. */
class Feeder {
  private readonly feed = new NameFeed();
  private wake: () => void = () => undefined;

  private constructor(readonly connection: NameConnection) {
    connection.listen({
      onReport: (report) => {
        if (report.kind === 'applied' && report.number >= this.feed.mark) this.wake();
      },
      onDrain: () => this.feed.pump(),
      onClose: () => undefined,
    });
    this.feed.attach(connection);
  }

  static async start(directory: string): Promise<Feeder> {
    mkdirSync(directory, { mode: 0o700 });
    const program = path.join(packageRoot(), 'dist/skep/process/main.js');
    return new Feeder(await startNameServer(directory, [...NAME_SERVER_NODE, program]));
  }

  /** Milliseconds until all of it is in force. */
  async tell(wanted: WantedNames, containers: ReadonlyMap<string, NamedContainer>) {
    const beganMs = performance.now();
    this.feed.wantContainers(containers);
    await new Promise<void>((resolve) => {
      this.wake = resolve;
      this.feed.want(wanted);
    });
    return performance.now() - beganMs;
  }
}

async function measure(count: number): Promise<readonly string[]> {
  const teardowns: (() => unknown)[] = [];
  const containers = new Containers({ teardown: (work) => teardowns.push(work) });
  const sandbox = await containers.start('one');
  const feeder = await Feeder.start(containers.pathOf('names'));
  const { connection } = feeder;
  const { pid } = connection;
  try {
    const network = { id: '1', name: 'front', internal: false, subnets: [] };
    const rows = rowsOf(count);
    const names = { settings: SETTINGS, networks: new Map([['1', { network, rows }]]) };
    const one = { id: 'one', sandbox, addresses: [], networks: ['1'] };
    const all = new Map([['one', one]]);
    const empty = memoryMiB(pid);
    const startMs = cpuMs(pid);
    await feeder.tell(names, all);
    const fedMs = cpuMs(pid) - startMs;
    const script = path.join(packageRoot(), 'dist/bench/support/ask-names.js');
    const before = cpuMs(pid);
    const inside = [`--net=${sandbox}`, process.execPath, script, '127.0.0.11', 'service1'];
    const { p50Ms } = JSON.parse(await must('nsenter', [...inside, String(QUESTIONS)])) as Times;
    const perQuestionUs = ((cpuMs(pid) - before) * 1000) / QUESTIONS;
    const changesMs: number[] = [];
    const [[key, row]] = [...rows] as [[string, NameRow]];
    for (let turn = 0; turn < CHANGES; turn += 1) {
      rows.set(key, { ...row, endpointIp: `10.9.9.${turn % 250}` });
      changesMs.push(await feeder.tell({ ...names }, all));
    }
    const full = memoryMiB(pid);
    const restBefore = cpuMs(pid);
    await sleep(REST_S * 1000);
    const rest = (cpuMs(pid) - restBefore) / (REST_S * 10);
    return [
      String(count),
      `${empty.rss.toFixed(0)} (${empty.pss.toFixed(0)})`,
      `${full.rss.toFixed(0)} (${full.pss.toFixed(0)})`,
      `${fedMs.toFixed(0)} ms`,
      `${perQuestionUs.toFixed(0)} us, ${p50Ms.toFixed(3)} ms`,
      `${median(changesMs).toFixed(2)} ms`,
      `${rest.toFixed(2)} %`,
    ];
  } finally {
    connection.write({ kind: 'retire' });
    await sleep(500);
    connection.close();
    for (const work of teardowns.toReversed()) await work();
  }
}

console.log(
  'endpoints | MiB at start (Pss) | MiB | CPU to be told all | CPU a question, p50 | a change | at rest',
);
for (const count of sizes) console.log((await measure(count)).join(' | '));
