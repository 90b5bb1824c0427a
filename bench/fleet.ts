/**
 * A large swarm: nodes in a few processes, each with its own mTLS connection and no engine behind, against
 * a real skepd. For each size: how long it takes until all tasks have a node that knows of them, what
 * the manager uses for it and at rest, and what one more service costs.
 *   node dist/bench/fleet.js [--alone] [--brief] [NODES:TASKS ...]
 * With --brief the manager at rest is left out, which takes 80 s for each size. With --alone the manager has neither engine nor data path, and no testbed is needed.
 * Sizes ascend; the first is a few nodes with a service each task, for a manager at rest.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { sleep, waitFor } from '../test/testbed/commands.js';
import { packageRoot } from '../test/testbed/layout.js';
import type { FleetAnswer, FleetCommand } from './support/fleet-agents.js';
import {
  type FleetManager,
  startLoneManager,
  startSkepdManager,
} from './support/fleet-managers.js';
import type { ManagerShare } from './support/dispatch-meter.js';
import { median } from './support/table.js';

const DEFAULT_SIZES = ['3:1000', '1000:30000', '10000:100000'];
/** Replicas of a service, but for the first size. */
const REPLICAS = 30;
const CREATING_MAX = 16;
const REST_MS = 15_000;
const SETTLING_MS = 20_000;
/**
 * Period of heartbeats while the fleet grows and single services are measured: ten thousand agents share the
 * processors with each other and the manager, and their heartbeats would hide what a service costs. At rest
 * they have the usual one.
 */
const QUIET_PERIOD_S = 60;
const USUAL_PERIOD_S = 5;
/** Between two services that are measured; their tasks tell their states meanwhile. */
const EXTRA_PAUSE_MS = 200;
const EXTRA_SERVICES = 60;
const EXTRA_REPLICAS = 10;
/** Ten thousand agents beside other work need more than five minutes. */
const LIMIT_MS = 1_200_000;
/** Clock ticks a second in /proc. */
const TICKS = 100;
const AGENTS_A_PROCESS = 1250;

interface Size {
  readonly nodes: number;
  readonly tasks: number;
}

const isAlone = process.argv.includes('--alone');
const isBrief = process.argv.includes('--brief');
const given = process.argv.slice(2).filter((text) => !text.startsWith('--'));
const sizes = (given.length > 0 ? given : DEFAULT_SIZES).map((text) => {
  const [nodes = 0, tasks = 0] = text.split(':').map(Number);
  return { nodes, tasks };
});

/** A process of agents. */
class AgentProcess {
  readonly child: ChildProcess;
  tasksTold = 0;
  private toldAtNs = 0n;

  constructor({ address, token, nodesPrefix }: FleetManager, name: string, onTold: () => void) {
    const program = path.join(packageRoot(), 'dist/bench/support/fleet-agents.js');
    const args = [...nodesPrefix, process.execPath, program, address, token, name];
    this.child = spawn('env', args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.child.on('message', (answer: FleetAnswer) => {
      if (answer.kind !== 'told') return;
      this.tasksTold = answer.tasks;
      this.toldAtNs = BigInt(answer.atNs);
      onTold();
    });
  }

  /** Milliseconds of the monotonic clock at which the last task was told. */
  get toldAtMs(): number {
    return Number(this.toldAtNs) / 1e6;
  }

  async growTo(agents: number): Promise<number> {
    return await new Promise((resolve, reject) => {
      const onExit = (): void => reject(new Error('the agents ended'));
      const onMessage = (answer: FleetAnswer): void => {
        if (answer.kind !== 'grown') return;
        this.child.off('exit', onExit).off('message', onMessage);
        resolve(Number(BigInt(answer.atNs)) / 1e6);
      };
      this.child.once('exit', onExit).on('message', onMessage);
      const command: FleetCommand = { agents };
      this.child.send(command);
    });
  }
}

/** All agents: some hundred a process, so that none stands still for long while it tidies up its memory. */
class Fleet {
  private readonly processes: AgentProcess[] = [];
  private readonly manager: FleetManager;
  private awaited: { readonly tasks: number; readonly done: (atMs: number) => void } | undefined;

  constructor(manager: FleetManager) {
    this.manager = manager;
  }

