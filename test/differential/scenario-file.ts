/**
 * The language of the scenario files (docs/differential.md): scenarios of steps, one a line, which are
 * commands of the docker CLI and requests to the API.
 */
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { packageRoot } from '../testbed/layout.js';

/** In what state a file's scenarios find the swarm: none yet, of one node, of two. */
export type Phase = 'outside' | 'one' | 'two';

const PHASES: readonly Phase[] = ['outside', 'one', 'two'];

/** What a step does. */
export type Action =
  | { readonly kind: 'cli'; readonly line: string }
  | { readonly kind: 'http'; readonly method: string; readonly rest: string }
  /** Events of the swarm since the scenario began, or since the last such step. */
  | { readonly kind: 'events' };

/** One step of a scenario. */
export interface Step {
  /** As written, without its number of node: what the recording repeats. */
  readonly text: string;
  /** 1 for the manager. */
  readonly node: number;
  readonly action: Action;
  /** Standard input of a command. */
  readonly input: string;
  /** It is repeated until its outcome matches. */
  readonly until?: RegExp;
  /** Its standard output becomes this variable. */
  readonly variable?: string;
  /** Row of docs/differences.md that explains why ours differs. */
  readonly differs?: string;
}

/** A scenario: steps that build on each other, from a clean swarm. */
export interface Scenario {
  readonly title: string;
  readonly steps: readonly Step[];
}

/** One file of scenarios. */
export interface ScenarioFile {
  readonly name: string;
  readonly phase: Phase;
  /** Played by the long test only. */
  readonly isLong: boolean;
  readonly scenarios: readonly Scenario[];
}

/** Folder of scenarios and recordings in the sources: they are not compiled. */
export function differentialFolder(folder: 'scenarios' | 'recorded'): string {
  return path.join(packageRoot(), 'test/differential', folder);
}

/** All scenario files by phase, then name. @throws Error that names file and line of what is not understood */
export function readScenarioFiles(): readonly ScenarioFile[] {
  const folder = differentialFolder('scenarios');
  return readdirSync(folder)
    .sort()
    .map((file) => parseScenarios(path.parse(file).name, readFileSync(`${folder}/${file}`, 'utf8')))
    .sort((a, b) => PHASES.indexOf(a.phase) - PHASES.indexOf(b.phase));
}

/** Parses the text of a file. @throws Error that names the line that is not understood */
export function parseScenarios(name: string, text: string): ScenarioFile {
  const scenarios: { title: string; steps: Step[] }[] = [];
  let phase: Phase | undefined;
  let isLong = false;
  for (const [number, line] of logicalLines(text)) {
    const fail = (why: string) => new Error(`${name}, line ${number}: ${why}: ${line}`);
    if (line === '' || line.startsWith('#')) continue;
    const current = scenarios.at(-1);
    if (line.startsWith('phase: ')) {
      phase = PHASES.find((known) => known === line.slice(7));
    } else if (line === 'long') {
      isLong = true;
    } else if (line.startsWith('== ')) {
      scenarios.push({ title: line.slice(3), steps: [] });
    } else if (current === undefined) {
      throw fail('a step before the first scenario');
    } else if (line.startsWith('< ') || line.startsWith('~ ')) {
      const last = current.steps.pop();
      if (last === undefined) throw fail('no step before it');
      const rest = line.slice(2);
      current.steps.push(
        line.startsWith('<')
          ? { ...last, input: `${last.input}${rest}\n` }
          : { ...last, differs: rest },
      );
    } else {
      const step = parseStep(line);
      if (step === undefined) throw fail('not a step');
      current.steps.push(step);
    }
  }
  if (phase === undefined) throw new Error(`${name}: no line \`phase: ${PHASES.join(' or ')}\``);
  return { name, phase, isLong, scenarios };
}

/** Lines with their numbers; one that ends in a backslash goes on in the next. */
function logicalLines(text: string): readonly (readonly [number, string])[] {
  const lines: [number, string][] = [];
  let open = false;
  text.split('\n').forEach((line, index) => {
    const last = lines.at(-1);
    const continued = line.endsWith('\\');
    const content = continued ? line.slice(0, -1) : line;
    if (open && last !== undefined) last[1] += content.trimStart();
    else lines.push([index + 1, content]);
    open = continued;
  });
  return lines;
}

const STEP =
  /^(?:(\d): )?(?:let (\w+) |until \/((?:[^/\\]|\\.)+)\/ )?(?:\$ (.+)|([A-Z]+) (\/.*)|(events))$/;

function parseStep(line: string): Step | undefined {
  const match = STEP.exec(line);
  if (match === null) return undefined;
  const [, node = '1', variable, until, cli, method, rest] = match;
  const action: Action =
    cli !== undefined
      ? { kind: 'cli', line: cli }
      : method !== undefined && rest !== undefined
        ? { kind: 'http', method, rest }
        : { kind: 'events' };
  return {
    text: line,
    node: Number(node),
    action,
    input: '',
    ...(until === undefined ? {} : { until: new RegExp(until) }),
    ...(variable === undefined ? {} : { variable }),
  };
}
