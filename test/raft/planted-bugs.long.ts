/**
 * Whether the simulator can see: bugs that real implementations of Raft have had, each planted
 * by a patch into a copy of the core (or of the simulator's shell around it), must be found within
 * its seeds. Without a patch the same copy passes them all.
 */
import { execFile } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { packageRoot } from '../testbed/layout.js';

const run = promisify(execFile);

/** A tenth of what `npm run test:long` gives the simulator. */
const SEEDS = 1000;
const FAILED = 3;
const NEEDED = [
  'src/raft',
  'src/model/environment.ts',
  'src/model/errors.ts',
  'test/raft/expected-membership.ts',
  'test/raft/replicated-map.ts',
  'test/raft/simulate.ts',
  'test/raft/simulation-run.ts',
  'test/raft/simulated-clients.ts',
  'test/raft/simulated-cluster.ts',
  'test/support/linearizability.ts',
  'test/support/simulated-environment.ts',
];

const root = packageRoot();
const patches = path.join(root, 'test/raft/planted');

/** A built copy of core and simulator with one patch, or none. */
async function build(t: Test, patch: string | undefined): Promise<string> {
  const directory = mkdtempSync(path.join(tmpdir(), 'skep-planted-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  for (const file of NEEDED) {
    mkdirSync(path.dirname(path.join(directory, file)), { recursive: true });
    cpSync(path.join(root, file), path.join(directory, file), { recursive: true });
  }
  if (patch !== undefined) {
    await run('git', ['apply', path.join(patches, patch)], { cwd: directory });
  }
  symlinkSync(path.join(root, 'node_modules'), path.join(directory, 'node_modules'));
  writeFileSync(path.join(directory, 'package.json'), '{"type":"module"}');
  const config = {
    extends: path.join(root, 'tsconfig.json'),
    compilerOptions: { rootDir: '.', outDir: 'dist', incremental: false, noUnusedLocals: false },
    include: ['src', 'test'],
  };
  writeFileSync(path.join(directory, 'tsconfig.json'), JSON.stringify(config));
  await run(path.join(root, 'node_modules/.bin/tsc'), ['-p', directory], { cwd: directory });
  return directory;
}

/** The first seed that fails, with its reason; undefined when all pass. */
async function firstFailure(directory: string): Promise<string | undefined> {
  const program = path.join(directory, 'dist/test/raft/simulate.js');
  try {
    await run(process.execPath, [program, '1', String(SEEDS)]);
    return undefined;
  } catch (error) {
    const { code, stdout } = error as { code?: number; stdout?: string };
    if (code !== FAILED) throw error;
    return stdout?.trim();
  }
}

t.setTimeout(1_800_000);

void t.test('the core as it is passes', async (t) => {
  t.equal(await firstFailure(await build(t, undefined)), undefined);
});

for (const patch of readdirSync(patches).sort()) {
  void t.test(`found: ${path.basename(patch, '.patch')}`, async (t) => {
    const found = await firstFailure(await build(t, patch));
    t.ok(found, `seed ${found}`);
  });
}
