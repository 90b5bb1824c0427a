/**
 * Stacks with the stock docker CLI on three hosts: the voting application, from the vote to the
 * result on every node, with a container that looks at the swarm through the socket it binds; a
 * site with secrets, configs, an external network and a placement preference; updates, pruning,
 * removal.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { must, run, waitFor } from '../testbed/commands.js';
import { WEB_IMAGE } from '../testbed/layout.js';
import { containerOn, formSwarm, managerOf, tasksOf, waitForReplicas } from '../testbed/swarm.js';
import { type Host, docker, down, mustDocker, up } from '../testbed/testbed.js';
import { composeFile, dockerStack, fetchOutside, mustStack, remainsOf } from './support/stack.js';

const WAIT_MS = 30_000;
/** There is no registry here; asking for one takes seconds for each service. */
const OFFLINE = ['--resolve-image', 'never'];
const VOTING = [...OFFLINE, '-c', composeFile('voting.yml'), '-c', composeFile('visualizer.yml')];
const REPLICAS = { redis: 2, db: 1, vote: 2, result: 1, worker: 1, visualizer: 1 };

/** What the site answers: settings, greeting, and the page made of a template. */
const PAGE = [
  'server_name site.example;',
  'welcome',
  "Hello world! I'm service web_nginx. tier=front",
  '-----BEGIN ',
  '',
].join('\n');

function sorted(text: string): readonly string[] {
  return text.split('\n').filter(Boolean).sort();
}

