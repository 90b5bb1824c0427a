/**
 * The whole agent against a real Docker Engine and a scripted manager: lives of tasks, adoption
 * after the daemon's death, engine restarts, logs.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { clone, create } from '@bufbuild/protobuf';
import t, { type Test } from 'tap';
import { SubscriptionMessageSchema } from '../../src/model/gen/docker/swarmkit/v1/logbroker_pb.js';
import {
  EndpointSchema,
  SecretSchema,
  type Task,
  TaskSchema,
} from '../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  Mount_Type as MountType,
  PortConfig_PublishMode as PublishMode,
  TaskState,
} from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { sleep, waitFor } from '../testbed/commands.js';
import {
  type AgentNode,
  containerId,
  lastStatus,
  newAgent,
  reaches,
  startAgentNode,
} from './support/agent-node.js';
import { OwnEngine } from './support/own-engine.js';
import { ScriptedManager } from './support/scripted-manager.js';
import { containerTask, desiring, newTaskId } from './support/tasks.js';

const engine = new OwnEngine();
/** Runs on, and ends at once with code 3 when it is told to stop. */
const RUN_ON = 'trap "exit 3" TERM; sleep 1000 & wait';
const SLEEP = { args: ['sh', '-c', RUN_ON], stopGracePeriod: { seconds: 5n } };

function annotationsOf(task: Task): NonNullable<Task['serviceAnnotations']> {
  if (task.serviceAnnotations === undefined) throw new Error('a task of no service');
  return task.serviceAnnotations;
}

const startNode = (t: Test): Promise<AgentNode> => startAgentNode(t, engine);

t.setTimeout(240_000);

t.before(async () => {
  await engine.start();
});

t.teardown(() => engine.destroy());

void t.test('the node describes itself', async (t) => {
  const { manager } = await startNode(t);
  await waitFor('a session', 10_000, async () => manager.sessions[0]);
  const description = manager.sessions[0]?.description;
  t.equal(description?.hostname, 'agent-test');
  t.equal(description?.platform?.os, 'linux');
  t.ok((description?.resources?.memoryBytes ?? 0n) > 0n);
  t.match(description?.engine?.labels, { rack: 'r1', 'skep.agent': '0.0.0-test' });
  const plugins = description?.engine?.plugins.map((plugin) => `${plugin.type}/${plugin.name}`);
  for (const needed of ['Network/overlay', 'Volume/local']) t.ok(plugins?.includes(needed), needed);
});

void t.test('a task lives: every state once, in order, then stops and goes', async (t) => {
  const node = await startNode(t);
  const task = containerTask(
    { ...SLEEP, env: ['A=b'], labels: { own: 'yes' } },
    { nodeId: node.manager.nodeId },
  );
  node.manager.assign(task);
  await reaches(node, task, TaskState.RUNNING);
  const seen = node.manager.statuses.get(task.id)?.map((status) => status.state) ?? [];
  t.same(
    seen,
    [...seen].sort((a, b) => a - b),
    'states only grow',
  );
  const id = containerId(node, task);
  const info = await engine.docker.getContainer(id).inspect();
  t.equal(info.Name, `/web.1.${task.id}`);
  t.match(info.Config.Labels, {
    own: 'yes',
    'com.docker.swarm.task': '',
    'com.docker.swarm.task.id': task.id,
    'com.docker.swarm.task.name': `web.1.${task.id}`,
    'com.docker.swarm.node.id': node.manager.nodeId,
    'com.docker.swarm.service.id': 'service1',
    'com.docker.swarm.service.name': 'web',
  });
  t.equal(info.Config.Hostname, id.slice(0, 12));
  node.manager.change(desiring(task, TaskState.SHUTDOWN));
  await reaches(node, task, TaskState.SHUTDOWN);
  t.equal((await engine.docker.getContainer(id).inspect()).State.Running, false, 'container kept');
  node.manager.remove(task);
  await waitFor('removal', 10_000, async () =>
    engine.docker
      .getContainer(id)
      .inspect()
      .then(
        () => undefined,
        () => true,
      ),
  );
});

