/** Tasks that are moved to other nodes, with the stock docker CLI and a client that asks all the time. */
import t from 'tap';
import { waitFor } from '../testbed/commands.js';
import { WEB_IMAGE } from '../testbed/layout.js';
import {
  formSwarm,
  managerOf,
  runningTasks,
  socketOf,
  tasksOf,
  waitForReplicas,
} from '../testbed/swarm.js';
import { down, mustDocker, up } from '../testbed/testbed.js';
import { clientLoad } from './support/client-load.js';
import { WEB_PORT } from './support/web-service.js';

t.setTimeout(600_000);

const RATE = 100;
const MOVED_LIMIT_MS = 60_000;

void t.test('moving tasks', async (t) => {
  const hosts = await up(3);
  try {
    const socket = socketOf(managerOf(hosts), 'skep');
    const docker = (...args: string[]) => mustDocker(socket, args);
    await formSwarm(hosts, 'skep');
    const nodes = async (): Promise<readonly string[]> =>
      (await runningTasks(socket, 'web')).map(({ node }) => node).sort();
    const targets = hosts.map(({ address }) => `${address}:${WEB_PORT}`);

    await t.test('a rolling drain, start-first: no request is lost', async (t) => {
      await docker(
        ...['service', 'create', '--detach', '--name', 'web', '--replicas', '4'],
        ...[
          '--label',
          'skep.drain=rolling',
          '--update-order',
          'start-first',
          '--update-delay',
          '1s',
        ],
        ...['--publish', `published=${WEB_PORT},target=80`],
        ...['--constraint', 'node.hostname!=h1', WEB_IMAGE],
      );
      await waitForReplicas(socket, 'web', 4, MOVED_LIMIT_MS);
      t.same(await nodes(), ['h2', 'h2', 'h3', 'h3']);
      const load = clientLoad(targets, RATE, 25);
      await docker('node', 'update', '--availability', 'drain', 'h2');
      await waitFor('h2 to be empty', MOVED_LIMIT_MS, async () => {
        const left = await docker('node', 'ps', '--filter', 'desired-state=running', '-q', 'h2');
        return left === '' ? true : undefined;
      });
      t.same(await nodes(), ['h3', 'h3', 'h3', 'h3']);
      t.same(await load, { sent: RATE * 25, failed: 0, errors: {} });
      const update = await docker('service', 'inspect', '--format', '{{.UpdateStatus}}', 'web');
      t.equal(update, '<nil>', 'it is no update');
      t.comment(await docker('service', 'ps', '--no-trunc', 'web'));
    });

    await t.test('the node is back: it gets its share, and no request is lost', async (t) => {
      await docker('service', 'update', '--detach', '--label-add', 'skep.rebalance=true', 'web');
      const load = clientLoad(targets, RATE, 50);
      await docker('node', 'update', '--availability', 'active', 'h2');
      await waitFor('an even spread', MOVED_LIMIT_MS, async () =>
        (await nodes()).join() === 'h2,h2,h3,h3' ? true : undefined,
      );
      t.same(await load, { sent: RATE * 50, failed: 0, errors: {} });
      t.same(await nodes(), ['h2', 'h2', 'h3', 'h3']);
      const all = await tasksOf(socket, 'web');
      t.equal(all.length, 8, 'two moves to empty the node, two back');
      const update = await docker('service', 'inspect', '--format', '{{.UpdateStatus}}', 'web');
      t.equal(update, '<nil>', 'it is no update');
      t.comment(await docker('service', 'ps', '--no-trunc', 'web'));
    });
  } finally {
    await down();
  }
});
