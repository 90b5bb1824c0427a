/** One task's manager: interruption, temporary errors, holding after a restart. */
import { create } from '@bufbuild/protobuf';
import t from 'tap';
import { TaskManager } from '../../src/agent/task-manager.js';
import { SkepError } from '../../src/model/errors.js';
import type { Task } from '../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  PortConfig_PublishMode as Mode,
  PortConfigSchema,
  TaskState,
} from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { silentLogger } from '../../src/observe/logger.js';
import { settlePromises, simulatedEnvironment } from '../support/simulated-environment.js';
import { ScriptedController } from './support/scripted-executor.js';
import { containerTask, desiring } from './support/tasks.js';

const S = TaskState;

function managed(task: Task, options: { held?: boolean } = {}) {
  const environment = simulatedEnvironment(1);
  const controller = new ScriptedController(new Set());
  const states: string[] = [];
  const manager = new TaskManager({
    task,
    controller,
    clock: environment.clock,
    logger: silentLogger,
    held: options.held ?? false,
    onStatus: ({ status }) => states.push(`${S[status?.state ?? 0]} ${status?.err ?? ''}`.trim()),
  });
  manager.start();
  return { manager, controller, states, clock: environment.clock };
}

void t.test('from assignment to the end', async (t) => {
  const { manager, controller, states } = managed(containerTask({}));
  for (const effect of ['prepare', 'start', 'wait']) {
    await settlePromises();
    t.equal(controller.pending?.effect, effect);
    controller.pending?.succeed();
  }
  await settlePromises();
  t.same(states, ['ACCEPTED', 'PREPARING', 'READY', 'STARTING', 'RUNNING', 'COMPLETE']);
  await manager.close();
});

void t.test('READY waits for the word to run', async (t) => {
  const task = containerTask({}, { desiredState: S.READY });
  const { manager, controller, states } = managed(task);
  await settlePromises();
  controller.pending?.succeed();
  await settlePromises();
  t.equal(states.at(-1), 'READY');
  manager.update(desiring(task, S.RUNNING));
  await settlePromises();
  t.equal(controller.pending?.effect, 'start');
  await manager.close();
});

void t.test('a shutdown interrupts what runs, and runs after it', async (t) => {
  const task = containerTask({});
  const { manager, controller, states } = managed(task);
  await settlePromises();
  const preparing = controller.pending;
  manager.update(desiring(task, S.SHUTDOWN));
  t.ok(preparing?.signal.aborted);
  await settlePromises();
  t.equal(controller.pending?.effect, 'shutdown');
  manager.update(desiring(task, S.RUNNING));
  t.notOk(controller.pending?.signal.aborted, 'desired states do not go back');
  controller.pending?.succeed();
  await settlePromises();
  t.equal(states.at(-1), 'SHUTDOWN');
  t.same(controller.begun, ['prepare', 'shutdown']);
  await manager.close();
});

void t.test('an update that changes nothing interrupts nothing', async (t) => {
  const task = containerTask({});
  const { manager, controller } = managed(task);
  await settlePromises();
  const preparing = controller.pending;
  manager.update(task);
  await settlePromises();
  t.notOk(preparing?.signal.aborted);
  t.same(controller.begun, ['prepare']);
  await manager.close();
});

void t.test(
  'ports that change while the task runs are reported, and nothing else is',
  async (t) => {
    const task = containerTask({}, { status: { state: S.RUNNING, message: 'started' } });
    const { manager, controller, states } = managed(task);
    await settlePromises();
    const port = create(PortConfigSchema, {
      targetPort: 80,
      publishedPort: 8000,
      publishMode: Mode.HOST,
    });
    controller.known = { containerId: 'c', pid: 7, exitCode: 0, hostPorts: [port] };
    manager.update(task);
    await settlePromises();
    t.same(states, ['RUNNING']);
    t.match(manager.task.status?.portStatus?.ports, [{ publishedPort: 8000 }]);
    t.same(manager.task.status?.timestamp, task.status?.timestamp, 'it runs since when it ran');
    manager.update(task);
    await settlePromises();
    t.same(states, ['RUNNING'], 'the same again is no news');
    controller.known = { ...controller.known, hostPorts: [] };
    manager.update(task);
    await settlePromises();
    t.equal(manager.task.status?.portStatus, undefined);
    t.same(controller.begun, ['wait'], 'the container is left alone');
    await manager.close();
  },
);

void t.test('a temporary error is told and tried again after a second', async (t) => {
  const { manager, controller, states, clock } = managed(containerTask({}));
  await settlePromises();
  controller.pending?.fail(new SkepError('unavailable', 'no engine'));
  await settlePromises();
  t.equal(states.at(-1), 'PREPARING no engine');
  t.same(controller.begun, ['prepare']);
  clock.advance(999);
  await settlePromises();
  t.same(controller.begun, ['prepare']);
  clock.advance(1);
  await settlePromises();
  t.same(controller.begun, ['prepare', 'prepare']);
  controller.pending?.fail(new SkepError('not_found', 'No such image: x'));
  await settlePromises();
  t.equal(states.at(-1), 'REJECTED No such image: x');
  await manager.close();
});

void t.test('a held manager only watches', async (t) => {
  const stopping = containerTask({}, { desiredState: S.SHUTDOWN, status: { state: S.RUNNING } });
  const held = managed(stopping, { held: true });
  const preparing = managed(containerTask({}, { status: { state: S.PREPARING } }), { held: true });
  const running = managed(containerTask({}, { status: { state: S.RUNNING } }), { held: true });
  await settlePromises();
  t.same(held.controller.begun, []);
  t.same(preparing.controller.begun, []);
  t.same(running.controller.begun, ['wait']);
  for (const { manager } of [held, preparing, running]) manager.release();
  await settlePromises();
  t.same(held.controller.begun, ['shutdown']);
  t.same(preparing.controller.begun, ['prepare']);
  t.same(running.controller.begun, ['wait']);
  for (const { manager } of [held, preparing, running]) await manager.close();
});
