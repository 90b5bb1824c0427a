/** A plan as lines to read. Names come from another swarm, so that nothing in them may act on a terminal. */
import { LINE_LENGTH_MAX, NOTES_MAX } from './limits.js';
import type { Outcome, Step } from './plan.js';

const MARK: Readonly<Record<Outcome['kind'], string>> = {
  change: '+',
  present: '=',
  'left-out': '-',
  refused: 'x',
  'no-value': '?',
};

/** `+` is made, `~` is changed, `=` is there, `-` is left out, `x` is refused, `?` lacks its value. */
export function describePlan(steps: readonly Step[]): readonly string[] {
  return [...steps.flatMap(describeStep), summary(steps)];
}

/** One object, as `service web`. */
export function nameOf({ kind, name }: Step): string {
  return printable(`${kind} ${name}`);
}

/** Text without anything that acts on a terminal, and not too long. */
export function printable(text: string): string {
  const shown = text.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) => {
    return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
  });
  return shown.length > LINE_LENGTH_MAX ? `${shown.slice(0, LINE_LENGTH_MAX)}...` : shown;
}

function describeStep(step: Step): readonly string[] {
  const { kind, outcome, notes } = step;
  const isUpdate = outcome.kind === 'change' && (kind === 'swarm' || kind === 'node');
  const mark = isUpdate ? '~' : MARK[outcome.kind];
  const text = outcome.text === '' ? '' : `: ${printable(outcome.text)}`;
  const rest = notes.length - NOTES_MAX;
  return [
    `${mark} ${nameOf(step)}${text}`,
    ...notes.slice(0, NOTES_MAX).map((note) => `    ${printable(note)}`),
    ...(rest > 0 ? [`    (${rest} more)`] : []),
  ];
}

function summary(steps: readonly Step[]): string {
  const count = (kind: Outcome['kind']) =>
    steps.filter(({ outcome }) => outcome.kind === kind).length;
  return [
    `${count('change')} to make or change`,
    `${count('present')} there already`,
    `${count('left-out')} left out`,
    `${count('refused')} refused`,
    `${count('no-value')} without a value`,
  ].join(', ');
}
