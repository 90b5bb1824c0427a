/** What an agent tells of the CPU its tasks use, against a scripted manager. */
import t from 'tap';
import { lifeAbort } from '../../src/agent/async.js';
import { UsageReporter } from '../../src/agent/usage-reporter.js';
import type { Task } from '../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { silentLogger } from '../../src/observe/logger.js';
import { simulatedEnvironment } from '../support/simulated-environment.js';
import { ScriptedController } from './support/scripted-executor.js';
import { ScriptedManager } from './support/scripted-manager.js';
import { makeTask } from '../manager/simulation/objects.js';

const LABELS = { 'skep.autoscale.max': '5', 'skep.autoscale.cpu': '50' };

function taskOf(id: string, labels: Record<string, string>, state = TaskState.RUNNING): Task {
  return makeTask(id, { serviceAnnotations: { labels }, status: { state } });
}

function start(tasks: readonly Task[], manager: ScriptedManager) {
  const { clock } = simulatedEnvironment(1);
  const controllers = new Map(tasks.map(({ id }) => [id, new ScriptedController(new Set())]));
  const worker = {
    tasks: () => tasks,
    controllerOf: (id: string) => controllers.get(id),
  };
  const life = lifeAbort();
  const reporter = new UsageReporter(worker, clock, silentLogger);
  const ended = reporter.run(manager.connect().statistics, life.signal).catch(() => undefined);
  const use = (id: string, cpuNs: number | undefined): void => {
    const controller = controllers.get(id);
    if (controller !== undefined) controller.cpuNs = cpuNs;
  };
  const pass = async (): Promise<void> => {
    await clock.advanceAsync(10_000);
    // The scripted manager answers within turns of the event loop, not of the simulated clock.
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  };
  return { use, pass, end: () => (life.abort(), ended) };
}

void t.test('tells what was used between two looks, of tasks that are asked about', async (t) => {
  const manager = new ScriptedManager('node1');
  const tasks = [
    taskOf('busy', LABELS),
    taskOf('idle', LABELS),
    taskOf('starting', LABELS, TaskState.STARTING),
    taskOf('unread', LABELS),
    taskOf('other', {}),
  ];
  const { use, pass, end } = start(tasks, manager);
  use('busy', 7e9);
  use('idle', 1e9);
  use('other', 1e9);
  use('starting', 1e9);
  await pass();
  t.same(manager.reports, [], 'the first look has nothing to compare with');
  use('busy', 22e9);
  await pass();
  t.same(manager.reports, [
    [
      ['busy', 1500],
      ['idle', 0],
    ],
  ]);
  use('busy', undefined);
  await pass();
  t.same(manager.reports[1], [['idle', 0]]);
  await end();
});

void t.test('no task of such a service: no call', async (t) => {
  const manager = new ScriptedManager('node1');
  const { use, pass, end } = start([taskOf('other', {})], manager);
  for (let round = 1; round < 4; round++) {
    use('other', round * 1e9);
    await pass();
  }
  t.same(manager.reports, []);
  await end();
});

void t.test('a manager that does not know the call is asked once a session', async (t) => {
  const manager = new ScriptedManager('node1');
  manager.knowsStatistics = false;
  const { use, pass, end } = start([taskOf('busy', LABELS)], manager);
  for (let round = 1; round < 4; round++) {
    use('busy', round * 1e9);
    await pass();
  }
  manager.knowsStatistics = true;
  await pass();
  t.same(manager.reports, []);
  await end();
});
