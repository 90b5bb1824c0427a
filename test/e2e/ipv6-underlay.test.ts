/**
 * A swarm whose nodes reach each other's data paths over IPv6 (`--data-path-addr`).
 */
import t, { type Test } from 'tap';
import { waitFor } from '../testbed/commands.js';
import { CLIENT_ADDRESS, CLIENT_ADDRESS6, WEB_IMAGE } from '../testbed/layout.js';
import {
  containerOn,
  managerOf,
  runningTasks,
  socketOf,
  waitForReplicas,
} from '../testbed/swarm.js';
import {
  type Host,
  askWho,
  docker,
  down,
  inHost,
  killSkepd,
  mustDocker,
  restartSkepd,
  up,
} from '../testbed/testbed.js';

const WAIT_MS = 30_000;
const PORT = 8000;
const UNDERLAY_MTU = 1500;
const OVERHEAD_BYTES = 70;

/** The second host takes an address of the family that the first one has, and is refused with another. */
async function joinByFamily(t: Test, hosts: readonly Host[]): Promise<void> {
  const [h1, h2] = hosts as [Host, Host];
  const socket = socketOf(h1, 'skep');
  const init = ['swarm', 'init', '--advertise-addr', h1.address, '--data-path-addr'];
  for (const foreign of [h2.address6, h2.address]) {
    const { code, stderr } = await docker(socket, [...init, foreign]);
    t.equal(code, 1);
    t.match(stderr, `no interface of this host has the data path address ${foreign}`);
  }
  await mustDocker(socket, [...init, h1.address6]);
  const token = await mustDocker(socket, ['swarm', 'join-token', '-q', 'worker']);
  const join = ['swarm', 'join', '--token', token, `${h1.address}:2377`];
  const refused = await docker(h2.skepSocket, [...join, '--data-path-addr', h2.address]);
  t.equal(refused.code, 1);
  t.match(refused.stderr, /the data path of this swarm is of IPv6/);
  await waitFor('the refused node to be forgotten', WAIT_MS, async () => {
    const nodes = await mustDocker(socket, ['node', 'ls', '-q']);
    return nodes.split('\n').length === 1 ? true : undefined;
  });
  await mustDocker(h2.skepSocket, join);
  await waitFor('the node to be Ready', WAIT_MS, async () => {
    const states = await mustDocker(socket, ['node', 'ls', '--format', '{{.Status}}']);
    return states.split('\n').filter((state) => state === 'Ready').length === 2 ? true : undefined;
  });
}

async function setAddress(host: Host, change: 'add' | 'del'): Promise<void> {
  const flags = change === 'add' ? ['nodad'] : [];
  const address = [`${host.address6}/64`, 'dev', 'eth0', ...flags];
  const { code, stderr } = await inHost(host, ['ip', '-6', 'addr', change, ...address]);
  if (code !== 0) throw new Error(stderr);
}

/** As at boot, when the address comes late. */
async function startWithoutAddress(t: Test, host: Host): Promise<void> {
  await killSkepd(host);
  await setAddress(host, 'del');
  await restartSkepd(host);
  const info = ['info', '--format', '{{.Swarm.LocalNodeState}} {{.Swarm.Error}}'];
  t.match(
    await mustDocker(host.skepSocket, info),
    /^error no interface of this host has the address/,
  );
}

void t.test('tunnels over IPv6', async (t) => {
  const hosts = await up(2);
  try {
    const socket = socketOf(managerOf(hosts), 'skep');
    await joinByFamily(t, hosts);
    await mustDocker(socket, ['network', 'create', '-d', 'overlay', 'front']);
    await mustDocker(socket, [
      ...['service', 'create', '--detach', '--name', 'web', '--mode', 'global'],
      ...['--network', 'front', '--publish', `published=${PORT},target=80`, WEB_IMAGE],
    ]);
    await waitForReplicas(socket, 'web', 2, WAIT_MS);
    for (const host of hosts)
      for (const [address, client] of [
        [host.address, CLIENT_ADDRESS],
        [host.address6, CLIENT_ADDRESS6],
      ] as const) {
        const seen = new Set<string>();
        await waitFor(`both tasks to answer on ${address}`, WAIT_MS, async () => {
          const answer = await askWho(address, PORT);
          if (answer === undefined) return undefined;
          t.equal(answer.clientAddress, client);
          return seen.add(answer.hostname).size === 2 ? true : undefined;
        });
      }
    const [h1, h2] = hosts;
    if (h1 === undefined || h2 === undefined) throw new Error('two hosts are needed');
    const { id } = await containerOn(h1, 'web');
    const peer = (await containerOn(h2, 'web')).addresses['front'] ?? '';
    const inside = (...line: readonly string[]) =>
      mustDocker(h1.dockerSocket, ['exec', id, ...line]);
    t.match(await inside('wget', '-qO-', `http://${peer}/`), /skep-test/);
    t.match(await inside('ip', 'link'), new RegExp(`mtu ${UNDERLAY_MTU - OVERHEAD_BYTES}`));
    await t.test('a node whose address is not there yet when it starts', async (t) => {
      await t.test('takes its swarm up when it is', async (t) => {
        await startWithoutAddress(t, h2);
        await setAddress(h2, 'add');
        await waitFor('the node to be a member again', WAIT_MS, async () => {
          const info = ['info', '--format', '{{.Swarm.LocalNodeState}}'];
          return (await mustDocker(h2.skepSocket, info)) === 'active' ? true : undefined;
        });
        await waitFor('its service to answer', WAIT_MS, async () => askWho(h2.address, PORT, 2));
      });
      await t.test('leaves nothing when it leaves', async (t) => {
        await startWithoutAddress(t, h2);
        await mustDocker(h2.skepSocket, ['swarm', 'leave', '--force']);
        t.equal(await mustDocker(h2.dockerSocket, ['ps', '-aq']), '', 'no container');
        const networks = ['network', 'ls', '-q', '--filter', 'label=skep.network.id'];
        t.equal(await mustDocker(h2.dockerSocket, networks), '', 'no network');
        await setAddress(h2, 'add');
        const token = await mustDocker(socket, ['swarm', 'join-token', '-q', 'worker']);
        const join = ['swarm', 'join', '--token', token, `${h1.address}:2377`];
        await mustDocker(h2.skepSocket, join);
        await waitFor('its task to run', WAIT_MS, async () => {
          const tasks = await runningTasks(socket, 'web');
          return tasks.filter(({ node }) => node === h2.name).length === 1 ? true : undefined;
        });
      });
    });
  } finally {
    await down();
  }
});
