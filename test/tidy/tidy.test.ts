/**
 * Keeps the house tidy: imports point downward only, files and functions stay small, every module
 * opens with its contract, pure rooms take time and randomness as arguments, and nothing of the
 * workshop leaks into the repository.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { packageRoot } from '../testbed/layout.js';

/** Rooms of src/ from the top down; a file may import its own room and those below. */
const LAYERS: readonly (readonly string[])[] = [
  ['cli'],
  ['daemon'],
  ['import'],
  ['web'],
  ['api'],
  ['agent'],
  ['manager'],
  ['network'],
  ['stack'],
  ['rpc'],
  ['store'],
  ['raft'],
  ['observe'],
  ['native'],
  ['model'],
];

/** Rooms that take time, randomness, disk and network as arguments. */
const PURE_ROOMS = [
  'src/raft/',
  'src/manager/allocator/',
  'src/manager/scheduler/',
  'src/manager/orchestrator/',
  'src/manager/updater/',
  'src/stack/',
  'src/import/',
];

const IMPURE =
  /\bDate\.now\(|\bnew Date\(\)|\bMath\.random\(|\bsetTimeout\(|\bsetInterval\(|\bsetImmediate\(|from 'node:(fs|net|http|http2|dgram|child_process|timers)/;

const FILE_LINES_MAX = 800;
const FUNCTION_LINES_MAX = 70;

const root = packageRoot();

function files(...patterns: string[]): readonly string[] {
  const output = execFileSync(
    'git',
    ['ls-files', '--cached', '--others', '--exclude-standard', '--', ...patterns],
    { cwd: root, encoding: 'utf8' },
  );
  return output
    .split('\n')
    .filter((file) => file !== '' && !file.startsWith('src/model/gen/'))
    .filter((file) => exists(file));
}

function exists(file: string): boolean {
  try {
    readFileSync(path.join(root, file));
    return true;
  } catch {
    return false; // Deleted but not committed yet.
  }
}

function read(file: string): string {
  return readFileSync(path.join(root, file), 'utf8');
}

function layerOf(file: string): number {
  const room = file.split('/')[1] ?? '';
  return LAYERS.findIndex((rooms) => rooms.includes(room));
}

void t.test('imports point downward only', async (t) => {
  const violations: string[] = [];
  for (const file of files('src/**/*.ts')) {
    const from = layerOf(file);
    if (from === -1) violations.push(`${file} belongs to no known room`);
    for (const match of read(file).matchAll(/from '(\.[^']*)'/g)) {
      const target = path.normalize(path.join(path.dirname(file), match[1] ?? ''));
      if (!target.startsWith('src/')) violations.push(`${file} imports ${target}, outside src/`);
      else if (layerOf(target) < from) violations.push(`${file} imports ${target} upwards`);
    }
  }
  t.same(violations, []);
});

void t.test('every module opens with its contract', async (t) => {
  const typescript = files('src/**/*.ts', 'test/**/*.ts', 'bench/**/*.ts');
  const native = files('native/**/*.h', 'native/**/*.cc', 'native/**/*.c');
  t.same(
    typescript.filter((file) => !/^(#!.*\n)?\/\*\*[ \n]/.test(read(file))),
    [],
  );
  t.same(
    native.filter((file) => !/^(\/\/|\/\*)/.test(read(file))),
    [],
  );
});

void t.test('files and functions stay small', async (t) => {
  const violations: string[] = [];
  for (const file of files('src/**/*.ts', 'test/**/*.ts', 'bench/**/*.ts', 'native/**/*')) {
    const lines = read(file).split('\n');
    if (lines.length > FILE_LINES_MAX) violations.push(`${file} has ${lines.length} lines`);
    if (file.endsWith('.ts') && !file.startsWith('test/'))
      for (const long of longFunctions(lines)) violations.push(`${file}:${long}`);
  }
  t.same(violations, []);
});

/** Functions and methods longer than the limit, by the indentation of their closing brace. */
function longFunctions(lines: readonly string[]): readonly string[] {
  const found: string[] = [];
  const start =
    /^(\s*)(?:export )?(?:default )?(?:(?:public|private|protected|static|override|async|get|set) )*(?:function\b|[#\w]+(?:<[^>]*>)?\([^)]*\)?.*\{$|[#\w]+\($)/;
  lines.forEach((line, index) => {
    const match = start.exec(line);
    if (match === null || /^\s*(if|for|while|switch|catch|return|else|do)\b/.test(line)) return;
    const indent = match[1] ?? '';
    const end = lines.findIndex(
      (other, at) => at > index && /^\s*\}/.test(other) && other.startsWith(`${indent}}`),
    );
    if (end - index + 1 > FUNCTION_LINES_MAX)
      found.push(`${index + 1}: ${line.trim()} is ${end - index + 1} lines long`);
  });
  return found;
}

void t.test('pure rooms take time, randomness, disk and network as arguments', async (t) => {
  const violations: string[] = [];
  for (const file of files('src/**/*.ts')) {
    if (!PURE_ROOMS.some((room) => file.startsWith(room))) continue;
    read(file)
      .split('\n')
      .forEach((line, index) => {
        if (IMPURE.test(line) && !/^\s*(\*|\/\/)/.test(line))
          violations.push(`${file}:${index + 1}: ${line.trim()}`);
      });
  }
  t.same(violations, []);
});

void t.test('nothing unfinished and nothing of the workshop', async (t) => {
  const violations: string[] = [];
  // Spelt in pieces, or this file would find itself.
  const unfinished = words(['TO', 'DO'], ['FIX', 'ME'], ['XX', 'X:']);
  const workshop = words(['/wo', 'rk/'], ['.lib', 'rary/'], ['far', 'm-'], ['/fa', 'rm/']);
  for (const file of files('*')) {
    if (/\.(png|svg|lock)$|package-lock\.json$/.test(file)) continue;
    read(file)
      .split('\n')
      .forEach((line, index) => {
        if (unfinished.test(line) || workshop.test(line))
          violations.push(`${file}:${index + 1}: ${line.trim()}`);
      });
  }
  t.same(violations, []);
});

function words(...pieces: readonly (readonly [string, string])[]): RegExp {
  return new RegExp(pieces.map((pair) => pair.join('').replaceAll('.', '\\.')).join('|'));
}