  /** Milliseconds of the monotonic clock at which there were so many agents. */
  async growTo(agents: number): Promise<number> {
    while (this.processes.length * AGENTS_A_PROCESS < agents) {
      const name = String(this.processes.length);
      this.processes.push(new AgentProcess(this.manager, name, () => this.look()));
    }
    const shares = this.processes.map(async (one, index) => {
      const left = agents - index * AGENTS_A_PROCESS;
      return await one.growTo(Math.min(left, AGENTS_A_PROCESS));
    });
    return Math.max(...(await Promise.all(shares)));
  }

  /** The same for when so many tasks have been told to agents, in all. */
  async untilTold(tasks: number): Promise<number> {
    return await new Promise((resolve) => {
      this.awaited = { tasks, done: resolve };
      this.look();
    });
  }

  private look(): void {
    const told = this.processes.reduce((sum, { tasksTold }) => sum + tasksTold, 0);
    if (this.awaited === undefined || told < this.awaited.tasks) return;
    this.awaited.done(Math.max(...this.processes.map(({ toldAtMs }) => toldAtMs)));
    this.awaited = undefined;
  }

  /** MiB of all processes. */
  get memoryMib(): number {
    return this.processes.reduce((sum, { child }) => sum + usageOf(child.pid ?? 0).memoryMib, 0);
  }

  stop(): void {
    for (const { child } of this.processes) child.kill('SIGKILL');
  }
}

interface Usage {
  readonly cpuSeconds: number;
  readonly memoryMib: number;
}

function usageOf(pid: number): Usage {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const rss = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return {
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS,
    memoryMib: Number(rss?.[1] ?? Number.NaN) / 1024,
  };
}

const nowMs = (): number => Number(process.hrtime.bigint()) / 1e6;

/** The swarm under measurement, and what is in it. */
class Swarm {
  nodes = 0;
  tasks = 0;
  private services = 0;

  constructor(
    readonly manager: FleetManager,
    readonly fleet: Fleet,
  ) {}

  usage(): Usage {
    return usageOf(this.manager.pid);
  }

  async create(replicas: number): Promise<void> {
    await this.manager.create(`s${this.services++}`, replicas);
    this.tasks += replicas;
  }

  /** The same; resolves with what of it is the manager's, once all is sent, if that can be told. */
  async createMeasured(replicas: number): Promise<ManagerShare | undefined> {
    this.tasks += replicas;
    const name = `s${this.services++}`;
    if (this.manager.createMeasured !== undefined)
      return await this.manager.createMeasured(name, replicas);
    await this.manager.create(name, replicas);
    return undefined;
  }

  /** Creates services up to so many tasks; returns the number of services made. */
  async fill(tasks: number, replicas: number): Promise<number> {
    const count = Math.ceil((tasks - this.tasks) / replicas);
    let left = count;
    const work = async (): Promise<void> => {
      while (left-- > 0) await this.create(replicas);
    };
    await Promise.all(Array.from({ length: CREATING_MAX }, work));
    return count;
  }

