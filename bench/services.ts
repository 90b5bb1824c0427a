/**
 * What many services cost: the data path with one service against 10,000 with 10 backends each.
 * Request/response from a container through a virtual address to a task of the same node, the time
 * all rows take to reach the kernel, the time of one backend's change, and the memory of the maps.
 *   node dist/bench/services.js [SECONDS] [ROUNDS] [SERVICES] [BACKENDS]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { spawn } from 'node:child_process';
import { must } from '../test/testbed/commands.js';
import { type Cluster, serviceRows, startCluster, VIP } from '../test/native/datapath/cluster.js';
import { type Actor, World, type WorldNode } from '../test/native/datapath/world.js';
import { buildLoadGenerator, type LoadKind, type Measurement, measure } from './support/load.js';
import { median, printTables } from './support/table.js';

const seconds = Number(process.argv[2] ?? 2);
const rounds = Number(process.argv[3] ?? 5);
const serviceCount = Number(process.argv[4] ?? 10_000);
const backendCount = Number(process.argv[5] ?? 10);
const KINDS: readonly LoadKind[] = ['rr', 'crr'];
const PORT = 5000;
/** A network that no packet of the measurement is on. */
const MANY_VNI = 5000;
/** Rows a call takes: what one pass of the reconciler would hand over, in bearable messages. */
const BATCH = 500;
const CHANGES = 200;

function addressOf(first: number, index: number): string {
  return [first, (index >> 16) & 0xff, (index >> 8) & 0xff, index & 0xff].join('.');
}

function backendOf(service: number, backend: number) {
  return { vni: MANY_VNI, address: addressOf(11, service * backendCount + backend) };
}

function keyOf(service: number) {
  return { kind: 'vip', vni: MANY_VNI, address: addressOf(12, service) } as const;
}

/** Calls a method with rows made in batches; the sum of what the calls took, in milliseconds. */
async function inBatches(
  node: WorldNode,
  method: string,
  rowsOf: (service: number) => readonly unknown[],
): Promise<number> {
  let totalUs = 0;
  for (let from = 1; from < serviceCount; from += BATCH) {
    const rows: unknown[] = [];
    for (let service = from; service < Math.min(from + BATCH, serviceCount); service += 1) {
      rows.push(...rowsOf(service));
    }
    totalUs += (await node.agent.call('timeDatapath', method, [rows])) as number;
  }
  return totalUs / 1000;
}

const remote = { state: 'active', tunnelAddress: '192.168.77.12' };
const backendsOf = (service: number) =>
  Array.from({ length: backendCount }, (_, index) => backendOf(service, index));

async function program(node: WorldNode): Promise<number> {
  const backends = await inBatches(node, 'putBackends', (service) =>
    backendsOf(service).map((row) => ({ ...row, ...remote })),
  );
  const services = await inBatches(node, 'putServices', (service) => [
    { key: keyOf(service), backends: backendsOf(service) },
  ]);
  return backends + services;
}

async function unprogram(node: WorldNode): Promise<void> {
  await inBatches(node, 'removeServices', (service) => [keyOf(service)]);
  await inBatches(node, 'removeBackends', backendsOf);
}

/** Microseconds from the call to the last map written, for one backend that drains or comes back. */
async function changes(node: WorldNode): Promise<readonly number[]> {
  const times: number[] = [];
  for (let index = 0; index < CHANGES; index += 1) {
    const service = 1 + ((index * 7919) % (serviceCount - 1));
    const state = index % 2 === 0 ? 'draining' : 'active';
    const row = { ...backendOf(service, index % backendCount), ...remote, state };
    times.push((await node.agent.call('timeDatapath', 'putBackends', [[row]])) as number);
  }
  return times;
}

/** Mebibytes of the maps, by name. */
function memory(node: WorldNode): ReadonlyMap<string, number> {
  const sizes = new Map<string, number>();
  const directory = `${node.directory}/skep/maps`;
  for (const name of node.run('ls', directory).trim().split('\n')) {
    const text = node.run('bpftool', '-j', 'map', 'show', 'pinned', `${directory}/${name}`);
    const { bytes_memlock: bytes } = JSON.parse(text) as { bytes_memlock: number };
    sizes.set(name, bytes / (1 << 20));
  }
  return sizes;
}

function inside(actor: Actor, command: readonly string[]): [string, string[]] {
  return ['nsenter', ['-t', String(actor.pid), '-n', '--', ...command]];
}

async function run({ a, webA, plainA }: Cluster, load: string): Promise<void> {
  await a.datapath('putServices', serviceRows([11]));
  const server = spawn(...inside(webA, [load, 'server', String(PORT)]), { stdio: 'ignore' });
  try {
    await sleep(500);
    const one: Measurement[] = [];
    const many: Measurement[] = [];
    const programmed: number[] = [];
    const changed: number[] = [];
    const before = memory(a);
    let full = before;
    const ask = async (into: Measurement[]) => {
      for (const kind of KINDS) {
        const execute = async (args: readonly string[]) =>
          await must(...inside(plainA, [load, ...args]));
        into.push(await measure(kind, VIP, PORT, seconds, execute));
      }
    };
    for (let round = 0; round < rounds; round += 1) {
      await ask(one);
      programmed.push(await program(a));
      full = memory(a);
      await ask(many);
      changed.push(...(await changes(a)));
      await unprogram(a);
    }
    printTables(
      [
        { name: '1 service', runs: one },
        { name: `${serviceCount} services`, runs: many },
      ],
      '1 service',
    );
    const sorted = [...changed].sort((x, y) => x - y);
    const percentile = (share: number) =>
      (sorted[Math.floor(sorted.length * share)] ?? 0).toFixed(0);
    console.log(`\n${serviceCount} services of ${backendCount} backends`);
    console.log(`  all rows written in ${median(programmed).toFixed(0)} ms`);
    console.log(`  one backend changes in ${percentile(0.5)} us, 99 % in ${percentile(0.99)} us`);
    const grown = [...full].map(([name, size]) => [name, size - (before.get(name) ?? 0)] as const);
    const total = grown.reduce((sum, [, size]) => sum + size, 0);
    console.log(`  memory of the maps: ${total.toFixed(1)} MiB more`);
    for (const [name, size] of grown) {
      if (size >= 0.1) console.log(`    ${name.padEnd(16)}${size.toFixed(1).padStart(8)}`);
    }
  } finally {
    server.kill('SIGKILL');
  }
}

const world = new World();
const directory = mkdtempSync(path.join(tmpdir(), 'skep-bench-'));
try {
  const limits = { services: 16_384, backends: 262_144, endpoints: 262_144, connections: 262_144 };
  await run(await startCluster(world, { limits }), await buildLoadGenerator(directory));
} finally {
  await world.close();
  rmSync(directory, { recursive: true });
}
