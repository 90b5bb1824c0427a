/**
 * skepd halted, blocked, killed or upgraded while its node serves: no backend is taken out, no task
 * replaced, no request lost, no name unanswered. Only when it is silent for longer than `skep.agent_grace`
 * are its tasks replaced, once.
 */
import { appendFileSync, cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { sleep, waitFor } from '../testbed/commands.js';
import { blockEventLoop, signalSkepd } from '../testbed/faults.js';
import { CLIENT_ADDRESS, packageRoot, WEB_IMAGE } from '../testbed/layout.js';
import {
  containerOn,
  formSwarm,
  managerOf,
  runningTasks,
  socketOf,
  tasksOf,
  waitForReplicas,
} from '../testbed/swarm.js';
import {
  type Host,
  down,
  inHost,
  killSkepd,
  mustDocker,
  restartSkepd,
  skep,
  stopSkepd,
  up,
} from '../testbed/testbed.js';
import { clientLoad } from './support/client-load.js';
import { insideContainer, startNameLoad, startOutsideNames } from './support/name-load.js';
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
  {
    name: 'restarted at once, three times',
    seconds: 15,
    happen: async (host) => {
      for (let turn = 0; turn < 3; turn += 1) {
        await stopSkepd(host);
        await restartSkepd(host);
      }
    },
  },
  {
    name: 'upgraded',
    seconds: 15,
    happen: async (host) => {
      const before = await nameServers(host);
      await stopSkepd(host);
      await restartSkepd(host, {}, [], otherPackage);
      await waitFor('another name server', READY_LIMIT_MS, async () => {
        const after = await nameServers(host);
        return after.length === 1 && after[0] !== before[0] ? true : undefined;
      });
    },
  },
];

/** Process ids of the name servers of a host, as its own processes see them. */
async function nameServers(host: Host): Promise<readonly string[]> {
  const { stdout } = await inHost(host, ['pgrep', '-f', '/skep/process/main.js']);
  return stdout.split('\n').filter(Boolean);
}

/** This package as the next version: the same, but its name server is another build. */
function makeOtherPackage(): string {
  const directory = mkdtempSync(path.join(tmpdir(), 'skep-package-'));
  const compiled = path.join(packageRoot(), 'dist');
  cpSync(compiled, path.join(directory, 'dist'), { recursive: true, preserveTimestamps: true });
  for (const name of ['node_modules', 'build', 'package.json'])
    symlinkSync(path.join(packageRoot(), name), path.join(directory, name));
  appendFileSync(path.join(directory, 'dist/skep/process/main.js'), '// next\n');
  return directory;
}

const otherPackage = makeOtherPackage();
t.teardown(() => rmSync(otherPackage, { recursive: true, force: true }));

/** Every host gets a task that asks names; its own name server is the outside client. */
async function startAsker(hosts: readonly Host[]): Promise<void> {
  const socket = socketOf(managerOf(hosts), 'skep');
  await mustDocker(socket, [
    ...['service', 'create', '--detach', '--name', 'asker', '--mode', 'global'],
    ...['--network', 'front', '--dns', CLIENT_ADDRESS, WEB_IMAGE],
  ]);
  await waitForReplicas(socket, 'asker', hosts.length, READY_LIMIT_MS);
}

/** Asks in the asker on a host until the result is called, which tells what failed and what was answered. */
async function askNames(host: Host): Promise<() => Promise<readonly unknown[]>> {
  const { id } = await containerOn(host, 'asker');
  const inside = await insideContainer(host, id);
  const questions = [
    { name: 'web', rate: 50, port: 80 },
    { name: 'tasks.web', rate: 50 },
    { name: 'tasks.anchor.front', rate: 20 },
    { name: 'outside.example', rate: 20 },
  ];
  const loads = await Promise.all(
    questions.map(async (each) => startNameLoad(inside, { ...each, seconds: 300 })),
  );
  return async () => {
    const results = await Promise.all(loads.map(async (load) => load.stop()));
    return results.map(({ failed, errors, answers }, index) => {
      return { name: questions[index]?.name, failed, errors, answers };
    });
  };
}

void t.test('an agent is silent', async (t) => {
  const hosts = await up(3);
  try {
    const [manager, victim, other] = hosts as [Host, Host, Host];
    const socket = socketOf(manager, 'skep');
    await formSwarm(hosts, 'skep');
    await startWeb(hosts);
    await startAsker(hosts);
    const endOutside = await startOutsideNames();
    t.teardown(endOutside);
    const stopEarly = await askNames(victim);
    await sleep(3000);
    const known = await stopEarly();
    t.match(
      known,
      Array.from({ length: 4 }, () => ({ failed: 0, answers: [/^(203|10)\./] })),
    );
    for (const { name, seconds, happen } of FAULTS) {
      await t.test(name, async (t) => {
        const before = [await containerIds(hosts), await webTasks(hosts)];
        const backends = (await backendsOf(other, WEB_PORT)).join(' ');
        const load = clientLoad(
          hosts.map(({ address }) => `${address}:${WEB_PORT}`),
          RATE,
          seconds + 5,
        );
        const stopNames = await askNames(victim);
        await sleep(1000);
        const fault = happen(victim);
        const seen = await backendsMeanwhile([manager, other], Promise.all([fault, load]));
        t.same(await load, { sent: RATE * (seconds + 5), failed: 0, errors: {} });
        t.same(await stopNames(), known, 'names in a container there');
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
