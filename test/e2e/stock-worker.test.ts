/**
 * A stock Docker Engine as a worker of a Skep manager; generic resources of it and of skepd's nodes; settings
 * of containers that it cannot have.
 */
import t, { type Test } from 'tap';
import { WEB_IMAGE } from '../testbed/layout.js';
import { waitFor } from '../testbed/commands.js';
import {
  containerOn,
  formSwarm,
  managerOf,
  runningTasks,
  socketOf,
  tasksOf,
  waitForReplicas,
} from '../testbed/swarm.js';
import {
  type Host,
  askWho,
  docker,
  down,
  killSkepd,
  mustDocker,
  restartSkepd,
  up,
} from '../testbed/testbed.js';
import { checkContainerSettings } from './support/container-settings.js';
/** On each of `names`: one task gets the two GPUs and two disks, and there is no room for another. */
async function takesResources(t: Test, hosts: readonly Host[], names: readonly string[]) {
  const socket = socketOf(managerOf(hosts), 'skep');
  for (const name of names)
    await mustDocker(socket, [
      ...['service', 'create', '--detach', '--name', `gpu-${name}`, '--replicas', '2'],
      ...['--constraint', `node.hostname==${name}`],
      ...[
        '--generic-resource',
        'gpu=2',
        '--generic-resource',
        'disk=2',
        WEB_IMAGE,
        'sleep',
        '1000',
      ],
    ]);
  for (const name of names) {
    const service = `gpu-${name}`;
    await waitFor(`a task of ${service} to run and one to wait`, 30_000, async () => {
      const tasks = await tasksOf(socket, service);
      const waits = tasks.some(({ error }) => error.includes('insufficient resources'));
      return waits && tasks.some((task) => task.currentState.startsWith('R')) ? true : undefined;
    });
    const host = hosts.find((one) => one.name === name);
    if (host === undefined) throw new Error(`no ${name}`);
    const { id } = await containerOn(host, service);
    const format = '{{json .Config.Env}}';
    const env = await mustDocker(host.dockerSocket, ['inspect', id, '--format', format]);
    t.match(env, '"DOCKER_RESOURCE_GPU=UUID1,UUID2"');
    t.match(env, '"DOCKER_RESOURCE_DISK=2"');
  }
  await mustDocker(socket, ['service', 'rm', ...names.map((name) => `gpu-${name}`)]);
}

/** Task to task between skepd's host and the stock engine's: both ways, ICMP and TCP, by address and by name. */
async function speakWithEachOther(t: Test, ours: Host, stock: Host) {
  await mustDocker(ours.skepSocket, [
    ...['run', '--detach', '--name', 'ours', '--network', 'front', WEB_IMAGE],
  ]);
  const address = async (socket: string, id: string) => {
    const format = '{{.NetworkSettings.Networks.front.IPAddress}}';
    return await mustDocker(socket, ['inspect', '--format', format, id]);
  };
  const { id: plain } = await containerOn(stock, 'plain');
  const ways = [
    { socket: ours.dockerSocket, from: 'ours', to: await address(stock.dockerSocket, plain) },
    { socket: ours.dockerSocket, from: 'ours', to: 'tasks.plain' },
    { socket: stock.dockerSocket, from: plain, to: await address(ours.dockerSocket, 'ours') },
    { socket: stock.dockerSocket, from: plain, to: 'ours' },
  ];
  for (const { socket, from, to } of ways) {
    const ask = `ping -c 1 -W 2 ${to} && busybox timeout 2 wget -q -O - http://${to}/who`;
    // The engine at the other end hears of a new address some time later.
    await waitFor(`${from} to reach ${to}`, 20_000, async () =>
      mustDocker(socket, ['exec', from, 'sh', '-c', ask]),
    );
    t.pass(`${from} reaches ${to}`);
  }
  await mustDocker(ours.skepSocket, ['rm', '--force', 'ours']);
}

