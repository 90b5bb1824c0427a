/**
 * A stock Docker Engine as a worker of our manager: joins by token, becomes ready, runs a task with
 * a secret, delivers its logs, stops it, leaves. Then as the manager of our client calls: joining,
 * session, assignments, logs, renewal.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const canRun = existsSync('/usr/sbin/dockerd') && process.getuid?.() === 0;

type Steps = Map<string, Record<string, unknown>>;

/** Runs the scenario in namespaces that end with it. */
async function runScenario(directory: string): Promise<Steps> {
  const script = fileURLToPath(new URL('stock-engine-scenario.js', import.meta.url));
  const isolate = ['--net', '--mount', '--uts', '--pid', '--fork', '--kill-child', '--mount-proc'];
  const child = spawn(
    'unshare',
    [...isolate, '--propagation', 'slave', process.execPath, script, directory],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  await new Promise((resolve) => child.once('close', resolve));
  const steps: Steps = new Map();
  for (const line of output.split('\n').filter((text) => text !== '')) {
    const { step, ...facts } = JSON.parse(line) as { step: string };
    steps.set(step, facts);
  }
  return steps;
}

void t.test(
  'a stock engine works for our manager, and our client for a stock engine',
  { skip: !canRun && 'needs root and a Docker Engine' },
  async (t) => {
    const directory = mkdtempSync('/var/tmp/skep-stock-engine-');
    t.teardown(() => rmSync(directory, { recursive: true, force: true }));
    const steps = await runScenario(directory);
    t.notOk(steps.get('failed'), 'no step failed');
    t.equal(steps.get('joined')?.['output'], 'This node joined a swarm as a worker.');
    const ready = steps.get('ready');
    t.equal(ready?.['addr'], '127.0.0.1');
    t.equal(ready?.['info'], `active ${String(ready?.['id'])}`);
    const running = steps.get('running');
    t.equal(running?.['secret'], 's3cret');
    t.match(
      String(running?.['states']),
      /^(ASSIGNED,)?ACCEPTED,PREPARING,(READY,)?STARTING,RUNNING$/,
    );
    t.same(steps.get('logs')?.['lines'], ['hello from the task']);
    t.ok(['SHUTDOWN', 'COMPLETE', 'FAILED'].includes(String(steps.get('stopped')?.['state'])));
    t.equal(steps.get('left')?.['message'], 'heartbeat failure');
    t.equal(steps.get('joined stock')?.['role'], 'worker');
    t.equal(steps.get('session')?.['managers'], 1);
    t.match(steps.get('worked'), {
      logs: 'a line from afar',
      published: 'ok',
      sameNode: true,
      status: 'Ready',
    });
    t.ok(steps.has('done'));
  },
);
