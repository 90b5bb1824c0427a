// Runs formatter, linter and all tests, and ends with one line `N passed, N failed`.
//   node scripts/run-tests.mjs [--long] [FOLDER ...]    folders under test/, default: all
// Files that bring up engines, hosts or a data path run one after the other, so that none disturbs another;
// those of the pure rooms run beside them, with what processor time they leave, and at the end two at once.
// --long runs the simulations with many seeds and the files named *.long.ts instead.
import { spawn } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import path from 'node:path';

const TEST_FILE_TIMEOUT_MS = (process.argv.includes('--long') ? 60 : 10) * 60_000;
// The simulations, and how many seeds each gets in a long run.
const LONG_RUNS = {
  'raft/simulation.test.js': { RAFT_SEEDS: '10000' },
  'manager/simulation/simulation.test.js': { SKEP_SEEDS: '400' },
  'store/concurrent-writers.test.js': { STORE_RUNS: '2000' },
};
const FAILURE_LINES_MAX = 200;
const PURE_ROOMS = ['manager', 'model', 'raft', 'rpc', 'store', 'support', 'tidy'];
const PURE_AT_ONCE = 2;
const args = process.argv.slice(2);
const long = args.includes('--long');
const folders = args.filter((argument) => !argument.startsWith('--'));

function testFiles(directory) {
  return readdirSync(directory)
    .flatMap((name) => {
      const file = path.join(directory, name);
      if (statSync(file).isDirectory()) return testFiles(file);
      return /\.(test|long)\.js$/.test(name) ? [file] : [];
    })
    .sort();
}

function isLong(file) {
  return file.endsWith('.long.js') || (long && path.relative('dist/test', file) in LONG_RUNS);
}

async function run(command, commandArgs, onLine, extraEnv = {}) {
  return await new Promise((resolve) => {
    const child = spawn(command, commandArgs, {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, NO_COLOR: '1', TAP_TIMEOUT: '0', ...extraEnv },
    });
    let rest = '';
    child.stdout.on('data', (chunk) => {
      rest += chunk;
      const lines = rest.split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) onLine(line);
    });
    child.on('close', (code, signal) => {
      if (rest !== '') onLine(rest);
      resolve(signal === null ? code : 128);
    });
    child.on('error', () => resolve(127));
  });
}

let passed = 0;
let failed = 0;
function record(ok, name, seconds) {
  if (ok) passed += 1;
  else failed += 1;
  console.log(`${ok ? 'ok    ' : 'FAILED'} ${name} (${seconds.toFixed(1)} s)`);
}

async function check(name, command, commandArgs) {
  const start = performance.now();
  const lines = [];
  const code = await run(command, commandArgs, (line) => lines.push(line));
  if (code !== 0) console.log(lines.join('\n'));
  record(code === 0, name, (performance.now() - start) / 1000);
}

/** What a TAP output says about failures: everything but passed assertions and their details. */
function failures(lines) {
  const kept = [];
  let skipping = false;
  for (const line of lines) {
    if (/^ *ok \d+/.test(line)) skipping = true;
    else if (/^ *(not ok \d+|# Subtest)/.test(line)) skipping = false;
    if (!skipping && !/^ *# Subtest/.test(line)) kept.push(line);
    if (skipping && /^ *\.\.\.$/.test(line)) skipping = false;
  }
  return kept.slice(0, FAILURE_LINES_MAX).join('\n');
}

/** What a TAP output says beside its results, such as what a long test measured. */
function comments(lines) {
  const own = /^ *# (?!Subtest|tests|suites|pass|fail|cancelled|skipped|todo|duration_ms)/;
  return lines.filter((line) => own.test(line)).join('\n');
}

/** One test file under node's runner; each top-level test of the file counts. */
async function testFile(file, before = []) {
  const start = performance.now();
  const name = path.relative('dist/test', file).replace(/\.js$/, '.ts');
  const lines = [];
  let filePassed = 0;
  let fileFailed = 0;
  const [program, ...args] = [...before, process.execPath];
  const code = await run(
    program,
    [
      ...args,
      '--test',
      '--test-reporter=tap',
      `--test-timeout=${TEST_FILE_TIMEOUT_MS}`,
      '--enable-source-maps',
      file,
    ],
    (line) => {
      lines.push(line);
      if (/^(not )?ok \d+/.test(line)) {
        if (line.startsWith('not ok')) fileFailed += 1;
        else if (!line.includes('# SKIP')) filePassed += 1;
      }
    },
    long ? LONG_RUNS[path.relative('dist/test', file)] : {},
  );
  // A file that ran no test has failed, whatever its exit code says.
  if (filePassed + fileFailed === 0) fileFailed = 1;
  if (code !== 0 && fileFailed === 0) fileFailed = 1;
  if (fileFailed > 0) console.log(failures(lines));
  else if (long && comments(lines) !== '') console.log(comments(lines));
  passed += filePassed;
  failed += fileFailed;
  const seconds = (performance.now() - start) / 1000;
  console.log(
    `${fileFailed === 0 ? 'ok    ' : 'FAILED'} ${name}: ${filePassed} passed, ${fileFailed} failed (${seconds.toFixed(1)} s)`,
  );
}

if (folders.length === 0 && !long) {
  await check('format', 'node_modules/.bin/biome', ['format', '.']);
  await check('lint', 'node_modules/.bin/oxlint', ['--type-aware']);
}
const roots =
  folders.length === 0 ? ['dist/test'] : folders.map((folder) => path.join('dist/test', folder));
const files = roots
  .flatMap((root) => (root.endsWith('.js') ? [root] : testFiles(root)))
  .filter((file) => isLong(file) === long);

function isPure(file) {
  return PURE_ROOMS.includes(path.relative('dist/test', file).split(path.sep)[0]);
}

async function row(queue, before = []) {
  for (let file = queue.shift(); file !== undefined; file = queue.shift())
    await testFile(file, before);
}

const pure = files.filter(isPure);
const beside = row(pure, ['nice', '-n', '5']);
await row(files.filter((file) => !isPure(file)));
await Promise.all([beside, ...Array.from({ length: PURE_AT_ONCE - 1 }, () => row(pure))]);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
