/**
 * How a service is published, changed while it serves: ingress and host mode ten times under
 * connections, one address only, and client networks. No container is replaced for any of it.
 */
import t from 'tap';
import { sleep, waitFor } from '../testbed/commands.js';
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
  askWho,
  docker,
  down,
  inClient,
  inHost,
  killSkepd,
  mustDocker,
  restartSkepd,
  skep,
  up,
} from '../testbed/testbed.js';
import { HeldConnections } from './support/held-connections.js';

const WAIT_MS = 30_000;
const ECHO_PORT = 7000;
const PORT = 8000;
const TOGGLES = 10;
const SECOND_CLIENT = '192.168.77.2';

const echoPort = (mode: string) => `mode=${mode},published=${ECHO_PORT},target=7`;

/** Ids of the running containers of a service, over all hosts. */
async function containerIds(hosts: readonly Host[], service: string): Promise<readonly string[]> {
  const filter = `label=com.docker.swarm.service.name=${service}`;
  const lists = await Promise.all(
    hosts.map(async (host) => mustDocker(host.dockerSocket, ['ps', '-q', '--filter', filter])),
  );
  return lists
    .flatMap((list) => list.split('\n'))
    .filter(Boolean)
    .sort();
}

/** Changes a service without waiting, then waits until the update is said to be complete. */
async function update(socket: string, service: string, ...options: readonly string[]) {
  await mustDocker(socket, ['service', 'update', '--detach', ...options, service]);
  await waitFor(`the update of ${service} to complete`, WAIT_MS, async () => {
    const format = '{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}';
    const state = await mustDocker(socket, ['service', 'inspect', '--format', format, service]);
    return state === 'completed' ? true : undefined;
  });
}

/** Waits until `address` answers a web request from outside, or does not. */
async function answers(address: string, port: number, wanted: boolean): Promise<void> {
  await waitFor(`${address}:${port} to answer: ${wanted}`, WAIT_MS, async () =>
    ((await askWho(address, port, 1)) !== undefined) === wanted ? true : undefined,
  );
}

/** Exit code of an HTTP request from the outside client, from a certain address of its. */
async function askFrom(source: string, url: string): Promise<number> {
  const options = ['--interface', source, '-sf', '-o', '/dev/null', '--max-time', '2'];
  return (await inClient(['curl', ...options, url])).code;
}

