/**
 * The host of the leading manager is lost: another leads, knows by gossip and data path that it is gone,
 * and starts its tasks elsewhere as soon as those of a worker's host, far below the 30 s for which a
 * manager that is new otherwise waits for nodes.
 */
import t from 'tap';
import { waitFor } from '../testbed/commands.js';
import { setUplink } from '../testbed/faults.js';
import { WEB_IMAGE } from '../testbed/layout.js';
import { formManagers, leaderOf } from '../testbed/managers.js';
import { runningTasks, waitForReplicas } from '../testbed/swarm.js';
import { down, type Host, mustDocker, up } from '../testbed/testbed.js';

const REPLICAS = 3;
const WAIT_MS = 60_000;
const SOON_MS = 20_000;

void t.test('the host of the leader is lost', async (t) => {
  const hosts = await up(3);
  try {
    await formManagers(hosts);
    const [h1] = hosts as [Host, Host, Host];
    await mustDocker(h1.skepSocket, [
      ...['service', 'create', '--detach', '--no-resolve-image', '--name', 'web'],
      ...['--replicas', String(REPLICAS), '-p', '8000:80', WEB_IMAGE],
    ]);
    await waitForReplicas(h1.skepSocket, 'web', REPLICAS, WAIT_MS);
    const lost = await leaderOf(hosts, h1);
    const socket = hosts.find((host) => host !== lost)?.skepSocket ?? '';
    const before = await runningTasks(socket, 'web');
    const stay = before.filter(({ node }) => node !== lost.name).map(({ id }) => id);
    t.equal(stay.length, REPLICAS - 1);
    await setUplink(lost, 'down');
    await waitFor('all tasks to run elsewhere', SOON_MS, async () => {
      const tasks = await runningTasks(socket, 'web');
      const elsewhere = tasks.filter(({ node }) => node !== lost.name);
      return elsewhere.length === REPLICAS ? true : undefined;
    });
    const after = (await runningTasks(socket, 'web')).map(({ id }) => id);
    t.ok(
      stay.every((id) => after.includes(id)),
      'the others were left alone',
    );
  } finally {
    await down();
  }
});
