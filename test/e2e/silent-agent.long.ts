/**
 * skepd halted, blocked or killed while its node serves: no backend is taken out, no task replaced, no
 * request lost. Only when it is silent for longer than `skep.agent_grace` are its tasks replaced, once.
 */
import t from 'tap';
import { sleep, waitFor } from '../testbed/commands.js';
import { blockEventLoop, signalSkepd } from '../testbed/faults.js';
import { formSwarm, managerOf, runningTasks, socketOf, tasksOf } from '../testbed/swarm.js';
import {
  type Host,
  down,
  killSkepd,
  mustDocker,
  restartSkepd,
  skep,
  up,
} from '../testbed/testbed.js';
import { clientLoad } from './support/client-load.js';
import { backendsOf } from './support/tables.js';
import { agreement, containerIds, startWeb, WEB_PORT, webTasks } from './support/web-service.js';

t.setTimeout(900_000);

const RATE = 200;
const SAMPLE_MS = 200;
const GRACE_S = 8;
const READY_LIMIT_MS = 30_000;
const RETURN_LIMIT_MS = 5000;

/** What the backends of `web` were on these hosts from now until `stop` resolves. */
async function backendsMeanwhile(
  hosts: readonly Host[],
  stop: Promise<unknown>,
): Promise<ReadonlySet<string>> {
  const seen = new Set<string>();
  const ended = stop.then(() => 'ended' as const);
  do {
    for (const host of hosts) seen.add((await backendsOf(host, WEB_PORT)).join(' '));
  } while ((await Promise.race([ended, sleep(SAMPLE_MS)])) !== 'ended');
  return seen;
}

async function allReady(hosts: readonly Host[]): Promise<void> {
  const socket = socketOf(managerOf(hosts), 'skep');
  await waitFor('all nodes to be Ready', READY_LIMIT_MS, async () => {
    const states = await mustDocker(socket, ['node', 'ls', '--format', '{{.Status}}']);
    return states.split('\n').every((state) => state === 'Ready') ? true : undefined;
  });
}

interface Fault {
  readonly name: string;
  readonly seconds: number;
  readonly happen: (host: Host) => Promise<void>;
}

const halted = (seconds: number): Fault => ({
  name: `halted for ${seconds} s`,
  seconds,
  happen: async (host) => {
    signalSkepd(host, 'SIGSTOP');
    await sleep(seconds * 1000);
    signalSkepd(host, 'SIGCONT');
  },
});

const FAULTS: readonly Fault[] = [
  halted(2),
  {
    name: 'event loop blocked for 5 s',
    seconds: 5,
    happen: async (host) => blockEventLoop(host, 5000),
  },
  halted(30),
  {
    name: 'killed, started again after 30 s',
    seconds: 30,
    happen: async (host) => {
      await killSkepd(host);
      await sleep(30_000);
      await restartSkepd(host);
    },
  },
];

void t.test('an agent is silent', async (t) => {
  const hosts = await up(3);
  try {
    const [manager, victim, other] = hosts as [Host, Host, Host];
    const socket = socketOf(manager, 'skep');
    await formSwarm(hosts, 'skep');
    await startWeb(hosts);
    for (const { name, seconds, happen } of FAULTS) {
      await t.test(name, async (t) => {
        const before = [await containerIds(hosts), await webTasks(hosts)];
        const backends = (await backendsOf(other, WEB_PORT)).join(' ');
        const load = clientLoad(
          hosts.map(({ address }) => `${address}:${WEB_PORT}`),
          RATE,
          seconds + 5,
        );
        await sleep(1000);
        const fault = happen(victim);
        const seen = await backendsMeanwhile([manager, other], Promise.all([fault, load]));
        t.same(await load, { sent: RATE * (seconds + 5), failed: 0, errors: {} });
        await allReady(hosts);
        t.same([...seen], [backends], 'backends on the other hosts');
        t.same([await containerIds(hosts), await webTasks(hosts)], before, 'nothing was replaced');
        await agreement(hosts, RETURN_LIMIT_MS);
      });
    }

    await t.test('for longer than skep.agent_grace', async (t) => {
      const set = await skep(manager, ['cluster', 'set', 'skep.agent_grace', `${GRACE_S}s`]);
      t.equal(set.code, 0, set.stderr);
      const before = await webTasks(hosts);
      signalSkepd(victim, 'SIGSTOP');
      await sleep((GRACE_S - 1) * 1000);
      t.same(await webTasks(hosts), before, 'not before its time');
      await waitFor('a replacement', READY_LIMIT_MS, async () => {
        const running = await runningTasks(socket, 'web');
        return running.filter(({ node }) => node !== victim.name).length === 3 ? true : undefined;
      });
      await sleep(5000);
      signalSkepd(victim, 'SIGCONT');
      t.comment(`all agreed ${await agreement(hosts, 20_000)} ms after the return`);
      await allReady(hosts);
      await sleep(3000);
      t.equal((await webTasks(hosts)).length, before.length + 1, 'one replacement');
      const tasks = await tasksOf(socket, 'web');
      const wanted = tasks.filter(({ desiredState }) => desiredState === 'Running');
      t.equal(wanted.length, 3);
      t.notOk(wanted.some(({ node }) => node === victim.name));
    });
  } finally {
    await down();
  }
});
