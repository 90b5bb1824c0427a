/**
 * A stock swarm of three hosts is moved to skepd host by host, as docs/moving.md says, while a client
 * asks a service on those that are not being moved. It is published on its hosts: the routing mesh of a
 * stock engine needs IPVS, which not every kernel has.
 */
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { waitFor } from '../testbed/commands.js';
import { dockerRequest } from '../testbed/http.js';
import { WEB_IMAGE } from '../testbed/layout.js';
import { allReachable } from '../testbed/managers.js';
import {
  containerOn,
  formSwarm,
  runningTasks,
  waitForReplicas,
  waitForTunnelPort,
} from '../testbed/swarm.js';
import { askWho, down, type Host, mustDocker, restartSkepd, skep, up } from '../testbed/testbed.js';
import { fetchOutside } from './support/stack.js';
import { steadyClient } from './support/steady-client.js';

const PORT = 8000;
const MESH_PORT = 9000;
const RATE = 50;
const WAIT_MS = 60_000;
const SECRET = 'moving-7f1c';

/** What the stock swarm runs. */
async function furnish(socket: string, folder: string): Promise<void> {
  writeFileSync(path.join(folder, 'page'), 'moved page\n');
  writeFileSync(path.join(folder, 'password'), SECRET);
  const make = (...args: readonly string[]) => mustDocker(socket, args);
  await make('network', 'create', '-d', 'overlay', '--label', 'tier=1', 'front');
  await make('network', 'create', '-d', 'overlay', '--attachable', 'shared');
  await make('config', 'create', 'page', path.join(folder, 'page'));
  await make('secret', 'create', 'password', path.join(folder, 'password'));
  await make('node', 'update', '--label-add', 'disk=ssd', 'h2');
  await make('node', 'update', '--label-add', 'rack=1', 'h3');
  await make('swarm', 'update', '--task-history-limit', '2', '--cert-expiry', '720h');
  const create = ['service', 'create', '--detach', '--no-resolve-image', '--name'];
  await make(
    ...[...create, 'web', '--replicas', '3', '--network', 'front'],
    ...['--publish', `mode=host,published=${PORT},target=80`, '--label', 'team=shop'],
    ...['--config', 'source=page,target=/var/www/page.html', '--secret', 'password'],
    ...['--update-order', 'start-first', '--update-parallelism', '1', '--update-monitor', '1s'],
    ...['--rollback-order', 'start-first', '--restart-condition', 'any', '--env', 'A=b'],
    ...['--mount', 'type=volume,source=data,target=/data', '--limit-memory', '64m', WEB_IMAGE],
  );
  await make(
    ...[...create, 'every', '--mode', 'global'],
    ...['--publish', `published=${MESH_PORT},target=80`, WEB_IMAGE],
  );
  await make(
    ...[...create, 'pinned', '--constraint', 'node.labels.disk==ssd', '--network', 'shared'],
    ...['--publish', '80', WEB_IMAGE],
  );
  for (const [name, tasks] of [
    ['web', 3],
    ['every', 3],
    ['pinned', 1],
  ] as const)
    await waitForReplicas(socket, name, tasks, WAIT_MS);
}

/** What `docker service ls` and `inspect` show, under names instead of ids. */
async function shown(socket: string): Promise<Readonly<Record<string, unknown>>> {
  const list = async (kind: string, ...options: readonly string[]) =>
    (await mustDocker(socket, [kind, 'ls', ...options])).split('\n').filter(Boolean).sort();
  const names = ['--format', '{{.Name}}'];
  let specs = await mustDocker(socket, [
    ...['service', 'inspect', '--format', '{{json .Spec}}', 'every', 'pinned', 'web'],
  ]);
  for (const kind of ['secret', 'config', 'network']) {
    const whole = kind === 'network' ? ['--no-trunc'] : [];
    for (const line of await list(kind, ...whole, '--format', '{{.ID}} {{.Name}}')) {
      const [id = '', name = ''] = line.split(' ');
      specs = specs.replaceAll(id, `${kind} ${name}`);
    }
  }
  return {
    services: await list(
      'service',
      '--format',
      '{{.Name}} {{.Mode}} {{.Replicas}} {{.Image}} {{.Ports}}',
    ),
    // A port that the swarm has chosen is published as such.
    specs: specs.replace(/"TargetPort":80,"PublishedPort":3\d{4},/, '"TargetPort":80,').split('\n'),
    secrets: await list('secret', ...names),
    configs: await list('config', ...names),
    networks: (await list('network', '--filter', 'scope=swarm', ...names)).join(),
    subnets: await Promise.all(
      ['front', 'shared'].map(async (name) => {
        const { body } = await dockerRequest(socket, 'GET', `/networks/${name}?scope=swarm`);
        const { IPAM, Labels } = body as Readonly<Record<string, unknown>>;
        return JSON.stringify({ IPAM, Labels: Labels ?? {} });
      }),
    ),
    labels: await mustDocker(socket, [
      ...['node', 'inspect', '--format', '{{.Description.Hostname}} {{json .Spec.Labels}}'],
      ...['h1', 'h2', 'h3'],
    ]),
    history: await mustDocker(socket, [
      ...['info', '--format', '{{json .Swarm.Cluster.Spec.Orchestration}}'],
    ]),
  };
}

