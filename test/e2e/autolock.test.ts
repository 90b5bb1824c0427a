/**
 * Locked managers: the same commands against a stock engine and against skepd, each restarted while
 * it locks, must be answered alike; and of a locked manager of ours nothing on disk can be read.
 */
import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { comparable, runCli, words } from '../api/support/cli.js';
import { waitFor } from '../testbed/commands.js';
import { startEngineAgain, stopEngine } from '../testbed/engine-restart.js';
import { dockerRequest } from '../testbed/http.js';
import { WEB_IMAGE } from '../testbed/layout.js';
import { runningTasks, waitForReplicas, waitForTunnelPort } from '../testbed/swarm.js';
import { skepdPid } from '../testbed/skepd.js';
import {
  type Host,
  down,
  inHost,
  mustDocker,
  restartSkepd,
  stopSkepd,
  up,
} from '../testbed/testbed.js';

const MEMORY_PIECE_BYTES = 1 << 24;
const CLI = '/usr/bin/docker';
const WRONG_KEY = `SWMKEY-1-${'A'.repeat(43)}`;

/** Before the restart; the swarm locks. */
const UNLOCKED = `
swarm unlock-key
swarm unlock-key -q
swarm unlock
swarm update --autolock=true
swarm unlock-key --rotate
swarm unlock-key --rotate -q
swarm update --autolock=false
swarm unlock-key
swarm unlock-key --rotate
swarm update --autolock=true
info --format '{{.Swarm.LocalNodeState}} {{.Swarm.Cluster.Spec.EncryptionConfig.AutoLockManagers}}'
`;

/** After it. */
const LOCKED = `
info --format '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}} {{.Swarm.NodeID}} {{.Swarm.Error}}'
node ls
service ls
service create ${WEB_IMAGE}
swarm join-token worker
swarm unlock-key
swarm unlock-key --rotate
swarm update --autolock=false
swarm ca
swarm init
swarm join --token SWMTKN-1-a-b 192.168.77.12:2377
swarm leave
`;

const LOCKED_REQUESTS: readonly (readonly [string, string, unknown?])[] = [
  ['GET', '/v1.41/swarm'],
  ['GET', '/v1.41/swarm/unlockkey'],
  ['GET', '/v1.41/nodes'],
  ['POST', '/v1.41/swarm/leave'],
  ['POST', '/v1.41/swarm/unlock', { UnlockKey: '' }],
  ['POST', '/v1.41/swarm/unlock', { UnlockKey: 'nonsense' }],
  ['POST', '/v1.41/swarm/unlock', { UnlockKey: WRONG_KEY }],
  ['POST', '/v1.41/swarm/unlock', { UnlockKey: 'SWMKEY-1-YWJj' }],
  ['POST', '/v1.41/swarm/unlock', {}],
];

interface Flavour {
  readonly socket: string;
  readonly restart: () => Promise<void>;
}

async function outputs(socket: string, list: string): Promise<string[]> {
  const said: string[] = [];
  for (const line of list.trim().split('\n')) {
    const { code, stdout, stderr } = await runCli(CLI, socket, words(line));
    const text = comparable(`${stdout}${stderr}`).replaceAll(/SWMKEY-1-[\w+/]{43}/g, 'KEY');
    said.push(`$ docker ${line}\n${text}exit ${code}`);
  }
  return said;
}

/** All that is said around a lock. */
async function story({ socket, restart }: Flavour): Promise<string[]> {
  const said = await outputs(socket, 'swarm init --advertise-addr 192.168.77.11 --autolock');
  said.push(...(await outputs(socket, UNLOCKED)));
  const key = await mustDocker(socket, ['swarm', 'unlock-key', '-q']);
  await restart();
  await waitFor('the swarm to be locked', 20_000, async () => {
    const { stdout } = await runCli(CLI, socket, ['info', '--format', '{{.Swarm.LocalNodeState}}']);
    return stdout.trim() === 'locked' ? true : undefined;
  });
  said.push(...(await outputs(socket, LOCKED)));
  for (const [method, url, body] of LOCKED_REQUESTS) {
    const { status, text } = await dockerRequest(socket, method, url, body);
    said.push(`${method} ${url} ${JSON.stringify(body)}: ${status} ${text}`);
  }
  for (const input of ['', 'nonsense', WRONG_KEY, key, key]) {
    const { code, stderr } = await runCli(CLI, socket, ['swarm', 'unlock'], `${input}\n`);
    said.push(`$ docker swarm unlock: ${stderr}exit ${code}`);
  }
  await waitFor(`the manager to answer after\n${said.slice(-5).join('\n')}`, 20_000, async () => {
    const { code, stderr } = await runCli(CLI, socket, ['node', 'ls']);
    if (code !== 0) throw new Error(stderr);
    return true;
  });
  said.push(...(await outputs(socket, 'swarm unlock-key')));
  await restart();
  said.push(...(await outputs(socket, 'swarm leave --force')));
  said.push(...(await outputs(socket, 'node ls')));
  return said;
}

