/**
 * Recordings: what a stock swarm did in each step of a scenario file, and where that differs on
 * purpose, what ours does. Text, so that a change reads as one in review.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { type ScenarioFile, differentialFolder } from './scenario-file.js';

/** Outcome of a step: `= code`, `| output` and `! error output`, a line each. */
export type Outcome = readonly string[];

/** What is known of one step. */
export interface RecordedStep {
  readonly text: string;
  readonly stock: Outcome;
  /** Ours, where the scenario says that it differs. */
  readonly skep?: Outcome;
}

/** Recorded steps by title of scenario. */
export type Recording = ReadonlyMap<string, readonly RecordedStep[]>;

function fileOf(name: string): string {
  return `${differentialFolder('recorded')}/${name}.txt`;
}

/** The recording of a scenario file; empty where there is none yet. */
export function readRecording(file: ScenarioFile): Recording {
  const recording = new Map<string, RecordedStep[]>();
  if (!existsSync(fileOf(file.name))) return recording;
  let steps: RecordedStep[] = [];
  for (const line of readFileSync(fileOf(file.name), 'utf8').split('\n').slice(0, -1)) {
    const last = steps.at(-1);
    if (line.startsWith('== ')) {
      steps = [];
      recording.set(line.slice(3), steps);
    } else if (line.startsWith('> ')) {
      steps.push({ text: line.slice(2), stock: [] });
    } else if (last !== undefined) {
      steps.pop();
      steps.push(
        line.startsWith('~')
          ? { ...last, skep: [...(last.skep ?? []), line.slice(1)].filter((part) => part !== '') }
          : { ...last, stock: [...last.stock, line] },
      );
    }
  }
  return recording;
}

/** Writes the recording of a scenario file. */
export function writeRecording(file: ScenarioFile, recording: Recording): void {
  const lines = [...recording].flatMap(([title, steps]) => [
    `== ${title}`,
    ...steps.flatMap(({ text, stock, skep }) => [
      `> ${text}`,
      ...stock,
      // An empty outcome is one, too.
      ...(skep === undefined ? [] : ['~', ...skep.map((line) => `~${line}`)]),
    ]),
  ]);
  writeFileSync(fileOf(file.name), `${lines.join('\n')}\n`);
}
