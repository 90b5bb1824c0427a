/**
 * A private registry with TLS and basic authentication: credentials go with the service and are in
 * no answer and no log, images are pinned by digest, and a task tells why its image could not be had.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { type CommandResult, must, run, waitFor } from '../testbed/commands.js';
import { CLIENT_ADDRESS, CLIENT_NAMESPACE, WEB_IMAGE } from '../testbed/layout.js';
import { formSwarm, runningTasks, tasksOf, waitForReplicas } from '../testbed/swarm.js';
import { down, type Host, inClient, inHost, mustDocker, up } from '../testbed/testbed.js';

const WAIT_MS = 30_000;
const REGISTRY = `${CLIENT_ADDRESS}:5000`;
const PASSWORD = 'letmein-5f3b';
/** bcrypt of the password, by cost 4. */
const HTPASSWD = 'clerk:$2b$04$QCVkyzSTKP6f7fOioDKwN.aoQ/m7p.066K/ogbyv9ZizXkBW7F9xa\n';
/** Where an engine looks for the certificate of a registry. */
const CERTIFICATES = `/etc/docker/certs.d/${REGISTRY}`;

/** A registry on the testbed's outside, with its files in a directory. */
async function startRegistry(directory: string): Promise<ChildProcess> {
  const file = (name: string) => path.join(directory, name);
  await must('openssl', [
    ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=registry'],
    ...['-addext', `subjectAltName=IP:${CLIENT_ADDRESS}`],
    ...['-keyout', file('key.pem'), '-out', file('ca.crt')],
  ]);
  writeFileSync(file('htpasswd'), HTPASSWD, { mode: 0o600 });
  mkdirSync(file('data'));
  const config = {
    version: '0.1',
    log: { level: 'error' },
    storage: { filesystem: { rootdirectory: file('data') } },
    http: { addr: REGISTRY, tls: { certificate: file('ca.crt'), key: file('key.pem') } },
    auth: { htpasswd: { realm: 'registry', path: file('htpasswd') } },
  };
  // YAML is a superset of JSON.
  writeFileSync(file('config.yml'), JSON.stringify(config));
  const command = ['docker-registry', 'serve', file('config.yml')];
  const registry = spawn('nsenter', [`--net=/var/run/netns/${CLIENT_NAMESPACE}`, ...command], {
    stdio: 'ignore',
  });
  await waitFor('the registry to answer', WAIT_MS, async () => {
    const url = `https://${REGISTRY}/v2/`;
    const answer = await inClient(['curl', '-s', '--cacert', file('ca.crt'), url]);
    return answer.stdout.includes('UNAUTHORIZED') ? true : undefined;
  });
  return registry;
}

