/**
 * The inside of the stock engine test: runs in namespaces of its own (network, mount, process ids),
 * so that whatever happens the kernel cleans up. Starts a Docker Engine and our manager, lets the
 * engine join, gives it a task; then our client joins the engine's own swarm. Prints what it saw as
 * JSON lines.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, openSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { create } from '@bufbuild/protobuf';
import { timestampNow } from '@bufbuild/protobuf/wkt';
import {
  type Node,
  type Task,
  TaskSchema,
} from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeStatus_State, TaskState } from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { LogStream } from '../../../src/model/gen/docker/swarmkit/v1/logbroker_pb.js';
import { silentLogger } from '../../../src/observe/logger.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import { joinCluster } from '../../../src/rpc/identity/join.js';
import { requestCertificate } from '../../../src/rpc/identity/request-certificate.js';
import { readNodeCertificate } from '../../../src/rpc/identity/root-ca.js';
import { connectManager } from '../../../src/rpc/manager-connection.js';
import type { ManagerConnection } from '../../../src/rpc/types.js';
import { startTestCluster, type TestCluster, TestIdentity } from '../../rpc/test-cluster.js';

const DOCKER = '/usr/bin/docker';
const STEP_TIMEOUT_MS = 40_000;
const SERVICE_ID = 'svc000000000000000000test1';

const root = process.argv[2] ?? '';
const socket = path.join(root, 'docker.sock');

function say(step: string, facts: object = {}): void {
  process.stdout.write(`${JSON.stringify({ step, ...facts })}\n`);
}

/** Asynchronous: the manager that the engine talks to lives in this process. */
async function docker(...args: string[]): Promise<string> {
  const all = ['-H', `unix://${socket}`, ...args];
  return (await promisify(execFile)(DOCKER, all, { timeout: STEP_TIMEOUT_MS })).stdout.trim();
}

/** Polls until `probe` gives something; the error says what was awaited. */
async function until<T>(
  what: string,
  probe: () => T | undefined | Promise<T | undefined>,
): Promise<T> {
  const deadline = Date.now() + STEP_TIMEOUT_MS;
  for (;;) {
    const found = await probe();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error(`timed out waiting for ${what}`);
    await new Promise((resolve) => {
      setTimeout(resolve, 50);
    });
  }
}

