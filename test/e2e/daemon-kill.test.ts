/**
 * kill -9 of skepd on a node that serves: containers, their traffic and their names go on, and the next
 * start takes everything over.
 */
import t from 'tap';
import { sleep, waitFor } from '../testbed/commands.js';
import { WEB_IMAGE } from '../testbed/layout.js';
import { containerOn, formSwarm, managerOf, runningTasks, socketOf } from '../testbed/swarm.js';
import {
  type Host,
  askWho,
  down,
  killSkepd,
  mustDocker,
  restartSkepd,
  up,
} from '../testbed/testbed.js';
import { clientLoad } from './support/client-load.js';
import { insideContainer, startNameLoad } from './support/name-load.js';

const RATE = 200;
/** Well above `skep.reschedule_after`; the long tests take 30 s. */
const ABSENCE_S = 8;
const PORT = 8000;

async function containerIds(hosts: readonly Host[]): Promise<readonly string[]> {
  const ids = await Promise.all(
    hosts.map(async (host) => mustDocker(host.dockerSocket, ['ps', '-q', '--no-trunc'])),
  );
  return ids.flatMap((text) => text.split('\n').filter(Boolean)).sort();
}

void t.test('kill -9 of skepd under load', async (t) => {
  const hosts = await up(3);
  try {
    const manager = managerOf(hosts);
    const worker = hosts[1] as Host;
    const socket = socketOf(manager, 'skep');
    await formSwarm(hosts, 'skep');
    await mustDocker(socket, ['network', 'create', '-d', 'overlay', 'front']);
    await mustDocker(socket, [
      ...['service', 'create', '--name', 'web', '--replicas', '3', '--network', 'front'],
      ...['--publish', `published=${PORT},target=80`, WEB_IMAGE],
    ]);
    for (const host of hosts)
      await waitFor(`${host.name} to answer`, 30_000, async () => askWho(host.address, PORT, 2));

    const victims: readonly [string, Host][] = [
      ['a worker', worker],
      ['the manager', manager],
    ];
    for (const [what, victim] of victims) {
      await t.test(`${what} absent for ${ABSENCE_S} s`, async (t) => {
        const ids = await containerIds(hosts);
        const tasks = (await runningTasks(socket, 'web')).map((task) => task.id).sort();
        const targets = hosts.map((host) => `${host.address}:${PORT}`);
        const load = clientLoad(targets, RATE, ABSENCE_S + 10);
        const inside = await insideContainer(victim, (await containerOn(victim, 'web')).id);
        const questions = { name: 'web', rate: 20, seconds: ABSENCE_S + 60, port: 80 };
        const names = await startNameLoad(inside, questions);
        await sleep(1000);
        await killSkepd(victim);
        await sleep(ABSENCE_S * 1000);
        await restartSkepd(victim);
        const result = await load;
        const { failed, errors, answers } = await names.stop();
        t.same({ failed, errors, answers: answers.length }, { failed: 0, errors: {}, answers: 1 });
        t.same(result, { sent: RATE * (ABSENCE_S + 10), failed: 0, errors: {} });
        await waitFor('the swarm to answer', 30_000, async () => {
          const states = await mustDocker(socket, ['node', 'ls', '--format', '{{.Status}}']);
          return states === 'Ready\nReady\nReady' ? true : undefined;
        });
        t.same(await containerIds(hosts), ids, 'the containers are the same');
        const after = (await runningTasks(socket, 'web')).map((task) => task.id).sort();
        t.same(after, tasks, 'the tasks are the same');
      });
    }
  } finally {
    await down();
  }
});
