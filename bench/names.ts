/**
 * What looking a name up takes inside containers: names of the engine itself, answered by its own
 * resolver, against names of services in tasks and in plain containers (our name server in
 * front of it). Medians of alternating rounds.
 *   node dist/bench/names.js [ROUNDS] [QUESTIONS]
 */
import path from 'node:path';
import { run } from '../test/testbed/commands.js';
import { packageRoot, WEB_IMAGE } from '../test/testbed/layout.js';
import {
  containerOn,
  formSwarm,
  managerOf,
  socketOf,
  waitForReplicas,
} from '../test/testbed/swarm.js';
import { type Host, down, mustDocker, up } from '../test/testbed/testbed.js';
import { median } from './support/table.js';

const rounds = Number(process.argv[2] ?? 5);
const questions = Number(process.argv[3] ?? 1000);
const RESOLVER = '127.0.0.11';

/** A name asked in a container. */
interface Case {
  readonly title: string;
  readonly container: string;
  readonly name: string;
}

interface Times {
  readonly p50Ms: number;
  readonly p99Ms: number;
}

async function ask(host: Host, { container, name }: Case): Promise<Times> {
  const pid = await mustDocker(host.dockerSocket, ['inspect', '-f', '{{.State.Pid}}', container]);
  const script = path.join(packageRoot(), 'dist/bench/support/ask-names.js');
  // The pid is one of the host's: its namespace is found through the host's /proc.
  const inside = ['-t', String(host.holderPid), '-m', '-p', 'nsenter', '-t', pid, '-n'];
  const program = [process.execPath, script, RESOLVER, name, String(questions)];
  const { code, stdout, stderr } = await run('nsenter', [...inside, ...program]);
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Times;
}

async function casesOn(host: Host): Promise<readonly Case[]> {
  const docker = (...args: readonly string[]) => mustDocker(host.dockerSocket, args);
  await docker('network', 'create', 'own');
  await docker('run', '-d', '--name', 'one', '--network', 'own', WEB_IMAGE);
  await docker('run', '-d', '--name', 'two', '--network', 'own', WEB_IMAGE);
  const plain = ['run', '-d', '--name', 'plain', '--network', 'front', WEB_IMAGE];
  await mustDocker(host.skepSocket, plain);
  const { id: task } = await containerOn(host, 'web');
  return [
    { title: "engine's own name", container: 'one', name: 'two' },
    { title: 'service, in a task', container: task, name: 'web' },
    { title: 'service, in a plain container', container: 'plain', name: 'web' },
  ];
}

const hosts = await up(2);
try {
  const manager = managerOf(hosts);
  const socket = socketOf(manager, 'skep');
  await formSwarm(hosts, 'skep');
  await mustDocker(socket, ['network', 'create', '-d', 'overlay', '--attachable', 'front']);
  await mustDocker(socket, [
    ...['service', 'create', '--detach', '--name', 'web', '--replicas', '2', '--network', 'front'],
    WEB_IMAGE,
  ]);
  await waitForReplicas(socket, 'web', 2, 60_000);
  const cases = await casesOn(manager);
  const results = new Map<Case, Times[]>(cases.map((each) => [each, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (const [each, times] of results) times.push(await ask(manager, each));
  }
  const medianOf = (times: readonly Times[]): number => median(times.map(({ p50Ms }) => p50Ms));
  const [baseline] = [...results.values()].map(medianOf);
  for (const [{ title }, times] of results) {
    const p50 = medianOf(times);
    const p99 = median(times.map(({ p99Ms }) => p99Ms));
    console.log(
      `  ${title.padEnd(32)}p50 ${p50.toFixed(3)} ms   p99 ${p99.toFixed(3)} ms   ` +
        `added ${(p50 - (baseline ?? Number.NaN)).toFixed(3)} ms`,
    );
  }
} finally {
  await down();
}
