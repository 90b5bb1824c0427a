/**
 * Writes through the store, each one agreed upon and on disk before it is acknowledged, against
 * what the disk itself gives to a program that writes and flushes records in a preallocated file:
 * one manager and three (processes of their own with TLS between them, on one disk), one writer and
 * 64. Then a store of many objects: memory, snapshot, restart.
 *   node dist/bench/writes.js [SECONDS] [ROUNDS] [OBJECTS] [DIRECTORY] [FLUSH_MS]
 * FLUSH_MS makes every flush take so much longer, to see what a slower disk would do.
 */
import { execFile, fork, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { systemEnvironment } from '../src/observe/system-environment.js';
import { newCertificateRequest } from '../src/rpc/identity/keys.js';
import { createRootCa, issueNodeCertificate } from '../src/rpc/identity/root-ca.js';
import type { TlsIdentity } from '../src/rpc/types.js';
import type { RaftMember } from '../src/store/members.js';
import type { LatencySummary } from './support/latencies.js';
import { slowFlushes } from './support/slow-flush.js';
import type { MemberAnswers, MemberOrder } from './support/store-member.js';
import { median } from './support/table.js';

const seconds = Number(process.argv[2] ?? 5);
const rounds = Number(process.argv[3] ?? 3);
const objects = Number(process.argv[4] ?? 100_000);
const base = mkdtempSync(join(process.argv[5] ?? tmpdir(), 'skep-writes-'));
const flushMs = Number(process.argv[6] ?? 0);

/** About what one write of the bench takes in the log. */
const RECORD_BYTES = 640;
const MANY_WRITERS = 64;
const CERTIFICATE_MS = 86_400_000;

const run = promisify(execFile);
const slow = flushMs === 0 ? {} : await slowFlushes(base, flushMs);
const env = { ...process.env, ...slow };
const pathOf = (name: string): string => new URL(`./support/${name}`, import.meta.url).pathname;

/** A member process. */
class Member {
  readonly #process: ChildProcess;
  readonly #name: string;

  constructor(name: string) {
    this.#name = name;
    this.#process = fork(pathOf('store-member.js'), [], { stdio: 'inherit', env });
  }

  async order<K extends MemberOrder['kind']>(
    order: Extract<MemberOrder, { kind: K }>,
  ): Promise<MemberAnswers[K]> {
    return new Promise((resolve, reject) => {
      const onExit = (): void => reject(new Error(`${this.#name} ended`));
      this.#process.once('exit', onExit);
      this.#process.once('message', (message: { answer?: MemberAnswers[K]; error?: string }) => {
        this.#process.off('exit', onExit);
        if (message.answer === undefined) reject(new Error(`${this.#name}: ${message.error}`));
        else resolve(message.answer);
      });
      this.#process.send(order);
    });
  }

  kill(): void {
    this.#process.kill('SIGKILL');
  }
}

const members: Member[] = [];
const root = await createRootCa(systemEnvironment);

async function identityOf(nodeId: string): Promise<TlsIdentity> {
  const { csrPem, privateKeyPem } = await newCertificateRequest();
  const request = { csrPem, nodeId, role: 'manager', clusterId: 'bench' } as const;
  const certificatePem = await issueNodeCertificate(
    root,
    { ...request, lifetimeMs: CERTIFICATE_MS },
    systemEnvironment,
  );
  return { rootCaPem: root.certificatePem, certificatePem, privateKeyPem };
}

async function startMember(
  name: string,
  as: 'founder' | 'joiner',
): Promise<{ process: Member; member: RaftMember; openMs: number }> {
  const process = new Member(name);
  members.push(process);
  const identity = await identityOf(name);
  const directory = join(base, name);
  const started = await process.order({ kind: 'start', directory, nodeId: name, identity, as });
  return { process, ...started };
}

/** A cluster of `count` managers; the first one leads. */
async function cluster(count: number): Promise<readonly Member[]> {
  const first = await startMember(`c${count}m1`, 'founder');
  const all = [first.process];
  for (let at = 2; at <= count; at++) {
    const next = await startMember(`c${count}m${at}`, 'joiner');
    await first.process.order({ kind: 'add', member: next.member });
    all.push(next.process);
  }
  return all;
}

async function close(closing: readonly Member[]): Promise<void> {
  for (const member of closing) await member.order({ kind: 'close' });
}

async function flushLoops(count: number, mode: 'straight' | 'woken'): Promise<LatencySummary> {
  const loops = await Promise.all(
    Array.from({ length: count }, async () => {
      const args = [pathOf('flush-loop.js'), base, String(seconds), String(RECORD_BYTES), mode];
      const { stdout } = await run(process.execPath, args, { env });
      return JSON.parse(stdout) as LatencySummary;
    }),
  );
  return medianOf(loops);
}

