/**
 * A stock Docker Engine as a worker of a Skep manager.
 */
import t from 'tap';
import { WEB_IMAGE } from '../testbed/layout.js';
import { formSwarm, managerOf, runningTasks, socketOf, waitForReplicas } from '../testbed/swarm.js';
import { docker, down, mustDocker, up } from '../testbed/testbed.js';

void t.test('a stock engine joins a skepd manager and runs a task', async (t) => {
  const hosts = await up(3, { noSkep: ['h3'] });
  try {
    const socket = socketOf(managerOf(hosts), 'skep');
    await formSwarm(hosts, (host) => (host.name === 'h3' ? 'stock' : 'skep'));
    await mustDocker(socket, [
      ...['service', 'create', '--detach', '--name', 'plain', '--constraint', 'node.hostname==h3'],
      ...[WEB_IMAGE, 'sh', '-c', 'echo from a stock engine; exec sleep 1000'],
    ]);
    await waitForReplicas(socket, 'plain', 1, 30_000);
    const tasks = await runningTasks(socket, 'plain');
    t.same(
      tasks.map((task) => task.node),
      ['h3'],
    );
    const logs = await docker(socket, ['service', 'logs', 'plain']);
    t.match(logs.stdout, /from a stock engine/, logs.stderr);
    const versions = await mustDocker(socket, ['node', 'ls', '--format', '{{.EngineVersion}}']);
    t.equal(versions.split('\n').length, 3);
  } finally {
    await down();
  }
});
