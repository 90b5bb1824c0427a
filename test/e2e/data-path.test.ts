/**
 * `--data-path-addr` and `--data-path-port`: containers' packets take another network and another UDP
 * port than the cluster's own traffic, published ports answer on both, and the self-test sees it all.
 */
import t from 'tap';
import { waitFor } from '../testbed/commands.js';
import { CLIENT_ADDRESS, WEB_IMAGE } from '../testbed/layout.js';
import { containerOn, socketOf, waitForReplicas } from '../testbed/swarm.js';
import {
  askWho,
  docker,
  down,
  type Host,
  inClient,
  inHost,
  mustDocker,
  skep,
  up,
} from '../testbed/testbed.js';

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(500_000);

const PORT = '7777';
const PUBLISHED = 8000;
const BRIDGE = 'br-data';
/** Of one of the container's interfaces, which all have the same. */
const MTU_FILE = '/sys/class/net/eth0/mtu';
/** The outside client's address on that network. */
const CLIENT = '192.168.88.1';

async function must(work: Promise<{ code: number | null; stdout: string; stderr: string }>) {
  const { code, stdout, stderr } = await work;
  if (code !== 0) throw new Error(stderr);
  return stdout;
}

const dataAddress = (host: Host): string => host.address.replace('.77.', '.88.');

/** Packets a host has sent through its data path interface. */
async function sent(host: Host): Promise<number> {
  const text = await must(inHost(host, ['ip', '-s', '-j', 'link', 'show', 'eth1']));
  const [link] = JSON.parse(text) as { stats64: { tx: { packets: number } } }[];
  return link?.stats64.tx.packets ?? 0;
}

/** A network of its own for the data path. */
async function addDataNetwork(hosts: readonly Host[]): Promise<void> {
  await must(inClient(['ip', 'link', 'add', BRIDGE, 'type', 'bridge']));
  await must(inClient(['ip', 'addr', 'add', `${CLIENT}/24`, 'dev', BRIDGE]));
  await must(inClient(['ip', 'link', 'set', BRIDGE, 'up']));
  for (const host of hosts) {
    const port = `d${host.number}`;
    await must(inClient(['ip', 'link', 'add', port, 'type', 'veth', 'peer', 'name', `${port}h`]));
    await must(inClient(['ip', 'link', 'set', port, 'master', BRIDGE, 'up']));
    await must(inClient(['ip', 'link', 'set', `${port}h`, 'netns', String(host.holderPid)]));
    await must(inHost(host, ['ip', 'link', 'set', `${port}h`, 'name', 'eth1']));
    await must(inHost(host, ['ip', 'addr', 'add', `${dataAddress(host)}/24`, 'dev', 'eth1']));
    await must(inHost(host, ['ip', 'link', 'set', 'eth1', 'up']));
  }
}

void t.test('a data path of its own', async (t) => {
  const hosts = await up(2);
  try {
    const [first, second] = hosts as readonly [Host, Host];
    await addDataNetwork(hosts);
    const socket = socketOf(first, 'skep');
    await mustDocker(socket, [
      ...['swarm', 'init', '--advertise-addr', first.address],
      ...['--data-path-addr', dataAddress(first), '--data-path-port', PORT],
    ]);
    const token = await mustDocker(socket, ['swarm', 'join-token', '-q', 'worker']);
    await mustDocker(socketOf(second, 'skep'), [
      ...['swarm', 'join', '--token', token, '--advertise-addr', second.address],
      ...['--data-path-addr', 'eth1', `${first.address}:2377`],
    ]);
    await mustDocker(socket, ['network', 'create', '-d', 'overlay', 'front']);
    await mustDocker(socket, [
      ...['service', 'create', '--detach', '--name', 'web', '--network', 'front'],
      ...['--replicas', '2', '--replicas-max-per-node', '1', '-p', '8000:80', WEB_IMAGE],
    ]);
    await waitForReplicas(socket, 'web', 2, 60_000);

    const { id } = await containerOn(first, 'web');
    const target = (await containerOn(second, 'web')).addresses['front'] ?? '';
    await waitFor(`${target} to answer`, 30_000, async () => {
      const url = `http://${target}/who`;
      const wget = ['exec', id, 'busybox', 'timeout', '3', 'wget', '-q', '-O', '-', url];
      return (await docker(first.dockerSocket, wget)).code === 0 ? true : undefined;
    });
    for (const host of hosts) {
      t.match(await must(inHost(host, ['ip', '-d', 'link', 'show', 'sw-vx0'])), `dstport ${PORT} `);
      const other = host === first ? second : first;
      for (const [address, client] of [
        [host.address, CLIENT_ADDRESS],
        [dataAddress(host), CLIENT],
      ] as const) {
        const names = new Set<string>();
        const before = await sent(host);
        await waitFor(`both tasks behind ${address}`, 30_000, async () => {
          const answer = await askWho(address, PUBLISHED);
          if (answer === undefined) return undefined;
          t.equal(answer.clientAddress, client);
          names.add(answer.hostname);
          return names.size === 2 ? true : undefined;
        });
        t.ok((await sent(host)) > before, 'over the data path network');
      }
      const row = await waitFor(`${host.name} to have tested its path`, 30_000, async () => {
        const { stdout } = await skep(host, ['net', 'paths']);
        return stdout.split('\n').find((line) => line.includes(' good '));
      });
      t.match(row, dataAddress(other));
    }

    await t.test('whose interfaces get a smaller MTU while containers run', async (t) => {
      // What the sender's kernel cuts to size: four packets there and back.
      const ping = ['ping', '-c', '1', '-W', '1', '-s', '4000', target];
      const pings = async () => (await docker(first.dockerSocket, ['exec', id, ...ping])).code;
      const mtu = async () => mustDocker(first.dockerSocket, ['exec', id, 'cat', MTU_FILE]);
      t.equal(await pings(), 0);
      for (const [underlay, container] of [
        ['1300', '1250'],
        ['1500', '1450'],
      ] as const) {
        for (const host of hosts)
          await must(inHost(host, ['ip', 'link', 'set', 'eth1', 'mtu', underlay]));
        await waitFor(`the container to have ${container}`, 30_000, async () =>
          (await mtu()) === container ? true : undefined,
        );
        await waitFor('long packets to pass', 30_000, async () =>
          (await pings()) === 0 ? true : undefined,
        );
      }
    });
  } finally {
    await down();
  }
});