void t.test('a stock engine joins a skepd manager and runs a task', async (t) => {
  const resources = ['gpu=UUID1', 'gpu=UUID2', 'disk=3', 'tty=/dev/random', 'tty=/dev/kmsg'];
  const engineArgs = resources.flatMap((resource) => ['--node-generic-resource', resource]);
  const hosts = await up(3, { noSkep: ['h3'], engineArgs });
  try {
    const socket = socketOf(managerOf(hosts), 'skep');
    await formSwarm(hosts, (host) => (host.name === 'h3' ? 'stock' : 'skep'));
    await mustDocker(socket, ['network', 'create', '-d', 'overlay', '--attachable', 'front']);
    await mustDocker(socket, [
      ...['service', 'create', '--detach', '--name', 'plain', '--constraint', 'node.hostname==h3'],
      ...['--network', 'front', '--endpoint-mode', 'dnsrr'],
      ...[WEB_IMAGE, 'sh', '-c', 'echo from a stock engine; exec web-server 80'],
    ]);
    await waitForReplicas(socket, 'plain', 1, 30_000);
    const tasks = await runningTasks(socket, 'plain');
    t.same(
      tasks.map((task) => task.node),
      ['h3'],
    );
    const logs = await docker(socket, ['service', 'logs', 'plain']);
    t.match(logs.stdout, /from a stock engine/, logs.stderr);
    const [h1] = hosts as [Host];
    const look = ['run', '--rm', '--network', 'front', WEB_IMAGE, 'nslookup', 'tasks.plain'];
    const found = await waitFor('its name', 30_000, async () => {
      const { code, stdout } = await docker(h1.skepSocket, look);
      return code === 0 ? stdout : undefined;
    });
    t.match(found, /Name:\ttasks.plain\nAddress: 10\.0\.1\.\d+\n/, 'found by a skepd node');
    await speakWithEachOther(t, h1, hosts[2] ?? h1);

    // A change of ports: in place on skepd nodes, a new task on the stock engine.
    await mustDocker(socket, [
      ...['service', 'create', '--detach', '--name', 'web', '--mode', 'global'],
      ...['--update-monitor', '1s', '--publish', '8000:80', WEB_IMAGE],
    ]);
    await waitForReplicas(socket, 'web', 3, 60_000);
    const idsByNode = async () => {
      const running = await runningTasks(socket, 'web');
      return Object.fromEntries(running.map(({ node, id }) => [node, id]));
    };
    const before = await idsByNode();
    const update = await docker(socket, [
      ...['service', 'update', '--publish-rm', 'published=8000,target=80'],
      ...['--publish-add', 'published=8001,target=80', 'web'],
    ]);
    t.equal(update.code, 0, update.stderr);
    const after = await idsByNode();
    t.equal(after['h1'], before['h1']);
    t.equal(after['h2'], before['h2']);
    t.not(after['h3'], before['h3'], 'a stock engine gets a new task');
    const answering = async () => {
      for (const host of hosts.slice(0, 2)) {
        await waitFor(`${host.name} to answer`, 30_000, async () => askWho(host.address, 8001, 1));
        const answers = new Set<string | undefined>();
        for (let request = 0; request < 12; request += 1)
          answers.add((await askWho(host.address, 8001, 5))?.hostname);
        t.notOk(answers.has(undefined), `${host.name} leads to tasks on nodes of ours only`);
        t.equal(answers.size, 2);
      }
    };
    await answering();

    const allow = 'skep.publish.8001.allow=192.168.77.0/24';
    await mustDocker(socket, ['service', 'update', '--detach', '--label-add', allow, 'web']);
    await waitFor('the stock engine to be left', 60_000, async () => {
      const running = await runningTasks(socket, 'web');
      return running.length === 2 ? true : undefined;
    });
    const waiting = (await tasksOf(socket, 'web')).find((task) =>
      task.currentState.startsWith('P'),
    );
    t.match(waiting?.error, /skep.publish labels need skepd on 1 node/);
    await answering();

    await checkContainerSettings(t, h1);

    // Those of dockerd's flags count on both kinds of node, until skepd has its own.
    await takesResources(t, hosts, ['h1', 'h3']);
    const [, h2] = hosts;
    if (h2 === undefined) throw new Error('no h2');
    await killSkepd(h2);
    await restartSkepd(h2, {}, ['--node-generic-resource', 'fpga=2']);
    const format = '{{json .Description.Resources.GenericResources}}';
    await waitFor('h2 to tell its own resources', 30_000, async () => {
      const told = await mustDocker(socket, ['node', 'inspect', 'h2', '--format', format]);
      return told === '[{"DiscreteResourceSpec":{"Kind":"fpga","Value":2}}]' ? true : undefined;
    });
    const shown = await mustDocker(h2.skepSocket, ['info', '--format', '{{json .}}']);
    t.match(shown, '"GenericResources":[{"DiscreteResourceSpec":{"Kind":"fpga","Value":2}}]');
    const versions = await mustDocker(socket, ['node', 'ls', '--format', '{{.EngineVersion}}']);
    t.equal(versions.split('\n').length, 3);
  } finally {
    await down();
  }
});
