/**
 * A host gets another address: its node goes on under it, as a worker and as a manager, with the same
 * containers. The addresses were chosen by the host or named as an interface.
 */
import t from 'tap';
import { waitFor } from '../testbed/commands.js';
import { WEB_IMAGE } from '../testbed/layout.js';
import { allReachable } from '../testbed/managers.js';
import { containerOn, runningTasks, socketOf, waitForReplicas } from '../testbed/swarm.js';
import {
  askWho,
  down,
  type Host,
  inHost,
  mustDocker,
  restartSkepd,
  stopSkepd,
  up,
} from '../testbed/testbed.js';

const PORT = 8000;
const WAIT_MS = 60_000;
const UPLINK = 'eth0';

/** Gives a host another address while its skepd is away, as a restart with another DHCP lease does. */
async function readdress(host: Host, from: string, to: string): Promise<void> {
  await stopSkepd(host);
  await changeAddress(host, from, to);
  await restartSkepd(host);
}

async function changeAddress(host: Host, from: string, to: string): Promise<void> {
  for (const [verb, address] of [
    ['del', from],
    ['add', to],
  ] as const) {
    const { code, stderr } = await inHost(host, [
      ...['ip', 'addr', verb, `${address}/24`, 'dev', UPLINK],
    ]);
    if (code !== 0) throw new Error(stderr);
  }
}

void t.test('a host gets another address', async (t) => {
  const hosts = await up(3);
  try {
    const [h1, h2, h3] = hosts as [Host, Host, Host];
    const socket = socketOf(h1, 'skep');
    await mustDocker(socket, ['swarm', 'init', '--advertise-addr', UPLINK]);
    const token = await mustDocker(socket, ['swarm', 'join-token', '-q', 'worker']);
    const join = ['swarm', 'join', '--token', token];
    await mustDocker(h2.skepSocket, [...join, '--advertise-addr', UPLINK, `${h1.address}:2377`]);
    await mustDocker(h3.skepSocket, [...join, `${h1.address}:2377`]);
    await mustDocker(socket, ['network', 'create', '-d', 'overlay', 'front']);
    await mustDocker(socket, [
      ...['service', 'create', '--detach', '--no-resolve-image', '--name', 'web'],
      ...['--network', 'front', '--replicas', '3', '--replicas-max-per-node', '1'],
      ...['-p', `${PORT}:80`, WEB_IMAGE],
    ]);
    await waitForReplicas(socket, 'web', 3, WAIT_MS);
    const tasks = async () => (await runningTasks(socket, 'web')).map(({ id }) => id).sort();
    const before = await tasks();
    const present = new Map(hosts.map((host) => [host, host.address]));

    /** The node is Ready under its address, and every host leads to every task. */
    const goesOn = async (moved: Host, address: string) => {
      await waitFor(`${moved.name} to be ready at ${address}`, WAIT_MS, async () => {
        const format = '{{.Status.State}} {{.Status.Addr}}';
        const shown = await mustDocker(socket, ['node', 'inspect', '--format', format, moved.name]);
        return shown === `ready ${address}` ? true : undefined;
      });
      present.set(moved, address);
      for (const asked of present.values())
        await waitFor(`all tasks to answer at ${asked}`, WAIT_MS, async () => {
          const names = new Set<string>();
          for (let request = 0; request < 12; request++)
            names.add((await askWho(asked, PORT, 1))?.hostname ?? '');
          return names.size === 3 && !names.has('') ? true : undefined;
        });
      for (const host of hosts) {
        const { id } = await containerOn(host, 'web');
        const command = ['exec', id, 'nslookup', 'tasks.web'];
        const answer = await mustDocker(host.dockerSocket, command);
        t.equal(answer.match(/^Address.*\b10\.\d+\.\d+\.\d+$/gm)?.length, 3, host.name);
      }
      t.same(await tasks(), before, 'no task was replaced');
    };

    const first = h3.address.replace(/\d+$/, '33');
    await readdress(h3, h3.address, first);
    await goesOn(h3, first);

    // With skepd running.
    const third = h3.address.replace(/\d+$/, '43');
    await changeAddress(h3, first, third);
    await goesOn(h3, third);

    // The only manager: its workers know no other one.
    const fifth = h1.address.replace(/\d+$/, '31');
    await readdress(h1, h1.address, fifth);
    await goesOn(h1, fifth);
    const sixth = h1.address.replace(/\d+$/, '41');
    await changeAddress(h1, fifth, sixth);
    await goesOn(h1, sixth);
    // They follow its orders again, without having been restarted.
    await mustDocker(socket, ['node', 'promote', 'h2', 'h3']);
    await allReachable(h1, 3);
    const second = h2.address.replace(/\d+$/, '32');
    await readdress(h2, h2.address, second);
    await goesOn(h2, second);
    await allReachable(h1, 3);
    const format = '{{.ManagerStatus.Addr}}';
    await waitFor('the managers to know the address', WAIT_MS, async () =>
      (await mustDocker(socket, ['node', 'inspect', '--format', format, 'h2'])) === `${second}:2377`
        ? true
        : undefined,
    );
    await mustDocker(h2.skepSocket, ['service', 'update', '--detach', '--label-add', 'a=b', 'web']);

    // A manager that locks, and nobody is there to unlock it.
    await mustDocker(socket, ['swarm', 'update', '--autolock=true']);
    const fourth = h2.address.replace(/\d+$/, '42');
    await changeAddress(h2, second, fourth);
    await goesOn(h2, fourth);
    await allReachable(h1, 3);
    await mustDocker(h2.skepSocket, ['service', 'update', '--detach', '--label-add', 'a=c', 'web']);
  } finally {
    await down();
  }
});
