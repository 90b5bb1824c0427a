/**
 * Holds outcomes of Skep against those of a stock swarm: equal, or different for a reason that
 * docs/differences.md gives.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { packageRoot } from '../testbed/layout.js';
import type { Outcome, RecordedStep } from './recording.js';
import type { Scenario } from './scenario-file.js';

/** First cells of the rows of docs/differences.md. */
export function rowsOfDifferences(): readonly string[] {
  return readFileSync(path.join(packageRoot(), 'docs/differences.md'), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .map((line) => line.slice(2).split(' | ')[0] ?? '');
}

/** Where a scenario does not do what is expected, in readable form; empty when all is well. */
export function judge(
  scenario: Scenario,
  ours: readonly Outcome[],
  recorded: readonly RecordedStep[] | undefined,
  rows: readonly string[],
): readonly string[] {
  if (recorded === undefined || recorded.length !== scenario.steps.length)
    return ['what a stock swarm does here is not recorded: npm run test:record'];
  return scenario.steps.flatMap((step, index) => {
    const known = recorded[index];
    if (known?.text !== step.text) return [`not recorded: ${step.text}`];
    const report = (why: string, wanted: Outcome) => [
      [step.text, why, ...difference(wanted, ours[index] ?? [])].join('\n'),
    ];
    const equal = same(known.stock, ours[index] ?? []);
    if (step.differs === undefined)
      return equal ? [] : report('differs from the stock swarm', known.stock);
    if (!rows.includes(step.differs))
      return [`${step.text}\nno row of docs/differences.md is called: ${step.differs}`];
    if (equal) return [`${step.text}\nno longer differs; its row: ${step.differs}`];
    if (known.skep === undefined) return [`${step.text}\nours is not recorded`];
    return same(known.skep, ours[index] ?? [])
      ? []
      : report('differs, but not as it did', known.skep);
  });
}

/** True when any step of the scenario is known to differ. */
export function isKnownToDiffer(scenario: Scenario): boolean {
  return scenario.steps.some((step) => step.differs !== undefined);
}

function same(a: Outcome, b: Outcome): boolean {
  return a.length === b.length && a.every((line, index) => line === b[index]);
}

const SHOWN_LINES_MAX = 30;
const SHOWN_AROUND = 60;

/** The lines in which two outcomes differ; of long ones the place where they part. */
function difference(wanted: Outcome, found: Outcome): readonly string[] {
  const lines: string[] = [];
  for (let index = 0; index < Math.max(wanted.length, found.length); index += 1) {
    const [a, b] = [wanted[index] ?? '(nothing)', found[index] ?? '(nothing)'];
    if (a === b) continue;
    let at = 0;
    while (at < a.length && a[at] === b[at]) at += 1;
    const from = Math.max(0, at - SHOWN_AROUND);
    const show = (text: string) =>
      `${from > 0 ? `${text[0] ?? ''} ...` : ''}${text.slice(from, from === 0 ? 300 : at + 240)}`;
    lines.push(`  wanted ${show(a)}`, `  got    ${show(b)}`);
  }
  return lines.slice(0, SHOWN_LINES_MAX);
}
