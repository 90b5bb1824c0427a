/**
 * Random partitions among five hosts while tasks come and go: after each heal the tables and the maps
 * of all kernels are equal within ten seconds, names included. SKEP_ROUNDS and SKEP_SEED choose.
 */
import t from 'tap';
import { sleep, waitFor } from '../testbed/commands.js';
import { between, type Cut, cut, heal } from '../testbed/faults.js';
import { containerOn, formSwarm, managerOf, socketOf } from '../testbed/swarm.js';
import { type Host, docker, down, mustDocker, up } from '../testbed/testbed.js';
import { backendsOf } from './support/tables.js';
import { agreement, startWeb, WEB_PORT } from './support/web-service.js';

t.setTimeout(1_800_000);

const HOSTS = 5;
const LIMIT_MS = 10_000;
/** Equal so soon after the last task has come, where that is late. */
const AFTER_TASKS_MS = 4000;
const rounds = Number(process.env['SKEP_ROUNDS'] ?? 20);
const seed = Number(process.env['SKEP_SEED'] ?? 1);

/** Numbers of its own: Park and Miller's generator. */
class Numbers {
  #state: number;

  constructor(seed_: number) {
    this.#state = seed_;
  }

  below(limit: number): number {
    this.#state = (this.#state * 48_271) % 0x7fff_ffff;
    return this.#state % limit;
  }
}

/** A random set of cuts: two sides, one host alone, or one way only. */
function randomCuts(hosts: readonly Host[], numbers: Numbers): readonly Cut[] {
  const shuffled = [...hosts].sort(() => numbers.below(3) - 1);
  const size = 1 + numbers.below(hosts.length - 1);
  const [left, right] = [shuffled.slice(0, size), shuffled.slice(size)];
  const cuts = between(left, right);
  return numbers.below(4) === 0 ? cuts.filter(({ from }) => left.includes(from)) : cuts;
}

/** Waits until names on each host lead to all tasks that run. */
async function untilNamed(hosts: readonly Host[], tasks: number): Promise<void> {
  const named = hosts.map(async (host) => {
    const { id } = await containerOn(host, 'anchor');
    await waitFor(`names on ${host.name}`, LIMIT_MS, async () => {
      const asked = await docker(host.dockerSocket, [
        ...['exec', id, 'busybox', 'timeout', '1', 'nslookup', 'tasks.web'],
      ]);
      const found = asked.stdout.match(/^Address.*: 10\..*$/gm) ?? [];
      return found.length === tasks ? true : undefined;
    });
  });
  await Promise.all(named);
}

void t.test(`${rounds} partitions of ${HOSTS} hosts, seed ${seed}`, async (t) => {
  const numbers = new Numbers(seed);
  const hosts = await up(HOSTS);
  try {
    const socket = socketOf(managerOf(hosts), 'skep');
    await formSwarm(hosts, 'skep');
    await startWeb(hosts);
    const took: number[] = [];
    for (let round = 1; round <= rounds; round += 1) {
      await cut(randomCuts(hosts, numbers));
      const scaled = 4 + numbers.below(4);
      await mustDocker(socket, ['service', 'scale', '--detach', `web=${scaled}`]);
      await sleep(500 + numbers.below(9500));
      await heal();
      const beganMs = performance.now();
      // Nodes that were called down get their tasks only now; the tables cannot be right before.
      await waitFor(`round ${round}: ${scaled} tasks`, 60_000, async () => {
        const backends = await backendsOf(managerOf(hosts), WEB_PORT);
        return backends.length === scaled ? true : undefined;
      });
      const settledMs = Math.round(performance.now() - beganMs);
      await agreement(hosts, Math.max(LIMIT_MS - settledMs, 3000));
      took.push(Math.round(performance.now() - beganMs));
      // Looking at names starts a process in each container, which takes a busy machine seconds.
      await untilNamed(hosts, scaled);
      const lastMs = took.at(-1) ?? 0;
      // On a busy machine it is the tasks that come late, not the tables.
      const isSoon = lastMs <= LIMIT_MS || lastMs - settledMs <= AFTER_TASKS_MS;
      t.ok(isSoon, `round ${round}: ${settledMs} ms until the tasks run, equal after ${lastMs} ms`);
    }
    t.comment(`equal after at most ${Math.max(...took)} ms`);
  } finally {
    await heal().catch(() => undefined);
    await down();
  }
});
