/**
 * How hard the programs are on the kernel's verifier. The counts are recorded; a rise of a fifth
 * fails, because older kernels give up sooner than this one. `SKEP_RECORD=1` writes them anew.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { startCluster } from './cluster.js';
import { World } from './world.js';

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(1_800_000);

const FILE = fileURLToPath(
  new URL('../../../../test/native/datapath/verified-instructions.json', import.meta.url),
);
/** The kernel refuses a program beyond this many. */
const KERNEL_MAX = 1_000_000;
const RISE_MAX = 1.2;

interface Record {
  readonly kernel: string;
  readonly clang: string;
  readonly instructions: Readonly<{ [program: string]: number }>;
}

/** Major and minor version: what the counts depend on. */
function versions(): Omit<Record, 'instructions'> {
  const clang = execFileSync('clang', ['--version'], { encoding: 'utf8' });
  const minor = (text: string) => /\d+\.\d+/.exec(text)?.[0] ?? '';
  return { kernel: minor(release()), clang: minor(clang) };
}

await t.test('instructions walked through by the verifier', async (t) => {
  const world = new World();
  t.teardown(async () => await world.close());
  const { a } = await startCluster(world);
  const found = (await a.datapath('verifiedInstructions')) as Record['instructions'];
  t.ok(Object.keys(found).length >= 12, 'every program is known');
  for (const [program, count] of Object.entries(found)) {
    t.ok(count > 0 && count < KERNEL_MAX / 2, `${program}: ${count}, half of what is allowed`);
  }
  const now = versions();
  if (process.env['SKEP_RECORD'] === '1') {
    writeFileSync(FILE, `${JSON.stringify({ ...now, instructions: found }, null, 2)}\n`);
  }
  const recorded = JSON.parse(readFileSync(FILE, 'utf8')) as Record;
  if (recorded.kernel !== now.kernel || recorded.clang !== now.clang) {
    t.comment(`recorded with kernel ${recorded.kernel} and clang ${recorded.clang}: not compared`);
    return;
  }
  t.same(Object.keys(found).sort(), Object.keys(recorded.instructions).sort(), 'the programs');
  for (const [program, count] of Object.entries(found)) {
    const before = recorded.instructions[program] ?? 0;
    t.ok(count <= before * RISE_MAX, `${program}: ${count}, recorded ${before}`);
  }
});
