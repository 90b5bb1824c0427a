/**
 * Tasks that are out of traffic while they are not ready, and addresses that labels ask for, as the
 * docker CLI, name services and kernels of two hosts, and a stock engine, see them.
 */
import t from 'tap';
import { waitFor } from '../testbed/commands.js';
import { WEB_IMAGE } from '../testbed/layout.js';
import {
  containerOn,
  formSwarm,
  managerOf,
  runningTasks,
  socketOf,
  tasksOf,
} from '../testbed/swarm.js';
import {
  type Host,
  docker,
  down,
  inClient,
  inHost,
  mustDocker,
  restartSkepd,
  killSkepd,
  skep,
  up,
} from '../testbed/testbed.js';
import { setUplink } from '../testbed/faults.js';
import { HeldConnections } from './support/held-connections.js';
import { backendsOf } from './support/tables.js';

t.setTimeout(500_000);

const WAIT_MS = 60_000;
const PORT = 8000;
const ECHO_PORT = 8007;
const LABELS = {
  http: ':80/ready',
  tcp: '80',
  interval: '500ms',
  retries: '2',
} as const;

/** Makes the task of `web` on a host ready, or not. */
async function setReady(host: Host, ready: boolean): Promise<void> {
  const { id } = await containerOn(host, 'web');
  const command = ready ? ['touch'] : ['rm', '-f'];
  await mustDocker(host.dockerSocket, ['exec', id, ...command, '/var/www/ready']);
}

/** Addresses that a name has in the container of `asker` on a host. */
async function addressesOf(host: Host, name: string): Promise<readonly string[]> {
  const { id } = await containerOn(host, 'asker');
  const asked = await docker(host.dockerSocket, [
    ...['exec', id, 'busybox', 'timeout', '2', 'nslookup', name],
  ]);
  const lines = asked.stdout.split('\n').filter((line) => /^Address.*: 10\./.test(line));
  return lines.map((line) => line.replace(/^Address.*: /, '')).sort();
}

/** Waits until both hosts' kernels and names have so many tasks of `web` in traffic. */
async function untilInTraffic(hosts: readonly Host[], count: number): Promise<void> {
  for (const host of hosts) {
    await waitFor(`${count} backends on ${host.name}`, WAIT_MS, async () =>
      (await backendsOf(host, PORT)).length === count ? true : undefined,
    );
    await waitFor(`${count} addresses of tasks.web on ${host.name}`, WAIT_MS, async () =>
      (await addressesOf(host, 'tasks.web')).length === count ? true : undefined,
    );
  }
}

/** Waits until tasks of `web` whose desired state is Running are in this state, so many of them. */
async function untilTasks(socket: string, count: number, state: string): Promise<void> {
  await waitFor(`${count} tasks that are ${state}`, WAIT_MS, async () => {
    const tasks = await tasksOf(socket, 'web');
    const there = tasks.filter(
      ({ desiredState, currentState }) =>
        desiredState === 'Running' && currentState.startsWith(state),
    );
    return there.length === count ? true : undefined;
  });
}

