/**
 * The leader's loops alone, without agents, network and disk: nodes and tasks in a store in memory. How
 * long they take to give all tasks a node, and what one more service costs in swarms of different
 * sizes, in processor time.
 *   node dist/bench/placement.js [NODES:TASKS ...]
 */
import { setTimeout as pause } from 'node:timers/promises';
import { TaskState } from '../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { newId } from '../src/model/ids.js';
import { TaskUsage } from '../src/manager/statistics/task-usage.js';
import { LeaderLoops } from '../src/manager/leader-loops.js';
import { createLogger } from '../src/observe/logger.js';
import { systemEnvironment as environment } from '../src/observe/system-environment.js';
import { createLocalStore } from '../src/store/memory-store.js';
import { makeCluster, makeService, makeSkepdNode } from '../test/manager/simulation/objects.js';
import { median } from './support/table.js';

const DEFAULT_SIZES = ['1000:30000', '10000:100000'];
/** Replicas of a service. */
const REPLICAS = 30;
const CREATING_TOGETHER = 16;
const EXTRA_SERVICES = 60;
const EXTRA_REPLICAS = 10;
/** Changes of tasks that come in together, as from the status reports of a busy swarm. */
const REPORT_PAUSE_MS = 5;

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** A swarm without nodes yet, whose tasks run as soon as they have one. */
class Swarm {
  readonly store = createLocalStore(environment).store;
  readonly loops = new LeaderLoops({
    store: this.store,
    environment,
    logger: createLogger({ level: 'warn' }),
    usage: new TaskUsage({ store: this.store, clock: environment.clock }),
  });
  assigned = 0;
  running = 0;
  private services = 0;
  private readonly starting = new Set<string>();
  private reports: Promise<void> | undefined;

  async start(): Promise<void> {
    const cluster = makeCluster({ defaultAddressPool: ['10.0.0.0/8'], subnetSize: 16 });
    await this.store.update((write) => write.create('cluster', cluster));
    this.store.subscribe((events) => {
      for (const event of events) {
        if (event.table !== 'task' || event.kind !== 'update') continue;
        const state = event.object.status?.state;
        if (state === event.old.status?.state) continue;
        if (state === TaskState.RUNNING) this.running += 1;
        if (state !== TaskState.ASSIGNED) continue;
        this.assigned += 1;
        this.starting.add(event.object.id);
        this.reports ??= this.report();
      }
    });
    this.loops.start();
  }

  private async report(): Promise<void> {
    while (this.starting.size > 0) {
      await pause(REPORT_PAUSE_MS);
      const ids = [...this.starting];
      this.starting.clear();
      await this.store.batch(
        ids.map((id) => (write) => {
          const task = write.get('task', id);
          if (task?.status === undefined) return;
          const status = { ...task.status, state: TaskState.RUNNING, message: 'started' };
          write.update('task', { ...task, status });
        }),
      );
    }
    this.reports = undefined;
  }

  async addNodes(count: number): Promise<void> {
    const nodes = Array.from({ length: count }, () => makeSkepdNode(newId(environment.random)));
    await this.store.batch(nodes.map((node) => (write) => write.create('node', node)));
  }

  async createService(replicas: number): Promise<void> {
    const name = `s${this.services++}`;
    const spec = {
      annotations: { name },
      mode: { case: 'replicated' as const, value: { replicas: BigInt(replicas) } },
      task: {
        runtime: { case: 'container' as const, value: { image: 'image', env: [`NAME=${name}`] } },
      },
    };
    const id = newId(environment.random);
    const service = makeService(id, spec, { specVersion: { index: 1n } });
    await this.store.update((write) => write.create('service', service));
  }

  async until(reached: () => boolean): Promise<void> {
    while (!reached()) await pause(1);
  }
}

function report(what: string, text: string): void {
  console.log(`  ${what.padEnd(34)}${text}`);
}

async function run(nodes: number, tasks: number): Promise<number> {
  console.log(`\n${nodes} nodes, ${tasks} tasks`);
  const swarm = new Swarm();
  await swarm.start();
  await swarm.addNodes(nodes);
  await pause(1000);
  const services = Math.ceil(tasks / REPLICAS);
  const before = { cpu: cpuMs(), ms: performance.now() };
  for (let made = 0; made < services; made += CREATING_TOGETHER) {
    const count = Math.min(CREATING_TOGETHER, services - made);
    await Promise.all(Array.from({ length: count }, () => swarm.createService(REPLICAS)));
  }
  await swarm.until(() => swarm.assigned === services * REPLICAS);
  const seconds = (performance.now() - before.ms) / 1000;
  report('all tasks placed', `${seconds.toFixed(1)} s (${(tasks / seconds).toFixed(0)} a second)`);
  await swarm.until(() => swarm.running === services * REPLICAS);
  report('all running', `${((cpuMs() - before.cpu) / 1000).toFixed(1)} CPU s`);
  await pause(2000);
  const costs: number[] = [];
  for (let count = 0; count < EXTRA_SERVICES; count += 1) {
    const beganMs = cpuMs();
    const wanted = swarm.running + EXTRA_REPLICAS;
    await swarm.createService(EXTRA_REPLICAS);
    await swarm.until(() => swarm.running === wanted);
    costs.push(cpuMs() - beganMs);
  }
  const cost = median(costs);
  report(`one more service of ${EXTRA_REPLICAS} tasks`, `${cost.toFixed(2)} CPU ms (median)`);
  const memoryMib = process.memoryUsage().rss / (1 << 20);
  report('memory of the process', `${memoryMib.toFixed(0)} MiB`);
  await swarm.loops.stop();
  return cost;
}

const sizes = process.argv.length > 2 ? process.argv.slice(2) : DEFAULT_SIZES;
const costs: number[] = [];
for (const size of sizes) {
  const [nodes = 0, tasks = 0] = size.split(':').map(Number);
  costs.push(await run(nodes, tasks));
}
const [first = Number.NaN] = costs;
console.log(
  `\none more service, ratios: ${costs.map((cost) => (cost / first).toFixed(2)).join(', ')}`,
);
