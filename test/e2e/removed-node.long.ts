/**
 * Nodes that are removed by force while they live, while another node's skepd is away, or while they are
 * cut off and then come back: their containers are off the swarm's networks, nobody sends them anything,
 * and no address is served twice.
 */
import t, { type Test } from 'tap';
import { sleep, waitFor } from '../testbed/commands.js';
import { setUplink } from '../testbed/faults.js';
import { WEB_IMAGE } from '../testbed/layout.js';
import {
  containerOn,
  formSwarm,
  managerOf,
  runningTasks,
  socketOf,
  waitForReplicas,
} from '../testbed/swarm.js';
import {
  askWho,
  down,
  type Host,
  inHost,
  killSkepd,
  mustDocker,
  restartSkepd,
  up,
} from '../testbed/testbed.js';
import { differences } from './support/tables.js';

const PORT = 8000;
const WAIT_MS = 60_000;
/** What a removed node may take to hear of it, and the others; stock has no bound. */
const EXPELLED_MS = 10_000;

/** Containers that answer at `asked`. */
async function answering(asked: Host): Promise<ReadonlySet<string>> {
  const names = new Set<string>();
  for (let request = 0; request < 16; request++) {
    const answer = await askWho(asked.address, PORT, 1);
    if (answer !== undefined) names.add(answer.hostname);
  }
  return names;
}

/** Whether a container has an interface with a carrier, besides loopback. */
async function isOnNetworks(host: Host, container: string): Promise<boolean> {
  const format = '{{.State.Pid}}';
  const pid = await mustDocker(host.dockerSocket, ['inspect', '--format', format, container]);
  const show = ['nsenter', `--net=/proc/${pid}/ns/net`, 'ip', '-o', 'link', 'show', 'up'];
  const { stdout } = await inHost(host, show);
  return stdout.includes('state UP');
}

async function isExpelled(t: Test, gone: Host, others: readonly Host[], container: string) {
  await waitFor(`${gone.name} to be off the networks`, EXPELLED_MS, async () =>
    (await isOnNetworks(gone, container)) ? undefined : true,
  );
  const socket = socketOf(managerOf(others), 'skep');
  const tasks = await runningTasks(socket, 'web');
  t.ok(tasks.every(({ node }) => node !== gone.name));
  for (const host of others) {
    const asked = new Set<string>();
    // A host that has just begun again may still be learning of the newest tasks.
    await waitFor(`${host.name} to ask all others`, WAIT_MS, async () => {
      const names = await answering(host);
      for (const name of names) asked.add(name);
      return names.size === tasks.length ? true : undefined;
    });
    t.notOk(asked.has(container.slice(0, 12)), `${host.name} sends it nothing`);
  }
}

void t.test('removed nodes', async (t) => {
  const hosts = await up(4);
  try {
    const [h1, h2, h3, h4] = hosts as [Host, Host, Host, Host];
    await formSwarm(hosts, 'skep');
    const socket = socketOf(h1, 'skep');
    await mustDocker(socket, ['network', 'create', '-d', 'overlay', 'front']);
    await mustDocker(socket, [
      ...['service', 'create', '--detach', '--no-resolve-image', '--name', 'web'],
      ...['--network', 'front', '--replicas', '4', '-p', `${PORT}:80`, WEB_IMAGE],
    ]);
    await waitForReplicas(socket, 'web', 4, WAIT_MS);

    // h2's skepd is away meanwhile: what is in its kernel still leads to h4, whose data path goes on answering.
    const { id: unheard } = await containerOn(h4, 'web');
    await killSkepd(h2);
    await mustDocker(socket, ['node', 'rm', '--force', 'h4']);
    await restartSkepd(h2);
    await waitForReplicas(socket, 'web', 4, WAIT_MS);
    await isExpelled(t, h4, [h1, h2, h3], unheard);
    t.same(await differences([h1, h2, h3]), [], 'the kernels of the others are equal');

    const { id: cutOff } = await containerOn(h3, 'web');
    await setUplink(h3, 'down');
    await waitFor('h3 to be down', WAIT_MS, async () => {
      const states = await mustDocker(socket, ['node', 'ls', '--format', '{{.Status}}']);
      return states.includes('Down') ? true : undefined;
    });
    await mustDocker(socket, ['node', 'rm', '--force', 'h3']);
    await waitForReplicas(socket, 'web', 4, WAIT_MS);
    await setUplink(h3, 'up');
    await isExpelled(t, h3, [h1, h2], cutOff);
    // It stays out: gossip has met it again by now.
    await sleep(5000);
    await isExpelled(t, h3, [h1, h2], cutOff);

    const { id: live } = await containerOn(h2, 'web');
    await mustDocker(socket, ['node', 'rm', '--force', 'h2']);
    await waitForReplicas(socket, 'web', 4, WAIT_MS);
    await isExpelled(t, h2, [h1], live);
    await mustDocker(h2.skepSocket, ['swarm', 'leave', '--force']);
    const left = await mustDocker(h2.dockerSocket, ['ps', '-q']);
    t.equal(left, '', 'leaving takes its containers off');
  } finally {
    await down();
  }
});
