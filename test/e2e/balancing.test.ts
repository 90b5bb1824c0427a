/**
 * Ten thousand ports published at once, the choice of tasks and the way of replies changed live by
 * labels, and a host-mode service whose new task starts beside the old one.
 */
import t from 'tap';
import { waitFor } from '../testbed/commands.js';
import { CLIENT_ADDRESS, WEB_IMAGE } from '../testbed/layout.js';
import { formSwarm, managerOf, socketOf, tasksOf } from '../testbed/swarm.js';
import {
  type Host,
  askWho,
  down,
  inClient,
  inHost,
  mustDocker,
  skep,
  up,
} from '../testbed/testbed.js';

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(500_000);

const WAIT_MS = 60_000;
const FIRST = 20_000;
const LAST = 29_999;
const ASKED = [FIRST, 25_000, LAST] as const;
const PORT = 8000;
const HOST_PORT = 9000;
/** Which task answers is up to a hash of the client's port: this many tries find every one. */
const TRIES = 24;

/** Names of the tasks' containers that answered. */
async function whoAnswers(address: string, port: number): Promise<ReadonlySet<string>> {
  const names = new Set<string>();
  for (let tries = 0; tries < TRIES; tries += 1) {
    const answer = await askWho(address, port, 2);
    if (answer !== undefined) names.add(answer.hostname);
  }
  return names;
}

/** Waits until so many different tasks answer. */
async function untilAnswering(address: string, port: number, tasks: number): Promise<void> {
  await waitFor(`${tasks} tasks to answer at ${address}:${port}`, WAIT_MS, async () =>
    (await whoAnswers(address, port)).size === tasks ? true : undefined,
  );
}

/** Packets that a node's tasks sent straight to clients of another node. */
async function returnedBy(host: Host): Promise<number> {
  const { stdout } = await skep(host, ['net', 'counters']);
  return Number(/^direct-returned +(\d+)/m.exec(stdout)?.[1] ?? 0);
}

/** Waits until `skep net services` on a node says this, in whatever line. */
async function untilSaid(host: Host, what: RegExp): Promise<void> {
  await waitFor(`${String(what)} on ${host.name}`, WAIT_MS, async () =>
    what.test((await skep(host, ['net', 'services'])).stdout) ? true : undefined,
  );
}

/** From now on the network drops what a host sends under another address than its own. */
async function guard(host: Host): Promise<void> {
  const { stdout } = await inHost(host, ['ip', '-j', 'link', 'show', 'eth0']);
  const [link] = JSON.parse(stdout) as [{ address: string }];
  const { code, stderr } = await inClient([
    'nft',
    'add table bridge guard; add chain bridge guard input {type filter hook prerouting priority 0;};' +
      `add rule bridge guard input ether saddr ${link.address} ip saddr != ${host.address} drop`,
  ]);
  if (code !== 0) throw new Error(stderr);
}

