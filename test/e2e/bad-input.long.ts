/**
 * Bad commands get the oracle's answers: the same list runs against a stock swarm and against
 * skepd on the same engines, one after the other; exit codes and messages must be equal apart from
 * ids, tokens and times.
 */
import t from 'tap';
import { waitFor } from '../testbed/commands.js';
import { WEB_IMAGE } from '../testbed/layout.js';
import {
  type Flavour,
  dissolveSwarm,
  formSwarm,
  managerOf,
  socketOf,
  tasksOf,
  waitForReplicas,
} from '../testbed/swarm.js';
import { type Host, docker, down, mustDocker, up } from '../testbed/testbed.js';

const WAIT_MS = 30_000;

/** Commands on the manager; services `web` (port 8000) and network `front` (10.77.0.0/24) exist. */
const ON_MANAGER: readonly string[] = [
  'swarm init --advertise-addr 192.168.77.11',
  'swarm join --token SWMTKN-1-x-y 192.168.77.12:2377',
  'swarm leave',
  'node inspect nosuch',
  'node inspect --pretty nosuch',
  'node ps nosuch',
  'node rm nosuch',
  'node rm h1',
  'node rm h2',
  'node demote h1',
  'node update --availability bogus h2',
  'node update --label-add a=b nosuch',
  'service inspect nosuch',
  'service ps nosuch',
  'service rm nosuch',
  'service logs nosuch',
  'service scale nosuch=2',
  'service scale web=-1',
  'service scale web',
  'service update --image x nosuch',
  `service create --name web ${WEB_IMAGE}`,
  `service create --detach --name other --publish 8000:80 ${WEB_IMAGE}`,
  `service create --detach --name other --publish mode=host,published=8000,target=80 ${WEB_IMAGE}`,
  `service create --detach --name bad_name- ${WEB_IMAGE}`,
  `service create --detach --name a.b ${WEB_IMAGE}`,
  'service create --detach --name other UPPER/case',
  `service create --detach --name other --mode bogus ${WEB_IMAGE}`,
  `service create --detach --name other --mode global --replicas 2 ${WEB_IMAGE}`,
  `service create --detach --name other --constraint nonsense ${WEB_IMAGE}`,
  `service create --detach --name other --constraint node.id=x ${WEB_IMAGE}`,
  `service create --detach --name other --network nosuch ${WEB_IMAGE}`,
  `service create --detach --name other --network ingress ${WEB_IMAGE}`,
  `service create --detach --name other --limit-memory 1m ${WEB_IMAGE}`,
  `service create --detach --name other --reserve-cpu 0.0001 ${WEB_IMAGE}`,
  `service create --detach --name other --endpoint-mode dnsrr --publish 8100:80 ${WEB_IMAGE}`,
  `service create --detach --name other --publish 8100:80 --publish 8100:81 ${WEB_IMAGE}`,
  `service create --detach --name other --restart-delay -1s ${WEB_IMAGE}`,
  `service create --detach --name other --mount type=volume,source=a,target=/x --mount type=volume,source=b,target=/x ${WEB_IMAGE}`,
  'service update --detach --publish-add 8000:81 web',
  'service update --detach --endpoint-mode dnsrr web',
  'service update --detach --rollback other',
  'network create -d overlay front',
  'network create -d overlay --subnet 10.77.0.0/25 other',
  'network create -d overlay --subnet nonsense other',
  'network create -d overlay --attachable --ingress other',
  'network rm front',
  'network rm nosuch',
  'network inspect nosuch',
  'network rm ingress',
  `run --rm --network front ${WEB_IMAGE} true`,
];

/** Commands on a worker. */
const ON_WORKER: readonly string[] = [
  'node ls',
  'service ls',
  'swarm join-token worker',
  'swarm init --advertise-addr 192.168.77.12',
  `service create --detach ${WEB_IMAGE}`,
  'network create -d overlay other',
];

/** Commands on a host in no swarm; TOKEN is the worker token of the manager. */
const ON_OUTSIDER: readonly string[] = [
  'node ls',
  'service ls',
  'swarm leave',
  'swarm join-token worker',
  'swarm join --token nonsense 192.168.77.11:2377',
  'swarm join --token TOKEN-with-another-secret 192.168.77.11:2377',
  'swarm init --advertise-addr nonsense',
  'swarm init --listen-addr nonsense',
  'swarm init --data-path-port 80',
  'swarm init --default-addr-pool 10.0.0.0/28',
  'network create -d overlay other',
];

