/**
 * Our agent, in a process of its own, as a worker of a stock `docker swarm init` manager: what it
 * reports is what stock commands show, and a killed agent costs no task.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, openSync, closeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { must, waitFor } from '../testbed/commands.js';
import { OwnEngine } from './support/own-engine.js';

const MANAGER = '192.0.2.10';
const PROGRAM = fileURLToPath(new URL('support/stock-worker.js', import.meta.url));
const engine = new OwnEngine();
let worker: ChildProcess | undefined;

function docker(...args: readonly string[]): Promise<string> {
  return must('/usr/bin/docker', ['-H', `unix://${engine.socket}`, ...args]);
}

function startWorker(token: string): void {
  const state = join(engine.directory, 'worker');
  mkdirSync(state, { recursive: true });
  const log = openSync(join(engine.directory, 'worker.log'), 'a');
  const program = [process.execPath, PROGRAM, engine.socket, state, `${MANAGER}:2377`, token];
  worker = spawn('nsenter', [...engine.networkArgs(), ...program], { stdio: ['ignore', log, log] });
  closeSync(log);
}

async function killWorker(): Promise<void> {
  const child = worker;
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}

t.setTimeout(120_000);

t.teardown(async () => {
  await killWorker();
  await engine.destroy();
});

/** `state error` of all tasks of a service, sorted. */
async function tasksOf(service: string): Promise<readonly string[]> {
  const format = '{{.CurrentState}} {{.Error}}';
  const lines = await docker('service', 'ps', '--no-trunc', '--format', format, service);
  return lines
    .trim()
    .split('\n')
    .map((line) => line.replace(/ (less than )?(a|about|\d+) .* ago/, '').trim())
    .sort();
}

async function shows(service: string, expected: readonly string[]): Promise<void> {
  let seen: readonly string[] = [];
  await waitFor(`${service}: ${expected.join(', ')}`, 30_000, async () => {
    seen = await tasksOf(service);
    // Reasons of a failed pull behind the sentence depend on the network.
    const known = seen.map((line) => line.replace(/ \(pulling it failed: .*\)/, ''));
    return JSON.stringify(known) === JSON.stringify(expected) ? true : undefined;
  }).catch((error: unknown) => {
    throw new Error(`${service} shows ${JSON.stringify(seen)}`, { cause: error });
  });
}

void t.test('a worker of a stock manager', { timeout: 110_000 }, async (t) => {
  await engine.start();
  await must('nsenter', [...engine.networkArgs(), 'ip', 'link', 'add', 'up0', 'type', 'bridge']);
  await must('nsenter', [
    ...engine.networkArgs(),
    'ip',
    'addr',
    'add',
    `${MANAGER}/24`,
    'dev',
    'up0',
  ]);
  await must('nsenter', [...engine.networkArgs(), 'ip', 'link', 'set', 'up0', 'up']);
  await docker('swarm', 'init', '--advertise-addr', MANAGER);
  const manager = (await docker('node', 'ls', '-q')).trim();
  await docker('node', 'update', '--availability', 'drain', manager);
  const token = (await docker('swarm', 'join-token', '-q', 'worker')).trim();
  startWorker(token);
  const node = await waitFor('the node to be Ready', 20_000, async () => {
    const lines = (await docker('node', 'ls', '--format', '{{.ID}} {{.Status}}')).split('\n');
    return lines
      .find((line) => line.endsWith(' Ready') && !line.startsWith(manager))
      ?.split(' ')[0];
  });
  const labels = await docker('node', 'inspect', '-f', '{{json .Description.Engine.Labels}}', node);
  t.match(labels, /"skep.agent":"0.0.0-test"/);

  const create = ['service', 'create', '-d', '--no-resolve-image', '--stop-grace-period', '1s'];
  const loop = 'echo hello; while :; do sleep 1; done';
  await docker(...create, '--name', 'web', '--replicas', '2', 'skep-test/web:1', 'sh', '-c', loop);
  await docker(
    ...create,
    '--name',
    'bad',
    '--restart-condition',
    'none',
    'skep-test/web:1',
    'sh',
    '-c',
    'exit 7',
  );
  await docker(...create, '--name', 'none', '--restart-condition', 'none', 'no/such:1');
  await shows('web', ['Running', 'Running']);
  await shows('bad', ['Failed "task: non-zero exit (7)"']);
  await shows('none', ['Rejected "No such image: no/such:1"']);
  t.match(await docker('service', 'logs', '--raw', 'web'), 'hello\nhello\n');

  const before = (
    await docker('ps', '-q', '--filter', 'label=com.docker.swarm.service.name=web')
  ).trim();
  await killWorker();
  startWorker(token);
  await docker('service', 'scale', '-d', 'web=3');
  await shows('web', ['Running', 'Running', 'Running']);
  const after = (
    await docker('ps', '-q', '--filter', 'label=com.docker.swarm.service.name=web')
  ).trim();
  for (const id of before.split('\n')) t.ok(after.includes(id), 'a container outlives its agent');

  await docker('service', 'rm', 'web');
  await waitFor('removal of the containers', 20_000, async () => {
    const left = await docker('ps', '-aq', '--filter', 'label=com.docker.swarm.service.name=web');
    return left.trim() === '' ? true : undefined;
  });
});
