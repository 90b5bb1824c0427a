/**
 * The main job, end to end: three hosts with real engines, a swarm formed with the stock CLI, a
 * service reached on every host with the client's real address, names, virtual IPs, host mode,
 * the way out, attachable networks, scaling, draining and leaving. Afterwards nothing is left.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { waitFor } from '../testbed/commands.js';
import { leftBehind, takeInventory } from '../testbed/inventory.js';
import { CLIENT_ADDRESS, CLIENT_ADDRESS6, CLIENT_NAMESPACE, WEB_IMAGE } from '../testbed/layout.js';
import {
  containerOn,
  formSwarm,
  managerOf,
  runningTasks,
  socketOf,
  waitForReplicas,
} from '../testbed/swarm.js';
import {
  type Host,
  type WhoAnswer,
  askWho,
  docker,
  down,
  inHost,
  killSkepd,
  mustDocker,
  restartSkepd,
  skep,
  up,
} from '../testbed/testbed.js';

const WAIT_MS = 30_000;
const PORT = 8000;

/** Fetches the page of `inside`, whose name may take a moment to be known. */
const FETCH_INSIDE =
  'for i in $(seq 50); do wget -qO- http://inside/ && exit; sleep 0.2; done; exit 1';

/** Asks until `wanted` different containers have answered; returns all answers. */
async function askUntil(host: Host, port: number, wanted: number): Promise<readonly WhoAnswer[]> {
  const answers: WhoAnswer[] = [];
  await waitFor(`${wanted} containers to answer on ${host.name}:${port}`, WAIT_MS, async () => {
    const answer = await askWho(host.address, port);
    if (answer !== undefined) answers.push(answer);
    return new Set(answers.map((entry) => entry.hostname)).size >= wanted ? true : undefined;
  });
  return answers;
}

/** IPv4 addresses a name has inside the container of `service` on `host`. */
async function resolveIn(host: Host, service: string, name: string): Promise<readonly string[]> {
  const output = await inContainer(host, service, `nslookup -type=a ${name}`);
  const answer = output.slice(output.indexOf('Name:'));
  return [...new Set(answer.match(/\d+\.\d+\.\d+\.\d+/g))].sort();
}

/** Leaves the swarm and checks that no container got a stop signal first, or stayed. */
async function leaveKilling(t: Test, host: Host, command: readonly string[]): Promise<void> {
  const engine = host.dockerSocket;
  const task = ['--filter', 'label=com.docker.swarm.task.id'];
  const since = String(Date.now() / 1000);
  t.not(await mustDocker(engine, ['ps', '-q', ...task]), '', 'tasks ran before');
  await mustDocker(host.skepSocket, command);
  t.equal(await mustDocker(engine, ['ps', '-aq', ...task]), '', 'no container is left');
  const signals = await mustDocker(engine, [
    ...['events', '--since', since, '--until', String(Date.now() / 1000), ...task],
    ...['--filter', 'event=kill', '--format', '{{.Actor.Attributes.signal}}'],
  ]);
  t.same([...new Set(signals.split('\n'))], ['9']);
}

/** A listener of the outside client that answers each request with the address it came from. */
function startOutsideServer(port: number): ChildProcess {
  const program = `require('http').createServer((q, r) => r.end(q.socket.remoteAddress)).listen(${port}, '0.0.0.0')`;
  return spawn(
    'nsenter',
    [`--net=/var/run/netns/${CLIENT_NAMESPACE}`, process.execPath, '-e', program],
    { stdio: 'ignore' },
  );
}

/** Runs a shell line in the container of `service` on `host`. */
async function inContainer(host: Host, service: string, line: string): Promise<string> {
  const { id } = await containerOn(host, service);
  return await mustDocker(host.dockerSocket, ['exec', id, 'sh', '-c', line]);
}

