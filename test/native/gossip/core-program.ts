/**
 * Builds the C++ tests of the gossip core with make and g++, the tools that the addon needs too, and
 * runs them; each is one assertion.
 */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import type { Test } from 'tap';
import { packageRoot } from '../../testbed/layout.js';

/** How they are built and which of them run. */
export interface CoreRun {
  /** With AddressSanitizer and UndefinedBehaviorSanitizer. */
  readonly sanitized?: boolean;
  /** Only tests with this in their name. */
  readonly filter?: string;
  readonly environment?: Readonly<Record<string, string>>;
}

/** Builds and runs. Objects stay in build/ for the next time. */
export function runCore(test: Test, run: CoreRun = {}): void {
  const sources = path.join(packageRoot(), 'native/gossip/test');
  const kind = run.sanitized === true ? 'gossip-test-sanitized' : 'gossip-test';
  const out = path.join(packageRoot(), 'build', kind);
  const sanitize = run.sanitized === true ? ['SANITIZE=1'] : [];
  const made = spawnSync('make', ['-C', sources, '-j2', ...sanitize, `OUT=${out}`], {
    encoding: 'utf8',
  });
  test.equal(made.status, 0, `build: ${made.stderr}`);
  const args = run.filter === undefined ? [] : [run.filter];
  const { status, signal, stdout, stderr } = spawnSync(path.join(out, 'gossip-test'), args, {
    encoding: 'utf8',
    env: { ...process.env, ...run.environment },
  });
  let detail: string[] = [];
  for (const line of stdout.split('\n')) {
    const result = /^(ok|not ok) \d+ - (.*)$/.exec(line);
    if (result === null) {
      detail.push(line);
      continue;
    }
    test.equal(result[1], 'ok', [result[2], ...detail].join('\n'));
    detail = [];
  }
  test.equal(status, 0, `exit ${status}, signal ${signal}: ${stderr}`);
}