/** All bytes of the files below a directory, with their names. */
function filesBelow(directory: string): readonly (readonly [string, Buffer])[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .map((name) => path.join(directory, name))
    .filter((file) => statSync(file).isFile())
    .map((file) => [file, readFileSync(file)] as const);
}

/** Names of files in which one of the needles is found, plain or in base64 or hex. */
function findings(host: Host, needles: readonly string[]): readonly string[] {
  const files = [
    ...filesBelow(`${host.skepState}/swarm`),
    [host.skepLog, readFileSync(host.skepLog)] as const,
  ];
  return files.flatMap(([name, bytes]) =>
    needles
      .flatMap((needle) => [needle, Buffer.from(needle).toString('base64').slice(0, -4)])
      .filter((needle) => bytes.includes(needle))
      .map((needle) => `${needle} in ${name}`),
  );
}

/** Long enough to be the raw form of a key, and not met by chance. */
function isKey(decoded: Buffer): boolean {
  return decoded.length >= 24;
}

/** Needles in what a process has in memory, which is what its core would hold. */
function inMemory(pid: number | undefined, needles: readonly string[]): readonly string[] {
  if (pid === undefined) throw new Error('no skepd runs');
  const found = new Set<string>();
  let bytesSeen = 0;
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  try {
    for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
      const [, from = '', to = ''] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? [];
      const size = Number(BigInt(`0x${to || '0'}`) - BigInt(`0x${from || '0'}`));
      for (let offset = 0; offset < size; offset += MEMORY_PIECE_BYTES) {
        // Pieces overlap, so that no needle is cut in two.
        const piece = Buffer.alloc(Math.min(MEMORY_PIECE_BYTES + 4096, size - offset));
        try {
          bytesSeen += readSync(
            memory,
            piece,
            0,
            piece.length,
            BigInt(`0x${from}`) + BigInt(offset),
          );
        } catch {
          continue; // Unmapped meanwhile, or a guard page.
        }
        for (const needle of needles) {
          const decoded = Buffer.from(needle, 'base64');
          const isThere = piece.includes(needle) || (isKey(decoded) && piece.includes(decoded));
          if (isThere) found.add(needle);
        }
      }
    }
  } finally {
    closeSync(memory);
  }
  if (bytesSeen < MEMORY_PIECE_BYTES) throw new Error('its memory could not be read');
  return [...found];
}

