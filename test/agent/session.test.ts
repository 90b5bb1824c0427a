/** Agent and scripted manager: sessions, sequence gaps, delivery of states, logs, attachments. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import t from 'tap';
import { Agent } from '../../src/agent/agent.js';
import { SkepError } from '../../src/model/errors.js';
import { SubscriptionMessageSchema } from '../../src/model/gen/docker/swarmkit/v1/logbroker_pb.js';
import { TaskSchema } from '../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { silentLogger } from '../../src/observe/logger.js';
import { systemEnvironment } from '../../src/observe/system-environment.js';
import { waitFor } from '../testbed/commands.js';
import { ScriptedExecutor } from './support/scripted-executor.js';
import { ScriptedManager } from './support/scripted-manager.js';
import { containerTask, desiring, RecordedNetworking } from './support/tasks.js';

const S = TaskState;

interface TestLike {
  teardown(work: () => Promise<void>): void;
}

async function startAgent(
  t: TestLike,
  prepare: (manager: ScriptedManager) => void = () => undefined,
) {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'skep-agent-'));
  const manager = new ScriptedManager('node1');
  prepare(manager);
  const executor = new ScriptedExecutor();
  const network = new RecordedNetworking();
  const outcomes: string[] = [];
  let connects = 0;
  const agent = new Agent({
    nodeId: 'node1',
    stateDirectory,
    executor,
    network,
    environment: systemEnvironment,
    logger: silentLogger,
    connect: () => {
      connects += 1;
      if (connects === 1) return Promise.reject(new SkepError('unavailable', 'nobody there'));
      return Promise.resolve(manager.connect());
    },
    observe: (_connection, outcome) => outcomes.push(outcome),
    onSessionMessage: () => undefined,
  });
  t.teardown(async () => {
    await agent.stop();
    rmSync(stateDirectory, { recursive: true, force: true });
  });
  await agent.start();
  await agent.ready();
  return { manager, executor, network, agent, outcomes };
}

async function reaches(manager: ScriptedManager, taskId: string, state: TaskState): Promise<void> {
  await waitFor(S[state], 10_000, async () =>
    manager.stateOf(taskId) === state ? true : undefined,
  );
}

void t.test('registers, configures the network first, heartbeats at the told pace', async (t) => {
  const { manager, network, outcomes } = await startAgent(t, (script) => {
    script.heartbeatMs = 50;
  });
  t.equal(manager.sessions[0]?.description?.hostname, 'scripted');
  t.same(outcomes, ['good']);
  await waitFor('heartbeats', 5_000, async () => (manager.heartbeats >= 3 ? true : undefined));
  t.equal(network.configs[0]?.node.id, 'node1');
  t.same(network.configs[0]?.managerAddresses, ['192.0.2.1']);
});

void t.test('a lost session is resumed, and states it did not take are told again', async (t) => {
  const { manager } = await startAgent(t);
  const task = containerTask({});
  manager.assign(task);
  await reaches(manager, task.id, S.RUNNING);
  manager.statuses.clear();
  manager.dropSessions();
  await waitFor('a second session', 10_000, async () => manager.sessions[1]);
  t.equal(manager.sessions[1]?.sessionId, 'session-1', 'asks for its old session');
  await reaches(manager, task.id, S.RUNNING);
});

void t.test('an engine that does not answer does not keep the node from its manager', async (t) => {
  const { manager, executor } = await startAgent(t);
  executor.describe = () => Promise.reject(new SkepError('unavailable', 'no engine'));
  manager.dropSessions();
  await waitFor('a second session', 10_000, async () => manager.sessions[1]);
  t.equal(manager.sessions[1]?.description?.hostname, 'scripted', 'the last known description');
});

void t.test('a failed report ends the session and is delivered by the next', async (t) => {
  const { manager } = await startAgent(t, (script) => {
    script.statusErrors.push(new ConnectError('no leader', Code.Unavailable));
  });
  const task = containerTask({});
  manager.assign(task);
  await reaches(manager, task.id, S.RUNNING);
  t.ok(manager.sessions.length >= 2);
});

void t.test('one foreign task does not hold up the others', async (t) => {
  const denied = new ConnectError(
    'cannot update a task not assigned this node',
    Code.PermissionDenied,
  );
  const { manager } = await startAgent(t, (script) => {
    script.statusErrors.push(denied, denied);
  });
  const tasks = [containerTask({}), containerTask({}), containerTask({})];
  manager.assign(...tasks);
  // The first is the one that is refused by itself, after the call that had all three.
  for (const task of tasks.slice(1)) await reaches(manager, task.id, S.RUNNING);
  t.equal(manager.sessions.length, 1);
});

void t.test('a gap in the sequence makes it subscribe again', async (t) => {
  const { manager, executor } = await startAgent(t);
  const kept = containerTask({});
  manager.assign(kept);
  await reaches(manager, kept.id, S.RUNNING);
  manager.breakSequence();
  await waitFor('a second stream', 10_000, async () =>
    manager.assignmentStreams === 2 ? true : undefined,
  );
  t.equal(manager.sessions.length, 1, 'the session goes on');
  const next = containerTask({});
  manager.change(next);
  await reaches(manager, next.id, S.RUNNING);
  t.same(executor.controllers.get(kept.id)?.begun, ['prepare', 'start', 'wait']);
});

void t.test('taken away: removed; containers nobody assigned too', async (t) => {
  const { manager, executor } = await startAgent(t);
  const task = containerTask({});
  executor.containers = [
    { containerId: 'c1', taskId: task.id },
    { containerId: 'c2', taskId: 'forgotten' },
  ];
  manager.assign(task);
  await reaches(manager, task.id, S.RUNNING);
  await waitFor('the sweep', 5_000, async () => (executor.removed.length > 0 ? true : undefined));
  t.same(executor.removed, ['c2']);
  manager.change(desiring(task, S.SHUTDOWN));
  await reaches(manager, task.id, S.SHUTDOWN);
  manager.remove(task);
  const controller = executor.controllers.get(task.id);
  await waitFor('removal', 10_000, async () =>
    controller?.begun.includes('remove') ? true : undefined,
  );
  t.same(controller?.begun, ['prepare', 'start', 'wait', 'shutdown', 'remove']);
});

void t.test('a task this node cannot run is refused', async (t) => {
  const { manager } = await startAgent(t);
  const task = containerTask({}, { spec: { runtime: { case: 'generic', value: {} } } });
  manager.assign(task);
  await reaches(manager, task.id, S.REJECTED);
  t.equal(manager.statuses.get(task.id)?.at(-1)?.err, 'unsupported runtime');
});

void t.test('a manager without a log broker keeps its session', async (t) => {
  const { manager } = await startAgent(t, (script) => {
    script.hasLogBroker = false;
  });
  const task = containerTask({});
  manager.assign(task);
  await reaches(manager, task.id, S.RUNNING);
  t.equal(manager.sessions.length, 1);
});

void t.test('logs of all tasks of a service, closed at the end', async (t) => {
  const { manager, executor } = await startAgent(t);
  const tasks = [containerTask({}), containerTask({})];
  manager.assign(...tasks);
  for (const [index, task] of tasks.entries()) {
    await reaches(manager, task.id, S.RUNNING);
    const controller = executor.controllers.get(task.id);
    if (controller === undefined) continue;
    controller.lines = Array.from({ length: 200 }, (_, line) => ({
      stream: 'stdout',
      timestampNs: BigInt(line),
      attributes: [['k', 'v']],
      data: Buffer.from(`${index} ${line}\n`),
    }));
  }
  manager.subscribe(
    create(SubscriptionMessageSchema, {
      id: 's',
      selector: { serviceIds: ['service1'] },
      options: {},
    }),
  );
  await waitFor('the end', 10_000, async () => manager.published.get('s')?.closed || undefined);
  const texts = manager.published.get('s')?.messages.map((m) => Buffer.from(m.data).toString());
  t.equal(texts?.length, 400);
  for (const index of [0, 1]) {
    const own = texts?.filter((text) => text.startsWith(`${index} `)) ?? [];
    t.same(
      own,
      Array.from({ length: 200 }, (_, line) => `${index} ${line}\n`),
      'in order',
    );
  }
});

void t.test('addresses for a plain container come with its attachment task', async (t) => {
  const { manager, agent } = await startAgent(t);
  manager.assign();
  manager.onAttach = (containerId) => {
    const task = create(TaskSchema, {
      id: 'attachment1',
      desiredState: S.RUNNING,
      status: { state: S.ASSIGNED },
      spec: { runtime: { case: 'attachment', value: { containerId } } },
      networks: [{ network: { id: 'n1' }, addresses: ['10.0.1.7/24'] }],
    });
    manager.change(task);
    return task.id;
  };
  const given = await agent.attachments.attach('n1', 'container1', []);
  t.same(given, { attachmentId: 'attachment1', addresses: ['10.0.1.7/24'] });
  await reaches(manager, 'attachment1', S.RUNNING);
  await agent.attachments.detach('attachment1');
});