void t.test('container settings reach the engine', async (t) => {
  const node = await startNode(t);
  const task = containerTask(
    {
      ...SLEEP,
      hostname: 'h-web',
      user: '1000',
      dir: '/tmp',
      capabilityDrop: ['ALL'],
      hosts: ['10.9.9.9 one two'],
      ulimits: [{ name: 'nofile', soft: 100n, hard: 200n }],
      sysctls: { 'net.ipv4.ip_unprivileged_port_start': '0' },
      readOnly: true,
      init: true,
      stopSignal: 'SIGINT',
      dnsConfig: { nameservers: ['10.8.8.8'], search: ['x.test'] },
      mounts: [
        { type: MountType.VOLUME, target: '/v' },
        { type: MountType.TMPFS, target: '/t', tmpfsOptions: { sizeBytes: 65536n, mode: 0o700 } },
        { type: MountType.BIND, source: '/etc', target: '/host-etc', readonly: true },
      ],
    },
    { nodeId: node.manager.nodeId },
  );
  if (task.spec !== undefined) {
    task.spec.resources = {
      $typeName: 'docker.swarmkit.v1.ResourceRequirements',
      limits: {
        $typeName: 'docker.swarmkit.v1.Resources',
        nanoCpus: 500_000_000n,
        memoryBytes: 64n << 20n,
        generic: [],
      },
    };
  }
  node.manager.assign(task);
  await reaches(node, task, TaskState.RUNNING);
  const info = await engine.docker.getContainer(containerId(node, task)).inspect();
  t.match(info.Config, {
    Hostname: 'h-web',
    User: '1000',
    WorkingDir: '/tmp',
    StopSignal: 'SIGINT',
  });
  t.match(info.HostConfig, {
    Memory: 64 << 20,
    NanoCpus: 500_000_000,
    ReadonlyRootfs: true,
    Init: true,
    CapDrop: ['ALL'],
    ExtraHosts: ['one:10.9.9.9', 'two:10.9.9.9'],
    Dns: ['10.8.8.8'],
    DnsSearch: ['x.test'],
    RestartPolicy: { Name: '' },
  });
  t.same(info.Mounts.map((mount) => mount.Destination).sort(), ['/host-etc', '/t', '/v']);
});

