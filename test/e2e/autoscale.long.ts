/** A service that is scaled by the CPU its tasks use, with the stock docker CLI and a real engine. */
import { spawn } from 'node:child_process';
import t from 'tap';
import { sleep, waitFor } from '../testbed/commands.js';
import { WEB_IMAGE } from '../testbed/layout.js';
import { formSwarm, managerOf, socketOf, waitForReplicas } from '../testbed/swarm.js';
import { down, mustDocker, up } from '../testbed/testbed.js';

t.setTimeout(600_000);

const SCALED_LIMIT_MS = 120_000;
const BURN = 'while :; do :; done';

void t.test('scaling by load', async (t) => {
  const hosts = await up(2);
  try {
    const socket = socketOf(managerOf(hosts), 'skep');
    const docker = (...args: string[]) => mustDocker(socket, args);
    await formSwarm(hosts, 'skep');
    let events = '';
    const format = '{{.Action}} {{json .Actor.Attributes}}';
    const watcher = spawn(
      '/usr/bin/docker',
      [
        ...['-H', `unix://${socket}`, 'events', '--filter', 'scope=swarm'],
        ...['--filter', 'event=autoscale', '--format', format],
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    watcher.stdout.on('data', (chunk: Buffer) => {
      events += chunk.toString();
    });
    const replicas = async (): Promise<string> =>
      docker('service', 'inspect', '--format', '{{.Spec.Mode.Replicated.Replicas}}', 'burn');
    try {
      await docker(
        ...['service', 'create', '--detach', '--name', 'burn', '--limit-cpu', '0.1'],
        ...['--stop-grace-period', '1s'],
        ...[WEB_IMAGE, 'sh', '-c', BURN],
      );
      await waitForReplicas(socket, 'burn', 1, SCALED_LIMIT_MS);
      await docker(
        ...['service', 'update', '--detach', '--label-add', 'skep.autoscale.max=3'],
        ...['--label-add', 'skep.autoscale.cpu=50', '--label-add', 'skep.autoscale.window=20s'],
        ...['--label-add', 'skep.autoscale.cooldown=10s'],
        ...['--label-add', 'skep.autoscale.dry-run=true', 'burn'],
      );
      await waitFor('an event of the dry run', SCALED_LIMIT_MS, async () =>
        events.includes('}') ? true : undefined,
      );
      t.match(events, /^autoscale .*"dry-run":"true".*"replicas.new":"2","replicas.old":"1"/);
      t.equal(await replicas(), '1');

      await docker('service', 'update', '--detach', '--label-rm', 'skep.autoscale.dry-run', 'burn');
      await waitFor('three replicas', SCALED_LIMIT_MS, async () =>
        (await replicas()) === '3' ? true : undefined,
      );
      await waitForReplicas(socket, 'burn', 3, SCALED_LIMIT_MS);
      const tasks = await docker('service', 'ps', '--quiet', 'burn');
      t.equal(tasks.split('\n').length, 3, 'the first task was not replaced');
      t.equal(await docker('service', 'inspect', '--format', '{{.UpdateStatus}}', 'burn'), '<nil>');

      await docker('service', 'update', '--detach', '--args', 'sleep 3600', 'burn');
      await waitFor('one replica', 2 * SCALED_LIMIT_MS, async () =>
        (await replicas()) === '1' ? true : undefined,
      );
      t.comment(events);
      await docker('service', 'scale', '--detach', 'burn=0');
      await sleep(40_000);
      t.equal(await replicas(), '0', 'turned off');
    } finally {
      watcher.kill();
    }
  } finally {
    await down();
  }
});