void t.test('locked managers', async (t) => {
  const [host] = await up(1);
  if (host === undefined) throw new Error('no host');
  const skep = {
    socket: host.skepSocket,
    restart: async () => {
      await stopSkepd(host);
      await restartSkepd(host);
    },
  };
  try {
    await t.test('are spoken of as the stock engine does', async (t) => {
      const stock = await story({
        socket: host.dockerSocket,
        restart: async () => {
          await stopEngine(host);
          await startEngineAgain(host);
        },
      });
      // An engine that has left its swarm has answered before it gives the port back.
      await waitForTunnelPort(host);
      const ours = await story(skep);
      t.same(ours, stock);
    });

    await t.test('keep nothing readable on disk', async (t) => {
      const secret = 'the-secret-value-nobody-may-read';
      await mustDocker(skep.socket, ['swarm', 'init', '--advertise-addr', host.address]);
      const create = await runCli(CLI, skep.socket, ['secret', 'create', 's', '-'], secret);
      t.equal(create.code, 0, create.stderr);
      const network = ['network', 'create', '-d', 'overlay', '--opt', 'encrypted', 'hidden'];
      await mustDocker(skep.socket, network);
      await mustDocker(skep.socket, [
        ...[
          'service',
          'create',
          '--detach',
          '--name',
          'web',
          '--secret',
          's',
          '--network',
          'hidden',
        ],
        ...['--label', 'a=the-label-nobody-may-read', WEB_IMAGE],
      ]);
      await waitForReplicas(skep.socket, 'web', 1, 30_000);
      const wireguard = await inHost(host, ['wg', 'show', 'all', 'private-key']);
      const [tunnelKey = ''] = wireguard.stdout.match(/[\w+/]{43}=/) ?? [];
      t.not(tunnelKey, '', 'the node has a key for the encrypted network');
      const ids = async () => (await runningTasks(skep.socket, 'web')).map(({ id }) => id);
      const before = await ids();
      const keyFile = `${host.skepState}/swarm/certificates/swarm-node.key`;
      const clearKey = readFileSync(keyFile, 'utf8');
      const lines = clearKey.split('\n').filter((line) => /^[\w+/=]{40,}$/.test(line));
      const dek = /raft-dek: (.*)/.exec(clearKey)?.[1] ?? '';
      t.ok(lines.length > 0 && dek !== '', 'the key is on disk in clear');

      await mustDocker(skep.socket, ['swarm', 'update', '--autolock=true']);
      const key = await mustDocker(skep.socket, ['swarm', 'unlock-key', '-q']);
      const token = await mustDocker(skep.socket, ['swarm', 'join-token', '-q', 'worker']);
      await waitFor('the log to have its new key', 20_000, async () => {
        const text = readFileSync(keyFile, 'utf8');
        return text.startsWith('-----BEGIN ENCRYPTED') && !text.includes('pending')
          ? true
          : undefined;
      });
      await waitFor('a new certificate', 20_000, async () =>
        readFileSync(host.skepLog, 'utf8').includes('node certificate renewed') ? true : undefined,
      );
      await skep.restart();
      const needles = [secret, key, key.slice(9), token, tunnelKey, ...lines, dek.slice(8, 40)];
      t.same(findings(host, needles), []);
      t.same(inMemory(skepdPid(host), needles), [], 'nor in the memory of its daemon');
      const raft = filesBelow(`${host.skepState}/swarm/raft`);
      t.ok(raft.length > 1, 'there is a log to look at');
      t.same(
        raft
          .filter(([, bytes]) => bytes.includes('the-label-nobody-may-read'))
          .map(([name]) => name),
        [],
      );

      const unlock = await runCli(CLI, skep.socket, ['swarm', 'unlock'], `${key}\n`);
      t.equal(unlock.code, 0, unlock.stderr);
      await waitForReplicas(skep.socket, 'web', 1, 30_000);
      t.same(await ids(), before, 'the task ran through it all');
      const value = await mustDocker(host.dockerSocket, [
        ...['exec', (await mustDocker(host.dockerSocket, ['ps', '-q'])).split('\n')[0] ?? ''],
        ...['cat', '/run/secrets/s'],
      ]);
      t.equal(value, secret);
    });

    await t.test('leave nothing behind when they leave by force without the key', async (t) => {
      await skep.restart();
      const lines = async (command: readonly string[]): Promise<readonly string[]> =>
        (await mustDocker(host.dockerSocket, command)).split('\n').filter(Boolean);
      const left = async (): Promise<readonly string[]> => [
        ...(await lines(['ps', '-aq'])),
        ...(await lines(['network', 'ls', '-q', '--filter', 'name=hidden'])),
        ...((await inHost(host, ['ip', '-br', 'link'])).stdout.match(/^sw-\w+/gm) ?? []),
      ];
      const before = (await left()).join(' ');
      t.match(
        before,
        /^\w{12} \w{12} .*sw-h0/,
        'container, network, links are there while it is locked',
      );
      const refused = await runCli(CLI, skep.socket, ['swarm', 'leave']);
      t.equal(refused.code, 1);
      await mustDocker(skep.socket, ['swarm', 'leave', '--force']);
      t.same(await left(), []);
      const info = ['info', '--format', '{{.Swarm.LocalNodeState}}'];
      t.equal(await mustDocker(skep.socket, info), 'inactive');
    });
  } finally {
    await down();
  }
});