void t.test('readiness', async (t) => {
  const hosts = await up(2);
  const [h1, h2] = hosts as [Host, Host];
  try {
    const socket = socketOf(managerOf(hosts), 'skep');
    await formSwarm(hosts, 'skep');
    await mustDocker(socket, ['network', 'create', '-d', 'overlay', 'front']);
    await mustDocker(socket, [
      ...['service', 'create', '--name', 'asker', '--mode', 'global', '--network', 'front'],
      WEB_IMAGE,
    ]);

    await t.test('a new service waits for it, out of all traffic', async (t) => {
      await mustDocker(socket, [
        ...['service', 'create', '--detach', '--name', 'web', '--replicas', '2'],
        ...['--replicas-max-per-node', '1', '--network', 'front', '--update-monitor', '1s'],
        ...['--publish', `${PORT}:80`, '--publish', `${ECHO_PORT}:7`],
        ...Object.entries(LABELS).flatMap(([key, value]) => [
          ...['--label', `skep.readiness.${key}=${value}`],
        ]),
        ...[WEB_IMAGE, 'sh', '-c', 'nc -ll -p 7 -e /bin/cat & exec web-server 80'],
      ]);
      await untilTasks(socket, 2, 'Starting');
      for (const host of hosts)
        await waitFor(`the container on ${host.name}`, WAIT_MS, async () =>
          containerOn(host, 'web'),
        );
      await untilInTraffic(hosts, 0);
      await setReady(h1, true);
      await untilInTraffic(hosts, 1);
      await untilTasks(socket, 1, 'Starting');
      await setReady(h2, true);
      await untilInTraffic(hosts, 2);
      await untilTasks(socket, 2, 'Running');
      t.equal((await addressesOf(h1, 'web')).length, 1, 'the virtual address');
    });

    await t.test('out of traffic and back, without an end of anything', async (t) => {
      const before = await tasksOf(socket, 'web');
      const containers = await Promise.all(hosts.map(async (host) => containerOn(host, 'web')));
      const heldTargets = [`${h1.address}:${ECHO_PORT}`];
      const connections = await HeldConnections.start({
        ...{ heldTargets, held: 20, freshTargets: [`${h1.address}:${ECHO_PORT}`], rate: 20 },
      });
      try {
        await setReady(h2, false);
        await untilInTraffic(hosts, 1);
        const { stdout } = await skep(h2, ['net', 'services']);
        t.match(stdout, /^Not ready: web\.\d\.\w+ \(10\..*\): HTTP port 80 answers with 404\.$/m);
        t.notMatch((await skep(h1, ['net', 'services'])).stdout, 'Not ready');
        await killSkepd(h2);
        await restartSkepd(h2);
        await untilInTraffic(hosts, 1);
        await setReady(h2, true);
        await untilInTraffic(hosts, 2);
      } finally {
        const { held, fresh } = await connections.finish();
        t.equal(held.failed, 0, JSON.stringify(held.errors));
        t.equal(fresh.failed, 0, JSON.stringify(fresh.errors));
      }
      const ids = (tasks: typeof before) => tasks.map(({ id, desiredState }) => [id, desiredState]);
      t.same(ids(await tasksOf(socket, 'web')), ids(before), 'the same tasks');
      t.equal((await runningTasks(socket, 'web')).length, 2);
      t.same(
        await Promise.all(hosts.map(async (host) => containerOn(host, 'web'))),
        containers,
        'the same containers',
      );
    });

    await t.test(
      'no task ready: connections are refused at once, the name is unknown',
      async (t) => {
        const [vip] = await addressesOf(h1, 'web');
        for (const host of hosts) await setReady(host, false);
        await untilInTraffic(hosts, 0);
        t.same(await addressesOf(h1, 'web'), []);
        const beganMs = performance.now();
        const { code } = await inClient([
          'curl',
          '-s',
          '--max-time',
          '20',
          `${h1.address}:${PORT}`,
        ]);
        t.equal(code, 7, 'curl could not connect');
        const { id } = await containerOn(h1, 'asker');
        const asked = await docker(h1.dockerSocket, [
          ...[
            'exec',
            id,
            'busybox',
            'timeout',
            '20',
            'wget',
            '-q',
            '-O',
            '/dev/null',
            `http://${vip}/`,
          ],
        ]);
        t.match(asked.stderr, /Connection refused/);
        t.comment(`refused after ${Math.round(performance.now() - beganMs)} ms, both together`);
        t.equal((await runningTasks(socket, 'web')).length, 2);
        for (const host of hosts) await setReady(host, true);
        await untilInTraffic(hosts, 2);
      },
    );

    await t.test('a rolling update goes on when the new task is ready', async (t) => {
      const connections = await HeldConnections.start({
        ...{ heldTargets: [`${h1.address}:${ECHO_PORT}`], held: 0 },
        ...{ freshTargets: hosts.map(({ address }) => `${address}:${ECHO_PORT}`), rate: 50 },
      });
      try {
        await mustDocker(socket, [
          ...['service', 'update', '--detach', '--force', '--replicas-max-per-node', '0'],
          ...['--update-order', 'start-first', 'web'],
        ]);
        for (const round of ['first', 'second']) {
          const starting = await waitFor(`the ${round} new task`, WAIT_MS, async () =>
            (await tasksOf(socket, 'web')).find(
              ({ desiredState, currentState }) =>
                desiredState === 'Running' && currentState.startsWith('Starting'),
            ),
          );
          t.equal((await backendsOf(h1, PORT)).length, 2, 'the old ones stay');
          const host = hosts.find(({ name }) => name === starting.node) as Host;
          await waitFor(`the container of the ${round} new task`, WAIT_MS, async () => {
            const id = await mustDocker(host.dockerSocket, [
              ...['ps', '-q', '--filter', `label=com.docker.swarm.task.id=${starting.id}`],
            ]);
            return mustDocker(host.dockerSocket, ['exec', id, 'touch', '/var/www/ready']);
          });
          await waitFor(`the ${round} new task to run`, WAIT_MS, async () =>
            (await runningTasks(socket, 'web')).find(({ id }) => id === starting.id),
          );
        }
        await untilTasks(socket, 2, 'Running');
        await untilInTraffic(hosts, 2);
      } finally {
        const { fresh } = await connections.finish();
        t.equal(fresh.failed, 0, JSON.stringify(fresh.errors));
        t.ok(fresh.opened > 0);
      }
    });

    await t.test('labels changed live: a command that hangs is killed', async (t) => {
      await mustDocker(socket, [
        ...['service', 'update', '--detach', '--label-rm', 'skep.readiness.http'],
        ...['--label-add', 'skep.readiness.cmd=sleep 77; true'],
        ...['--label-add', 'skep.readiness.timeout=300ms', 'web'],
      ]);
      await untilInTraffic(hosts, 0);
      await waitFor('several looks more', WAIT_MS, async () => {
        const { stdout } = await inHost(h1, ['ps', '-eo', 'args']);
        const hanging = stdout.split('\n').filter((line) => line.startsWith('sleep 77'));
        t.ok(hanging.length <= 2, `${hanging.length} of them`);
        return hanging.length === 0 ? true : undefined;
      });
      await mustDocker(socket, [
        ...['service', 'update', '--detach', '--label-rm', 'skep.readiness.cmd'],
        ...Object.keys(LABELS).flatMap((key) => ['--label-rm', `skep.readiness.${key}`]),
        ...['--label-rm', 'skep.readiness.timeout', 'web'],
      ]);
      await untilInTraffic(hosts, 2);
      t.equal((await runningTasks(socket, 'web')).length, 2);
    });
  } finally {
    await down();
  }
});

