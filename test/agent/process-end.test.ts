/**
 * The end of a container's first process, known before the engine tells of it: what becomes of traffic,
 * and that all else waits for the engine, on a real one.
 */
import { PassThrough } from 'node:stream';
import Docker from 'dockerode';
import t, { type Test } from 'tap';
import type { Task } from '../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { waitFor } from '../testbed/commands.js';
import {
  type AgentNode,
  containerId,
  lastStatus,
  reaches,
  startAgentNode,
} from './support/agent-node.js';
import { OwnEngine } from './support/own-engine.js';
import type { RecordedWatch } from './support/processes.js';
import { containerTask, desiring } from './support/tasks.js';

const engine = new OwnEngine();
const ADDRESS = '10.77.7.9';
let engineNetworkId = '';

t.setTimeout(240_000);

t.before(async () => {
  await engine.start();
  const made = await engine.docker.createNetwork({
    Name: 'net',
    Driver: 'bridge',
    IPAM: { Driver: 'default', Config: [{ Subnet: '10.77.7.0/24' }] },
  });
  engineNetworkId = made.id;
});

t.teardown(() => engine.destroy());

/** A node and a running task on a network, whose container ends with 3 when it is told to stop. */
async function startTask(
  t: Test,
  docker = engine.docker,
): Promise<readonly [AgentNode, Task, string]> {
  const node = await startAgentNode(t, engine, docker);
  node.network.networking = {
    endpoints: [{ engineNetworkName: 'net', engineNetworkId, address: ADDRESS }],
    dnsServers: [],
  };
  const network = { id: 'n1', spec: { annotations: { name: 'over' } } };
  const task = containerTask(
    {
      args: ['sh', '-c', 'trap "exit 3" TERM; sleep 1000 & wait'],
      stopGracePeriod: { seconds: 5n },
    },
    { nodeId: node.manager.nodeId, networks: [{ network, addresses: [`${ADDRESS}/24`] }] },
  );
  node.manager.assign(task);
  await reaches(node, task, TaskState.RUNNING);
  return [node, task, containerId(node, task)];
}

/** The one process that is watched. */
async function watched(node: AgentNode): Promise<RecordedWatch> {
  return await waitFor('a watch', 10_000, async () => node.processes.open[0]);
}

/** What the network was told; a failed task's leaving is said once more when it is cleared up. */
function toldBy({ network }: AgentNode): readonly string[] {
  return network.calls.filter(
    (call, at, all) => !call.startsWith('deactivate') || call !== all[at - 1],
  );
}

async function failed(node: AgentNode, task: Task): Promise<void> {
  await reaches(node, task, TaskState.FAILED);
  t.match(lastStatus(node, task)?.err, /^task: non-zero exit \(\d+\)$/);
}

void t.test(
  'it takes the task out of traffic at once, and the engine tells the rest',
  async (t) => {
    const [node, task, id] = await startTask(t);
    const { network, processes } = node;
    const watch = await watched(node);
    const info = await engine.docker.getContainer(id).inspect();
    t.equal(watch.pid, info.State.Pid);
    t.equal(watch.path, info.NetworkSettings.SandboxKey);
    let confirm = (): void => undefined;
    network.draining = new Promise((resolve) => {
      confirm = resolve;
    });
    watch.end();
    t.same(toldBy(node), ['prepare', `activate ${task.id}`, `drain ${task.id}`]);
    t.equal(node.manager.stateOf(task.id), TaskState.RUNNING, 'the engine has not told');
    await engine.docker.getContainer(id).kill();
    await failed(node, task);
    t.same(
      toldBy(node).slice(2),
      [`drain ${task.id}`, `deactivate ${task.id}`],
      'it leaves while the others still have to confirm',
    );
    confirm();
    t.equal(processes.watches.length, 1);
    t.same(processes.open, []);
  },
);

void t.test('a drain that fails is nobody’s error, and tried again before a stop', async (t) => {
  const [node, task] = await startTask(t);
  const { network } = node;
  network.draining = Promise.reject(new Error('no network'));
  (await watched(node)).end();
  await waitFor('the failure', 5000, async () => network.draining.then(fail, () => true));
  network.draining = Promise.resolve();
  node.manager.change(desiring(task, TaskState.SHUTDOWN));
  await reaches(node, task, TaskState.SHUTDOWN);
  t.same(toldBy(node).slice(2), [
    ...[`drain ${task.id}`, `drain ${task.id}`],
    `deactivate ${task.id}`,
  ]);
});

