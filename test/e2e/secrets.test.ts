/**
 * Secrets and configs: on the node of a task only, in memory only, in none of the places where
 * others look; there while the daemon is away; rotated under load without a failed request; gone
 * with their task.
 */
import { readdirSync, readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { run, waitFor } from '../testbed/commands.js';
import { WEB_IMAGE } from '../testbed/layout.js';
import { containerOn, formSwarm, runningTasks, waitForReplicas } from '../testbed/swarm.js';
import {
  docker,
  down,
  type Host,
  inHost,
  killSkepd,
  mustDocker,
  restartSkepd,
  up,
} from '../testbed/testbed.js';
import { clientLoad } from './support/client-load.js';

const WAIT_MS = 30_000;
const PORT = 8000;
const SECRETS = '/run/skep/secrets';
/** Found by a search, and by nothing else. */
const MARKERS = {
  'password.1': 'SKEP-SECRET-9d41-old',
  'password.2': 'SKEP-SECRET-9d41-new',
  settings: 'SKEP-CONFIG-9d41',
} as const;
const PATTERN = '9d41';

/** Makes a secret or config of a marker. */
async function store(socket: string, kind: 'secret' | 'config', name: keyof typeof MARKERS) {
  const created = await run(
    '/usr/bin/docker',
    ['-H', `unix://${socket}`, kind, 'create', name, '-'],
    {
      input: MARKERS[name],
    },
  );
  if (created.code !== 0) throw new Error(created.stderr);
}

/** Files of a host's secrets directory that hold a marker. */
async function held(host: Host): Promise<readonly string[]> {
  const found = await inHost(host, ['grep', '-rl', PATTERN, SECRETS]);
  return found.stdout.split('\n').filter(Boolean);
}

/** Arguments and environments of all processes that show a marker, this test's own tools aside. */
function processesWithMarkers(): readonly string[] {
  return readdirSync('/proc').filter((entry) => {
    if (!/^\d+$/.test(entry)) return false;
    try {
      const text = ['cmdline', 'environ'].map((file) =>
        readFileSync(`/proc/${entry}/${file}`, 'utf8'),
      );
      return text.some((content) => content.includes(PATTERN));
    } catch {
      return false; // It ended meanwhile.
    }
  });
}

async function expectNowhere(t: Test, host: Host, socket: string, since: string): Promise<void> {
  // Everything of the host: the engine's data, skepd's state, all logs.
  const files = await run('grep', ['-rlaF', '--devices=skip', PATTERN, host.directory]);
  t.equal(files.stdout, '', `no file of ${host.name}`);
  t.strictSame(processesWithMarkers(), []);
  for (const events of [socket, host.dockerSocket]) {
    const until = String(Date.now() / 1000);
    const shown = await docker(events, ['events', '--since', since, '--until', until]);
    t.notMatch(shown.stdout, PATTERN);
  }
  for (const { id } of await runningTasks(socket, 'web'))
    t.notMatch(await mustDocker(socket, ['inspect', id]), PATTERN);
  t.notMatch(await mustDocker(socket, ['service', 'inspect', 'web']), PATTERN);
  t.notMatch(await mustDocker(socket, ['secret', 'inspect', 'password.1']), PATTERN);
  for (const id of (await mustDocker(host.dockerSocket, ['ps', '-aq'])).split('\n'))
    t.notMatch(await mustDocker(host.dockerSocket, ['inspect', id]), PATTERN);
}

void t.test('secrets and configs of services', async (t) => {
  const hosts = await up(2);
  try {
    const [h1, h2] = hosts as [Host, Host];
    const socket = h1.skepSocket;
    const since = String(Date.now() / 1000);
    await formSwarm(hosts, 'skep');
    const read = async (host: Host): Promise<string> => {
      const { id } = await containerOn(host, 'web');
      const files = ['/run/secrets/password', '/etc/settings'];
      return await mustDocker(host.dockerSocket, ['exec', id, 'cat', ...files]);
    };

    await t.test('only the node of a task has them, and only in memory', async (t) => {
      await store(socket, 'secret', 'password.1');
      await store(socket, 'config', 'settings');
      await mustDocker(socket, [
        ...['service', 'create', '--detach', '--no-resolve-image', '--init', '--name', 'web'],
        ...['--constraint', 'node.hostname==h2', '--publish', `${PORT}:80`],
        ...['--secret', 'source=password.1,target=password', '--replicas', '2'],
        ...['--config', 'source=settings,target=/etc/settings'],
        ...['--health-cmd', 'wget -qO /dev/null http://127.0.0.1/', '--health-interval', '500ms'],
        ...['--update-order', 'start-first', WEB_IMAGE],
      ]);
      await waitForReplicas(socket, 'web', 2, WAIT_MS);
      t.equal(await read(h2), MARKERS['password.1'] + MARKERS.settings);
      t.equal((await held(h2)).length, 4);
      t.strictSame(await held(h1), [], 'a manager without a task holds no file');
      const type = await inHost(h2, ['stat', '-f', '-c', '%T', SECRETS]);
      t.equal(type.stdout.trim(), 'tmpfs');
      await expectNowhere(t, h2, socket, since);
    });

    await t.test('they are there while the daemon is away', async (t) => {
      await killSkepd(h2);
      t.equal(await read(h2), MARKERS['password.1'] + MARKERS.settings);
      await restartSkepd(h2);
      await waitFor('h2 to be Ready', WAIT_MS, async () => {
        const shown = await mustDocker(socket, [
          'node',
          'ls',
          '--format',
          '{{.Hostname}} {{.Status}}',
        ]);
        return shown.includes('h2 Ready') ? true : undefined;
      });
      t.equal((await runningTasks(socket, 'web')).length, 2);
    });

    await t.test('a rotation under load fails no request', async (t) => {
      await store(socket, 'secret', 'password.2');
      const targets = hosts.map(({ address }) => `${address}:${PORT}`);
      const [load, update] = await Promise.all([
        clientLoad(targets, 100, 10),
        docker(socket, [
          ...['service', 'update', '--no-resolve-image', '--secret-rm', 'password.1'],
          ...['--secret-add', 'source=password.2,target=password', 'web'],
        ]),
      ]);
      t.equal(update.code, 0, update.stderr);
      t.strictSame({ sent: load.sent, errors: load.errors }, { sent: 1000, errors: {} });
      t.equal(await read(h2), MARKERS['password.2'] + MARKERS.settings);
      await waitFor('the old secret to be gone', WAIT_MS, async () => {
        const old = await inHost(h2, ['grep', '-rl', MARKERS['password.1'], SECRETS]);
        return old.stdout === '' ? true : undefined;
      });
      await mustDocker(socket, ['secret', 'rm', 'password.1']);
      const inUse = await docker(socket, ['secret', 'rm', 'password.2']);
      t.match(inUse.stderr, /secret 'password.2' is in use by the following service: web/);
    });

    await t.test('with the last task everything is gone', async (t) => {
      await mustDocker(socket, ['service', 'rm', 'web']);
      await mustDocker(socket, ['secret', 'rm', 'password.2']);
      await mustDocker(socket, ['config', 'rm', 'settings']);
      let left = '';
      await waitFor('the files to be gone', WAIT_MS, async () => {
        left = (await inHost(h2, ['ls', SECRETS])).stdout;
        return left === '' ? true : undefined;
      }).catch(() => undefined);
      t.equal(left, '');
      const files = await run('grep', ['-rlaF', '--devices=skip', PATTERN, h2.directory]);
      t.equal(files.stdout, '', 'no file of h2');
    });
  } finally {
    await down();
  }
});