void t.test('a service published on every node of a three-host swarm', async (t) => {
  const before = await takeInventory();
  const hosts = await up(3);
  try {
    const manager = managerOf(hosts);
    const [h1, h2, h3] = hosts as [Host, Host, Host];
    const socket = socketOf(manager, 'skep');
    await formSwarm(hosts, 'skep');

    await t.test('every node answers with the real client address', async (t) => {
      await mustDocker(socket, ['network', 'create', '-d', 'overlay', 'front']);
      const create = await docker(socket, [
        ...['service', 'create', '--name', 'web', '--replicas', '3', '--network', 'front'],
        ...['--publish', `published=${PORT},target=80`, WEB_IMAGE],
      ]);
      t.equal(create.code, 0, create.stderr);
      t.match(create.stdout, /verify: Service converged/);
      for (const host of hosts)
        for (const answer of await askUntil(host, PORT, 3))
          t.equal(answer.clientAddress, CLIENT_ADDRESS);
    });

    await t.test('tasks spread over the nodes, with their addresses on the engine', async (t) => {
      const tasks = await runningTasks(socket, 'web');
      t.same(tasks.map((task) => task.node).sort(), ['h1', 'h2', 'h3']);
      for (const host of hosts) {
        const { addresses } = await containerOn(host, 'web');
        t.match(addresses['front'], /^10\.0\.\d+\.\d+$/);
        t.match(addresses['ingress'], /^10\.0\.0\.\d+$/);
      }
    });

    await t.test('containers reach each other by address, name and virtual IP', async (t) => {
      const peer = (await containerOn(h2, 'web')).addresses['front'] ?? '';
      const own = (await containerOn(h1, 'web')).addresses['front'] ?? '';
      const who = await inContainer(h1, 'web', `wget -qO- http://${peer}/who`);
      t.equal(who.split(' ')[1], own, 'the peer sees the container itself');
      const vip = await resolveIn(h1, 'web', 'web');
      t.equal(vip.length, 1, 'a service name resolves to its virtual IP');
      const seen = new Set<string>();
      await waitFor('the virtual IP to reach every backend', WAIT_MS, async () => {
        const url = `http://${vip[0]}/who`;
        const answer = await inContainer(h1, 'web', `wget -qO- ${url}`);
        seen.add(answer.split(' ')[0] ?? '');
        return seen.size === 3 ? true : undefined;
      });
      const tasks = await resolveIn(h3, 'web', 'tasks.web');
      t.equal(tasks.length, 3, 'tasks.<service> resolves to every task');
      t.notOk(tasks.includes(vip[0] ?? ''), 'the virtual IP is none of them');
    });

    await t.test('skep net shows what the data path does, and repairs it', async (t) => {
      const net = async (host: Host, ...args: readonly string[]) => {
        const answer = await skep(host, ['net', ...args]);
        t.equal(answer.code, 0, answer.stderr);
        return answer.stdout;
      };
      const published = new RegExp(`^\\*:${PORT}/tcp +80 +10\\.0\\.0\\.\\d+ 10\\.`, 'm');
      t.match(await net(h1, 'services'), published);
      t.match(await net(h2, 'counters'), /^service-connection +[1-9]/m);
      t.match(await net(h2, 'connections'), new RegExp(`service +tcp +${CLIENT_ADDRESS}:`));
      const over = new AbortController();
      const tracing = net(h2, 'trace', '--client', CLIENT_ADDRESS, '--seconds', '3').finally(() => {
        over.abort();
      });
      // When it begins to see packets is not told, so connections are opened until it ends.
      while (!over.signal.aborted) await askWho(h2.address, PORT);
      t.match(await tracing, new RegExp(`from_uplink.*> ${h2.address}:${PORT} SYN.*forwarded`));
      await inHost(h2, ['nft', 'delete', 'table', 'inet', 'skep']);
      await waitFor('the rules to be put back', WAIT_MS, async () =>
        /^repaired-rules +[1-9]/m.test(await net(h2, 'counters')) ? true : undefined,
      );
    });

    await t.test('published ports answer on the host itself', async (t) => {
      for (const target of ['127.0.0.1', h3.address]) {
        const url = `http://${target}:${PORT}/who`;
        const answer = await inHost(h3, ['curl', '-sf', '--max-time', '5', url]);
        t.equal(answer.code, 0, `${target}: ${answer.stderr}`);
      }
    });

    await t.test('IPv6: published ports, a dual-stack network, names', async (t) => {
      const seen = new Set<string>();
      await waitFor('every task to answer over IPv6', WAIT_MS, async () => {
        for (const host of hosts) {
          const answer = await askWho(host.address6, PORT);
          if (answer === undefined) continue;
          t.equal(answer.clientAddress, CLIENT_ADDRESS6);
          seen.add(`${host.name} ${answer.hostname}`);
        }
        return seen.size === 9 ? true : undefined;
      });
      for (const target of ['[::1]', `[${h3.address6}]`]) {
        const url = `http://${target}:${PORT}/who`;
        const answer = await inHost(h3, ['curl', '-sf', '--max-time', '5', url]);
        t.equal(answer.code, 0, `${target}: ${answer.stderr}`);
      }
      await mustDocker(socket, [
        ...['network', 'create', '-d', 'overlay', '--ipv6'],
        ...['--subnet', '10.66.0.0/24', '--subnet', 'fd00:66::/64', 'dual'],
      ]);
      await mustDocker(socket, [
        ...['service', 'create', '--detach', '--name', 'six', '--mode', 'global'],
        ...['--network', 'dual', WEB_IMAGE],
      ]);
      await waitForReplicas(socket, 'six', 3, WAIT_MS);
      const [shown] = JSON.parse(await mustDocker(socket, ['network', 'inspect', 'dual'])) as {
        EnableIPv6: boolean;
        IPAM: { Config: { Subnet: string }[] };
      }[];
      t.equal(shown?.EnableIPv6, true);
      // The CLI sends them in no order.
      const subnets = shown?.IPAM.Config.map(({ Subnet }) => Subnet).sort();
      t.same(subnets, ['10.66.0.0/24', 'fd00:66::/64']);
      const names = await waitFor('the name of the service', WAIT_MS, async () => {
        const output = await inContainer(h1, 'six', 'nslookup -type=aaaa tasks.six');
        const found = new Set(output.match(/fd00:66::[0-9a-f]+/g));
        return found.size === 3 ? found : undefined;
      });
      const vip = /fd00:66::[0-9a-f]+/.exec(
        await inContainer(h1, 'six', 'nslookup -type=aaaa six'),
      );
      t.notOk(names.has(vip?.[0] ?? ''), 'the virtual address is none of the tasks');
      for (const address of [...names, vip?.[0]]) {
        const url = `http://[${address}]/who`;
        const who = await inContainer(h1, 'six', `wget -qO- ${url}`);
        t.match(who.split(' ')[1], /^fd00:66::/, `${address} saw an address of the network`);
      }
      await mustDocker(socket, ['service', 'rm', 'six']);
    });

    await t.test('host mode publishes on the node of the task only', async (t) => {
      const create = await docker(socket, [
        ...['service', 'create', '--name', 'local', '--constraint', 'node.hostname==h2'],
        ...['--publish', 'mode=host,published=9000,target=80', WEB_IMAGE],
      ]);
      t.equal(create.code, 0, create.stderr);
      const [answer] = await askUntil(h2, 9000, 1);
      t.equal(answer?.clientAddress, CLIENT_ADDRESS);
      t.equal(await askWho(h1.address, 9000, 1), undefined);
    });

    await t.test('containers reach the outside as their host', async (t) => {
      const server = startOutsideServer(7777);
      try {
        const url = `http://${CLIENT_ADDRESS}:7777/`;
        const seen = await waitFor('the outside to be reached', WAIT_MS, async () =>
          inContainer(h2, 'web', `wget -qO- ${url}`),
        );
        t.equal(seen, h2.address);
      } finally {
        server.kill();
      }
    });

    await t.test('plain containers join an attachable network', async (t) => {
      await mustDocker(socket, ['network', 'create', '-d', 'overlay', '--attachable', 'shared']);
      await mustDocker(socket, [
        ...['service', 'create', '--detach', '--no-resolve-image', '--name', 'inside'],
        ...['--network', 'shared'],
        ...['--constraint', 'node.hostname==h3', WEB_IMAGE],
      ]);
      await waitForReplicas(socket, 'inside', 1, WAIT_MS);
      const run = await docker(socket, [
        ...['run', '--rm', '--network', 'shared', WEB_IMAGE],
        ...['sh', '-c', FETCH_INSIDE],
      ]);
      t.equal(run.code, 0, run.stderr);
      t.match(run.stdout, /skep-test/);
    });

    await t.test('names work in a container that joins later, until it leaves', async (t) => {
      const plain = h2.skepSocket;
      const lookUp = async (name: string) =>
        (await docker(h2.dockerSocket, ['exec', 'plain', 'nslookup', '-type=a', name])).stdout;
      const known = async (name: string, address: string | RegExp) =>
        waitFor(`${name} to be known`, WAIT_MS, async () =>
          (await lookUp(name)).match(address) === null ? undefined : true,
        );
      await mustDocker(plain, ['network', 'create', 'home']);
      for (const name of ['neighbour', 'plain'])
        await mustDocker(plain, ['run', '-d', '--name', name, '--network', 'home', WEB_IMAGE]);
      const home = /Name:.*\nAddress: 172\./;
      t.match(await lookUp('neighbour'), home);
      await mustDocker(plain, ['network', 'connect', '--alias', 'nick', 'shared', 'plain']);
      const fetch = await docker(plain, ['exec', 'plain', 'sh', '-c', FETCH_INSIDE]);
      t.match(fetch.stdout, /skep-test/, fetch.stderr);
      t.match(await lookUp('tasks.inside'), /Name:.*\nAddress: 10\./);
      t.match(await lookUp('neighbour'), home, 'names of the engine, too');
      const seen = `for i in $(seq 50); do wget -qO- http://nick/ && exit; sleep 0.2; done; exit 1`;
      const { id } = await containerOn(h3, 'inside');
      t.match(await mustDocker(h3.dockerSocket, ['exec', id, 'sh', '-c', seen]), /skep-test/);
      await killSkepd(h2);
      t.match(await lookUp('neighbour'), home, 'the engine answers while skepd is away');
      await restartSkepd(h2);
      await known('inside', /Name:.*\nAddress: 10\./);
      const virtual = /Name:.*\nAddress: (10\.\S+)/.exec(await lookUp('inside'))?.[1];
      await mustDocker(socket, ['service', 'scale', '--detach', 'inside=0']);
      await waitFor('the virtual address without a task to refuse', WAIT_MS, async () => {
        const ask = ['exec', 'plain', 'wget', '-qO-', `http://${virtual}/`];
        return /refused/.test((await docker(h2.dockerSocket, ask)).stderr) ? true : undefined;
      });
      await mustDocker(socket, ['service', 'scale', '--detach', 'inside=1']);
      await waitForReplicas(socket, 'inside', 1, WAIT_MS);
      await known('inside', /Name:.*\nAddress: 10\./);
      await mustDocker(plain, ['network', 'disconnect', 'shared', 'plain']);
      t.notMatch(await lookUp('inside'), /Name:/);
      t.match(await lookUp('neighbour'), home);
      await mustDocker(plain, ['rm', '-f', 'plain', 'neighbour']);
      await mustDocker(plain, ['network', 'rm', 'home']);
    });

    await t.test('logs and exec go through skepd', async (t) => {
      await mustDocker(socket, [
        ...['service', 'create', '--detach', '--name', 'talker', '--replicas', '2', WEB_IMAGE],
        ...['sh', '-c', 'echo a word; exec sleep 1000'],
      ]);
      await waitForReplicas(socket, 'talker', 2, WAIT_MS);
      const logs = await docker(socket, ['service', 'logs', 'talker']);
      t.equal(logs.stdout.match(/a word/g)?.length, 2, logs.stdout + logs.stderr);
      const { id } = await containerOn(h1, 'web');
      t.equal(await mustDocker(h1.skepSocket, ['exec', id, 'echo', 'hello']), 'hello');
    });

    await t.test('scaling, draining and removal', async (t) => {
      await mustDocker(socket, ['service', 'scale', 'web=6']);
      await waitForReplicas(socket, 'web', 6, WAIT_MS);
      await mustDocker(socket, ['node', 'update', '--availability', 'drain', 'h3']);
      await waitFor('tasks to leave h3', WAIT_MS, async () => {
        const tasks = await runningTasks(socket, 'web');
        return tasks.length === 6 && tasks.every((task) => task.node !== 'h3') ? true : undefined;
      });
      for (const answer of await askUntil(h3, PORT, 6))
        t.equal(answer.clientAddress, CLIENT_ADDRESS, 'the drained node still answers');
      await mustDocker(socket, ['service', 'rm', 'web']);
      await waitFor('the port to close', WAIT_MS, async () =>
        (await askWho(h1.address, PORT, 1)) === undefined ? true : undefined,
      );
      await waitFor('the containers to go', WAIT_MS, async () => {
        const filter = 'label=com.docker.swarm.service.name=web';
        const left = await mustDocker(h1.dockerSocket, ['ps', '-aq', '--filter', filter]);
        return left === '' ? true : undefined;
      });
    });

    await t.test('a leaving node kills its containers', async (t) => {
      const nodeId = await mustDocker(socket, ['info', '--format', '{{.Swarm.NodeID}}']);
      await mustDocker(socket, [
        ...['service', 'create', '--detach', '--name', 'stubborn', '--mode', 'global'],
        ...['--no-resolve-image', '--stop-grace-period', '1h', '--network', 'shared', WEB_IMAGE],
        ...['sleep', '10000'],
      ]);
      await waitForReplicas(socket, 'stubborn', 2, WAIT_MS);
      const refused = await docker(socket, ['swarm', 'leave']);
      t.match(refused.stderr, /Use `--force` to ignore this message/);
      const settings = ['net.ipv6.conf.all.forwarding', 'net.ipv4.ip_local_reserved_ports'];
      const host = async () => (await inHost(h2, ['sysctl', '-n', ...settings])).stdout.trim();
      const secrets = async () => (await inHost(h2, ['cat', '/proc/mounts'])).stdout;
      t.match(await host(), /^1\n/);
      const inMemory = / \/run\/skep\/secrets tmpfs /;
      t.match(await secrets(), inMemory);
      await leaveKilling(t, h2, ['swarm', 'leave']);
      t.equal(await host(), '0', 'what skepd set on the host is as before');
      t.notMatch(await secrets(), inMemory);
      await waitFor('h2 to be Down', WAIT_MS, async () => {
        const nodes = await mustDocker(socket, [
          'node',
          'ls',
          '--format',
          '{{.Hostname}} {{.Status}}',
        ]);
        return nodes.split('\n').includes('h2 Down') ? true : undefined;
      });
      await leaveKilling(t, h1, ['swarm', 'leave', '--force']);
      const log = readFileSync(h1.skepLog, 'utf8').split('\n');
      const ownDown = log.filter((line) => line.includes('node is down') && line.includes(nodeId));
      t.same(ownDown, [], 'a sole manager does not see itself fall silent');
    });
  } finally {
    await down();
  }
  t.same(await leftBehind(before), [], 'nothing is left behind');
});