const SUBNET = '10.66.0.0/24';
const RESERVED = '10.66.0.192/26';
const VIP = '10.66.0.200';
const OTHER_VIP = '10.66.0.201';
const LIST = '10.66.0.210-10.66.0.219';
const THREE = ['10.66.0.210', '10.66.0.211', '10.66.0.212'] as const;

/** What the docker CLI says when it is refused. */
async function refusal(socket: string, args: readonly string[]): Promise<string> {
  const { code, stderr } = await docker(socket, args);
  return code === 0 ? 'accepted' : stderr.trim();
}

/** Waits until a name has these addresses on a host. */
async function untilNamed(host: Host, name: string, addresses: readonly string[]): Promise<void> {
  await waitFor(`${name} to be ${addresses.join()} on ${host.name}`, WAIT_MS, async () =>
    (await addressesOf(host, name)).join() === addresses.join() ? true : undefined,
  );
}

/** Name of the container that answers at an address on port 80, asked by the task of `asker` on a host. */
async function whoAnswers(host: Host, address: string): Promise<string> {
  const { id } = await containerOn(host, 'asker');
  const asked = await docker(host.dockerSocket, [
    ...['exec', id, 'busybox', 'timeout', '3', 'wget', '-q', '-O', '-'],
    `http://${address}/who`,
  ]);
  return asked.stdout.split(' ')[0] ?? '';
}

/** Waits until somebody answers at an address, asked by the tasks of `asker` on these hosts. */
async function untilAnswering(hosts: readonly Host[], address: string): Promise<void> {
  for (const host of hosts)
    await waitFor(`an answer at ${address} on ${host.name}`, WAIT_MS, async () =>
      (await whoAnswers(host, address)) === '' ? undefined : true,
    );
}

