/**
 * `skep stack` on two hosts: a file of the compose specification, in order of its dependencies;
 * differences; content of secrets and configs changed in place under load; pruning. Then what comes
 * from plugins, which are processes of their own on the hosts: secrets and volumes.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { run, startLogged, waitFor } from '../testbed/commands.js';
import { packageRoot, WEB_IMAGE } from '../testbed/layout.js';
import { insideHost } from '../testbed/namespaces.js';
import { containerOn, formSwarm, tasksOf, waitForReplicas } from '../testbed/swarm.js';
import { docker, down, type Host, inHost, mustDocker, up } from '../testbed/testbed.js';
import { clientLoad } from './support/client-load.js';
import { composeFile, fetchOutside, mustStack, remainsOf, skepStack } from './support/stack.js';

const WAIT_MS = 30_000;
const FILE = composeFile('shop/compose.yaml');
const OPTIONS = ['--resolve-image', 'never', '--timeout', '45s'];
const PLUGINS = '/run/docker/plugins';

void t.test('skep stack', async (t) => {
  const hosts = await up(2);
  const folder = mkdtempSync(path.join(os.tmpdir(), 'skep-shop-'));
  const write = (name: string, text: string) => writeFileSync(path.join(folder, name), text);
  try {
    const [h1, h2] = hosts as [Host, Host];
    const socket = h1.skepSocket;
    await formSwarm(hosts, 'skep');
    const deploy = (...args: readonly string[]) =>
      skepStack(socket, ['deploy', ...OPTIONS, '-c', FILE, ...args], {
        SHOP: folder,
      });
    const names = async (kind: string) =>
      (await mustDocker(socket, [kind, 'ls', '--format', '{{.Name}}']))
        .split('\n')
        .filter((name) => name.startsWith('shop_'))
        .sort();
    write('password', 'first');
    write('page', 'page one\n');

    await t.test('a deployment follows the dependencies and waits', async (t) => {
      const diff = await deploy('--diff', '--profile', 'extra');
      t.strictSame(diff.stdout.split('\n').filter(Boolean), [
        ...['+ network shop_default', '+ network shop_side', '+ secret shop_password'],
        ...['+ config shop_page', '+ service shop_back', '+ service shop_extra'],
        ...['+ service shop_setup', '+ service shop_front'],
      ]);
      t.strictSame(await names('service'), [], 'nothing is done');
      const first = await deploy('--profile', 'extra');
      t.equal(first.code, 0, first.stderr);
      const at = (line: string) => {
        const index = first.stdout.indexOf(line);
        t.not(index, -1, `${line} in ${first.stdout}`);
        return index;
      };
      t.ok(at('shop_back: 1/1 running') < at('Creating service shop_front'));
      t.ok(at('shop_setup: 1/1 completed') < at('Creating service shop_front'));
      t.ok(at('Creating service shop_front') < at('shop_front: 2/2 running'));
      t.match(await mustStack(socket, ['ls', '--format', '{{.Name}} {{.Services}}']), 'shop 4');
      t.match(await mustStack(socket, ['ps', 'shop', '--format', '{{.Name}}']), /shop_front\.2/);
      t.equal(await fetchOutside(`http://${h2.address}:8000/`), 'page one\n');
      const { id } = await containerOn(h1, 'shop_front').catch(() => containerOn(h2, 'shop_front'));
      const host = (await containerOn(h1, 'shop_front').catch(() => undefined)) ? h1 : h2;
      t.match(await mustDocker(host.dockerSocket, ['exec', id, 'env']), /^STAGE=test 1$/m);
      const again = await deploy('--profile', 'extra');
      t.match(again.stdout, /Service shop_front is up to date/);
      t.notMatch(again.stdout, /Updating/);
    });

    await t.test('new content is rolled out under load, and the old is gone', async (t) => {
      write('password', 'second');
      write('page', 'page two\n');
      const diff = await deploy('--diff', '--profile', 'extra');
      t.match(diff.stdout, '+ secret shop_password.2, new content of shop_password\n');
      t.match(
        diff.stdout,
        '+ config shop_page.2, new content of shop_page\n    - page one\n    + page two',
      );
      t.match(
        diff.stdout,
        'TaskTemplate.ContainerSpec.Secrets[password].SecretName: "shop_password" -> "shop_password.2"',
      );
      t.notMatch(diff.stdout, /second/, 'no secret is shown');
      const targets = hosts.map(({ address }) => `${address}:8000`);
      const [load, update] = await Promise.all([
        clientLoad(targets, 100, 15),
        deploy('--profile', 'extra'),
      ]);
      t.equal(update.code, 0, update.stderr);
      t.match(update.stdout, /Removing secret shop_password\n/);
      t.match(update.stdout, /Removing config shop_page\n/);
      t.strictSame({ sent: load.sent, errors: load.errors }, { sent: 1500, errors: {} });
      t.strictSame(await names('secret'), ['shop_password.2']);
      t.strictSame(await names('config'), ['shop_page.2']);
      for (const host of hosts) {
        t.equal(await fetchOutside(`http://${host.address}:8000/`), 'page two\n');
        const left = await inHost(host, ['grep', '-rlE', 'first|page one', '/run/skep/secrets']);
        t.equal(left.stdout, '', `the old content is not on ${host.name}`);
      }
    });

    await t.test('a deployment that fails keeps what is used', async (t) => {
      write('page', 'page three\n');
      const broken = path.join(folder, 'broken.yaml');
      writeFileSync(
        broken,
        'services: {front: {command: ["false"], deploy: {update_config: ' +
          '{order: start-first, failure_action: rollback, monitor: 2s}}}}',
      );
      const failed = await deploy('-c', broken, '--profile', 'extra');
      t.equal(failed.code, 1);
      t.match(failed.stderr, /service shop_front: rolled back/);
      t.equal(await fetchOutside(`http://${h1.address}:8000/`), 'page two\n');
      t.strictSame(await names('config'), ['shop_page.2', 'shop_page.3']);
      write('page', 'page two\n');
      const back = await deploy('--profile', 'extra');
      t.equal(back.code, 0, back.stderr);
      t.strictSame(
        await names('config'),
        ['shop_page.2'],
        'older content is its old version again',
      );
    });

    await t.test('what is not in the files any more is named, and pruned', async (t) => {
      const kept = await deploy();
      t.match(kept.stderr, 'service shop_extra is not in the files; --prune removes it');
      t.ok((await names('service')).includes('shop_extra'));
      const pruned = await deploy('--prune');
      t.equal(pruned.code, 0, pruned.stderr);
      t.match(pruned.stdout, /Removing service shop_extra[\s\S]*Removing network shop_side/);
      t.strictSame(await names('network'), ['shop_default']);
      await mustStack(socket, ['rm', 'shop']);
      let left: readonly string[] = [];
      await waitFor('nothing to be left', WAIT_MS, async () => {
        left = await remainsOf(hosts, 'shop');
        return left.length === 0 ? true : undefined;
      }).catch(() => undefined);
      t.strictSame(left, []);
    });

    const script = path.join(packageRoot(), 'dist/test/manager/drivers/test-plugin.js');
    for (const host of hosts) {
      const plugin = [process.execPath, script, `${PLUGINS}/vault.sock`];
      startLogged(
        'nsenter',
        [...insideHost(host.holderPid), ...plugin],
        `${host.directory}/plugin.log`,
      );
    }
    // An engine knows a plugin of this kind once it has looked for it; the node tells the managers then.
    for (const { dockerSocket } of hosts)
      await waitFor('the plugin', WAIT_MS, async () => {
        await mustDocker(dockerSocket, ['volume', 'ls']);
        const info = await mustDocker(dockerSocket, ['info', '--format', '{{.Plugins.Volume}}']);
        return info.includes('vault') ? true : undefined;
      });
    const create = (...args: readonly string[]) =>
      docker(socket, ['service', 'create', '--detach', '--no-resolve-image', ...args]);

    await t.test('secrets of a plugin reach the task and stay nowhere', async (t) => {
      for (const name of ['shared', 'own', 'fail'])
        await mustDocker(socket, ['secret', 'create', '--driver', 'vault', name]);
      const made = await create(
        ...['--name', 'vaulted', '--constraint', 'node.hostname==h2', '--replicas', '2'],
        ...['--secret', 'shared', '--secret', 'own', WEB_IMAGE],
      );
      t.equal(made.code, 0, made.stderr);
      await waitForReplicas(socket, 'vaulted', 2, WAIT_MS);
      const values: string[] = [];
      const filter = ['--filter', 'label=com.docker.swarm.service.name=vaulted'];
      for (const id of (await mustDocker(h2.dockerSocket, ['ps', '-q', ...filter])).split('\n'))
        values.push(
          await mustDocker(h2.dockerSocket, [
            ...['exec', id, 'cat', '/run/secrets/shared', '/run/secrets/own'],
          ]),
        );
      const ids = (await tasksOf(socket, 'vaulted')).map(({ id }) => id);
      t.strictSame(
        values.sort(),
        ids.map((id) => `SKEP-DRIVER-7c3e sharedSKEP-DRIVER-7c3e own ${id}`).sort(),
        'one value for both tasks, and one for each',
      );
      const files = await run('grep', [
        '-rlaF',
        '--devices=skip',
        '7c3e',
        h1.directory,
        h2.directory,
      ]);
      t.equal(files.stdout, '', 'on no disk, and in no log');
      t.match(await mustDocker(socket, ['secret', 'inspect', 'own']), /"Name": "vault"/);
      const failing = ['--secret', 'fail', '--restart-condition', 'none', WEB_IMAGE];
      t.equal((await create('--name', 'failing', ...failing)).code, 0);
      const error = await waitFor('the task to be rejected', WAIT_MS, async () => {
        const [task] = await tasksOf(socket, 'failing');
        return task?.currentState.startsWith('Rejected') ? task.error : undefined;
      });
      t.match(error, 'secret fail is not available on this node');
      t.match((await inHost(h1, ['cat', h1.skepLog])).stdout, 'the vault is sealed');
      await mustDocker(socket, ['service', 'rm', 'vaulted', 'failing']);
      await mustDocker(socket, ['secret', 'rm', 'shared', 'own', 'fail']);
      await waitFor('the values to be gone', WAIT_MS, async () => {
        const left = await inHost(h2, ['grep', '-rl', '7c3e', '/run/skep/secrets']);
        return left.stdout === '' ? true : undefined;
      });
    });

    await t.test('volumes: every option of a mount, plugins, and what is refused', async (t) => {
      const mounts = [
        'type=volume,source=shared,target=/shared,volume-driver=vault,volume-opt=share=nas:/export,' +
          'volume-label=kind=share,volume-nocopy=true',
        'type=volume,source=plain-{{.Task.Slot}},target=/plain,volume-label=a=b,readonly',
        'type=volume,target=/anonymous',
        'type=tmpfs,target=/scratch,tmpfs-size=1048576,tmpfs-mode=1700',
        'type=bind,source=/etc/hostname,target=/host,readonly,bind-propagation=rprivate',
      ].flatMap((mount) => ['--mount', mount]);
      t.equal((await create('--name', 'disks', '--mode', 'global', ...mounts, WEB_IMAGE)).code, 0);
      await waitForReplicas(socket, 'disks', 2, WAIT_MS).catch(async (cause: unknown) => {
        throw new Error((await tasksOf(socket, 'disks')).map(({ error }) => error).join(), {
          cause,
        });
      });
      for (const host of hosts) {
        const { id } = await containerOn(host, 'disks');
        const show = ['exec', id, 'sh', '-c', 'cat /shared/options; echo; mount; ls -ld /scratch'];
        const shown = await mustDocker(host.dockerSocket, show);
        t.match(shown, '{"share":"nas:/export"}');
        t.match(shown, /tmpfs on \/scratch .*size=1024k/);
        t.match(shown, /on \/plain .*\bro\b/);
        t.match(shown, /^drwx-----T/m);
        const volume = await mustDocker(host.dockerSocket, [
          ...['volume', 'inspect', '--format', '{{.Driver}} {{json .Labels}}', 'shared'],
        ]);
        t.equal(volume, 'vault {"kind":"share"}');
        const named = await mustDocker(host.dockerSocket, [
          'volume',
          'ls',
          '--format',
          '{{.Name}}',
        ]);
        t.match(named, /^plain-/m);
      }
      const bad = 'type=volume,source=bad,target=/bad,volume-driver=vault';
      const none = ['--restart-condition', 'none', WEB_IMAGE];
      t.equal((await create('--name', 'bad', '--mount', bad, ...none)).code, 0);
      const error = await waitFor('the task to be rejected', WAIT_MS, async () => {
        const [task] = await tasksOf(socket, 'bad');
        return /^(Rejected|Failed)/.test(task?.currentState ?? '') ? task?.error : undefined;
      });
      t.match(error, /option share is required/);
      await mustDocker(socket, ['service', 'rm', 'bad', 'disks']);
      await waitFor('the volume to be free', WAIT_MS, async () =>
        (await docker(h2.dockerSocket, ['volume', 'rm', 'shared'])).code === 0 ? true : undefined,
      );
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
    await down();
  }
});
