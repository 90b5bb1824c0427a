/**
 * The root certificate is rotated with the stock CLI under running services, with a stock engine
 * among the workers; OpenSSL agrees with the certificates before and after; a removed node is cut off.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { must, run, waitFor } from '../testbed/commands.js';
import { WEB_IMAGE } from '../testbed/layout.js';
import { formSwarm, managerOf, waitForReplicas } from '../testbed/swarm.js';
import { docker, down, type Host, inHost, mustDocker, up } from '../testbed/testbed.js';

async function containers(hosts: readonly Host[]): Promise<readonly string[]> {
  const ids = await Promise.all(
    hosts.map(async (host) => mustDocker(host.dockerSocket, ['ps', '-q', '--no-trunc'])),
  );
  return ids.flatMap((text) => text.split('\n').filter(Boolean)).sort();
}

/** Where a host keeps its certificates: skepd's, or the stock engine's. */
function certificates(host: Host, flavour: 'skep' | 'stock'): string {
  const base = flavour === 'skep' ? host.skepState : `${host.directory}/data`;
  return `${base}/swarm/certificates`;
}

void t.test('rotation of the root certificate', async (t) => {
  const hosts = await up(3, { noSkep: ['h3'] });
  const manager = managerOf(hosts);
  const [, second, third] = hosts as [Host, Host, Host];
  const socket = manager.skepSocket;
  const folders = [
    certificates(manager, 'skep'),
    certificates(second, 'skep'),
    certificates(third, 'stock'),
  ];
  const root = (at: number) =>
    readFileSync(`${folders[at] ?? ''}/swarm-root-ca.crt`, 'utf8').trim();
  /** What OpenSSL says of each node's certificate under the root in `file`. */
  const verified = async (file: string): Promise<readonly string[]> => {
    const results = await Promise.all(
      folders.map(async (folder) =>
        run('openssl', ['verify', '-CAfile', file, `${folder}/swarm-node.crt`]),
      ),
    );
    return results.map(({ stdout, stderr }) => `${stdout}${stderr}`.trim().replace(/^.*: /s, ''));
  };
  const served = async (file: string): Promise<string> => {
    const client = ['openssl', 's_client', '-connect', `${manager.address}:2377`, '-alpn', 'h2'];
    const options = ['-CAfile', file, '-verify_hostname', 'swarm-manager', '-verify_return_error'];
    const answer = await inHost(second, [
      'sh',
      '-c',
      `${[...client, ...options].join(' ')} </dev/null`,
    ]);
    return /Verify return code: .*/.exec(answer.stdout)?.[0] ?? answer.stderr;
  };
  try {
    await formSwarm(hosts, (host) => (host.name === 'h3' ? 'stock' : 'skep'));
    await mustDocker(socket, [
      ...['service', 'create', '--detach', '--name', 'web', '--mode', 'global', WEB_IMAGE],
    ]);
    await waitForReplicas(socket, 'web', 3, 60_000);
    const before = await containers(hosts);
    const oldRoot = await mustDocker(socket, ['swarm', 'ca']);
    const oldToken = await mustDocker(socket, ['swarm', 'join-token', '-q', 'worker']);
    const oldFile = `${manager.directory}/old-root.pem`;
    await must('cp', [`${folders[0] ?? ''}/swarm-root-ca.crt`, oldFile]);
    t.same(await verified(oldFile), ['OK', 'OK', 'OK']);
    t.equal(await served(oldFile), 'Verify return code: 0 (ok)');

    await mustDocker(socket, ['swarm', 'update', '--cert-expiry', '2h']);
    const rotation = await docker(socket, ['swarm', 'ca', '--rotate'], 90_000);
    t.equal(rotation.code, 0, rotation.stderr);
    const newRoot = await mustDocker(socket, ['swarm', 'ca']);
    t.not(newRoot, oldRoot);
    t.match(rotation.stdout, newRoot.slice(30, 80), 'the new root is printed in the end');
    const digests = rotation.stdout.match(/(?<=digest: sha256:)[0-9a-f]{64}/g) ?? [];
    const newFile = `${folders[0] ?? ''}/swarm-root-ca.crt`;
    t.equal(digests.at(-1), createHash('sha256').update(readFileSync(newFile)).digest('hex'));
    t.equal(new Set(digests).size, 2, 'the old root, then the new one');
    t.same([root(0), root(1), root(2)], [newRoot, newRoot, newRoot]);
    t.same(await verified(newFile), ['OK', 'OK', 'OK']);
    t.equal(await served(newFile), 'Verify return code: 0 (ok)');
    for (const folder of folders) {
      const args = [
        'x509',
        '-noout',
        '-checkend',
        String(3 * 3600),
        '-in',
        `${folder}/swarm-node.crt`,
      ];
      t.equal((await run('openssl', args)).code, 1, 'the certificate has the new life of 2 h');
    }
    t.same(await containers(hosts), before, 'no container was touched');
    const states = await mustDocker(socket, [
      'node',
      'ls',
      '--format',
      '{{.Status}} {{.TLSStatus}}',
    ]);
    t.equal(states, 'Ready Ready\nReady Ready\nReady Ready');

    const newToken = await mustDocker(socket, ['swarm', 'join-token', '-q', 'worker']);
    t.not(newToken, oldToken);
    await mustDocker(socket, ['service', 'update', '--label-add', 'a=b', '--detach', 'web']);
    await mustDocker(socket, [
      'service',
      'create',
      '--detach',
      '--name',
      'more',
      '--mode',
      'global',
      WEB_IMAGE,
    ]);
    await waitForReplicas(socket, 'more', 3, 60_000);

    await t.test('a removed node is cut off', async (t) => {
      await mustDocker(socket, ['node', 'rm', '--force', 'h2']);
      await waitFor('the node to be refused', 5_000, async () =>
        /was removed from swarm/.test(readFileSync(second.skepLog, 'utf8')) ? true : undefined,
      );
      await waitFor('no connection of it', 5_000, async () => {
        const sockets = await inHost(second, [
          'ss',
          '-Htn',
          'state',
          'established',
          'dport',
          '=',
          ':2377',
        ]);
        return sockets.stdout.trim() === '' ? true : undefined;
      });
      const leave = await docker(second.skepSocket, ['swarm', 'leave', '--force']);
      t.equal(leave.code, 0, leave.stderr);
      const join = ['swarm', 'join', '--advertise-addr', second.address];
      const refused = await docker(second.skepSocket, [
        ...[...join, '--token', oldToken, `${manager.address}:2377`],
      ]);
      t.match(refused, { code: 1, stderr: /remote CA does not match fingerprint/ });
      await mustDocker(second.skepSocket, [
        ...join,
        '--token',
        newToken,
        `${manager.address}:2377`,
      ]);
    });
  } finally {
    await down();
  }
});