  /** Waits until every task runs, as the manager sees it. */
  async allRunning(): Promise<void> {
    await waitFor('all tasks to run', LIMIT_MS, async () => {
      await sleep(1000);
      return (await this.manager.running()) === this.tasks ? true : undefined;
    });
  }
}

function report(what: string, text: string): void {
  console.log(`  ${what.padEnd(34)}${text}`);
}

/** Share of a core that the manager uses while nothing happens. */
async function restingShare(swarm: Swarm): Promise<number> {
  const before = swarm.usage();
  const beganMs = nowMs();
  await sleep(REST_MS);
  const used = swarm.usage().cpuSeconds - before.cpuSeconds;
  return (used * 1000) / (nowMs() - beganMs);
}

async function rest(swarm: Swarm): Promise<void> {
  await swarm.manager.setHeartbeat(USUAL_PERIOD_S);
  // Each node hears of it with its next one.
  await sleep(1100 * QUIET_PERIOD_S + 3000);
  const percent = (100 * (await restingShare(swarm))).toFixed(1);
  report('at rest', `${percent} % of a core, ${swarm.usage().memoryMib.toFixed(0)} MiB`);
}

async function growTo(swarm: Swarm, { nodes }: Size): Promise<void> {
  const before = swarm.usage();
  const beganMs = nowMs();
  const doneMs = await swarm.fleet.growTo(nodes);
  const { cpuSeconds } = swarm.usage();
  const seconds = (doneMs - beganMs) / 1000;
  const joined = nodes - swarm.nodes;
  swarm.nodes = nodes;
  report(
    `${joined} nodes joined`,
    `${seconds.toFixed(1)} s, manager ${(cpuSeconds - before.cpuSeconds).toFixed(1)} CPU s`,
  );
}

async function fillTo(swarm: Swarm, { tasks }: Size, replicas: number): Promise<void> {
  const before = swarm.usage();
  const tasksBefore = swarm.tasks;
  const beganMs = nowMs();
  const [doneMs, services] = await Promise.all([
    swarm.fleet.untilTold(tasks),
    swarm.fill(tasks, replicas),
  ]);
  const { cpuSeconds } = swarm.usage();
  const seconds = (doneMs - beganMs) / 1000;
  const placed = swarm.tasks - tasksBefore;
  report(
    `${placed} tasks of ${services} services told`,
    `${seconds.toFixed(1)} s (${(placed / seconds).toFixed(0)} a second), ` +
      `manager ${(cpuSeconds - before.cpuSeconds).toFixed(1)} CPU s`,
  );
  await swarm.allRunning();
  const end = swarm.usage();
  report(
    'all of them running',
    `${((nowMs() - beganMs) / 1000).toFixed(1)} s, ` +
      `manager ${(end.cpuSeconds - before.cpuSeconds).toFixed(1)} CPU s`,
  );
}

/** What one more service costs: from its creation until its nodes know all its tasks, and in CPU. */
async function oneMore(swarm: Swarm): Promise<void> {
  // Garbage and a snapshot of what came before are not part of it.
  await sleep(SETTLING_MS);
  const latencies: number[] = [];
  const shares: ManagerShare[] = [];
  const shareBefore = await restingShare(swarm);
  const before = swarm.usage();
  const beganMs = nowMs();
  for (let count = 0; count < EXTRA_SERVICES; count += 1) {
    const startMs = nowMs();
    const told = swarm.fleet.untilTold(swarm.tasks + EXTRA_REPLICAS);
    const share = await swarm.createMeasured(EXTRA_REPLICAS);
    if (share !== undefined) shares.push(share);
    latencies.push((await told) - startMs);
    await sleep(EXTRA_PAUSE_MS);
  }
  await sleep(1000);
  const elapsedMs = nowMs() - beganMs;
  const whole = swarm.usage().cpuSeconds - before.cpuSeconds;
  const share = (shareBefore + (await restingShare(swarm))) / 2;
  const used = whole - (share * elapsedMs) / 1000;
  latencies.sort((a, b) => a - b);
  report(
    `one more service of ${EXTRA_REPLICAS} tasks`,
    `${((1000 * used) / EXTRA_SERVICES).toFixed(1)} CPU ms; told after ${median(latencies).toFixed(1)} ms ` +
      `(median), ${(latencies.at(-1) ?? Number.NaN).toFixed(1)} ms (worst)`,
  );
  if (shares.length > 0) report('  of that in the manager', describeShares(shares));
}

/** Medians; the rest of the time until nodes are told is the agents', which share the processors. */
function describeShares(shares: readonly ManagerShare[]): string {
  const of = (field: keyof ManagerShare): string =>
    median(shares.map((share) => share[field])).toFixed(1);
  const worst = Math.max(...shares.map(({ sentMs }) => sentMs)).toFixed(1);
  const collected = shares.reduce((sum, { collectingMs }) => sum + collectingMs, 0);
  const longest = Math.max(...shares.map(({ collectingMs }) => collectingMs)).toFixed(1);
  return (
    `created ${of('createdMs')} ms, sent ${of('sentMs')} ms (worst ${worst}), ` +
    `event loop busy ${of('busyMs')} ms, CPU ${of('cpuMs')} ms, ` +
    `garbage ${(collected / shares.length).toFixed(1)} ms (mean; worst ${longest})`
  );
}

async function run(manager: FleetManager): Promise<void> {
  const fleet = new Fleet(manager);
  try {
    const swarm = new Swarm(manager, fleet);
    for (const [index, size] of sizes.entries()) {
      console.log(`\n${size.nodes} nodes, ${size.tasks} tasks`);
      await manager.setHeartbeat(QUIET_PERIOD_S);
      await growTo(swarm, size);
      await fillTo(swarm, size, index === 0 ? 1 : REPLICAS);
      await oneMore(swarm);
      if (!isBrief) await rest(swarm);
      report('the agents', `${fleet.memoryMib.toFixed(0)} MiB`);
    }
  } finally {
    fleet.stop();
  }
}

const manager = await (isAlone ? startLoneManager() : startSkepdManager());
try {
  await run(manager);
} finally {
  await manager.stop();
}
