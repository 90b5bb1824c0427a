/**
 * A cluster whose only manager loses everything: from a hot backup, from a copy of the state
 * directory with `init --force-new-cluster`, and forced alone in place. The same nodes, services and
 * containers each time.
 */
import { existsSync, rmSync, statSync } from 'node:fs';
import t from 'tap';
import { must, waitFor } from '../testbed/commands.js';
import { skepProgram, WEB_IMAGE } from '../testbed/layout.js';
import { formSwarm, managerOf, runningTasks, waitForReplicas } from '../testbed/swarm.js';
import {
  askWho,
  docker,
  down,
  type Host,
  inHost,
  killSkepd,
  mustDocker,
  restartSkepd,
  skep,
  stopSkepd,
  up,
} from '../testbed/testbed.js';

const PORT = 8000;

async function containers(hosts: readonly Host[]): Promise<readonly string[]> {
  const ids = await Promise.all(
    hosts.map(async (host) => mustDocker(host.dockerSocket, ['ps', '-q', '--no-trunc'])),
  );
  return ids.flatMap((text) => text.split('\n').filter(Boolean)).sort();
}

/** Nodes as the manager sees them: id, state, role. */
async function nodes(socket: string): Promise<string> {
  const format = '{{.ID}} {{.Status}} {{.ManagerStatus}}';
  return (await mustDocker(socket, ['node', 'ls', '--format', format]))
    .split('\n')
    .sort()
    .join('\n');
}

void t.test('backup, restore and a new cluster by force', async (t) => {
  const hosts = await up(2);
  const manager = managerOf(hosts);
  const worker = hosts[1] as Host;
  const socket = manager.skepSocket;
  const file = `${manager.directory}/backup.tar`;
  const copy = `${manager.directory}/copy`;
  try {
    await formSwarm(hosts, 'skep');
    await mustDocker(socket, [
      ...['service', 'create', '--detach', '--name', 'web', '--replicas', '4'],
      ...['--publish', `published=${PORT},target=80`, WEB_IMAGE],
    ]);
    await waitForReplicas(socket, 'web', 4, 30_000);
    const wanted = {
      nodes: await nodes(socket),
      containers: await containers(hosts),
      tasks: (await runningTasks(socket, 'web')).map(({ id }) => id).sort(),
      token: await mustDocker(socket, ['swarm', 'join-token', '-q', 'worker']),
    };
    const isAsBefore = async (t: { same(a: unknown, b: unknown, why: string): unknown }) => {
      await waitFor('both nodes to be there', 30_000, async () =>
        (await nodes(socket)) === wanted.nodes ? true : undefined,
      );
      await waitForReplicas(socket, 'web', 4, 30_000);
      t.same(await containers(hosts), wanted.containers, 'the containers are the same');
      const ids = (await runningTasks(socket, 'web')).map(({ id }) => id).sort();
      t.same(ids, wanted.tasks, 'the tasks are the same');
      const token = await mustDocker(socket, ['swarm', 'join-token', '-q', 'worker']);
      t.same(token, wanted.token, 'the authority is the same');
      for (const host of hosts)
        await waitFor(`${host.name} to answer`, 30_000, async () => askWho(host.address, PORT, 2));
      await mustDocker(socket, ['service', 'update', '--detach', '--label-add', 'a=b', 'web']);
    };

    await t.test('a hot backup', async (t) => {
      const taken = await skep(manager, ['backup', file]);
      t.equal(taken.code, 0, taken.stderr);
      t.equal(statSync(file).mode & 0o777, 0o600);
      const again = await skep(manager, ['backup', file]);
      t.match(again, { code: 1, stderr: /exists: a backup never replaces a file/ });
      const elsewhere = await skep(worker, ['backup', `${worker.directory}/no.tar`]);
      t.match(elsewhere, { code: 1, stderr: /Worker nodes can't be used to view or modify/ });
      t.notOk(existsSync(`${worker.directory}/no.tar`));
      const program = skepProgram();
      const restore = async (from: string) =>
        await inHost(manager, [
          ...[process.execPath, program, 'restore', from, '--state-dir', manager.skepState],
        ]);
      t.match(await restore(file), { code: 1, stderr: /uses .*: stop it first/ });
      await killSkepd(manager);
      t.match(await restore(file), { code: 1, stderr: /is not empty: a restore never replaces/ });
      rmSync(manager.skepState, { recursive: true });
      await must('tar', ['-C', '/etc', '-cf', copy, 'hostname']);
      t.match(await restore(copy), { code: 1, stderr: /is no backup of a manager: hostname does/ });
      t.match(await restore('/etc/hostname'), { code: 1, stderr: /it cannot be unpacked/ });
      rmSync(copy);
      t.match(await restore(file), { code: 0, stderr: '' });
      await restartSkepd(manager);
      await isAsBefore(t);
    });

    await t.test('a copy of the state directory', async (t) => {
      await stopSkepd(manager);
      await must('cp', ['-a', `${manager.skepState}/swarm`, copy]);
      rmSync(manager.skepState, { recursive: true });
      await must('mkdir', ['-m', '700', manager.skepState]);
      await must('cp', ['-a', copy, `${manager.skepState}/swarm`]);
      await restartSkepd(manager);
      const force = ['swarm', 'init', '--force-new-cluster', '--advertise-addr', manager.address];
      t.match(await mustDocker(socket, force), /is now a manager/);
      await isAsBefore(t);
    });

    await t.test('refused where there is no manager', async (t) => {
      const force = ['swarm', 'init', '--force-new-cluster', '--advertise-addr', worker.address];
      const refused = await docker(worker.skepSocket, force);
      t.match(refused, { code: 1, stderr: /This node is not participating as a swarm manager/ });
      const twice = await docker(socket, ['swarm', 'init', '--advertise-addr', manager.address]);
      t.match(twice, { code: 1, stderr: /This node is already part of a swarm/ });
    });
  } finally {
    await down();
    rmSync(file, { force: true });
    rmSync(copy, { recursive: true, force: true });
  }
});
