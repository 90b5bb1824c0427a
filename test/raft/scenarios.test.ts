/**
 * Scenarios with their expected traces, in test/raft/scenarios; the format is told in
 * scenario-runner.ts. With SKEP_REWRITE=1 the traces are written anew: what changed is then for
 * whoever reviews the change to judge.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { packageRoot } from '../testbed/layout.js';
import { ScenarioRunner } from './scenario-runner.js';

const directory = path.join(packageRoot(), 'test/raft/scenarios');
const rewrites = process.env['SKEP_REWRITE'] === '1';
const INDENT = '    ';

/** The file as it is when every command has left the trace that it does leave. */
function played(text: string): string {
  const runner = new ScenarioRunner();
  return text
    .split('\n')
    .filter((line) => !line.startsWith(INDENT))
    .flatMap((line) => {
      if (!line.startsWith('> ')) return [line];
      return [line, ...runner.run(line.slice(2)).map((trace) => `${INDENT}${trace}`)];
    })
    .join('\n');
}

const files = readdirSync(directory).filter((name) => name.endsWith('.txt'));

for (const name of files.sort()) {
  void t.test(path.basename(name, '.txt'), async (t) => {
    const file = path.join(directory, name);
    const expected = readFileSync(file, 'utf8');
    const actual = played(expected);
    if (rewrites) writeFileSync(file, actual);
    else t.equal(actual, expected);
    t.match(expected, /^# .*(Raft paper|Raft thesis) \d/m, 'says what it shows');
  });
}
