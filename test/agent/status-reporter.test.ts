/** What is told of tasks, and when: a real client and service, virtual time. */
import { create } from '@bufbuild/protobuf';
import { createClient, createRouterTransport } from '@connectrpc/connect';
import t from 'tap';
import { STATUS_GATHER_MS } from '../../src/agent/limits.js';
import { StatusReporter } from '../../src/agent/status-reporter.js';
import { Dispatcher } from '../../src/model/gen/docker/swarmkit/v1/dispatcher_pb.js';
import type { Task } from '../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState, TaskStatusSchema } from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { silentLogger } from '../../src/observe/logger.js';
import { SimulatedClock } from '../support/simulated-environment.js';
import { containerTask } from './support/tasks.js';

/** A reporter with a session, and the names of the states of each call. */
function report(t: { teardown(work: () => void): void }) {
  const clock = new SimulatedClock();
  const reporter = new StatusReporter(clock, silentLogger);
  const calls: string[][] = [];
  const transport = createRouterTransport(({ service }) => {
    service(Dispatcher, {
      updateTaskStatus: ({ updates }) => {
        calls.push(updates.map(({ status }) => TaskState[status?.state ?? TaskState.NEW]));
        return {};
      },
    });
  });
  const end = new AbortController();
  t.teardown(() => end.abort());
  const running = reporter.run(createClient(Dispatcher, transport), 'session', end.signal);
  running.catch(() => undefined);
  return { clock, reporter, calls };
}

function inState(task: Task, state: TaskState, err = ''): Task {
  return { ...task, status: create(TaskStatusSchema, { state, err }) };
}

/** Turns of the event loop enough for a call there and back. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}

void t.test('states on the way to running share a call', async (t) => {
  const { clock, reporter, calls } = report(t);
  const task = { ...containerTask({}), desiredState: TaskState.RUNNING };
  for (const state of [TaskState.ACCEPTED, TaskState.PREPARING]) {
    reporter.enqueue(inState(task, state));
    await settle();
  }
  t.strictSame(calls, []);
  clock.advance(STATUS_GATHER_MS);
  await settle();
  t.strictSame(calls, [['PREPARING']]);
  reporter.enqueue(inState(task, TaskState.STARTING));
  await settle();
  reporter.enqueue(inState(task, TaskState.RUNNING));
  await settle();
  t.strictSame(calls, [['PREPARING'], ['RUNNING']], 'running is told at once');
  t.equal(reporter.size, 0);
});

void t.test('what somebody waits for is told at once', async (t) => {
  const { reporter, calls } = report(t);
  const task = { ...containerTask({}), desiredState: TaskState.RUNNING };
  reporter.enqueue(inState({ ...task, desiredState: TaskState.READY }, TaskState.READY));
  await settle();
  reporter.enqueue(inState(task, TaskState.FAILED));
  await settle();
  reporter.enqueue(inState(task, TaskState.PREPARING, 'No such image'));
  await settle();
  t.strictSame(calls, [['READY'], ['FAILED'], ['PREPARING']]);
});