void t.test('balancing', async (t) => {
  const hosts = await up(2);
  const [h1, h2] = hosts as [Host, Host];
  try {
    const socket = socketOf(managerOf(hosts), 'skep');
    await formSwarm(hosts, 'skep');

    await t.test('ten thousand ports', async () => {
      const servers = ASKED.map((port) => `web-server ${port}`).join(' & ');
      await mustDocker(socket, [
        ...['service', 'create', '--detach', '--name', 'range', '--replicas', '2'],
        ...['--publish', `${FIRST}-${LAST}:${FIRST}-${LAST}`, WEB_IMAGE, 'sh', '-c', servers],
      ]);
      for (const host of hosts) {
        for (const port of ASKED) await untilAnswering(host.address, port, 2);
      }
      await mustDocker(socket, ['service', 'rm', 'range']);
    });

    await t.test('the policy of a service, changed live', async (t) => {
      await mustDocker(socket, [
        ...['service', 'create', '--name', 'web', '--replicas', '2', '--publish', `${PORT}:80`],
        ...['--constraint', 'node.role!=none', '--label', 'skep.lb.policy=client-ip', WEB_IMAGE],
      ]);
      const before = (await tasksOf(socket, 'web')).map(({ id }) => id).sort();
      await untilAnswering(h1.address, PORT, 1);
      t.same(await whoAnswers(h2.address, PORT), await whoAnswers(h1.address, PORT), 'everywhere');
      const policy = async (value: string) =>
        await mustDocker(socket, [
          ...['service', 'update', '--detach', '--label-add', `skep.lb.policy=${value}`, 'web'],
        ]);
      await policy('least-conn');
      for (const host of hosts) await untilAnswering(host.address, PORT, 2);
      await policy('local-first');
      for (const host of hosts) await untilAnswering(host.address, PORT, 1);
      const [one, other] = await Promise.all(hosts.map((host) => whoAnswers(host.address, PORT)));
      t.notSame(one, other, 'each node its own');
      t.same((await tasksOf(socket, 'web')).map(({ id }) => id).sort(), before, 'no task replaced');
      await mustDocker(socket, ['service', 'rm', 'web']);
    });

    await t.test('host mode, start-first: the new task beside the old one', async (t) => {
      await mustDocker(socket, [
        ...['service', 'create', '--name', 'pinned', '--update-order', 'start-first'],
        ...['--constraint', `node.hostname==${h2.name}`, '--update-monitor', '1s'],
        ...['--publish', `mode=host,published=${HOST_PORT},target=80`, WEB_IMAGE],
      ]);
      const [old] = await whoAnswers(h2.address, HOST_PORT);
      let missed = 0;
      let asked = 0;
      const update = { running: true };
      const asking = (async () => {
        while (update.running) {
          asked += 1;
          if ((await askWho(h2.address, HOST_PORT, 2)) === undefined) missed += 1;
        }
      })();
      await mustDocker(socket, ['service', 'update', '--force', 'pinned']);
      update.running = false;
      await asking;
      t.equal(missed, 0, `of ${asked} questions`);
      const [now] = await whoAnswers(h2.address, HOST_PORT);
      t.not(now, old);
      t.ok(now);
    });

    await t.test('the way of replies, changed live', async (t) => {
      await mustDocker(socket, [
        ...['service', 'create', '--name', 'far', '--publish', `${PORT}:80`],
        ...['--constraint', `node.hostname==${h2.name}`, WEB_IMAGE],
      ]);
      const before = (await tasksOf(socket, 'far')).map(({ id }) => id);
      const answers = async (where: string) => {
        for (let asked = 0; asked < 5; asked += 1)
          t.match(await askWho(h1.address, PORT), { clientAddress: CLIENT_ADDRESS }, where);
      };
      const way = async (value: string) =>
        await mustDocker(socket, [
          ...['service', 'update', '--detach', '--label-add', `skep.lb.return=${value}`, 'far'],
        ]);
      await answers('as ever');
      t.equal(await returnedBy(h2), 0);
      await way('direct');
      await untilSaid(h1, new RegExp(`^\\*:${PORT}/tcp .* direct *$`, 'm'));
      await answers('straight');
      t.ok((await returnedBy(h2)) > 0);
      await guard(h2);
      await untilSaid(
        h1,
        /^\*:.* direct \(0 of 1 nodes\)[^]*^Not direct: packets that .* do not arrive/m,
      );
      const returned = await returnedBy(h2);
      await answers('by the tunnel');
      t.equal(await returnedBy(h2), returned);
      await way('tunnel');
      await untilSaid(h1, new RegExp(`^\\*:${PORT}/tcp .* tunnel *$`, 'm'));
      await answers('by the tunnel, as wished');
      t.same(
        (await tasksOf(socket, 'far')).map(({ id }) => id),
        before,
        'no task replaced',
      );
    });
  } finally {
    await down();
  }
});
