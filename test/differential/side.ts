/**
 * One side of the comparison, a stock swarm or Skep: runs scenarios on it, one after the other, and
 * puts it back as it was after each.
 */
import { waitFor } from '../testbed/commands.js';
import { runCli, words } from '../api/support/cli.js';
import { WEB_IMAGE } from '../testbed/layout.js';
import { type Flavour, socketOf } from '../testbed/swarm.js';
import type { Host } from '../testbed/testbed.js';
import { cleanUp, leaveSwarm, remember, type Remembered } from './clean.js';
import { EventRecorder } from './event-recorder.js';
import { Normaliser } from './normalise.js';
import type { Outcome } from './recording.js';
import type { Phase, Scenario, ScenarioFile, Step } from './scenario-file.js';
import { type Variables, substitute } from './variables.js';
import { sendRequest } from './send-request.js';

const CLI = '/usr/bin/docker';
const UNTIL_TIMEOUT_MS = 25_000;
const POLL_MS = 100;

/** Commands that only look may run beside their neighbours. */
const ONLY_LOOKS = /^\S+ (?:ls|inspect|ps) |^service create -d --name bad /;
const LOOKS_AT_ONCE = 3;

/** Outcomes of a file's steps, by title. */
export type Outcomes = ReadonlyMap<string, readonly Outcome[]>;

/** A side, on one or two hosts. */
export class Side {
  private phase: Phase = 'outside';
  private remembered: Remembered | undefined;

  constructor(
    private readonly hosts: readonly Host[],
    private readonly flavour: Flavour,
    /** Told of each scenario that was played. */
    private readonly report?: (line: string) => void,
  ) {}

  /** Plays all scenarios of a file; files must come by phase. */
  async run(file: ScenarioFile): Promise<Outcomes> {
    await this.enter(file.phase);
    const outcomes = new Map<string, readonly Outcome[]>();
    for (const scenario of file.scenarios) {
      const start = performance.now();
      outcomes.set(scenario.title, await this.play(scenario));
      const seconds = ((performance.now() - start) / 1000).toFixed(1);
      this.report?.(`${this.flavour} ${file.name}: ${scenario.title} (${seconds} s)`);
    }
    return outcomes;
  }

  private socket(node: number): string {
    const host = this.hosts[node - 1];
    if (host === undefined) throw new Error(`a scenario asks for node ${node}`);
    return socketOf(host, this.flavour);
  }

  private async enter(phase: Phase): Promise<void> {
    if (phase === this.phase) return;
    const [manager, worker] = this.hosts;
    if (manager === undefined || worker === undefined) throw new Error('a side needs two hosts');
    const must = async (node: number, args: readonly string[]) => {
      const { code, stdout, stderr } = await runCli(CLI, this.socket(node), args);
      if (code !== 0) throw new Error(`${this.flavour}: ${args.join(' ')}: ${stderr}`);
      return stdout.trim();
    };
    if (this.phase === 'outside')
      await must(1, ['swarm', 'init', '--advertise-addr', manager.address]);
    if (phase === 'two') {
      const token = await must(1, ['swarm', 'join-token', '-q', 'worker']);
      const own = ['--advertise-addr', worker.address, '--token', token];
      await must(2, ['swarm', 'join', ...own, `${manager.address}:2377`]);
    }
    await waitFor('the nodes to be ready', 30_000, async () => {
      const states = await must(1, ['node', 'ls', '--format', '{{.Status}}']);
      return states.split('\n').filter((state) => state === 'Ready').length ===
        (phase === 'two' ? 2 : 1)
        ? true
        : undefined;
    });
    this.remembered = await remember(this.socket(1));
    this.phase = phase;
  }

