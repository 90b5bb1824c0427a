/**
 * Five managers that lock, under writes, through what befalls managers: halted and killed daemons,
 * partitions, a wiped and a full disk, flushes that fail, clocks that jump, keys and certificates that
 * change. Whatever was acknowledged is there afterwards, on every manager.
 */
import { rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { runCli } from '../api/support/cli.js';
import { must, sleep, waitFor } from '../testbed/commands.js';
import { ConfigWriter, lostWrites, removeConfigs, writeConfig } from '../testbed/config-writer.js';
import { between, cut, heal, signalSkepd } from '../testbed/faults.js';
import { FsyncFault } from '../testbed/fsync-fault.js';
import { testbedRoot } from '../testbed/layout.js';
import { allReachable, formManagers, leaderOf, waitForStates } from '../testbed/managers.js';
import { insideHost } from '../testbed/namespaces.js';
import { RegisterClients } from '../testbed/register-clients.js';
import { skepdPid } from '../testbed/skepd.js';
import { joinSwarm } from '../testbed/swarm.js';
import {
  type Host,
  docker,
  down,
  killSkepd,
  mustDocker,
  restartSkepd,
  skep,
  stopSkepd,
  up,
} from '../testbed/testbed.js';

const CLI = '/usr/bin/docker';
const MANAGERS = 5;
const RATE = 40;
/** That read and update besides, as fast as they are answered. */
const CLIENTS = 4;
const FAULT_MS = 6_000;
const LIMIT_MS = 60_000;
const MANAGER_PORT = 2377;
/** Room for a node's state and a few segments of the log. */
const SMALL_DISK = '64m';
const BIG_CONFIG_BYTES = 480_000;
const FAKETIME = '/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1';

let unlockKey = '';

async function unlock(host: Host): Promise<void> {
  await waitFor(`${host.name} to be locked`, LIMIT_MS, async () => {
    const format = ['info', '--format', '{{.Swarm.LocalNodeState}}'];
    return (await docker(host.skepSocket, format)).stdout.trim() === 'locked' ? true : undefined;
  });
  const { code, stderr } = await runCli(
    CLI,
    host.skepSocket,
    ['swarm', 'unlock'],
    `${unlockKey}\n`,
  );
  if (code !== 0) throw new Error(`${host.name} does not unlock: ${stderr}`);
}

/** Starts a stopped manager again, and unlocks it. */
async function back(host: Host, environment: Readonly<Record<string, string>> = {}): Promise<void> {
  await restartSkepd(host, environment);
  await unlock(host);
}

/** Waits until a write through each of these is acknowledged. */
async function writable(hosts: readonly Host[], name: string): Promise<void> {
  for (const host of hosts)
    await waitFor(`${host.name} to take a write`, LIMIT_MS, async () =>
      (await writeConfig(host, `${name}-${host.name}-${Date.now()}`)) === 201 ? true : undefined,
    );
}

void t.test('five managers', async (t) => {
  const hosts = await up(MANAGERS);
  const first = hosts[0] as Host;
  const without = (...away: readonly Host[]): readonly Host[] =>
    hosts.filter((host) => !away.includes(host));

  /** Writes through `entries` while `fault` is there, and after it; all managers then have what was acknowledged. */
  const underWrites = async (
    t: Test,
    name: string,
    entries: readonly Host[],
    fault: () => Promise<void>,
  ): Promise<void> => {
    const clients = await RegisterClients.begin(entries, name, CLIENTS);
    const writer = new ConfigWriter(entries, name, RATE);
    try {
      await sleep(1_000);
      await fault();
      await sleep(1_000);
    } finally {
      await writer.stop();
      await clients.end();
    }
    for (const host of hosts) await allReachable(host, MANAGERS);
    t.equal(await clients.verdict(hosts), 'linearizable', 'what clients read and changed');
    const acknowledged = writer.writes.filter(({ status }) => status === 201).length;
    t.comment(`${name}: ${acknowledged} of ${writer.writes.length} writes acknowledged`);
    t.comment(`${name}: ${clients.history.length} operations of clients`);
    t.ok(acknowledged > RATE, 'there were writes');
    t.same(await lostWrites(hosts, writer.writes), [], 'none is lost');
    await removeConfigs(first);
  };

  try {
    await formManagers(hosts, ['--autolock']);
    unlockKey = await mustDocker(first.skepSocket, ['swarm', 'unlock-key', '-q']);

    for (const role of ['leader', 'follower'] as const)
      await t.test(`a ${role} is halted`, async (t) => {
        const leader = await leaderOf(hosts, first);
        const victim = role === 'leader' ? leader : (without(leader)[0] as Host);
        await underWrites(t, `halted-${role}`, without(victim), async () => {
          signalSkepd(victim, 'SIGSTOP');
          await sleep(FAULT_MS);
          await writable(without(victim), `halted-${role}`);
          signalSkepd(victim, 'SIGCONT');
        });
      });

    await t.test('the leader is cut off from the other managers', async (t) => {
      const leader = await leaderOf(hosts, first);
      const others = without(leader);
      await underWrites(t, 'cut', hosts, async () => {
        await cut(between([leader], others, [MANAGER_PORT]));
        await sleep(FAULT_MS);
        await writable(others, 'cut');
        const refused = await docker(leader.skepSocket, ['service', 'ls']);
        t.match(refused.stderr, /does not have a leader|deadline|context/, 'it says so');
        await heal();
      });
    });

    await t.test('what the leader sends is lost, what it is sent is not', async (t) => {
      const leader = await leaderOf(hosts, first);
      const others = without(leader);
      await underWrites(t, 'deaf', others, async () => {
        await cut(others.map((to) => ({ from: leader, to, ports: [MANAGER_PORT] })));
        await sleep(FAULT_MS);
        await writable(others, 'deaf');
        await heal();
      });
    });

    await t.test('a partition of three and two', async (t) => {
      const [a, b, ...three] = hosts as [Host, Host, ...Host[]];
      await underWrites(t, 'split', hosts, async () => {
        await cut(between([a, b], three, [MANAGER_PORT]));
        await sleep(FAULT_MS);
        await writable(three, 'split');
        t.not(await writeConfig(a, 'split-minority'), 201, 'two of five take no writes');
        await heal();
      });
    });

    await t.test('two are killed, then a third; one that returns is enough', async (t) => {
      const [a, b, c, d, e] = hosts as [Host, Host, Host, Host, Host];
      await underWrites(t, 'killed', [d, e], async () => {
        await Promise.all([killSkepd(a), killSkepd(b)]);
        await writable([c, d, e], 'two-killed');
        await waitForStates(d, ['Leader', 'Reachable', 'Reachable', 'Unreachable', 'Unreachable']);
        await killSkepd(c);
        await waitFor('the end of the leader', LIMIT_MS, async () => {
          const { stderr } = await docker(d.skepSocket, ['service', 'ls']);
          return stderr.includes('The swarm does not have a leader') ? true : undefined;
        });
        const refused = await docker(d.skepSocket, ['config', 'create', 'x', '/etc/hostname']);
        t.match(refused, { code: 1, stderr: /The swarm does not have a leader/ });
        await back(c);
        await writable([c, d, e], 'third-back');
        await back(a);
        await back(b);
      });
    });

    await t.test('unlock key and root certificate change', async (t) => {
      const stopped = hosts[4] as Host;
      await underWrites(t, 'keys', without(stopped), async () => {
        const old = unlockKey;
        const rotate = ['swarm', 'unlock-key', '--rotate', '-q'];
        unlockKey = await mustDocker(first.skepSocket, rotate);
        t.not(unlockKey, old);
        await waitFor('every manager to have the new key', LIMIT_MS, async () => {
          const keys = await Promise.all(
            hosts.map(async (host) => mustDocker(host.skepSocket, ['swarm', 'unlock-key', '-q'])),
          );
          return keys.every((key) => key === unlockKey) ? true : undefined;
        });
        const rotation = await docker(first.skepSocket, ['swarm', 'ca', '--rotate'], 120_000);
        t.equal(rotation.code, 0, rotation.stderr);
        await stopSkepd(stopped);
        await restartSkepd(stopped);
        const wrong = await runCli(CLI, stopped.skepSocket, ['swarm', 'unlock'], `${old}\n`);
        t.match(wrong, { code: 1, stderr: /invalid key/ });
        await unlock(stopped);
      });
      const roots = await Promise.all(
        hosts.map(async (host) => mustDocker(host.skepSocket, ['swarm', 'ca'])),
      );
      t.equal(new Set(roots).size, 1, 'every manager shows one root');
    });

    await t.test('a backup of a follower, under writes', async (t) => {
      const follower = without(await leaderOf(hosts, first))[0] as Host;
      const file = path.join(testbedRoot(), 'backup.tar');
      rmSync(file, { force: true });
      await underWrites(t, 'backup', hosts, async () => {
        const { code, stderr } = await skep(follower, ['backup', file]);
        t.equal(code, 0, stderr);
        t.ok(statSync(file).size > 10_000);
        t.equal(statSync(file).mode & 0o777, 0o600);
      });
      rmSync(file);
    });

    await t.test('a manager whose disk is wiped comes back as another one', async (t) => {
      const victim = without(first, await leaderOf(hosts, first))[0] as Host;
      await underWrites(t, 'wiped', without(victim), async () => {
        await killSkepd(victim);
        rmSync(victim.skepState, { recursive: true });
        await restartSkepd(victim);
        const info = ['info', '--format', '{{.Swarm.LocalNodeState}}'];
        t.equal(await mustDocker(victim.skepSocket, info), 'inactive');
        await waitForStates(first, [
          ...['Leader', 'Reachable', 'Reachable', 'Reachable', 'Unreachable'],
        ]);
        await mustDocker(first.skepSocket, ['node', 'demote', victim.name]);
        await mustDocker(first.skepSocket, ['node', 'rm', '--force', victim.name]);
        const token = await mustDocker(first.skepSocket, ['swarm', 'join-token', '-q', 'manager']);
        await joinSwarm(victim.skepSocket, [
          ...['--token', token, '--advertise-addr', victim.address],
          `${first.address}:${MANAGER_PORT}`,
        ]);
      });
    });

    const faults = new Map<Host, FsyncFault>();
    for (const host of hosts) faults.set(host, await FsyncFault.make(host.name));
    await restartAll((host) => faults.get(host)?.environment ?? {});
    for (const role of ['follower', 'leader'] as const)
      await t.test(`flushes of the ${role} fail`, async (t) => {
        const leader = await leaderOf(hosts, first);
        const victim = role === 'leader' ? leader : (without(leader)[0] as Host);
        const fault = faults.get(victim);
        await underWrites(t, `flush-${role}`, without(victim), async () => {
          fault?.begin();
          await waitFor('its daemon to end by itself', LIMIT_MS, async () =>
            skepdPid(victim) === undefined ? true : undefined,
          );
          fault?.end();
          await writable(without(victim), `flush-${role}`);
          await back(victim);
        });
        t.match(
          await must('tail', ['-n', '200', victim.skepLog]),
          'the raft log cannot be written',
        );
      });

    /** One after the other, so that there is a quorum all the time. */
    async function restartAll(
      environmentOf: (host: Host) => Readonly<Record<string, string>>,
    ): Promise<void> {
      for (const host of hosts) {
        await stopSkepd(host);
        await back(host, environmentOf(host));
        for (const each of hosts) await allReachable(each, MANAGERS);
      }
    }

    await t.test('a full disk', async (t) => {
      const victim = without(first, await leaderOf(hosts, first))[0] as Host;
      const enter = [...insideHost(victim.holderPid), 'sh', '-c'];
      const keep = `${victim.skepState}.kept`;
      await stopSkepd(victim);
      await must('nsenter', [
        ...enter,
        `cp -a ${victim.skepState} ${keep} && mount -t tmpfs -o mode=0700,size=${SMALL_DISK} tmpfs ${victim.skepState} && cp -a ${keep}/. ${victim.skepState}/`,
      ]);
      await back(victim);
      for (const host of hosts) await allReachable(host, MANAGERS);
      const ballast = `${victim.skepState}/ballast`;
      await underWrites(t, 'full', without(victim), async () => {
        await must('nsenter', [...enter, `cat /dev/zero > ${ballast} 2>/dev/null; true`]);
        await writable(hosts, 'full');
        const big = path.join(testbedRoot(), 'big');
        writeFileSync(big, Buffer.alloc(BIG_CONFIG_BYTES, 'x'));
        // More than the segments that were prepared hold: the others go on, with or without it.
        for (let count = 0; count < 50; count += 1)
          await mustDocker(first.skepSocket, ['config', 'create', `big-${count}`, big]);
        await writable(without(victim), 'very-full');
        t.comment(`its daemon ${skepdPid(victim) === undefined ? 'has ended' : 'runs'}`);
        await must('nsenter', [...enter, `rm ${ballast}`]);
        if (skepdPid(victim) === undefined) await back(victim);
      });
      await stopSkepd(victim);
      await must('nsenter', [
        ...enter,
        `rm -rf ${keep} && cp -a ${victim.skepState} ${keep} && umount ${victim.skepState} && rm -rf ${victim.skepState} && mv ${keep} ${victim.skepState}`,
      ]);
      await back(victim);
    });

    await t.test('the clock of the leader jumps', async (t) => {
      const offsetOf = (host: Host): string => path.join(testbedRoot(), `clock-${host.name}`);
      for (const host of hosts) writeFileSync(offsetOf(host), '+0\n');
      await restartAll((host) => ({
        LD_PRELOAD: FAKETIME,
        FAKETIME_TIMESTAMP_FILE: offsetOf(host),
        FAKETIME_CACHE_DURATION: '1',
        FAKETIME_DONT_FAKE_MONOTONIC: '1',
      }));
      const offset = offsetOf(await leaderOf(hosts, first));
      await underWrites(t, 'clock', hosts, async () => {
        for (const jump of ['+30m', '-30m', '+0']) {
          writeFileSync(offset, `${jump}\n`);
          await sleep(FAULT_MS);
          await writable(hosts, `clock${jump.replace('+', 'p')}`);
        }
      });
      const nodes = await mustDocker(first.skepSocket, ['node', 'ls', '--format', '{{.Status}}']);
      t.equal(new Set(nodes.split('\n')).size, 1, 'no node was taken for dead');
    });
  } finally {
    await heal().catch(() => undefined);
    await down();
  }
});