void t.test('stacks on a three-host swarm', async (t) => {
  const hosts = await up(3);
  const site = mkdtempSync(path.join(os.tmpdir(), 'skep-site-'));
  try {
    const socket = managerOf(hosts).skepSocket;
    const [h1] = hosts as [Host];
    await formSwarm(hosts, 'skep');
    const services = async (stack: string): Promise<readonly string[]> =>
      sorted(await mustStack(socket, ['services', '--format', '{{.Name}} {{.Replicas}}', stack]));
    const running = async (stack: string, expected: Readonly<Record<string, number>>) => {
      for (const [name, count] of Object.entries(expected))
        await waitForReplicas(socket, `${stack}_${name}`, count, WAIT_MS);
    };
    const removed = async (t: Test, stack: string) => {
      const removal = await dockerStack(socket, ['rm', stack]);
      t.equal(removal.code, 0, removal.stderr);
      let left: readonly string[] = [];
      await waitFor(`nothing to be left of ${stack}`, WAIT_MS, async () => {
        left = await remainsOf(hosts, stack);
        return left.length === 0 ? true : undefined;
      }).catch(() => undefined);
      t.same(left, [], `nothing is left of ${stack}`);
    };

    await t.test('the voting application is deployed', async (t) => {
      const deploy = await dockerStack(socket, ['deploy', ...VOTING, 'voting']);
      t.equal(deploy.code, 0, deploy.stderr);
      t.match(deploy.stdout, /Creating network voting_frontend/);
      t.match(deploy.stdout, /Creating config voting_push/);
      t.match(deploy.stdout, /Creating service voting_vote/);
      await running('voting', REPLICAS);
      t.match(await mustStack(socket, ['ls', '--format', '{{.Name}} {{.Services}}']), 'voting 6');
      const expected = Object.entries(REPLICAS).map(([name, n]) => `voting_${name} ${n}/${n}`);
      t.strictSame(
        (await services('voting')).map((line) => line.replace(/ \(max.*/, '')),
        expected.sort(),
      );
      const tasks = sorted(
        await mustStack(socket, ['ps', '--format', '{{.Name}} {{.Node}}', 'voting']),
      );
      t.equal(tasks.length, 8);
      t.ok(tasks.includes('voting_db.1 h1') && tasks.includes('voting_worker.1 h1'), tasks.join());
    });

    await t.test('votes given on every node are counted on every node', async (t) => {
      for (const { address } of hosts)
        await waitFor('a vote', WAIT_MS, async () =>
          (await fetchOutside(`http://${address}:5000/cgi-bin/vote?cats`))?.includes('queued')
            ? true
            : undefined,
        );
      for (const { address } of hosts) {
        let seen: string | undefined;
        await waitFor('the votes to be counted', WAIT_MS, async () => {
          seen = await fetchOutside(`http://${address}:5001/cgi-bin/result?cats`);
          return seen?.trim() === '3' ? true : undefined;
        }).catch(() => undefined);
        t.equal(seen?.trim(), '3');
      }
    });

    await t.test('a container that binds the socket sees the swarm', async (t) => {
      const listed = sorted(
        await mustDocker(socket, ['service', 'ls', '--format', '{{.Name}} {{.Replicas}}']),
      );
      const tasks = sorted(
        await mustStack(socket, ['ps', '--format', '{{.ID}} {{.Name}} {{.Node}}', 'voting']),
      );
      for (const { address } of hosts) {
        const shown = await fetchOutside(`http://${address}:8080/cgi-bin/show`);
        t.strictSame(sorted(shown ?? ''), [...listed, ...tasks].sort());
      }
    });

    await t.test('a second deploy changes what changed, and prunes', async (t) => {
      const before = await Promise.all(
        ['redis', 'db', 'vote', 'worker'].map((name) => tasksOf(socket, `voting_${name}`)),
      );
      const ids = before.flat().map(({ id }) => id);
      const again = await dockerStack(
        socket,
        [
          'deploy',
          '--prune',
          '--resolve-image',
          'changed',
          '-c',
          composeFile('voting.yml'),
          'voting',
        ],
        { VOTE_REPLICAS: '3' },
      );
      t.equal(again.code, 0, again.stderr);
      t.match(again.stdout, /Updating service voting_vote/);
      t.match(again.stdout, /Removing service voting_visualizer/);
      await running('voting', { vote: 3 });
      const after = await Promise.all(
        ['redis', 'db', 'vote', 'worker'].map((name) => tasksOf(socket, `voting_${name}`)),
      );
      const now = after.flat().map(({ id }) => id);
      t.equal(now.length, ids.length + 1);
      t.strictSame(
        ids.filter((id) => !now.includes(id)),
        [],
        'no task was replaced',
      );
      t.equal((await services('voting')).length, 5);
    });

    await t.test('a removed stack leaves nothing but its volume', async (t) => {
      await removed(t, 'voting');
      const volumes = await mustDocker(h1.dockerSocket, ['volume', 'ls', '--format', '{{.Name}}']);
      t.ok(volumes.split('\n').includes('voting_db-data'), volumes);
    });

    await t.test('a site with secrets, configs and an external network', async (t) => {
      await must('openssl', [
        ...[
          'req',
          '-x509',
          '-newkey',
          'ed25519',
          '-nodes',
          '-days',
          '2',
          '-subj',
          '/CN=site.example',
        ],
        ...['-addext', 'subjectAltName=DNS:site.example'],
        ...['-keyout', path.join(site, 'site.key'), '-out', path.join(site, 'site.crt')],
      ]);
      const env = { SITE: site, NODE: process.execPath };
      const deployment = ['deploy', ...OFFLINE, '-c', composeFile('site.yml'), 'web'];
      const early = await dockerStack(socket, deployment, env);
      t.match(
        early.stderr,
        'network "public" is declared as external, but could not be found. You need to create ' +
          'a swarm-scoped network before the stack is deployed',
      );
      await mustDocker(socket, ['network', 'create', '-d', 'overlay', 'public']);
      const stillEarly = await dockerStack(socket, deployment, env);
      t.match(stillEarly.stderr, /config not found: greeting/);
      await run(
        '/usr/bin/docker',
        ['-H', `unix://${socket}`, 'config', 'create', 'greeting', '-'],
        {
          input: 'welcome\n',
        },
      );
      for (const [name, datacenter] of [
        ['h1', 'east'],
        ['h2', 'east'],
        ['h3', 'west'],
      ] as const)
        await mustDocker(socket, [
          ...['node', 'update', '--label-add', `datacenter=${datacenter}`, name],
        ]);
      const deploy = await dockerStack(socket, deployment, env);
      t.equal(deploy.code, 0, deploy.stderr);
      await running('web', { nginx: 4 });
      for (const { address } of hosts) {
        const trust = ['--cacert', path.join(site, 'site.crt')];
        const where = ['--resolve', `site.example:3000:${address}`];
        // The server listens some time after its container has started.
        const page = await waitFor(`the site to answer on ${address}`, WAIT_MS, async () =>
          fetchOutside('https://site.example:3000/', [...trust, ...where]),
        );
        t.equal(page, PAGE);
      }
      const nodes = (await tasksOf(socket, 'web_nginx')).map(({ node }) => node).sort();
      t.strictSame(nodes, ['h1', 'h2', 'h3', 'h3'], 'spread over the datacenters');
    });

    await t.test('secrets and configs have the owners and modes asked for', async (t) => {
      const { id } = await containerOn(h1, 'web_nginx');
      const files = ['/run/secrets/site.key', '/run/secrets/certificate', '/server.mjs'];
      const listing = await mustDocker(h1.dockerSocket, [
        ...['exec', id, 'ls', '-ln', ...files, '/greeting', '/etc/nginx/conf.d/site.conf'],
      ]);
      const shown = listing.split('\n').map((line) => {
        const [mode, , uid, gid, ...rest] = line.split(/\s+/);
        return [mode, uid, gid, rest.at(-1)].join(' ');
      });
      t.strictSame(shown.sort(), [
        '-r--r----- 1000 1000 /run/secrets/certificate',
        '-r--r----- 103 104 /etc/nginx/conf.d/site.conf',
        '-r--r--r-- 0 0 /greeting',
        '-r--r--r-- 0 0 /run/secrets/site.key',
        '-r--r--r-- 0 0 /server.mjs',
      ]);
      const write = 'echo x >/run/secrets/site.key';
      const denied = await run('/usr/bin/docker', [
        ...['-H', `unix://${h1.dockerSocket}`, 'exec', id, 'sh', '-c', write],
      ]);
      t.match(denied.stderr, /Read-only file system/);
    });

    await t.test('templates are filled in for each task', async (t) => {
      const { id } = await containerOn(h1, 'web_nginx');
      const inside = async (...command: readonly string[]) =>
        mustDocker(h1.dockerSocket, ['exec', id, ...command]);
      t.equal(await inside('hostname'), 'h1-web_nginx');
      const slot = (await tasksOf(socket, 'web_nginx'))
        .find(({ node }) => node === 'h1')
        ?.name.split('.')[1];
      t.match(await inside('env'), new RegExp(`^TASK=${slot} front$`, 'm'));
      const mounts = await mustDocker(h1.dockerSocket, [
        ...['inspect', '--format', '{{range .Mounts}}{{.Name}} {{end}}', id],
      ]);
      t.match(mounts, `web_data-${slot}`);
      const raw = await mustDocker(socket, ['service', 'inspect', 'web_nginx']);
      t.match(raw, '"Hostname": "{{.Node.Hostname}}-{{.Service.Name}}"');
    });

    await t.test('templates that cannot be filled in', async (t) => {
      const create = async (...args: readonly string[]) =>
        docker(socket, [
          ...['service', 'create', '--detach', '--no-resolve-image', '--name', 'bad'],
          ...['--restart-condition', 'none', ...args, WEB_IMAGE],
        ]);
      const refused = await create('--hostname', '{{.Node.Nope}}');
      t.match(refused.stderr, /InvalidArgument desc = expanding hostname failed: template: .*Nope/);
      await run(
        '/usr/bin/docker',
        [
          ...[
            '-H',
            `unix://${socket}`,
            'config',
            'create',
            '--template-driver',
            'golang',
            'bad',
            '-',
          ],
        ],
        { input: '{{ secret "nope" }}' },
      );
      t.equal((await create('--config', 'bad')).code, 0);
      const error = await waitFor('the task to be rejected', WAIT_MS, async () => {
        const [task] = await tasksOf(socket, 'bad');
        return task?.currentState.startsWith('Rejected') ? task.error : undefined;
      });
      t.match(error, /failed to expand templated config \w+: .*secret target nope not found/);
      await mustDocker(socket, ['service', 'rm', 'bad']);
      await mustDocker(socket, ['config', 'rm', 'bad']);
    });

    await t.test('what a stack only uses stays when it is removed', async (t) => {
      await removed(t, 'web');
      const networks = await mustDocker(socket, ['network', 'ls', '--format', '{{.Name}}']);
      t.ok(networks.split('\n').includes('public'));
      t.equal(await mustDocker(socket, ['config', 'ls', '--format', '{{.Name}}']), 'greeting');
    });
  } finally {
    rmSync(site, { recursive: true, force: true });
    await down();
  }
});