void t.test('how tasks fail, in SwarmKit words', async (t) => {
  const node = await startNode(t);
  const nodeId = node.manager.nodeId;
  const exit = containerTask({ args: ['sh', '-c', 'exit 3'] }, { nodeId });
  const done = containerTask({ args: ['true'] }, { nodeId });
  const image = containerTask({ image: 'no/such:1' }, { nodeId });
  const bind = containerTask(
    { mounts: [{ type: MountType.BIND, source: '/no/such', target: '/x' }] },
    { nodeId },
  );
  const relative = containerTask(
    { mounts: [{ type: MountType.BIND, source: 'x', target: '/x' }] },
    { nodeId },
  );
  const command = containerTask({ command: ['/no/such'] }, { nodeId });
  const sick = containerTask(
    {
      ...SLEEP,
      healthcheck: {
        test: ['CMD', 'false'],
        interval: { nanos: 100_000_000 },
        timeout: { seconds: 1n },
        retries: 1,
      },
    },
    { nodeId },
  );
  node.manager.assign(exit, done, image, bind, relative, command, sick);
  await reaches(node, exit, TaskState.FAILED);
  t.equal(lastStatus(node, exit)?.err, 'task: non-zero exit (3)');
  t.equal(lastStatus(node, exit)?.message, 'started');
  await reaches(node, done, TaskState.COMPLETE);
  t.equal(lastStatus(node, done)?.message, 'finished');
  await reaches(node, image, TaskState.REJECTED);
  t.match(lastStatus(node, image)?.err, /^No such image: no\/such:1 \(pulling it failed: /);
  await reaches(node, bind, TaskState.REJECTED);
  t.equal(
    lastStatus(node, bind)?.err,
    'invalid mount config for type "bind": bind source path does not exist: /no/such',
  );
  await reaches(node, relative, TaskState.REJECTED);
  t.equal(
    lastStatus(node, relative)?.err,
    'invalid bind mount source, must be an absolute path: x',
  );
  await reaches(node, command, TaskState.FAILED);
  t.match(
    lastStatus(node, command)?.err,
    /^starting container failed: .*no such file or directory/,
  );
  await reaches(node, sick, TaskState.FAILED);
  t.match(lastStatus(node, sick)?.err, /dockerexec: unhealthy container$/);
});

void t.test('health gates RUNNING, and illness ends it', async (t) => {
  const node = await startNode(t);
  const task = containerTask(
    {
      args: ['sh', '-c', `sleep 0.5; touch /tmp/ok; ${RUN_ON}`],
      stopGracePeriod: { seconds: 1n },
      healthcheck: {
        test: ['CMD', 'test', '-e', '/tmp/ok'],
        interval: { nanos: 300_000_000 },
        retries: 5,
      },
    },
    { nodeId: node.manager.nodeId },
  );
  node.manager.assign(task);
  await reaches(node, task, TaskState.STARTING);
  await reaches(node, task, TaskState.RUNNING);
  const exec = await engine.docker
    .getContainer(containerId(node, task))
    .exec({ Cmd: ['rm', '/tmp/ok'] });
  await exec.start({ Detach: true });
  await waitFor('failure', 30_000, async () =>
    node.manager.stateOf(task.id) === TaskState.FAILED ? true : undefined,
  );
  t.match(lastStatus(node, task)?.err, /^task: non-zero exit \(\d+\): dockerexec: unhealthy/);
});

/** Runs a command in a container, and waits for its end. */
async function inContainer(id: string, ...command: string[]): Promise<void> {
  const made = await engine.docker.getContainer(id).exec({ Cmd: command, AttachStdout: true });
  const output = await made.start({});
  await new Promise((resolve) => output.on('end', resolve).resume());
}

void t.test('readiness gates RUNNING and traffic, and ends nothing', async (t) => {
  const node = await startNode(t);
  const made = await engine.docker.createNetwork({
    Name: 'net-r',
    Driver: 'bridge',
    IPAM: { Driver: 'default', Config: [{ Subnet: '10.77.4.0/24' }] },
  });
  node.network.networking = {
    endpoints: [{ engineNetworkName: 'net-r', engineNetworkId: made.id, address: '10.77.4.8' }],
    dnsServers: [],
  };
  const labels = {
    'skep.readiness.cmd': 'test -e /tmp/ok',
    'skep.readiness.interval': '500ms',
    'skep.readiness.retries': '2',
  };
  const network = { id: 'n1', spec: { annotations: { name: 'over' } } };
  const task = containerTask(SLEEP, {
    nodeId: node.manager.nodeId,
    networks: [{ network, addresses: ['10.77.4.8/24'] }],
    serviceAnnotations: { name: 'web', labels },
  });
  const relabelled = (more: Record<string, string>): Task => ({
    ...task,
    serviceAnnotations: { ...annotationsOf(task), labels: { ...labels, ...more } },
  });
  const { unready } = node.network;
  const untilSaid = async (what: RegExp | undefined): Promise<void> => {
    await waitFor(`${String(what)} of the task`, 20_000, async () => {
      const said = unready.get(task.id);
      return (what === undefined ? said === undefined : what.test(said ?? '')) ? true : undefined;
    });
  };
  node.manager.assign(task);
  await reaches(node, task, TaskState.STARTING);
  const id = await waitFor('the container', 10_000, async () => {
    const info = await engine.docker.getContainer(`web.1.${task.id}`).inspect();
    return info.State.Running ? info.Id : undefined;
  });
  await sleep(1500);
  t.equal(node.manager.stateOf(task.id), TaskState.STARTING);
  t.notOk(node.network.endpoints.has(task.id));
  await inContainer(id, 'touch', '/tmp/ok');
  await reaches(node, task, TaskState.RUNNING);
  t.ok(node.network.endpoints.has(task.id));
  await inContainer(id, 'rm', '/tmp/ok');
  await untilSaid(/^the command ended with 1$/);
  await node.reborn();
  node.manager.assign(task);
  await reaches(node, task, TaskState.RUNNING);
  await sleep(1000);
  t.ok(unready.has(task.id), 'a new process keeps what was found');
  await inContainer(id, 'touch', '/tmp/ok');
  await untilSaid(undefined);
  node.manager.change(relabelled({ 'skep.readiness.cmd': 'exit 7' }));
  await untilSaid(/^the command ended with 7$/);
  node.manager.change(relabelled({}));
  await untilSaid(undefined);
  const hanging = { 'skep.readiness.cmd': 'sleep 9; true', 'skep.readiness.timeout': '200ms' };
  node.manager.change(relabelled(hanging));
  await untilSaid(/^the command has not answered within 0.2 s$/);
  node.manager.change(relabelled({ 'skep.readiness.retries': '100' }));
  await untilSaid(undefined);
  const info = await engine.docker.getContainer(id).inspect();
  t.equal(info.State.Running, true);
  t.equal(node.manager.stateOf(task.id), TaskState.RUNNING);
  node.manager.change(desiring(task, TaskState.SHUTDOWN));
  await reaches(node, task, TaskState.SHUTDOWN);
});

void t.test('a task that never becomes ready fails once its start period is over', async (t) => {
  const node = await startNode(t);
  const labels = {
    'skep.readiness.cmd': 'exit 4',
    'skep.readiness.retries': '1',
    'skep.readiness.start-period': '1s',
  };
  const { nodeId } = node.manager;
  const annotated = (of: Record<string, string>) => ({
    nodeId,
    serviceAnnotations: { name: 'web', labels: of },
  });
  const late = containerTask(SLEEP, annotated(labels));
  node.manager.assign(late);
  await reaches(node, late, TaskState.FAILED);
  t.equal(lastStatus(node, late)?.err, 'task: never became ready: the command ended with 4');
  const ending = containerTask(
    { args: ['sh', '-c', 'sleep 1; exit 5'] },
    annotated({ 'skep.readiness.cmd': 'false' }),
  );
  node.manager.change(ending);
  await reaches(node, ending, TaskState.FAILED);
  t.equal(lastStatus(node, ending)?.err, 'task: non-zero exit (5)');
});

void t.test('an agent that died finds its containers, touches none, and watches on', async (t) => {
  const node = await startNode(t);
  const nodeId = node.manager.nodeId;
  const kept = containerTask(SLEEP, { nodeId });
  const dropped = containerTask(SLEEP, { nodeId });
  node.manager.assign(kept, dropped);
  await reaches(node, kept, TaskState.RUNNING);
  await reaches(node, dropped, TaskState.RUNNING);
  const id = containerId(node, kept);
  const droppedId = containerId(node, dropped);
  const before = await engine.docker.getContainer(id).inspect();

  // Nobody assigns anything yet: both go on.
  const silent = new ScriptedManager(nodeId);
  await node.agent.stop();
  node.agent = newAgent({ ...node, engine, manager: silent });
  await node.agent.start();
  await waitFor('reports of what runs', 10_000, async () =>
    silent.stateOf(kept.id) === TaskState.RUNNING && silent.stateOf(dropped.id) !== undefined
      ? true
      : undefined,
  );
  t.equal((await engine.docker.getContainer(droppedId).inspect()).State.Running, true);
  silent.assign(kept);
  await waitFor('removal of what is not assigned', 15_000, async () =>
    engine.docker
      .getContainer(droppedId)
      .inspect()
      .then(
        () => undefined,
        () => true,
      ),
  );
  const after = await engine.docker.getContainer(id).inspect();
  t.equal(after.State.StartedAt, before.State.StartedAt, 'not restarted');
  t.equal(silent.stateOf(kept.id), TaskState.RUNNING);
  await engine.docker.getContainer(id).kill();
  await waitFor('the exit to be seen', 10_000, async () =>
    silent.stateOf(kept.id) === TaskState.FAILED ? true : undefined,
  );
  t.equal(silent.statuses.get(kept.id)?.at(-1)?.err, 'task: non-zero exit (137)');
});

void t.test('without its files an agent knows containers by their labels', async (t) => {
  const node = await startNode(t);
  const nodeId = node.manager.nodeId;
  const task = containerTask(SLEEP, { nodeId });
  node.manager.assign(task);
  await reaches(node, task, TaskState.RUNNING);
  const id = containerId(node, task);
  await node.agent.stop();
  const manager = new ScriptedManager(nodeId);
  const elsewhere = join(engine.directory, `${nodeId}-new-state`);
  node.agent = newAgent({ ...node, engine, manager, stateDirectory: elsewhere });
  await node.agent.start();
  manager.assign(task);
  await waitFor('adoption', 15_000, async () =>
    manager.stateOf(task.id) === TaskState.RUNNING ? true : undefined,
  );
  const status = manager.statuses.get(task.id)?.at(-1)?.runtimeStatus;
  t.equal(status?.case === 'container' ? status.value.containerId : '', id);
});

void t.test('networks: prepared first, entered when running, left before the stop', async (t) => {
  const node = await startNode(t);
  const { network, manager } = node;
  const ids: string[] = [];
  for (const [name, subnet] of [
    ['net-a', '10.77.1.0/24'],
    ['net-b', '10.77.2.0/24'],
  ] as const) {
    const made = await engine.docker.createNetwork({
      Name: name,
      Driver: 'bridge',
      IPAM: { Driver: 'default', Config: [{ Subnet: subnet }] },
    });
    ids.push(made.id);
  }
  network.networking = {
    endpoints: [
      { engineNetworkName: 'net-a', engineNetworkId: ids[0] ?? '', address: '10.77.1.9' },
      { engineNetworkName: 'net-b', engineNetworkId: ids[1] ?? '', address: '10.77.2.9' },
    ],
    dnsServers: ['10.77.1.1'],
  };
  const task = containerTask(SLEEP, {
    nodeId: manager.nodeId,
    networks: [{ network: { id: 'n1', spec: { annotations: { name: 'over' } } } }],
    endpoint: { virtualIps: [{ networkId: 'n1', addr: '10.0.1.2/24' }], ports: [] },
  });
  manager.assign(task);
  await reaches(node, task, TaskState.RUNNING);
  const info = await engine.docker.getContainer(containerId(node, task)).inspect();
  t.equal(info.NetworkSettings.Networks['net-a']?.IPAddress, '10.77.1.9');
  t.equal(info.NetworkSettings.Networks['net-b']?.IPAddress, '10.77.2.9');
  t.same(info.HostConfig.Dns, ['10.77.1.1']);
  const endpoint = network.endpoints.get(task.id);
  t.match(endpoint, {
    taskName: `web.1.${task.id}`,
    containerId: info.Id,
    serviceName: 'web',
    virtualIps: [{ networkId: 'n1', address: '10.0.1.2/24' }],
  });
  const published = clone(TaskSchema, task);
  published.endpoint = create(EndpointSchema, {
    ports: [{ targetPort: 80, publishedPort: 8000 }],
  });
  manager.change(published);
  await waitFor('followed ports', 10_000, async () =>
    network.calls.includes(`ports ${task.id} 1`) ? true : undefined,
  );
  manager.change(desiring(published, TaskState.SHUTDOWN));
  await reaches(node, task, TaskState.SHUTDOWN);
  t.same(network.calls, [
    'prepare',
    `activate ${task.id}`,
    `ports ${task.id} 1`,
    `drain ${task.id}`,
    `deactivate ${task.id}`,
  ]);
});

void t.test('ports that change while a container is taken up are reported', async (t) => {
  const node = await startNode(t);
  const { network } = node;
  const { nodeId } = node.manager;
  network.networking = { endpoints: [], dnsServers: [] };
  const port = { targetPort: 80, publishedPort: 8000 };
  const task = containerTask(SLEEP, {
    nodeId,
    networks: [{ network: { id: 'n1', spec: { annotations: { name: 'over' } } } }],
    endpoint: { ports: [port] },
  });
  node.manager.assign(task);
  await reaches(node, task, TaskState.RUNNING);
  let activate = (): void => undefined;
  network.activating = new Promise((resolve) => {
    activate = resolve;
  });
  await node.reborn();
  await waitFor('the network to be told', 10_000, async () =>
    network.calls.includes(`activate ${task.id}`) ? true : undefined,
  );
  const moved = clone(TaskSchema, task);
  const publishMode = PublishMode.HOST;
  moved.endpoint = create(EndpointSchema, { ports: [{ ...port, publishMode }] });
  node.manager.assign(moved);
  await waitFor('the report', 10_000, async () =>
    lastStatus(node, task)?.portStatus?.ports[0]?.publishedPort === 8000 ? true : undefined,
  );
  t.notOk(network.calls.includes(`ports ${task.id} 1`), 'the network is still being told');
  activate();
  await waitFor('the network to follow', 10_000, async () =>
    network.calls.includes(`ports ${task.id} 1`) ? true : undefined,
  );
});

void t.test('a container made just before a crash is taken over', async (t) => {
  const node = await startNode(t);
  const { nodeId } = node.manager;
  const task = containerTask(SLEEP, { nodeId });
  const made = await engine.docker.createContainer({
    name: `web.1.${task.id}`,
    Image: 'skep-test/web:1',
    Cmd: ['sh', '-c', RUN_ON],
    Labels: { 'com.docker.swarm.task.id': task.id, 'com.docker.swarm.node.id': nodeId },
  });
  node.manager.assign(task);
  await reaches(node, task, TaskState.RUNNING);
  t.equal(containerId(node, task), made.id);
});

void t.test('a foreign container of the same name is not touched', async (t) => {
  const node = await startNode(t);
  const task = containerTask(SLEEP, { nodeId: node.manager.nodeId });
  const foreign = await engine.docker.createContainer({
    name: `web.1.${task.id}`,
    Image: 'skep-test/web:1',
  });
  node.manager.assign(task);
  await reaches(node, task, TaskState.REJECTED);
  t.match(lastStatus(node, task)?.err, /is already in use by container/);
  await foreign.remove();
});

void t.test('logs are published: streams, tail, follow, close', async (t) => {
  const node = await startNode(t);
  const task = containerTask(
    {
      args: ['sh', '-c', `echo two >&2; sleep 0.3; echo one; echo three; ${RUN_ON}`],
      ...{ stopGracePeriod: { seconds: 1n } },
    },
    { nodeId: node.manager.nodeId },
  );
  node.manager.assign(task);
  await reaches(node, task, TaskState.RUNNING);
  const subscribe = (id: string, options: object): void =>
    node.manager.subscribe(
      create(SubscriptionMessageSchema, {
        id,
        selector: { taskIds: [task.id] },
        options: options as never,
      }),
    );
  const texts = (id: string): string[] =>
    (node.manager.published.get(id)?.messages ?? []).map(
      (message) => `${message.stream} ${Buffer.from(message.data).toString()}`,
    );
  await waitFor('all lines to be written', 10_000, async () => {
    const log = await engine.docker
      .getContainer(containerId(node, task))
      .logs({ stdout: true, stderr: true });
    return log.toString().includes('three') ? true : undefined;
  });
  subscribe('all', {});
  await waitFor(
    'the end of a log',
    10_000,
    async () => node.manager.published.get('all')?.closed || undefined,
  );
  t.same(texts('all').sort(), ['1 one\n', '1 three\n', '2 two\n']);
  const [message] = node.manager.published.get('all')?.messages ?? [];
  t.match(message?.context, {
    taskId: task.id,
    serviceId: 'service1',
    nodeId: node.manager.nodeId,
  });
  t.ok((message?.timestamp?.seconds ?? 0n) > 1_700_000_000n);
  subscribe('last', { tail: -2n, streams: [1] });
  await waitFor(
    'the end of a log',
    10_000,
    async () => node.manager.published.get('last')?.closed || undefined,
  );
  t.same(texts('last'), ['1 three\n']);
  subscribe('follow', { follow: true });
  await waitFor('followed lines', 10_000, async () =>
    texts('follow').length === 3 ? true : undefined,
  );
  t.equal(node.manager.published.get('follow')?.closed, false);
  node.manager.subscribe(create(SubscriptionMessageSchema, { id: 'follow', close: true }));
});

void t.test('secrets are files of the container only', async (t) => {
  const node = await startNode(t);
  const secret = create(SecretSchema, {
    id: newTaskId(),
    spec: { annotations: { name: 's' }, data: Buffer.from('hidden') },
  });
  const task = containerTask(
    {
      args: ['sh', '-c', `test "$(wc -c < /run/secrets/s.txt)" = 6 || exit 9; ${RUN_ON}`],
      stopGracePeriod: { seconds: 1n },
      secrets: [
        {
          secretId: secret.id,
          secretName: 's',
          target: { case: 'file', value: { name: 's.txt', uid: '0', gid: '0', mode: 0o444 } },
        },
      ],
    },
    { nodeId: node.manager.nodeId },
  );
  node.manager.assign(task, secret);
  await reaches(node, task, TaskState.RUNNING);
  const info = await engine.docker.getContainer(containerId(node, task)).inspect();
  t.notMatch(JSON.stringify(info), 'hidden');
});

void t.test('host-mode ports of a task without networks are the engine’s', async (t) => {
  const node = await startNode(t);
  const ports = [{ targetPort: 80, publishedPort: 8123, publishMode: PublishMode.HOST }];
  const task = containerTask(
    { stopGracePeriod: { seconds: 1n } },
    { nodeId: node.manager.nodeId, endpoint: { ports } },
  );
  node.manager.assign(task);
  await reaches(node, task, TaskState.RUNNING);
  t.same(
    lastStatus(node, task)?.portStatus?.ports.map((port) => port.publishedPort),
    [8123],
  );
});

void t.test('a host-mode port that a process of the host has fails the task', async (t) => {
  const node = await startNode(t);
  const made = await engine.docker.createNetwork({
    Name: 'net-c',
    Driver: 'bridge',
    IPAM: { Driver: 'default', Config: [{ Subnet: '10.77.3.0/24' }] },
  });
  const endpointOf = (address: string) => ({
    endpoints: [{ engineNetworkName: 'net-c', engineNetworkId: made.id, address }],
    dnsServers: [],
  });
  node.network.networking = endpointOf('10.77.3.8');
  const script = `require('net').createServer().listen(0, function () {
    console.log(this.address().port); })`;
  const holder = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => holder.kill());
  const publishedPort = await new Promise<number>((resolve) =>
    holder.stdout.once('data', (chunk: Buffer) => resolve(Number(chunk.toString()))),
  );
  const ports = [{ targetPort: 80, publishedPort, publishMode: PublishMode.HOST }];
  const networks = [{ network: { id: 'n1', spec: { annotations: { name: 'over' } } } }];
  const more = { nodeId: node.manager.nodeId, networks, endpoint: { ports } };
  const task = containerTask(SLEEP, more);
  node.manager.assign(task);
  await reaches(node, task, TaskState.FAILED);
  t.match(
    lastStatus(node, task)?.err,
    `port ${publishedPort}/tcp of this node is in use by node (process ${holder.pid})`,
  );
  node.network.networking = endpointOf('10.77.3.9');
  const single = containerTask(SLEEP, {
    ...more,
    serviceAnnotations: {
      name: 'web',
      labels: { [`skep.publish.${publishedPort}.address`]: '192.0.2.1' },
    },
  });
  node.manager.change(single);
  await reaches(node, single, TaskState.RUNNING);
});

void t.test(
  'the engine restarts: ends are seen, and new tasks run',
  { timeout: 90_000 },
  async (t) => {
    const node = await startNode(t);
    const nodeId = node.manager.nodeId;
    const task = containerTask(SLEEP, { nodeId });
    node.manager.assign(task);
    await reaches(node, task, TaskState.RUNNING);
    await engine.stopDaemon();
    const next = containerTask(SLEEP, { nodeId });
    node.manager.change(next);
    await waitFor('the wait for the engine', 10_000, async () =>
      (lastStatus(node, next)?.err ?? '').includes('cannot reach the Docker Engine')
        ? true
        : undefined,
    );
    t.equal(node.manager.stateOf(next.id), TaskState.PREPARING, 'a missing engine refuses no task');
    engine.launch();
    await engine.answers();
    await reaches(node, next, TaskState.RUNNING);
    await waitFor('the end of the first', 20_000, async () =>
      node.manager.stateOf(task.id) === TaskState.FAILED ? true : undefined,
    );
  },
);