function startEngine(): ChildProcess {
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
  mkdirSync('/run/docker', { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', '/run/docker']);
  const log = openSync(path.join(root, 'dockerd.log'), 'a');
  return spawn(
    '/usr/sbin/dockerd',
    [
      ...['--data-root', path.join(root, 'data'), '--exec-root', path.join(root, 'exec')],
      ...['--pidfile', path.join(root, 'pid'), '-H', `unix://${socket}`],
      ...['--exec-opt', 'native.cgroupdriver=cgroupfs', '--storage-driver', 'overlay2'],
    ],
    {
      stdio: ['ignore', log, log],
      env: { ...process.env, DOCKER_SERVICE_PREFER_OFFLINE_IMAGE: '1' },
    },
  );
}

async function importImage(): Promise<void> {
  const image = path.join(root, 'image');
  mkdirSync(path.join(image, 'bin'), { recursive: true });
  execFileSync('cp', ['/bin/busybox', path.join(image, 'bin/busybox')]);
  for (const name of ['sh', 'sleep', 'echo']) {
    execFileSync('ln', ['-s', 'busybox', path.join(image, 'bin', name)]);
  }
  execFileSync('tar', ['-C', image, '-cf', path.join(root, 'image.tar'), '.']);
  await docker('import', path.join(root, 'image.tar'), 'skep-test/box:1');
}

function newTask(nodeId: string, id: string): Task {
  return create(TaskSchema, {
    id,
    serviceId: SERVICE_ID,
    slot: 1n,
    nodeId,
    annotations: { name: `box.1.${id}` },
    serviceAnnotations: { name: 'box' },
    spec: {
      runtime: {
        case: 'container',
        value: {
          image: 'skep-test/box:1',
          // The shell does not mind SIGTERM.
          stopGracePeriod: { seconds: 1n },
          command: ['/bin/sh', '-c', 'echo hello from the task; exec sleep 1000'],
          secrets: [
            {
              secretId: 'secret00000000000000000001',
              secretName: 'token',
              target: { case: 'file', value: { name: 'token', uid: '0', gid: '0', mode: 0o444 } },
            },
          ],
        },
      },
    },
    status: { state: TaskState.ASSIGNED, message: 'assigned by the test' },
    desiredState: TaskState.RUNNING,
  });
}

async function runTask(cluster: TestCluster, node: Node): Promise<void> {
  const { store } = cluster;
  const id = 'task0000000000000000000001';
  await store.update((write) => {
    write.create('secret', {
      $typeName: 'docker.swarmkit.v1.Secret',
      id: 'secret00000000000000000001',
      internal: false,
      spec: {
        $typeName: 'docker.swarmkit.v1.SecretSpec',
        data: Buffer.from('s3cret'),
        annotations: {
          $typeName: 'docker.swarmkit.v1.Annotations',
          name: 'token',
          labels: {},
          indices: [],
        },
      },
    });
    write.create('task', newTask(node.id, id));
  });
  const states: string[] = [];
  const unsubscribe = store.subscribe((events) => {
    for (const event of events) {
      if (event.table !== 'task' || event.object.id !== id) continue;
      const name = TaskState[event.object.status?.state ?? 0] ?? '';
      if (states.at(-1) !== name) states.push(name);
    }
  });
  const task = await until('the task to run', () => {
    const found = store.view((read) => read.get('task', id));
    return found?.status?.state === TaskState.RUNNING ? found : undefined;
  });
  unsubscribe();
  const container = task.status?.runtimeStatus.value?.containerId ?? '';
  const secret = await docker(
    'exec',
    container,
    '/bin/sh',
    '-c',
    'read x </run/secrets/token; echo $x',
  );
  say('running', { states, appliedBy: task.status?.appliedBy, secret });
  await readLogs(cluster, id);
  await store.update((write) => {
    const found = write.get('task', id);
    if (found !== undefined) write.update('task', { ...found, desiredState: TaskState.SHUTDOWN });
  });
  const stopped = await until('the task to stop', () => {
    const found = store.view((read) => read.get('task', id));
    const state = found?.status?.state ?? TaskState.NEW;
    return state > TaskState.RUNNING ? state : undefined;
  });
  await store.update((write) => write.delete('task', id));
  await until('the container to go', async () =>
    (await docker('ps', '-aq', '--no-trunc')).includes(container) ? undefined : true,
  );
  say('stopped', { state: TaskState[stopped] });
}

async function readLogs(cluster: TestCluster, taskId: string): Promise<void> {
  const lines: string[] = [];
  const stream = cluster.services.logs.subscribe(
    { $typeName: 'docker.swarmkit.v1.LogSelector', serviceIds: [], nodeIds: [], taskIds: [taskId] },
    {
      $typeName: 'docker.swarmkit.v1.LogSubscriptionOptions',
      streams: [],
      follow: false,
      tail: 0n,
    },
    AbortSignal.timeout(STEP_TIMEOUT_MS),
  );
  for await (const message of stream) lines.push(Buffer.from(message.data).toString().trim());
  say('logs', { lines });
}

async function scenario(): Promise<void> {
  const cluster = await startTestCluster({ heartbeatPeriodMs: 1000, port: 2377 });
  const joined = await docker('swarm', 'join', '--token', cluster.workerToken(), '127.0.0.1:2377');
  say('joined', { output: joined });
  const { store, founding } = cluster;
  const workers = (): Node | undefined =>
    store
      .view((read) => read.find('node', { by: 'all' }))
      .find((node) => node.id !== founding.node.id && node.description !== undefined);
  const node = await until('the node to be ready', () => {
    const worker = workers();
    return worker?.status?.state === NodeStatus_State.READY ? worker : undefined;
  });
  say('ready', {
    addr: node.status?.addr,
    engine: node.description?.engine?.engineVersion,
    info: await docker('info', '--format', '{{.Swarm.LocalNodeState}} {{.Swarm.NodeID}}'),
    id: node.id,
  });
  await runTask(cluster, node);
  await docker('swarm', 'leave');
  const down = await until('the node to be down', () => {
    const status = workers()?.status;
    return status?.state === NodeStatus_State.DOWN ? status : undefined;
  });
  say('left', { message: down.message });
  await cluster.stop();
}

const FAKE_HOSTNAME = 'fake-worker';

/** The other way round: our client calls against the engine as the manager. */
async function stockManager(): Promise<void> {
  await docker('swarm', 'init', '--advertise-addr', '127.0.0.1');
  const token = await docker('swarm', 'join-token', '-q', 'worker');
  const joining = {
    token,
    remoteAddrs: ['127.0.0.1:2377'],
    availability: 'active' as const,
    env: systemEnvironment,
    logger: silentLogger,
    signal: AbortSignal.timeout(STEP_TIMEOUT_MS),
  };
  const identity = new TestIdentity(await joinCluster(joining));
  const { nodeId } = readNodeCertificate(identity.current().certificatePem);
  say('joined stock', { role: readNodeCertificate(identity.current().certificatePem).role });
  const connection = await connectManager({
    peer: { nodeId: '', addr: '127.0.0.1:2377' },
    identity,
    env: systemEnvironment,
  });
  const worker = new FakeWorker(connection, nodeId);
  say('session', { managers: await worker.start() });
  const args = ['--detach', '--constraint', `node.hostname==${FAKE_HOSTNAME}`, '--name', 'fake'];
  await docker('service', 'create', ...args, 'skep-test/box:1', 'sleep', '1000');
  await until('the task to run', async () => {
    const states = await docker('service', 'ps', 'fake', '--format', '{{.CurrentState}}');
    return states.startsWith('Running') ? true : undefined;
  });
  const logs = await docker('service', 'logs', '--raw', 'fake');
  const { rootCaPem } = identity.current();
  const renewed = await requestCertificate(
    connection.nodeCa,
    { rootCaPem },
    systemEnvironment,
    AbortSignal.timeout(STEP_TIMEOUT_MS),
  );
  identity.change(renewed);
  const { period } = await connection.dispatcher.heartbeat({ sessionId: worker.sessionId });
  say('worked', {
    logs,
    published: worker.published,
    sameNode: readNodeCertificate(renewed.certificatePem).nodeId === nodeId,
    period: Number(period?.seconds),
    status: await docker('node', 'ls', '--filter', 'role=worker', '--format', '{{.Status}}'),
  });
  connection.close();
}

/** As little of an agent as a stock manager needs: reports every task as running, says one line. */
class FakeWorker {
  sessionId = '';
  published = '';
  readonly #connection: ManagerConnection;
  readonly #nodeId: string;
  #taskId = '';

  constructor(connection: ManagerConnection, nodeId: string) {
    this.#connection = connection;
    this.#nodeId = nodeId;
  }

  async start(): Promise<number> {
    const { dispatcher } = this.#connection;
    const description = {
      hostname: FAKE_HOSTNAME,
      platform: { os: 'linux', architecture: 'x86_64' },
      resources: { nanoCpus: 2_000_000_000n, memoryBytes: 1_000_000_000n },
      engine: { engineVersion: '20.10.24', plugins: [{ type: 'Network', name: 'overlay' }] },
    };
    const session = dispatcher.session({ description })[Symbol.asyncIterator]();
    const first = await session.next();
    if (first.done === true) throw new Error('no session message');
    this.sessionId = first.value.sessionId;
    void this.#runTasks().catch(() => undefined);
    void this.#deliverLogs().catch(() => undefined);
    return first.value.managers.length;
  }

  async #runTasks(): Promise<void> {
    const { dispatcher } = this.#connection;
    const { sessionId } = this;
    for await (const message of dispatcher.assignments({ sessionId })) {
      for (const { assignment } of message.changes) {
        if (assignment?.item.case !== 'task') continue;
        this.#taskId = assignment.item.value.id;
        const updates = [{ taskId: this.#taskId, status: { state: TaskState.RUNNING } }];
        await dispatcher.updateTaskStatus({ sessionId, updates });
      }
    }
  }

  async #deliverLogs(): Promise<void> {
    const { logBroker } = this.#connection;
    for await (const { id, close, selector } of logBroker.listenSubscriptions({})) {
      if (close) continue;
      const context = {
        nodeId: this.#nodeId,
        taskId: this.#taskId,
        serviceId: selector?.serviceIds[0] ?? '',
      };
      const data = Buffer.from('a line from afar\n');
      const messages = [{ context, timestamp: timestampNow(), stream: LogStream.STDOUT, data }];
      try {
        await logBroker.publishLogs(
          (async function* publish() {
            yield { subscriptionId: id, messages };
            yield { subscriptionId: id, close: true };
          })(),
        );
        this.published = 'ok';
      } catch (error) {
        this.published = String(error);
      }
    }
  }
}

const engine = startEngine();
try {
  await until('the engine to answer', async () => {
    try {
      return await docker('version', '--format', '{{.Server.Version}}');
    } catch {
      return undefined;
    }
  });
  await importImage();
  await scenario();
  await stockManager();
  say('done');
} catch (error) {
  say('failed', { error: String(error instanceof Error ? error.stack : error) });
} finally {
  const ended = new Promise((resolve) => engine.once('exit', resolve));
  engine.kill('SIGTERM');
  await ended;
}
process.exit(0);