void t.test('a stock swarm is moved host by host', async (t) => {
  const hosts = await up(3, { noSkep: 'all' });
  const folder = mkdtempSync(path.join(os.tmpdir(), 'skep-moving-'));
  const saved = path.join(folder, 'old-swarm.json');
  const target = ({ address }: Host) => `${address}:${PORT}`;
  const client = steadyClient(RATE);
  try {
    const [h1, h2, h3] = hosts as [Host, Host, Host];
    const stock = h1.dockerSocket;
    await formSwarm(hosts, 'stock');
    await furnish(stock, folder);
    for (const host of hosts)
      await waitFor(`${host.name} to answer`, WAIT_MS, async () => askWho(host.address, PORT, 1));
    const before = await shown(stock);

    /** Drains a worker of the stock swarm, lets it leave, and starts skepd there. */
    const vacate = async (host: Host) => {
      if (host !== h1) {
        await mustDocker(stock, ['node', 'update', '--availability', 'drain', host.name]);
        await waitFor(`${host.name} to be empty`, WAIT_MS, async () => {
          const { body } = await dockerRequest(host.dockerSocket, 'GET', '/containers/json');
          return (body as readonly unknown[]).length === 0 ? true : undefined;
        });
      }
      const force = host === h1 ? ['--force'] : [];
      await mustDocker(host.dockerSocket, ['swarm', 'leave', ...force]);
      await waitForTunnelPort(host);
      await restartSkepd(host);
    };
    /** `skep import` on a host, from the file. */
    const bring = (host: Host, ...args: readonly string[]) =>
      skep(host, ['import', '--from', saved, ...args], WAIT_MS);
    const values = ['--secret', `password=${path.join(folder, 'password')}`];
    const answering = async (host: Host) => {
      await waitFor(`${host.name} to answer`, WAIT_MS, async () => askWho(host.address, PORT, 1));
      t.equal(await fetchOutside(`http://${host.address}:${PORT}/page.html`), 'moved page\n');
    };

    await t.test('the first host becomes a swarm of its own', async (t) => {
      const kept = await skep(h3, ['import', '--from', stock, '--save', saved]);
      t.equal(kept.code, 0, kept.stderr);
      t.equal(statSync(saved).mode & 0o777, 0o600);
      await client.use([h1, h2].map(target));
      await vacate(h3);
      await mustDocker(h3.skepSocket, ['swarm', 'init', '--advertise-addr', h3.address]);
      const lacking = await bring(h3);
      t.equal(lacking.code, 1);
      t.match(lacking.stdout, '? secret password: its value is needed by web\n');
      const services = ['service', 'ls', '-q'];
      t.equal(await mustDocker(h3.skepSocket, services), '', 'nothing is changed');
      const plan = await bring(h3, '--dry-run', ...values);
      t.equal(plan.code, 0, plan.stderr);
      t.match(plan.stdout, '- node h1: is not here yet');
      t.match(plan.stdout, '~ node h3: label rack\n');
      t.equal(await mustDocker(h3.skepSocket, services), '', 'nor by a dry run');
      const done = await bring(h3, ...values);
      t.equal(done.code, 0, done.stderr);
      t.notMatch(done.stdout + done.stderr, SECRET);
      await waitForReplicas(h3.skepSocket, 'every', 1, WAIT_MS);
      t.equal((await runningTasks(h3.skepSocket, 'pinned')).length, 0, 'waits for its node');
      await answering(h3);
      const { id } = await containerOn(h3, 'web');
      const read = ['exec', id, 'cat', '/run/secrets/password'];
      t.equal(await mustDocker(h3.dockerSocket, read), SECRET);
    });

    await t.test('the second joins', async (t) => {
      await client.use([h1, h3].map(target));
      await vacate(h2);
      const token = await mustDocker(h3.skepSocket, ['swarm', 'join-token', '-q', 'manager']);
      await mustDocker(h2.skepSocket, [
        ...['swarm', 'join', '--token', token, '--advertise-addr', h2.address],
        `${h3.address}:2377`,
      ]);
      const done = await bring(h2, ...values);
      t.equal(done.code, 0, done.stderr);
      t.match(done.stdout, '~ node h2: label disk\n');
      t.notMatch(done.stdout, /differs/);
      await waitForReplicas(h3.skepSocket, 'pinned', 1, WAIT_MS);
      t.equal((await runningTasks(h3.skepSocket, 'pinned'))[0]?.node, 'h2');
      await answering(h2);
    });

    await t.test('the last one ends the stock swarm', async (t) => {
      await client.use([h2, h3].map(target));
      await vacate(h1);
      const token = await mustDocker(h3.skepSocket, ['swarm', 'join-token', '-q', 'manager']);
      await mustDocker(h1.skepSocket, [
        ...['swarm', 'join', '--token', token, '--advertise-addr', h1.address],
        `${h3.address}:2377`,
      ]);
      const done = await bring(h1, ...values);
      t.equal(done.code, 0, done.stderr);
      t.match(done.stdout, /0 to make or change, \d+ there already, 0 left out/);
      await allReachable(h1, 3);
      await answering(h1);
      await client.use(hosts.map(target));
      for (const [name, tasks] of [
        ['web', 3],
        ['every', 3],
        ['pinned', 1],
      ] as const)
        await waitForReplicas(h1.skepSocket, name, tasks, WAIT_MS);
      for (const host of hosts)
        await waitFor(`the routing mesh of ${host.name}`, WAIT_MS, async () =>
          askWho(host.address, MESH_PORT, 1),
        );
      t.strictSame(await shown(h1.skepSocket), before);
    });

    const { sent, failed, errors } = await client.stop();
    t.comment(`${sent} requests, ${failed} failed`);
    t.ok(sent > 500);
    t.strictSame(errors, {});
  } finally {
    client.kill();
    rmSync(folder, { recursive: true, force: true });
    await down();
  }
});