  private async play(scenario: Scenario): Promise<readonly Outcome[]> {
    const normaliser = new Normaliser(this.hosts);
    const [manager, worker] = this.hosts;
    const variables: Variables = new Map([
      ['image', WEB_IMAGE],
      ['addr1', manager?.address ?? ''],
      ['addr2', worker?.address ?? ''],
      ['host1', manager?.name ?? ''],
      ['host2', worker?.name ?? ''],
    ]);
    const events = scenario.steps.some(({ action }) => action.kind === 'events')
      ? await EventRecorder.start(this.socket(1))
      : undefined;
    const outcomes: Outcome[] = [];
    try {
      for (const group of groups(scenario.steps)) {
        const raw = await Promise.all(group.map((step) => this.step(step, variables, events)));
        group.forEach((_, index) => outcomes.push(outcomeOf(raw[index] ?? {}, normaliser)));
      }
    } finally {
      events?.stop();
    }
    const left = await this.restore();
    const last = outcomes.pop() ?? [];
    return [...outcomes, [...last, ...left]];
  }

  /** @returns what could not be removed */
  private async restore(): Promise<readonly string[]> {
    try {
      if (this.remembered === undefined)
        for (const host of this.hosts) await leaveSwarm(socketOf(host, this.flavour));
      else await cleanUp(this.socket(1), this.remembered);
      return [];
    } catch (error) {
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
      return [`= cannot be cleaned up: ${String(error)}: ${String(cause)}`];
    }
  }

  private async step(
    step: Step,
    variables: Variables,
    events: EventRecorder | undefined,
  ): Promise<RawOutcome> {
    const deadline = performance.now() + UNTIL_TIMEOUT_MS;
    for (;;) {
      const raw: RawOutcome = await this.act(step, variables, events).catch((error: unknown) => ({
        // Such as an object that a step before was to make.
        stderr: `cannot be done: ${error instanceof Error ? error.message : String(error)}\n`,
      }));
      const shown = `${raw.stdout ?? ''}${raw.stderr ?? ''}${raw.body ?? ''}`;
      if (step.until === undefined || step.until.test(shown)) {
        if (step.variable === undefined) return raw;
        variables.set(step.variable, shown.trim());
        // What it is shows where it is used.
        return { ...raw, stdout: '' };
      }
      if (performance.now() > deadline) return { ...raw, late: true };
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  private async act(
    step: Step,
    variables: Variables,
    events: EventRecorder | undefined,
  ): Promise<RawOutcome> {
    const socket = this.socket(step.node);
    switch (step.action.kind) {
      case 'cli': {
        const line = await substitute(step.action.line, socket, variables);
        const input = await substitute(step.input, socket, variables);
        return await runCli(CLI, socket, words(line), input);
      }
      case 'http': {
        const rest = await substitute(step.action.rest, socket, variables);
        return await sendRequest(socket, step.action.method, rest);
      }
      case 'events':
        return { stdout: (await events?.sinceLast())?.join('\n') ?? '' };
    }
  }
}

interface RawOutcome {
  readonly code?: number | null;
  readonly stdout?: string;
  readonly stderr?: string;
  readonly body?: string;
  /** What the step waited for did not come. */
  readonly late?: boolean;
}

function groups(steps: readonly Step[]): readonly (readonly Step[])[] {
  const made: Step[][] = [];
  const looks = (step: Step) =>
    step.action.kind === 'cli' &&
    ONLY_LOOKS.test(step.action.line) &&
    step.until === undefined &&
    step.variable === undefined;
  for (const step of steps) {
    const last = made.at(-1);
    const joins = last !== undefined && looks(step) && last.every(looks);
    if (joins && last.length < LOOKS_AT_ONCE) last.push(step);
    else made.push([step]);
  }
  return made;
}

function outcomeOf(raw: RawOutcome, normaliser: Normaliser): Outcome {
  const lines = (mark: string, text: string) =>
    text === ''
      ? []
      : text
          .replace(/\n$/, '')
          .split('\n')
          .map((line) => `${mark} ${line}`.trimEnd());
  return [
    ...(raw.late === true ? ['= not within the time'] : []),
    ...(raw.code === 0 || raw.code === undefined ? [] : [`= ${raw.code}`]),
    ...lines('|', normaliser.text(raw.stdout ?? '')),
    ...lines('!', normaliser.text(raw.stderr ?? '')),
    ...lines('|', normaliser.body(raw.body ?? '')),
  ];
}