/** The median of each figure. */
function medianOf(runs: readonly LatencySummary[]): LatencySummary {
  return {
    ratePerSecond: median(runs.map((one) => one.ratePerSecond)),
    p50Ms: median(runs.map((one) => one.p50Ms)),
    p99Ms: median(runs.map((one) => one.p99Ms)),
    maxMs: Math.max(...runs.map((one) => one.maxMs)),
  };
}

function print(name: string, summary: LatencySummary, more = ''): void {
  const { ratePerSecond, p50Ms, p99Ms, maxMs } = summary;
  console.log(
    `  ${name.padEnd(34)}${ratePerSecond.toFixed(0).padStart(8)}/s` +
      `${p50Ms.toFixed(3).padStart(10)}${p99Ms.toFixed(3).padStart(10)}${maxMs.toFixed(1).padStart(9)}  ${more}`,
  );
}

/** Flush loops, one writer, many writers, in turn. */
async function measure(managers: number): Promise<void> {
  const all = await cluster(managers);
  const [leader] = all;
  if (leader === undefined) return;
  const flushes: LatencySummary[] = [];
  const wokenFlushes: LatencySummary[] = [];
  const singles: MemberAnswers['write'][] = [];
  const many: MemberAnswers['write'][] = [];
  for (let round = 0; round < rounds; round++) {
    flushes.push(await flushLoops(managers, 'straight'));
    wokenFlushes.push(await flushLoops(managers, 'woken'));
    singles.push(await leader.order({ kind: 'write', writers: 1, seconds }));
    many.push(await leader.order({ kind: 'write', writers: MANY_WRITERS, seconds }));
  }
  await close(all);
  const flush = medianOf(flushes);
  const woken = medianOf(wokenFlushes);
  const single = medianOf(singles);
  const shared = medianOf(many);
  const cpu = (runs: readonly MemberAnswers['write'][]): string =>
    `leader's CPU ${median(runs.map(({ cpuUs }) => cpuUs)).toFixed(0)} µs a write`;
  const loops = managers === 1 ? 'a flush loop' : `${managers} flush loops, each`;
  console.log(`${managers} manager${managers === 1 ? '' : 's'}, rounds: ${rounds}`);
  console.log(`  ${' '.repeat(34)}      rate     p50 ms    p99 ms   max ms`);
  print(loops, flush);
  print('the same, thread woken for each', woken);
  const ratio = (of: LatencySummary): string => (single.p50Ms / of.p50Ms).toFixed(2);
  const ratios = `latency ${ratio(flush)} of a flush, ${ratio(woken)} of a woken thread's`;
  print('one writer', single, `${ratios}; ${cpu(singles)}`);
  const gain = (shared.ratePerSecond / single.ratePerSecond).toFixed(1);
  const rate = (shared.ratePerSecond / flush.ratePerSecond).toFixed(1);
  print(
    `${MANY_WRITERS} writers`,
    shared,
    `${gain} of one writer, ${rate} of flushes; ${cpu(many)}`,
  );
}

async function measureObjects(): Promise<void> {
  const megabytes = (bytes: number): string => (bytes / 1024 / 1024).toFixed(1);
  const { process: member } = await startMember('objects', 'founder');
  const before = await member.order({ kind: 'memory' });
  const { tookMs } = await member.order({ kind: 'fill', tasks: objects });
  const after = await member.order({ kind: 'memory' });
  const snapshot = await member.order({ kind: 'snapshot' });
  await member.order({ kind: 'close' });
  const again = await startMember('objects', 'founder');
  const restarted = await again.process.order({ kind: 'memory' });
  await again.process.order({ kind: 'close' });
  const each = (used: { heapBytes: number }): string =>
    ((used.heapBytes - before.heapBytes) / objects).toFixed(0);
  console.log(`${objects} tasks`);
  console.log(`  stored in batches in ${(tookMs / 1000).toFixed(2)} s`);
  console.log(
    `  snapshot: ${megabytes(snapshot.bytes)} MB encoded in ${snapshot.tookMs.toFixed(0)} ms, ` +
      `event loop held for ${snapshot.heldMs.toFixed(0)} ms at most`,
  );
  console.log(`  restart: ${again.openMs.toFixed(0)} ms until the store is there`);
  console.log(
    `  memory: ${each(after)} bytes an object after storing, ${each(restarted)} after the restart; ` +
      `resident ${megabytes(after.residentBytes)} and ${megabytes(restarted.residentBytes)} MB`,
  );
}

try {
  await measure(1);
  await measure(3);
  if (objects > 0) await measureObjects();
} finally {
  for (const member of members) member.kill();
  rmSync(base, { recursive: true, force: true });
}
