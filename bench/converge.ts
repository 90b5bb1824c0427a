/**
 * From `service create` to all tasks running: 30 tasks on an overlay over three engines, Skep and
 * stock Swarm one after the other on the same engines, alternating.
 *   node dist/bench/converge.js [ROUNDS] [TASKS]
 */
import { median } from './support/table.js';
import { waitFor } from '../test/testbed/commands.js';
import { dockerRequest } from '../test/testbed/http.js';
import { WEB_IMAGE } from '../test/testbed/layout.js';
import {
  type Flavour,
  dissolveSwarm,
  formSwarm,
  managerOf,
  removeService,
  socketOf,
} from '../test/testbed/swarm.js';
import { type Host, down, mustDocker, up } from '../test/testbed/testbed.js';

const rounds = Number(process.argv[2] ?? 3);
const tasks = Number(process.argv[3] ?? 30);

interface TaskJson {
  readonly Status: { readonly State: string };
}

/** Milliseconds until every task runs, as the manager's API tells. */
async function converge(hosts: readonly Host[], flavour: Flavour): Promise<number> {
  const socket = socketOf(managerOf(hosts), flavour);
  await formSwarm(hosts, flavour);
  try {
    await mustDocker(socket, ['network', 'create', '-d', 'overlay', 'converge']);
    const start = performance.now();
    await mustDocker(socket, [
      ...['service', 'create', '--detach', '--name', 'many', '--replicas', String(tasks)],
      ...['--network', 'converge', WEB_IMAGE],
    ]);
    const filter = encodeURIComponent('{"service":["many"],"desired-state":["running"]}');
    await waitFor(`${tasks} running tasks`, 120_000, async () => {
      const answer = await dockerRequest(socket, 'GET', `/v1.41/tasks?filters=${filter}`);
      const running = (answer.body as TaskJson[]).filter((task) => task.Status.State === 'running');
      return running.length >= tasks ? true : undefined;
    });
    const elapsedMs = performance.now() - start;
    await removeService(hosts, flavour, 'many');
    return elapsedMs;
  } finally {
    await dissolveSwarm(hosts, flavour);
  }
}

const results: Record<Flavour, number[]> = { skep: [], stock: [] };
const hosts = await up(3);
try {
  for (let round = 0; round < rounds; round++)
    for (const flavour of ['skep', 'stock'] as const) {
      const elapsedMs = await converge(hosts, flavour);
      results[flavour].push(elapsedMs);
      console.log(`round ${round + 1}  ${flavour.padEnd(5)}  ${(elapsedMs / 1000).toFixed(2)} s`);
    }
} finally {
  await down();
}
const ours = median(results.skep);
const stock = median(results.stock);
console.log(`\n${tasks} tasks over 3 engines, median of ${rounds}`);
console.log(`  stock Swarm  ${(stock / 1000).toFixed(2)} s   1.00`);
console.log(`  Skep         ${(ours / 1000).toFixed(2)} s   ${(ours / stock).toFixed(2)}`);
