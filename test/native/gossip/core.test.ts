/**
 * Runs the C++ tests of the gossip core (codecs by byte literal, hostile bytes, seeded simulations
 * of whole rings): builds them with make and g++, the tools that the addon needs too.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const SOURCES = 'native/gossip/test';

/** The package's root, upward from the compiled test. */
function packageRoot(): string {
  let directory = path.dirname(fileURLToPath(import.meta.url));
  while (!existsSync(path.join(directory, SOURCES))) directory = path.dirname(directory);
  return directory;
}

// The first run compiles; later ones find the objects in build/.
const LIMIT_MS = 300_000;
t.setTimeout(LIMIT_MS);

void t.test('gossip core', { timeout: LIMIT_MS }, (test) => {
  const root = packageRoot();
  const out = path.join(root, 'build/gossip-test');
  const made = spawnSync('make', ['-C', path.join(root, SOURCES), '-j2', `OUT=${out}`], {
    encoding: 'utf8',
  });
  test.equal(made.status, 0, `build: ${made.stderr}`);
  const run = spawnSync(path.join(out, 'gossip-test'), [], { encoding: 'utf8' });
  let detail: string[] = [];
  for (const line of run.stdout.split('\n')) {
    const result = /^(ok|not ok) \d+ - (.*)$/.exec(line);
    if (result === null) {
      detail.push(line);
      continue;
    }
    test.equal(result[1], 'ok', [result[2], ...detail].join('\n'));
    detail = [];
  }
  test.equal(run.status, 0, `exit ${run.status}, signal ${run.signal}: ${run.stderr}`);
  test.end();
});