void t.test('fixed addresses', async (t) => {
  const hosts = await up(3, { noSkep: ['h3'] });
  const [h1, h2] = hosts as [Host, Host, Host];
  const flavourOf = (host: Host) => (host.name === 'h3' ? 'stock' : 'skep');
  try {
    const socket = socketOf(managerOf(hosts), 'skep');
    await formSwarm(hosts, flavourOf);
    await mustDocker(socket, [
      ...['network', 'create', '-d', 'overlay', '--attachable', '--subnet', SUBNET],
      ...['--label', `skep.reserved=${RESERVED}`, 'front'],
    ]);
    await mustDocker(socket, [
      ...['service', 'create', '--name', 'asker', '--mode', 'global', '--network', 'front'],
      WEB_IMAGE,
    ]);
    const nodeOf = async () =>
      new Map((await runningTasks(socket, 'web')).map(({ node, id }) => [node, id]));

    await t.test('asked for and got, also on a stock engine', async (t) => {
      await mustDocker(socket, [
        ...['service', 'create', '--name', 'web', '--replicas', '3', '--network', 'front'],
        ...['--replicas-max-per-node', '1', '--update-monitor', '1s'],
        ...['--label', `skep.vip.front=${VIP}`, '--label', `skep.addresses.front=${LIST}`],
        WEB_IMAGE,
      ]);
      t.equal((await nodeOf()).size, 3);
      const given: string[] = [];
      for (const host of hosts) {
        await untilNamed(host, 'web', [VIP]);
        await untilNamed(host, 'tasks.web', THREE);
        given.push((await containerOn(host, 'web')).addresses['front'] ?? '');
      }
      t.same(given.sort(), THREE, 'as their engines see them');
      await untilAnswering([h1, h2], VIP);
      const format = '{{range .Endpoint.VirtualIPs}}{{.Addr}} {{end}}';
      const shown = await mustDocker(socket, ['service', 'inspect', '--format', format, 'web']);
      t.equal(shown, `${VIP}/24`);
      for (const host of hosts)
        t.notMatch((await containerOn(host, 'asker')).addresses['front'], /\.(19[2-9]|2..)$/);
    });

    await t.test('refused where it cannot be', async (t) => {
      const create = ['service', 'create', '--name', 'second', '--network', 'front'];
      const label = (key: string, value: string) => ['--label', `skep.${key}=${value}`];
      t.match(
        await refusal(socket, [...create, ...label('vip.front', VIP), WEB_IMAGE]),
        `skep.vip.front: ${VIP} is already taken by service 'web'`,
      );
      t.match(
        await refusal(socket, [...create, ...label('vip.front', '10.66.0.7'), WEB_IMAGE]),
        '10.66.0.7 is not among the reserved addresses of network front',
      );
      t.match(
        await refusal(socket, ['service', 'scale', 'web=11']),
        'skep.addresses.front: 10 addresses for 11 replicas',
      );
      t.match(
        await refusal(socket, ['service', 'update', '--update-order', 'start-first', 'web']),
        'have to be stop-first',
      );
      t.match(
        await refusal(socket, [
          'run',
          '--rm',
          '--network',
          'front',
          '--ip',
          '10.66.0.230',
          WEB_IMAGE,
        ]),
        'No address returned',
      );
      t.match(
        await refusal(socket, [
          ...['network', 'create', '-d', 'overlay', '--label', `skep.reserved=${RESERVED}`, 'net'],
        ]),
        'skep.reserved: the network needs an IPv4 subnet',
      );
    });

    await t.test('kept over an update and a restart of the manager', async (t) => {
      const before = [...(await nodeOf()).values()];
      await mustDocker(socket, ['service', 'update', '--force', 'web']);
      await killSkepd(h1);
      await restartSkepd(h1);
      await waitFor('a manager', WAIT_MS, async () => mustDocker(socket, ['node', 'ls']));
      await mustDocker(socket, ['service', 'update', '--force', 'web']);
      for (const host of hosts) {
        await untilNamed(host, 'web', [VIP]);
        await untilNamed(host, 'tasks.web', THREE);
      }
      const after = new Set((await nodeOf()).values());
      t.notOk(
        before.some((id) => after.has(id)),
        'other tasks',
      );
    });

    await t.test('another virtual address', async (t) => {
      const relabel = async (vip: string) =>
        mustDocker(socket, ['service', 'update', '--label-add', `skep.vip.front=${vip}`, 'web']);
      // Names on a stock engine follow a service that has no tasks meanwhile.
      await mustDocker(socket, ['service', 'scale', 'web=0']);
      for (const host of hosts) await untilNamed(host, 'web', []);
      await relabel(OTHER_VIP);
      await mustDocker(socket, ['service', 'scale', 'web=3']);
      for (const host of hosts) {
        await untilNamed(host, 'web', [OTHER_VIP]);
        await untilNamed(host, 'tasks.web', THREE);
      }
      const before = await nodeOf();
      await relabel(VIP);
      for (const host of [h1, h2]) {
        await untilNamed(host, 'web', [VIP]);
        await untilNamed(host, 'tasks.web', THREE);
      }
      await untilAnswering([h1, h2], VIP);
      const after = await nodeOf();
      for (const name of ['h1', 'h2'])
        t.equal(after.get(name), before.get(name), `${name} follows`);
      t.not(after.get('h3'), before.get('h3'), 'the stock engine has a new task');
    });

    await t.test('names of a stock engine follow readiness', async (t) => {
      await mustDocker(socket, [
        ...['service', 'create', '--detach', '--name', 'moody', '--network', 'front'],
        ...['--constraint', `node.hostname==${h1.name}`, '--label', 'skep.readiness.retries=1'],
        ...['--label', 'skep.readiness.cmd=test -e /tmp/ok'],
        ...['--label', 'skep.readiness.interval=500ms', WEB_IMAGE],
      ]);
      const { id } = await waitFor('its container', WAIT_MS, async () => containerOn(h1, 'moody'));
      const counts: number[] = [];
      for (const command of [['touch'], ['rm', '-f'], ['touch']]) {
        await mustDocker(h1.dockerSocket, ['exec', id, ...command, '/tmp/ok']);
        const wanted = command[0] === 'touch' ? 1 : 0;
        for (const host of hosts)
          await waitFor(`${wanted} addresses on ${host.name}`, WAIT_MS, async () =>
            (await addressesOf(host, 'tasks.moody')).length === wanted ? true : undefined,
          );
        counts.push(wanted);
      }
      t.same(counts, [1, 0, 1]);
      await mustDocker(socket, ['service', 'rm', 'moody']);
    });

    await t.test('a host that is cut off gives its address up', async (t) => {
      await skep(h1, ['cluster', 'set', 'skep.fence_after', '2s']);
      await mustDocker(socket, ['node', 'update', '--availability', 'pause', 'h1']);
      await mustDocker(socket, [
        ...['service', 'create', '--name', 'one', '--network', 'front'],
        ...['--label', 'skep.addresses.front=10.66.0.220', '--constraint', 'node.hostname!=h3'],
        WEB_IMAGE,
      ]);
      const old = (await containerOn(h2, 'one')).id.slice(0, 12);
      t.equal(await whoAnswers(h1, '10.66.0.220'), old);
      await mustDocker(socket, ['node', 'update', '--availability', 'active', 'h1']);
      await setUplink(h2, 'down');
      await waitFor('the successor on h1', WAIT_MS, async () =>
        (await runningTasks(socket, 'one')).find(({ node }) => node === 'h1'),
      );
      const now = (await containerOn(h1, 'one')).id.slice(0, 12);
      t.equal(await whoAnswers(h1, '10.66.0.220'), now);
      await setUplink(h2, 'up');
      await waitFor('the end of the old one', WAIT_MS, async () =>
        containerOn(h2, 'one').then(
          () => undefined,
          () => true,
        ),
      );
      for (const host of [h1, h2])
        await waitFor(`${host.name} to reach the new one`, WAIT_MS, async () =>
          (await whoAnswers(host, '10.66.0.220')) === now ? true : undefined,
        );
    });
  } finally {
    await down();
  }
});
