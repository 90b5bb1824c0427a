/**
 * The examples of Docker's own user guide to swarms, command by command, on one three-host swarm.
 * Public images are stood in for by the test image under their names. Elsewhere: joining, publishing
 * and draining under load (main-job), stacks (stacks), private registries (registry), locks
 * (autolock), backups (backup).
 */
import t, { type Test } from 'tap';
import { run, waitFor } from '../testbed/commands.js';
import { WEB_IMAGE } from '../testbed/layout.js';
import {
  containerOn,
  formSwarm,
  runningTasks,
  tasksOf,
  waitForReplicas,
} from '../testbed/swarm.js';
import {
  askWho,
  docker,
  down,
  type Host,
  inClient,
  inHost,
  mustDocker,
  up,
} from '../testbed/testbed.js';
import { composeFile, dockerStack, fetchOutside } from './support/stack.js';

const WAIT_MS = 40_000;
const IMAGES = [
  ...['traefik/whoami:latest', 'redis:3.0.6', 'redis:3.0.7', 'redis:latest', 'redis:alpine'],
  ...['dns-cache:latest', 'nginx:latest', 'mysql:latest', 'alpine:latest'],
];
/** Its tasks end at once. */
const BROKEN = ['--args', 'false'];

void t.test('the user guide', async (t) => {
  const hosts = await up(3);
  try {
    const [h1, h2, h3] = hosts as [Host, Host, Host];
    const socket = h1.skepSocket;
    await formSwarm(hosts, 'skep');
    for (const { dockerSocket } of hosts)
      for (const image of IMAGES) await mustDocker(dockerSocket, ['tag', WEB_IMAGE, image]);
    const cli = async (line: string): Promise<string> => mustDocker(socket, words(line));
    const create = (line: string) => cli(`service create --detach --no-resolve-image ${line}`);
    const update = (line: string) => cli(`service update --detach --no-resolve-image ${line}`);
    const store = async (
      kind: string,
      name: string,
      input: string,
      ...options: readonly string[]
    ) => {
      const args = ['-H', `unix://${socket}`, kind, 'create', ...options, name, '-'];
      const made = await run('/usr/bin/docker', args, { input });
      if (made.code !== 0) throw new Error(made.stderr);
    };
    const inside = async (host: Host, service: string, ...command: readonly string[]) => {
      const { id } = await containerOn(host, service);
      return mustDocker(host.dockerSocket, ['exec', id, ...command]);
    };
    const placesOf = async (service: string) =>
      (await runningTasks(socket, service)).map(({ node }) => node).sort();
    const remove = (...services: readonly string[]) => cli(`service rm ${services.join(' ')}`);

    await t.test('whoami: create, ls, inspect, ps, scale, publish, rm', async (t) => {
      await create('--replicas 1 --name whoami traefik/whoami');
      await waitForReplicas(socket, 'whoami', 1, WAIT_MS);
      t.match(await cli('service ls'), /whoami +replicated +1\/1 +traefik\/whoami:latest/);
      const pretty = await cli('service inspect --pretty whoami');
      t.match(pretty, /Name:\t\twhoami[\s\S]*Service Mode:\tReplicated[\s\S]* Replicas:\t1/);
      await cli('service scale --detach whoami=3');
      await waitForReplicas(socket, 'whoami', 3, WAIT_MS);
      t.strictSame(await placesOf('whoami'), ['h1', 'h2', 'h3']);
      await update('--publish-add published=8000,target=80 whoami');
      await waitForUpdate(socket, 'whoami');
      const ports = '{{json .Endpoint.Spec.Ports}}';
      t.equal(
        await mustDocker(socket, ['service', 'inspect', '--format', ports, 'whoami']),
        '[{"Protocol":"tcp","TargetPort":80,"PublishedPort":8000,"PublishMode":"ingress"}]',
      );
      for (const { address } of hosts)
        await waitFor(`whoami on ${address}`, WAIT_MS, () => askWho(address, 8000));
      await remove('whoami');
      t.equal(await cli('service ls -q'), '');
    });

    await t.test('redis: a rolling update, one task at a time', async (t) => {
      await create('--replicas 3 --name redis --update-delay 2s redis:3.0.6');
      await waitForReplicas(socket, 'redis', 3, WAIT_MS);
      await update('--image redis:3.0.7 redis');
      let mixed = 0;
      await waitFor('the update', WAIT_MS, async () => {
        const images = await imagesOf(socket, 'redis');
        if (new Set(images).size === 2) mixed++;
        return (await updateState(socket, 'redis')) === 'completed' ? true : undefined;
      });
      t.ok(mixed > 0, 'old and new run beside each other meanwhile');
      t.strictSame(await imagesOf(socket, 'redis'), Array(3).fill('redis:3.0.7'));
    });

    await t.test('a drained node gives its tasks away, and comes back', async (t) => {
      await cli('node update --availability drain h3');
      t.match(await cli('node inspect --pretty h3'), /Availability: +\s*Drain/);
      await waitFor('h3 to be empty', WAIT_MS, async () => {
        const places = await placesOf('redis');
        return places.length === 3 && !places.includes('h3') ? true : undefined;
      });
      await cli('node update --availability active h3');
      t.match(await cli('node inspect --pretty h3'), /Availability: +\s*Active/);
      await remove('redis');
    });

    await t.test('dns-cache: global, host mode, UDP', async (t) => {
      await cli(`config create dns-cache.mjs ${composeFile('dns-cache.mjs')}`);
      const libraries = ['/lib64', '/lib/x86_64-linux-gnu'].map(
        (folder) => `--mount type=bind,source=${folder},target=${folder},readonly `,
      );
      await create(
        '--name dns-cache --publish published=53,target=53,protocol=udp,mode=host --mode global ' +
          `--mount type=bind,source=${process.execPath},target=/node,readonly ${libraries.join('')}` +
          '--init --config dns-cache.mjs dns-cache /node /dns-cache.mjs',
      );
      await waitForReplicas(socket, 'dns-cache', 3, WAIT_MS);
      for (const { address } of hosts) {
        const answer = await waitFor(`an answer of ${address}`, WAIT_MS, async () => {
          const asked = await inClient(['busybox', 'nslookup', 'cache.example', address]);
          return /Address[^:]*: (192\.0\.2\.\d+)/.exec(asked.stdout)?.[1];
        });
        t.equal(answer, '192.0.2.53', `the task of ${address} answers on its node`);
      }
      await remove('dns-cache');
      await cli('config rm dns-cache.mjs');
    });

    await t.test('labels, constraints, preferences by datacenter and rack', async (t) => {
      await cli('node update --label-add foo --label-add bar=baz h1');
      const labels = await mustDocker(socket, [
        ...['node', 'inspect', '--format', '{{json .Spec.Labels}}', 'h1'],
      ]);
      t.strictSame(JSON.parse(labels), { foo: '', bar: 'baz' });
      for (const [host, datacenter, rack] of [
        ['h1', 'a', 'r1'],
        ['h2', 'a', 'r2'],
        ['h3', 'b', 'r3'],
      ] as const)
        await cli(
          `node update --label-add datacenter=${datacenter} --label-add rack=${rack} ` +
            `--label-add region=${host === 'h1' ? 'west' : 'east'} ${host}`,
        );
      await create('--name east --replicas 4 --constraint node.labels.region==east alpine');
      await waitForReplicas(socket, 'east', 4, WAIT_MS);
      t.strictSame(await placesOf('east'), ['h2', 'h2', 'h3', 'h3']);
      await remove('east');
      await create(
        '--name spread --replicas 9 --placement-pref spread=node.labels.datacenter redis:3.0.6',
      );
      await waitForReplicas(socket, 'spread', 9, WAIT_MS);
      const byCenter = countOf(await placesOf('spread'));
      const centers = [byCenter['h3'] ?? 0, (byCenter['h1'] ?? 0) + (byCenter['h2'] ?? 0)];
      t.strictSame(
        centers.sort((a, b) => a - b),
        [4, 5],
        'evenly over the datacenters',
      );
      await remove('spread');
      await create(
        '--name racks --replicas 8 --placement-pref spread=node.labels.datacenter ' +
          '--placement-pref spread=node.labels.rack redis:3.0.6',
      );
      await waitForReplicas(socket, 'racks', 8, WAIT_MS);
      t.strictSame(countOf(await placesOf('racks')), { h1: 2, h2: 2, h3: 4 });
      await remove('racks');
    });

    await t.test('reservations leave tasks pending until there is a node', async (t) => {
      await create('--name large --reserve-memory 1000000G alpine');
      const task = await waitFor('the task to be pending', WAIT_MS, async () =>
        (await tasksOf(socket, 'large')).find(({ error }) => error !== ''),
      );
      t.match(task.currentState, /^Pending/);
      t.match(task.error, /no suitable node \(insufficient resources/);
      await remove('large');
    });

    await t.test('update settings, and a rollback by hand and by itself', async (t) => {
      await create(
        '--replicas 4 --name my_web --update-delay 1s --update-parallelism 2 ' +
          '--update-failure-action continue alpine',
      );
      await waitForReplicas(socket, 'my_web', 4, WAIT_MS);
      await update('--env-add VERSION=2 my_web');
      await waitForUpdate(socket, 'my_web');
      const combined = 'service update --detach --rollback --update-delay 0s my_web';
      const refused = await docker(socket, words(combined));
      t.match(
        refused.stderr,
        'other flags may not be combined with --rollback',
        "the CLI's own rule",
      );
      await cli('service update --detach --rollback my_web');
      await waitFor('the rollback', WAIT_MS, async () =>
        (await updateState(socket, 'my_web')) === 'rollback_completed' ? true : undefined,
      );
      t.notMatch(
        await cli('service inspect my_web --format {{.Spec.TaskTemplate.ContainerSpec.Env}}'),
        'VERSION',
      );
      await remove('my_web');
      await create(
        '--name=my_redis --replicas=5 --rollback-parallelism=2 --rollback-monitor=2s ' +
          '--rollback-max-failure-ratio=.2 --update-failure-action=rollback --update-monitor=2s redis:latest',
      );
      await waitForReplicas(socket, 'my_redis', 5, WAIT_MS);
      const shown = await cli('service inspect --pretty my_redis');
      t.match(
        shown,
        /RollbackConfig:\n Parallelism:\t2\n[\s\S]*Monitoring Period: 2s\n Max failure ratio: 0.2/,
      );
      await mustDocker(socket, [
        ...['service', 'update', '--detach', '--no-resolve-image', ...BROKEN, 'my_redis'],
      ]);
      await waitFor('the rollback', WAIT_MS, async () =>
        (await updateState(socket, 'my_redis')) === 'rollback_completed' ? true : undefined,
      );
      await waitForReplicas(socket, 'my_redis', 5, WAIT_MS);
      await remove('my_redis');
    });

    await t.test('networks and volumes', async (t) => {
      await cli('network create --driver overlay my-network');
      await create(
        '--name my-web --mount src=my-volume,dst=/data --env NODE={{.Node.Hostname}} ' +
          '--hostname {{.Service.Name}}-{{.Task.Slot}} alpine',
      );
      await waitForReplicas(socket, 'my-web', 1, WAIT_MS);
      await update('--network-add my-network my-web');
      await waitForUpdate(socket, 'my-web');
      const [place] = await placesOf('my-web');
      const host = hosts.find(({ name }) => name === place) ?? h1;
      const { addresses } = await containerOn(host, 'my-web');
      t.ok(Object.keys(addresses).includes('my-network'), Object.keys(addresses).join());
      t.equal(await inside(host, 'my-web', 'hostname'), 'my-web-1');
      t.match(await inside(host, 'my-web', 'env'), `NODE=${place}`);
      const volumes = await mustDocker(host.dockerSocket, ['volume', 'ls', '-q']);
      t.ok(volumes.split('\n').includes('my-volume'), 'made on the node of the task');
      await remove('my-web');
    });

    await t.test('configs: create, use, remove; short and long syntax', async (t) => {
      await store('config', 'my-config', 'This is a config\n');
      await create('--name redis --config my-config redis:alpine');
      await waitForReplicas(socket, 'redis', 1, WAIT_MS);
      const [place] = await placesOf('redis');
      const host = hosts.find(({ name }) => name === place) ?? h1;
      t.equal(await inside(host, 'redis', 'cat', '/my-config'), 'This is a config');
      await update('--config-rm my-config redis');
      await waitForUpdate(socket, 'redis');
      const [later] = await placesOf('redis');
      const there = hosts.find(({ name }) => name === later) ?? h1;
      t.equal(await inside(there, 'redis', 'ls', '/var/www/index.html'), '/var/www/index.html');
      await t.rejects(inside(there, 'redis', 'cat', '/my-config'), /No such file/);
      await remove('redis');
      await expectSyntax(t, socket, hosts);
      await cli('config rm my-config');
    });

    await t.test('a homepage of a template', async (t) => {
      const page = '<p>Hello {{ env "HELLO" }}! I\'m service {{ .Service.Name }}.</p>\n';
      await store('config', 'homepage', page, '--template-driver', 'golang');
      await create(
        '--name hello --env HELLO=Docker --publish published=3001,target=80 ' +
          '--config source=homepage,target=/var/www/index.html nginx:latest',
      );
      await waitForReplicas(socket, 'hello', 1, WAIT_MS);
      const shown = await waitFor('the page', WAIT_MS, () =>
        fetchOutside(`http://${h3.address}:3001/`),
      );
      t.equal(shown, "<p>Hello Docker! I'm service hello.</p>\n");
      await remove('hello');
      await cli('config rm homepage');
    });

    await t.test('nginx with secrets and a config', async (t) => {
      for (const name of ['site.key', 'site.crt']) await store('secret', name, `the ${name}`);
      await store('config', 'site.conf', '/var/www\n');
      await mustDocker(socket, [
        ...words(
          'service create --detach --no-resolve-image --init --name nginx --secret site.key',
        ),
        ...words('--secret site.crt --publish published=3000,target=443'),
        ...words('--config source=site.conf,target=/etc/nginx/conf.d/site.conf,mode=0440'),
        ...['nginx:latest', 'sh', '-c'],
        'exec httpd -f -p 443 -h "$(cat /etc/nginx/conf.d/site.conf)"',
      ]);
      await waitForReplicas(socket, 'nginx', 1, WAIT_MS);
      const [place] = await placesOf('nginx');
      const host = hosts.find(({ name }) => name === place) ?? h1;
      const files = ['/run/secrets/site.key', '/run/secrets/site.crt'];
      t.equal(await inside(host, 'nginx', 'cat', ...files), 'the site.keythe site.crt');
      t.match(
        await inside(host, 'nginx', 'ls', '-l', '/etc/nginx/conf.d'),
        /^-r--r-----.*site\.conf$/m,
      );
      const page = await waitFor('the site', WAIT_MS, () =>
        fetchOutside(`http://${h2.address}:3000/`),
      );
      t.equal(page, 'skep-test\n');
      await remove('nginx');
      await cli('secret rm site.key site.crt');
      await cli('config rm site.conf');
    });

    await t.test('mysql with its passwords in files', async (t) => {
      await cli('network create --driver overlay mysql_private');
      const password = (await run('openssl', ['rand', '-base64', '20'])).stdout;
      await store('secret', 'mysql_password', password);
      await store('secret', 'mysql_root_password', 'root');
      const serve =
        'mkdir -p /var/lib/mysql/www/cgi-bin; cp=/var/lib/mysql/www/cgi-bin/login; ' +
        'printf \'#!/bin/sh\\necho Content-Type: text/plain; echo; test "$QUERY_STRING" = "%s" && echo welcome $MYSQL_USER || echo denied\\n\' ' +
        '"$(cat "$MYSQL_PASSWORD_FILE")" >$cp; busybox chmod 755 $cp; exec httpd -f -p 3306 -h /var/lib/mysql/www';
      await mustDocker(socket, [
        ...words('service create --detach --no-resolve-image --init --name mysql --replicas 1'),
        ...words('--network mysql_private --constraint node.hostname==h2'),
        ...words('--mount type=volume,source=mydata,destination=/var/lib/mysql'),
        ...words('--secret source=mysql_root_password,target=mysql_root_password'),
        ...words('--secret source=mysql_password,target=mysql_password'),
        ...words('-e MYSQL_ROOT_PASSWORD_FILE=/run/secrets/mysql_root_password'),
        ...words('-e MYSQL_PASSWORD_FILE=/run/secrets/mysql_password'),
        ...words('-e MYSQL_USER=wordpress -e MYSQL_DATABASE=wordpress'),
        ...['mysql:latest', 'sh', '-c', serve],
      ]);
      await create(
        '--name wordpress --network mysql_private --constraint node.hostname==h3 alpine',
      );
      await waitForReplicas(socket, 'mysql', 1, WAIT_MS);
      await waitForReplicas(socket, 'wordpress', 1, WAIT_MS);
      const login = async (word: string) => {
        const url = `http://mysql:3306/cgi-bin/login?${word}`;
        return waitFor('the database', WAIT_MS, async () =>
          inside(h3, 'wordpress', 'wget', '-qO-', url).catch(() => undefined),
        );
      };
      t.equal(await login(password.trim()), 'welcome wordpress');
      t.equal(await login('guess'), 'denied');
      const inspected = await cli('service inspect mysql');
      t.notMatch(inspected, password.trim());
      await remove('mysql', 'wordpress');
    });

    await t.test('nothing is left but volumes', async (t) => {
      t.equal(await cli('service ls -q'), '');
      await waitFor('the containers to be gone', WAIT_MS, async () => {
        for (const { dockerSocket } of hosts)
          if ((await mustDocker(dockerSocket, ['ps', '-aq'])) !== '') return undefined;
        return true;
      });
      for (const host of hosts) {
        const held = await inHost(host, ['ls', '/run/skep/secrets']);
        t.equal(held.stdout, '', `no secret on ${host.name}`);
      }
    });
  } finally {
    await down();
  }
});

/** The guide's compose file with configs in both syntaxes, with the stock CLI. */
async function expectSyntax(t: Test, socket: string, hosts: readonly Host[]): Promise<void> {
  const yaml = (configs: string) => `version: "3.9"
services:
  redis:
    image: redis:latest
    deploy: { replicas: 1 }
    configs: ${configs}
configs:
  my_config: { file: /etc/hostname }
  my_other_config: { external: true, name: my-config }
`;
  for (const [configs, file, mode] of [
    ['[my_config, my_other_config]', '/my_config', '-r--r--r-- 0 0'],
    [
      "[{source: my_config, target: /redis_config, uid: '103', gid: '103', mode: 0440}]",
      ...['/redis_config', '-r--r----- 103 103'],
    ],
  ] as const) {
    const args = [
      '-H',
      `unix://${socket}`,
      'stack',
      'deploy',
      '--resolve-image',
      'never',
      '-c',
      '-',
      'syntax',
    ];
    const deployed = await run('/usr/bin/docker', args, { input: yaml(configs) });
    t.equal(deployed.code, 0, deployed.stderr);
    const listing = await waitFor(`a task with ${file}`, WAIT_MS, async () => {
      for (const host of hosts) {
        const found = await containerOn(host, 'syntax_redis').catch(() => undefined);
        if (found === undefined) continue;
        const listed = await docker(host.dockerSocket, ['exec', found.id, 'ls', '-ln', file]);
        if (listed.code === 0) return listed.stdout;
      }
      return undefined;
    });
    const [shown, , uid, gid] = listing.split(/\s+/);
    t.equal(`${shown} ${uid} ${gid}`, mode);
  }
  const removal = await dockerStack(socket, ['rm', 'syntax']);
  t.equal(removal.code, 0, removal.stderr);
}

function words(line: string): readonly string[] {
  return line.split(' ').filter(Boolean);
}

function countOf(names: readonly string[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

async function imagesOf(socket: string, service: string): Promise<readonly string[]> {
  const filter = ['--filter', 'desired-state=running'];
  const shown = await mustDocker(socket, [
    'service',
    'ps',
    ...filter,
    '--format',
    '{{.Image}}',
    service,
  ]);
  return shown.split('\n').filter(Boolean);
}

async function updateState(socket: string, service: string): Promise<string> {
  const format = '{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}';
  return mustDocker(socket, ['service', 'inspect', '--format', format, service]);
}

async function waitForUpdate(socket: string, service: string): Promise<void> {
  await waitFor(`the update of ${service}`, WAIT_MS, async () =>
    (await updateState(socket, service)) === 'completed' ? true : undefined,
  );
}