void t.test('a private registry', async (t) => {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'skep-registry-'));
  let registry: ChildProcess | undefined;
  // Where the nodes look for credentials of their own; nobody has logged in there yet.
  process.env['DOCKER_CONFIG'] = path.join(directory, 'node');
  mkdirSync(path.join(directory, 'bin'));
  process.env['PATH'] = `${process.env['PATH'] ?? ''}:${path.join(directory, 'bin')}`;
  const hosts = await up(2);
  try {
    const [h1] = hosts as [Host, Host];
    const socket = h1.skepSocket;
    await formSwarm(hosts, 'skep');
    registry = await startRegistry(directory);
    for (const host of hosts) {
      // Private to the host: /etc is shared with the machine.
      const script = [
        'mount -t tmpfs tmpfs /etc/docker',
        `mkdir -p ${CERTIFICATES}`,
        `cp ${path.join(directory, 'ca.crt')} ${CERTIFICATES}/ca.crt`,
      ];
      const trusted = await inHost(host, ['sh', '-c', script.join(' && ')]);
      t.equal(trusted.code, 0, trusted.stderr);
    }
    /** The CLI as somebody who has logged in, or not. */
    const cli = async (
      who: 'clerk' | 'nobody',
      ...args: readonly string[]
    ): Promise<CommandResult> =>
      run('/usr/bin/docker', [
        ...['--config', path.join(directory, who), '-H', `unix://${socket}`, ...args],
      ]);
    const create = async (who: 'clerk' | 'nobody', name: string, ...args: readonly string[]) => {
      const made = await cli(who, 'service', 'create', '--detach', '--name', name, ...args);
      t.equal(made.code, 0, made.stderr);
      return made.stderr;
    };
    const rejected = async (name: string): Promise<string> =>
      waitFor(`${name} to be rejected`, WAIT_MS, async () => {
        const task = (await tasksOf(socket, name)).find(({ error }) => error !== '');
        return task?.error;
      });
    const imageOf = async (name: string): Promise<string> =>
      mustDocker(socket, [
        ...['service', 'inspect', '--format', '{{.Spec.TaskTemplate.ContainerSpec.Image}}', name],
      ]);

    await t.test('an image is pushed', async (t) => {
      const login = await cli('clerk', 'login', '-u', 'clerk', '-p', PASSWORD, REGISTRY);
      t.equal(login.code, 0, login.stderr);
      await mustDocker(socket, ['tag', WEB_IMAGE, `${REGISTRY}/web:1`]);
      const push = await cli('clerk', 'push', `${REGISTRY}/web:1`);
      t.equal(push.code, 0, push.stderr);
      await mustDocker(socket, ['rmi', `${REGISTRY}/web:1`]);
    });

    await t.test('without credentials a task tells why it has no image', async (t) => {
      const warning = await create('nobody', 'refused', `${REGISTRY}/web:1`);
      t.match(warning, /could not be accessed on a registry to record\s+its digest/);
      t.match(
        await rejected('refused'),
        /^"?No such image: 192\.168\.77\.1:5000\/web:1 \(pulling it failed: .*no basic auth credentials/,
      );
      await create('clerk', 'missing', '--with-registry-auth', `${REGISTRY}/web:nope`);
      t.match(await rejected('missing'), /pulling it failed: .*manifest unknown/);
      await mustDocker(socket, ['service', 'rm', 'refused', 'missing']);
    });

    await t.test('with them it runs everywhere, pinned by digest', async (t) => {
      const options = ['--with-registry-auth', '--mode', 'global'];
      await create('clerk', 'web', ...options, `${REGISTRY}/web:1`);
      await waitForReplicas(socket, 'web', 2, WAIT_MS);
      t.match(await imageOf('web'), /^192\.168\.77\.1:5000\/web:1@sha256:[0-9a-f]{64}$/);
      await create('clerk', 'loose', '--no-resolve-image', ...options, `${REGISTRY}/web:1`);
      await waitForReplicas(socket, 'loose', 2, WAIT_MS);
      t.equal(await imageOf('loose'), `${REGISTRY}/web:1`);
    });

    await t.test('a stack gets them too', async (t) => {
      const file = path.join(directory, 'stack.yml');
      writeFileSync(file, `version: "3.9"\nservices:\n  app:\n    image: ${REGISTRY}/web:1\n`);
      const deploy = await cli(
        'clerk',
        'stack',
        'deploy',
        '--with-registry-auth',
        '-c',
        file,
        'shop',
      );
      t.equal(deploy.code, 0, deploy.stderr);
      await waitForReplicas(socket, 'shop_app', 1, WAIT_MS);
      t.match(await imageOf('shop_app'), '@sha256:');
    });

    await t.test('the credentials are in no answer and no log', async (t) => {
      const encoded = Buffer.from(`clerk:${PASSWORD}`).toString('base64');
      const auth = readFileSync(path.join(directory, 'clerk/config.json'), 'utf8');
      t.match(auth, encoded, 'what is searched for is what the CLI sends');
      const ids = (await runningTasks(socket, 'web')).map(({ id }) => id);
      const answers = [
        await mustDocker(socket, ['service', 'inspect', 'web', 'loose', 'shop_app']),
        await mustDocker(socket, ['inspect', ...ids]),
        ...hosts.flatMap(({ skepLog, engineLog }) => [
          readFileSync(skepLog, 'utf8'),
          readFileSync(engineLog, 'utf8'),
        ]),
      ];
      // X-Registry-Auth holds the password inside base64url of JSON, at any of three offsets.
      const pieces = [0, 1, 2].map((offset) =>
        Buffer.from(' '.repeat(offset) + PASSWORD)
          .toString('base64url')
          .slice(offset === 0 ? 0 : 4, -4),
      );
      for (const text of answers)
        for (const piece of [PASSWORD, encoded, ...pieces]) t.notOk(text.includes(piece), piece);
    });

    await t.test('a node with credentials of its own needs none of the service', async (t) => {
      await mustDocker(socket, ['service', 'rm', 'web', 'loose', 'shop_app']);
      for (const { dockerSocket } of hosts)
        await waitFor('the image to be gone', WAIT_MS, async () => {
          const images = await mustDocker(dockerSocket, ['images', '-q', `${REGISTRY}/web`]);
          if (images === '') return true;
          await mustDocker(dockerSocket, ['rmi', '-f', images.split('\n')[0] ?? '']);
          return undefined;
        });
      // A helper, which makes a token when it is asked.
      mkdirSync(path.join(directory, 'node'));
      const config = { credHelpers: { [REGISTRY]: 'skeptest' } };
      writeFileSync(path.join(directory, 'node/config.json'), JSON.stringify(config));
      const answer = JSON.stringify({ Username: 'clerk', Secret: PASSWORD });
      const helper = path.join(directory, 'bin/docker-credential-skeptest');
      writeFileSync(
        helper,
        `#!/bin/sh\nread server\ntest "$server" = ${REGISTRY} && echo '${answer}'\n`,
      );
      chmodSync(helper, 0o755);
      await create('nobody', 'own', '--no-resolve-image', '--mode', 'global', `${REGISTRY}/web:1`);
      await waitForReplicas(socket, 'own', 2, WAIT_MS);
      for (const { dockerSocket } of hosts)
        t.not(
          await mustDocker(dockerSocket, ['images', '-q', `${REGISTRY}/web`]),
          '',
          'pulled again',
        );
    });
  } finally {
    registry?.kill();
    await down();
    rmSync(directory, { recursive: true, force: true });
  }
});