void t.test('publishing changes live', async (t) => {
  const hosts = await up(3);
  const [h1, h2, h3] = hosts as [Host, Host, Host];
  try {
    const socket = socketOf(managerOf(hosts), 'skep');
    await formSwarm(hosts, 'skep');

    await t.test('ingress and host mode under connections', async (t) => {
      await mustDocker(socket, [
        ...['service', 'create', '--name', 'echo', '--replicas', '2', '--update-monitor', '1s'],
        ...['--constraint', 'node.hostname!=h1', '--publish', echoPort('ingress')],
        ...[WEB_IMAGE, 'nc', '-ll', '-p', '7', '-e', '/bin/cat'],
      ]);
      const before = await containerIds(hosts, 'echo');
      t.equal(before.length, 2);
      const at = (host: Host) => `${host.address}:${ECHO_PORT}`;
      const connections = await HeldConnections.start({
        heldTargets: hosts.map(at),
        held: 12,
        freshTargets: [at(h2), at(h3)],
        rate: 20,
      });
      try {
        const told = await docker(socket, [
          ...['service', 'update', '--publish-rm', echoPort('ingress')],
          ...['--publish-add', echoPort('host'), 'echo'],
        ]);
        t.equal(told.code, 0, told.stderr);
        const shown = await mustDocker(socket, [
          ...['service', 'ps', '--format', '{{.Node}} {{.Ports}}', 'echo'],
        ]);
        t.same(shown.split('\n').sort(), [`h2 *:${ECHO_PORT}->7/tcp`, `h3 *:${ECHO_PORT}->7/tcp`]);
        const refused = await inClient(['curl', '-s', '--max-time', '2', `http://${at(h1)}/`]);
        t.equal(refused.code, 7, 'a node without a task refuses in host mode');
        for (let turn = 1; turn < TOGGLES; turn += 1) {
          const [from, to] = turn % 2 === 0 ? ['ingress', 'host'] : ['host', 'ingress'];
          await update(
            socket,
            'echo',
            ...['--publish-rm', echoPort(from ?? ''), '--publish-add', echoPort(to ?? '')],
          );
        }
        await sleep(1500);
        const result = await connections.finish();
        t.match(result.held, { opened: 12, failed: 0, errors: {} }, JSON.stringify(result));
        t.match(result.fresh, { failed: 0, errors: {} }, 'nor did any new one fail');
        t.ok(result.fresh.opened > 20);
      } finally {
        connections.kill();
      }
      t.same(await containerIds(hosts, 'echo'), before, 'the same containers');
      t.equal((await tasksOf(socket, 'echo')).length, 2, 'and the same tasks');
      const ports = await mustDocker(socket, [
        ...['service', 'inspect', '--format', '{{json .Endpoint.Ports}}', 'echo'],
      ]);
      t.match(JSON.parse(ports), [{ PublishMode: 'ingress', PublishedPort: ECHO_PORT }]);
    });

    await t.test('a node whose skepd was away follows when it is back', async (t) => {
      const at = (host: Host) => `${host.address}:${ECHO_PORT}`;
      const connections = await HeldConnections.start({
        heldTargets: [at(h2), at(h3)],
        held: 8,
        freshTargets: [at(h3)],
        rate: 0,
      });
      try {
        await killSkepd(h2);
        await mustDocker(socket, [
          ...['service', 'update', '--detach', '--publish-rm', echoPort('ingress')],
          ...['--publish-add', 'mode=host,published=7001,target=7', 'echo'],
        ]);
        const accepts = async (host: Host, port: number) => {
          const url = `http://${host.address}:${port}/`;
          return (await inClient(['curl', '-s', '--max-time', '1', url])).code !== 7;
        };
        const follows = async (host: Host) =>
          await waitFor(`${host.name} to follow`, WAIT_MS, async () =>
            (await accepts(host, 7001)) && !(await accepts(host, ECHO_PORT)) ? true : undefined,
          );
        await waitFor('h3 to publish the new port', WAIT_MS, async () =>
          (await accepts(h3, 7001)) ? true : undefined,
        );
        t.ok(await accepts(h2, ECHO_PORT), 'nobody told it yet');
        await restartSkepd(h2);
        for (const host of [h2, h3]) await follows(host);
        await waitFor('both to report their port', WAIT_MS, async () => {
          const ps = ['service', 'ps', '--format', '{{.Ports}}', 'echo'];
          const shown = await mustDocker(socket, ps);
          if (shown !== '*:7001->7/tcp\n*:7001->7/tcp') throw new Error(`ports are ${shown}`);
          return true;
        });
        const { held } = await connections.finish();
        t.match(held, { opened: 8, failed: 0, errors: {} }, 'connections of the old port go on');
      } finally {
        connections.kill();
      }
      await mustDocker(socket, ['service', 'rm', 'echo']);
    });

    await t.test('on one address', async (t) => {
      const address = `skep.publish.${PORT}.address`;
      await mustDocker(socket, [
        ...['service', 'create', '--name', 'web', '--replicas', '3', '--publish', `${PORT}:80`],
        ...['--label', `${address}=${h1.address}`, WEB_IMAGE],
      ]);
      const before = await containerIds(hosts, 'web');
      await answers(h1.address, PORT, true);
      for (const host of [h2, h3]) t.equal(await askWho(host.address, PORT, 1), undefined);
      const other = await docker(socket, [
        ...['service', 'create', '--detach', '--name', 'other', '--publish', `${PORT}:80`],
        ...[WEB_IMAGE],
      ]);
      t.match(other.stderr, /port '8000' is already in use by service 'web'/);
      await mustDocker(socket, [
        ...['service', 'create', '--name', 'other', '--publish', `${PORT}:80`],
        ...['--label', `${address}=${h2.address}`, '--constraint', 'node.hostname==h3', WEB_IMAGE],
      ]);
      await answers(h2.address, PORT, true);
      const { id } = await containerOn(h3, 'other');
      t.equal((await askWho(h2.address, PORT))?.hostname, id.slice(0, 12), 'each its own service');
      t.not((await askWho(h1.address, PORT))?.hostname, id.slice(0, 12));
      await mustDocker(socket, ['service', 'rm', 'other']);

      await mustDocker(socket, [
        ...['service', 'update', '--detach', '--label-add', `${address}=lo`, 'web'],
      ]);
      await answers(h1.address, PORT, false);
      for (const host of hosts) {
        const local = await inHost(host, [
          ...['curl', '-sf', '--max-time', '5', `http://127.0.0.1:${PORT}/who`],
        ]);
        t.equal(local.code, 0, 'the node itself gets in by loopback');
        t.equal(await askWho(host.address, PORT, 1), undefined);
      }
      await mustDocker(socket, [
        ...['service', 'update', '--detach', '--label-rm', address, 'web'],
      ]);
      for (const host of hosts) await answers(host.address, PORT, true);
      t.same(await containerIds(hosts, 'web'), before, 'the same containers');
    });

    await t.test('in host mode, on a port the node chooses', async (t) => {
      await mustDocker(socket, ['network', 'create', '-d', 'overlay', 'chosen']);
      await mustDocker(socket, [
        ...['service', 'create', '--name', 'any', '--mode', 'global', '--network', 'chosen'],
        ...['--publish', 'mode=host,target=80', WEB_IMAGE],
      ]);
      const ask = async (): Promise<readonly number[]> => {
        const numbers: number[] = [];
        for (const host of hosts) {
          const task = (await runningTasks(socket, 'any')).find(({ node }) => node === host.name);
          const format = '{{range .Status.PortStatus.Ports}}{{.PublishedPort}}{{end}}';
          const number = Number(
            await mustDocker(socket, ['inspect', '--format', format, task?.id ?? '']),
          );
          await answers(host.address, number, true);
          t.equal(
            (await askWho(host.address, number))?.hostname,
            (await containerOn(host, 'any')).id.slice(0, 12),
          );
          numbers.push(number);
        }
        return numbers;
      };
      const before = await ask();
      await killSkepd(h2);
      await restartSkepd(h2);
      t.same(await ask(), before, 'kept over a restart of skepd');
      await mustDocker(socket, ['service', 'rm', 'any']);
      for (const [index, host] of hosts.entries())
        await answers(host.address, before[index] ?? 0, false);
    });

    await t.test('to some clients', async (t) => {
      const before = await containerIds(hosts, 'web');
      const allow = `skep.publish.${PORT}.allow`;
      const urls = hosts.map((host) => `http://${host.address}:${PORT}/`);
      await inClient(['ip', 'addr', 'add', `${SECOND_CLIENT}/24`, 'dev', 'br-u']);
      const bad = await docker(socket, [
        ...['service', 'update', '--detach', '--label-add', `${allow}=10.0.0.0/99`, 'web'],
      ]);
      t.match(bad.stderr, /is not a list of networks such as/);
      await mustDocker(socket, [
        ...['service', 'update', '--detach', '--label-add'],
        ...[`${allow}=${SECOND_CLIENT}/32,2001:db8::/32`, 'web'],
      ]);
      await waitFor('the list to be known everywhere', WAIT_MS, async () => {
        const codes = await Promise.all(urls.map(async (url) => askFrom('192.168.77.1', url)));
        return codes.every((code) => code === 28) ? true : undefined;
      });
      for (const url of urls) t.equal(await askFrom(SECOND_CLIENT, url), 0);
      t.match((await skep(h2, ['net', 'counters'])).stdout, /^drop-not-allowed +[1-9]/m);
      const own = await inHost(h3, ['curl', '-sf', '--max-time', '5', urls[2] ?? '']);
      t.equal(own.code, 0, 'the host itself always may');
      await update(
        socket,
        'web',
        ...['--publish-rm', `published=${PORT},target=80`],
        ...['--publish-add', `mode=host,published=${PORT},target=80`],
      );
      for (const url of urls) {
        t.equal(await askFrom('192.168.77.1', url), 28, 'in host mode too');
        t.equal(await askFrom(SECOND_CLIENT, url), 0);
      }
      await mustDocker(socket, ['service', 'update', '--detach', '--label-rm', allow, 'web']);
      for (const host of hosts) await answers(host.address, PORT, true);
      t.same(await containerIds(hosts, 'web'), before, 'the same containers');
    });
  } finally {
    await down();
  }
});