function fail(): never {
  throw new Error('resolved');
}

void t.test('a stop meanwhile waits for the same drain', async (t) => {
  const [node, task, id] = await startTask(t);
  const { network, processes } = node;
  let confirm = (): void => undefined;
  network.draining = new Promise((resolve) => {
    confirm = resolve;
  });
  (await watched(node)).end();
  node.manager.change(desiring(task, TaskState.SHUTDOWN));
  await new Promise((resolve) => setTimeout(resolve, 500));
  t.equal((await engine.docker.getContainer(id).inspect()).State.Running, true, 'no signal yet');
  confirm();
  await reaches(node, task, TaskState.SHUTDOWN);
  t.same(toldBy(node).slice(2), [`drain ${task.id}`, `deactivate ${task.id}`]);
  t.same(processes.open, []);
});

void t.test('a task taken up after a restart is watched, and one that stops is not', async (t) => {
  const [node, task, id] = await startTask(t);
  const { processes } = node;
  const before = await watched(node);
  await node.agent.stop();
  t.same(processes.open, [], 'a daemon that stops watches nothing');
  await node.reborn();
  node.manager.assign(task);
  const after = await watched(node);
  t.same([after.pid, after.path], [before.pid, before.path]);
  before.end();
  t.same(toldBy(node), [`activate ${task.id}`]);
  await engine.docker.getContainer(id).kill();
  await failed(node, task);
  t.same(toldBy(node), [`activate ${task.id}`, `deactivate ${task.id}`]);
  t.same(processes.open, []);
  after.end();
  t.equal(toldBy(node).length, 2, 'what is closed tells nothing');
});

void t.test('removed, and without a watch: the engine’s word as ever', async (t) => {
  const [node, task] = await startTask(t);
  await watched(node);
  node.manager.remove(task);
  await waitFor('the removal', 20_000, async () =>
    node.network.calls.includes(`deactivate ${task.id}`) ? true : undefined,
  );
  t.same(node.processes.open, []);
  const { processes, network, manager } = node;
  processes.refusal = new Error('pidfd_open ENOSYS');
  network.calls.length = 0;
  const alone = { ...containerTask({}), ...{ spec: task.spec, networks: task.networks } };
  manager.assign(alone);
  await reaches(node, alone, TaskState.RUNNING);
  await engine.docker.getContainer(containerId(node, alone)).kill();
  await failed(node, alone);
  t.same(toldBy(node), ['prepare', `activate ${alone.id}`, `deactivate ${alone.id}`]);
  t.equal(processes.watches.length, 1);
});

void t.test('tasks on no network of the swarm are not watched', async (t) => {
  const node = await startAgentNode(t, engine);
  const task = containerTask({ args: ['sleep', '1000'], stopGracePeriod: {} });
  node.manager.assign(task);
  await reaches(node, task, TaskState.RUNNING);
  await engine.docker.getContainer(containerId(node, task)).kill();
  await failed(node, task);
  t.same(node.processes.watches, []);
});

void t.test('a container that somebody restarted is back in traffic', async (t) => {
  // The engine's events are held back until it runs again: all that is seen is another process.
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const docker = new Docker({ socketPath: engine.socket });
  const getEvents = docker.getEvents.bind(docker);
  docker.getEvents = (async (options: Docker.GetEventsOptions) => {
    const late = new PassThrough();
    const events = await getEvents(options);
    events.on('data', (chunk: Buffer) => void held.then(() => late.write(chunk)));
    events.on('error', (error) => late.destroy(error)).on('end', () => late.end());
    return late;
  }) as typeof docker.getEvents;
  const [node, task, id] = await startTask(t, docker);
  const { network, processes } = node;
  const before = await watched(node);
  before.end();
  await engine.docker.getContainer(id).restart({ t: 0 });
  release();
  const after = await watched(node);
  const info = await engine.docker.getContainer(id).inspect();
  t.equal(after.pid, info.State.Pid);
  t.not(after.pid, before.pid);
  await waitFor('the return', 10_000, async () => (network.calls.length >= 4 ? true : undefined));
  t.same(network.calls.slice(1), [
    `activate ${task.id}`,
    `drain ${task.id}`,
    `activate ${task.id}`,
  ]);
  t.equal(node.manager.stateOf(task.id), TaskState.RUNNING);
  await engine.docker.getContainer(id).kill();
  await failed(node, task);
  t.same(toldBy(node).slice(4), [`deactivate ${task.id}`]);
  t.equal(processes.watches.length, 2);
});
