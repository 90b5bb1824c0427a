/**
 * A host whose link fails for 3 s, ten times; all daemons restarted at once; a container killed: how
 * soon each host's tables follow, and what must not happen meanwhile.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import t from 'tap';
import { run, sleep, waitFor } from '../testbed/commands.js';
import { setUplink } from '../testbed/faults.js';
import { containerOn, formSwarm } from '../testbed/swarm.js';
import {
  type Host,
  docker,
  down,
  killSkepd,
  mustDocker,
  restartSkepd,
  up,
} from '../testbed/testbed.js';
import { backendsOf } from './support/tables.js';
import { agreement, containerIds, startWeb, WEB_PORT, webTasks } from './support/web-service.js';

t.setTimeout(900_000);

const CUTS = 10;
const CUT_MS = 3000;
// The aims are 1.5 s, 2 s, 0.3 s and 5 s (docs/measured.md); a busy machine takes longer.
const LEFT_LIMIT_MS = 2500;
const BACK_LIMIT_MS = 3000;
const KILLED_LIMIT_MS = 1000;
const FULL_VIEW_LIMIT_MS = 15_000;
const LIMIT_MS = 20_000;

/** Milliseconds until the backends of `web` on `host` are so many. */
async function untilBackends(host: Host, count: number): Promise<number> {
  const beganMs = performance.now();
  const seen: string[] = [];
  for (;;) {
    const backends = await backendsOf(host, WEB_PORT);
    if (backends.length === count) break;
    if (seen.at(-1) !== backends.join()) seen.push(backends.join());
    if (performance.now() - beganMs > LIMIT_MS)
      throw new Error(`${host.name} never had ${count} backends, but ${seen.join(', then ')}`);
    await sleep(20);
  }
  return Math.round(performance.now() - beganMs);
}

/** Asks a task on `to` from one on `from`, over the overlay, until its file is there; failures. */
async function askMeanwhile(from: Host, to: Host): Promise<() => Promise<number>> {
  const asking = await containerOn(from, 'web');
  const target = (await containerOn(to, 'web')).addresses['front'] ?? '';
  const loop =
    'rm -f /tmp/stop; n=0; bad=0; while ! test -e /tmp/stop; do n=$((n+1)); ' +
    `busybox timeout 3 wget -q -O /dev/null http://${target}/ 2>/tmp/said || bad=$((bad+1)); sleep 0.05; done; ` +
    'echo "$n $bad"; cat /tmp/said';
  const command = ['-H', `unix://${from.dockerSocket}`, 'exec', asking.id, 'sh', '-c', loop];
  const result = run('/usr/bin/docker', command, { timeoutMs: 300_000 });
  return async () => {
    await mustDocker(from.dockerSocket, ['exec', asking.id, 'touch', '/tmp/stop']);
    const { stdout } = await result;
    const [asked = 0, bad = -1] = (stdout.split('\n')[0] ?? '').split(' ').map(Number);
    if (asked < 100 || asked === bad) throw new Error(`of ${target}: ${stdout}`);
    return bad;
  };
}

/** Kills a container's first process when called; the process that does it is there already. */
async function killerOf(host: Host, container: string): Promise<() => void> {
  const format = ['inspect', '--format', '{{.State.Pid}}', container];
  const pid = await mustDocker(host.dockerSocket, format);
  const inside = [
    '-t',
    String(host.holderPid),
    '-p',
    '-m',
    'sh',
    '-c',
    `echo; read go; kill -9 ${pid}`,
  ];
  const child = spawn('nsenter', inside, { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  return () => child.stdin.end('go\n');
}

const most = (values: readonly number[]): string =>
  `${[...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]} ms, at most ${Math.max(...values)} ms`;

void t.test('short faults', async (t) => {
  const hosts = await up(3);
  try {
    const [h1, h2, h3] = hosts as [Host, Host, Host];
    await formSwarm(hosts, 'skep');
    await startWeb(hosts);

    await t.test(`${CUTS} cuts of ${CUT_MS / 1000} s`, async (t) => {
      const before = [await containerIds(hosts), await webTasks(hosts)];
      const failures = await askMeanwhile(h1, h2);
      const left: number[] = [];
      const back: number[] = [];
      for (let round = 0; round < CUTS; round += 1) {
        const cutMs = performance.now();
        await setUplink(h3, 'down');
        left.push(...(await Promise.all([h1, h2].map(async (host) => untilBackends(host, 2)))));
        await sleep(CUT_MS - (performance.now() - cutMs));
        await setUplink(h3, 'up');
        back.push(...(await Promise.all([h1, h2].map(async (host) => untilBackends(host, 3)))));
        await agreement(hosts, 10_000);
        await sleep(1000);
      }
      t.equal(await failures(), 0, 'the other hosts never lost each other');
      t.same([await containerIds(hosts), await webTasks(hosts)], before, 'nothing was restarted');
      t.comment(`backend out of the tables after ${most(left)}; back after ${most(back)}`);
      t.ok(Math.max(...left) <= LEFT_LIMIT_MS, `out after ${left.join()}`);
      t.ok(Math.max(...back) <= BACK_LIMIT_MS, `back after ${back.join()}`);
    });

    await t.test('all daemons killed and started at once', async (t) => {
      // From the moment the daemons answer: how soon they do is a matter of the machine.
      const took: number[] = [];
      for (let round = 0; round < 3; round += 1) {
        const before = await containerIds(hosts);
        await Promise.all(hosts.map(killSkepd));
        const beganMs = performance.now();
        await Promise.all(hosts.map(async (host) => restartSkepd(host)));
        const upMs = performance.now() - beganMs;
        for (const host of hosts) {
          const { id } = await containerOn(host, 'web');
          await waitFor(`names on ${host.name}`, 60_000, async () => {
            const asked = await docker(host.dockerSocket, [
              ...['exec', id, 'busybox', 'timeout', '1', 'nslookup', 'tasks.web'],
            ]);
            const found = asked.stdout.match(/^Address.*: 10\..*$/gm) ?? [];
            return found.length === 3 ? true : undefined;
          });
        }
        await agreement(hosts, 60_000);
        took.push(Math.round(performance.now() - beganMs - upMs));
        t.comment(
          `daemons answered after ${Math.round(upMs)} ms, full view ${took.at(-1)} ms later`,
        );
        t.same(await containerIds(hosts), before);
      }
      t.ok(Math.max(...took) <= FULL_VIEW_LIMIT_MS, `full view after ${took.join()}`);
    });

    await t.test('a container killed', async (t) => {
      const took: number[] = [];
      for (let round = 0; round < 6; round += 1) {
        const host = hosts[round % hosts.length] as Host;
        const { id } = await containerOn(host, 'web');
        const kill = await killerOf(host, id);
        kill();
        took.push(...(await Promise.all(hosts.map(async (each) => untilBackends(each, 2)))));
        await waitFor('the replacement', 60_000, async () => {
          const counts = await Promise.all(hosts.map(async (each) => backendsOf(each, WEB_PORT)));
          return counts.every((all) => all.length === 3) ? true : undefined;
        });
        await agreement(hosts, 10_000);
      }
      t.comment(`out of every table after ${most(took)}`);
      t.ok(Math.max(...took) <= KILLED_LIMIT_MS, `out after ${took.join()}`);
    });
  } finally {
    await down();
  }
});
