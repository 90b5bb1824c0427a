/**
 * How tasks leave a node: one by one within their grace period, all at once with the node.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { create } from '@bufbuild/protobuf';
import t, { type Test } from 'tap';
import { LEAVE_TIMEOUT_MS } from '../../src/agent/limits.js';
import { Worker } from '../../src/agent/worker.js';
import {
  AssignmentChange_AssignmentAction as Action,
  type AssignmentsMessage,
  AssignmentsMessageSchema,
  AssignmentsMessage_Type as MessageType,
} from '../../src/model/gen/docker/swarmkit/v1/dispatcher_pb.js';
import type { Task } from '../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { silentLogger } from '../../src/observe/logger.js';
import { settlePromises, simulatedEnvironment } from '../support/simulated-environment.js';
import { ScriptedExecutor } from './support/scripted-executor.js';
import { containerTask } from './support/tasks.js';

function complete(...tasks: readonly Task[]): AssignmentsMessage {
  return create(AssignmentsMessageSchema, {
    type: MessageType.COMPLETE,
    changes: tasks.map((task) => ({
      assignment: { item: { case: 'task' as const, value: task } },
      action: Action.UPDATE,
    })),
  });
}

async function startedWorker(t: Test, executor: ScriptedExecutor) {
  const stateDirectory = mkdtempSync(path.join(os.tmpdir(), 'skep-worker-'));
  const environment = simulatedEnvironment(1);
  const worker = new Worker({ executor, environment, logger: silentLogger, stateDirectory });
  await worker.start();
  t.teardown(async () => {
    await worker.stop();
    rmSync(stateDirectory, { recursive: true, force: true });
  });
  return { worker, clock: environment.clock };
}

void t.test('a task that is taken away keeps its grace period', async (t) => {
  const executor = new ScriptedExecutor();
  const { worker } = await startedWorker(t, executor);
  const task = containerTask({});
  worker.apply(complete(task));
  await settlePromises();
  worker.apply(complete());
  await settlePromises();
  t.same(executor.controllers.get(task.id)?.removals, [{ force: false }]);
});

void t.test('a leaving node kills, also what is being stopped', async (t) => {
  // The graceful removal does not end by itself.
  const executor = new ScriptedExecutor(['prepare', 'start', 'shutdown']);
  const { worker, clock } = await startedWorker(t, executor);
  const [running, stopping] = [containerTask({}), containerTask({})];
  worker.apply(complete(running, stopping));
  await settlePromises();
  worker.apply(complete(running));
  await settlePromises();
  executor.containers = [{ containerId: 'forgotten', taskId: 'none' }];
  const left = worker.leave();
  await settlePromises();
  t.same(executor.controllers.get(running.id)?.removals, [{ force: true }]);
  t.same(executor.controllers.get(stopping.id)?.removals, [{ force: false }, { force: true }]);
  // None of them ends: the wait is bounded.
  clock.advance(LEAVE_TIMEOUT_MS);
  await left;
  t.same(executor.removals, [{ force: true }], 'a container nobody claims is killed as well');
});