interface Answer {
  readonly command: string;
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Takes out what differs between two runs of the same swarm. */
function normalize(text: string): string {
  return (
    text
      .replaceAll(/SWMTKN-1-[a-z0-9]{50}-[a-z0-9]{25}/g, 'TOKEN')
      .replaceAll(/\b[a-z0-9]{25}\b/g, 'ID')
      .replaceAll(/\b[0-9a-f]{64}\b/g, 'HASH')
      // Deliberate: skepd refuses at create what the oracle refuses at start (docs/differences.md).
      .replace("\nSee 'docker run --help'.", '')
      // The CLI of the oracle prints this or not, as its wait and its start race each other.
      .replaceAll(/^time="[^"]*" level=error msg="error waiting for container: [^\n]*\n?/gm, '')
      .trim()
  );
}

async function ask(host: Host, flavour: Flavour, command: string): Promise<Answer> {
  const result = await docker(socketOf(host, flavour), command.split(' '), 90_000);
  return {
    command: `${host.name}: ${command}`,
    code: result.code,
    stdout: normalize(result.stdout),
    stderr: normalize(result.stderr),
  };
}

async function collect(hosts: readonly Host[], flavour: Flavour): Promise<readonly Answer[]> {
  const [manager, worker, outsider] = hosts as [Host, Host, Host];
  const socket = socketOf(manager, flavour);
  await formSwarm([manager, worker], flavour);
  try {
    await mustDocker(socket, [
      'network',
      'create',
      '-d',
      'overlay',
      '--subnet',
      '10.77.0.0/24',
      'front',
    ]);
    await mustDocker(socket, [
      ...['service', 'create', '--detach', '--name', 'web', '--network', 'front'],
      ...['--publish', '8000:80', WEB_IMAGE],
    ]);
    await waitForReplicas(socket, 'web', 1, WAIT_MS);
    const token = await mustDocker(socket, ['swarm', 'join-token', '-q', 'worker']);
    const wrongToken = `${token.slice(0, token.lastIndexOf('-'))}-${'0'.repeat(25)}`;
    const answers: Answer[] = [];
    for (const command of ON_MANAGER) answers.push(await ask(manager, flavour, command));
    for (const command of ON_WORKER) answers.push(await ask(worker, flavour, command));
    for (const command of ON_OUTSIDER) {
      const line = command.replace('TOKEN-with-another-secret', wrongToken);
      const answer = await ask(outsider, flavour, line);
      answers.push({ ...answer, command: `${outsider.name}: ${command}` });
      await docker(socketOf(outsider, flavour), ['swarm', 'leave', '--force']);
    }
    return answers;
  } finally {
    await dissolveSwarm([manager, worker], flavour);
  }
}

void t.test('bad commands get the oracle’s answers', async (t) => {
  const hosts = await up(3);
  try {
    const stock = await collect(hosts, 'stock');
    const skep = await collect(hosts, 'skep');
    for (const [index, expected] of stock.entries())
      t.same(skep[index], expected, expected.command);

    await t.test('what cannot run says why', async (t) => {
      const manager = managerOf(hosts);
      const socket = socketOf(manager, 'skep');
      await formSwarm(hosts, 'skep');
      const managerToken = await mustDocker(socket, ['swarm', 'join-token', '-q', 'manager']);
      const outsider = hosts.at(-1) ?? manager;
      await mustDocker(outsider.skepSocket, ['swarm', 'leave', '--force']);
      const refused = await docker(outsider.skepSocket, [
        ...['swarm', 'join', '--token', managerToken],
        ...['--listen-addr', `${outsider.address}:2378`],
        ...['--advertise-addr', `${outsider.address}:2377`, `${manager.address}:2377`],
      ]);
      t.equal(refused.code, 1);
      t.match(
        refused.stderr,
        /could not connect to prospective new cluster member using its advertised address/,
      );
      await waitFor('the refused node to be forgotten', 5000, async () => {
        const names = await mustDocker(socket, ['node', 'ls', '--format', '{{.Hostname}}']);
        return names.split('\n').sort().join() === 'h1,h2,h3' ? true : undefined;
      });
      const create = async (name: string, ...args: readonly string[]): Promise<void> => {
        await mustDocker(socket, ['service', 'create', '--detach', '--name', name, ...args]);
      };
      await create('nowhere', '--constraint', 'node.labels.zone==moon', WEB_IMAGE);
      await create('unknown', '--restart-condition', 'none', 'skep-test/nosuch:1');
      // Two nodes are left once the one that left counts as down; until then it is the third.
      const why = /no suitable node \(.*scheduling constraints not satisfied on [23] nodes/;
      await waitFor('the pending task to say why', WAIT_MS, async () => {
        const [task] = await tasksOf(socket, 'nowhere');
        return task?.currentState.startsWith('Pending') && why.test(task.error) ? true : undefined;
      });
      await waitFor('the task without an image to be rejected', WAIT_MS, async () => {
        const [task] = await tasksOf(socket, 'unknown');
        return task?.currentState.startsWith('Rejected') ? true : undefined;
      });
      const [rejected] = await tasksOf(socket, 'unknown');
      t.match(rejected?.error, /skep-test\/nosuch:1/);
    });
  } finally {
    await down();
  }
});
