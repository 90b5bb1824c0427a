/**
 * The demo: three Docker hosts, a swarm formed with the stock docker CLI, a published service
 * asked on every host from outside. `--once` exits afterwards, non-zero if anything differed from
 * what was expected; otherwise the hosts stay up until Ctrl-C.
 */
import { waitFor } from './commands.js';
import { CLIENT_ADDRESS, WEB_IMAGE } from './layout.js';
import { formSwarm, managerOf, runningTasks, socketOf, waitForReplicas } from './swarm.js';
import { type Host, askWho, down, mustDocker, up } from './testbed.js';

const PORT = 8000;
const ASKS_PER_HOST = 4;
const SPREAD_TIMEOUT_MS = 30_000;

const problems: string[] = [];

function expect(condition: boolean, sentence: string): void {
  if (condition) return;
  problems.push(sentence);
  console.log(`  NOT AS EXPECTED: ${sentence}`);
}

function say(line: string): void {
  console.log(line);
}

function table(rows: readonly (readonly string[])[]): void {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  for (const row of rows)
    say(`  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('   ')}`.trimEnd());
}

/** Asks every host and prints who answered and which client address it saw. */
async function askEveryHost(hosts: readonly Host[]): Promise<void> {
  const rows: string[][] = [['HOST ASKED', 'CONTAINER THAT ANSWERED', 'CLIENT ADDRESS IT SAW']];
  for (const host of hosts) {
    for (let ask = 0; ask < ASKS_PER_HOST; ask++) {
      const answer = await askWho(host.address, PORT);
      rows.push([
        `${host.name} ${host.address}:${PORT}`,
        answer?.hostname ?? '(no answer)',
        answer?.clientAddress ?? '-',
      ]);
      expect(answer !== undefined, `${host.name} answers on port ${PORT}`);
      if (answer !== undefined)
        expect(
          answer.clientAddress === CLIENT_ADDRESS,
          `the container sees the client as ${CLIENT_ADDRESS}, not ${answer.clientAddress}`,
        );
    }
  }
  table(rows);
}

async function showTasks(socket: string, hosts: readonly Host[]): Promise<void> {
  const tasks = await runningTasks(socket, 'web');
  const rows = hosts.map((host) => [
    host.name,
    tasks
      .filter((task) => task.node === host.name)
      .map((task) => task.name)
      .sort()
      .join(' '),
  ]);
  table([['NODE', 'RUNNING TASKS'], ...rows]);
}

async function waitUntilAllAnswer(hosts: readonly Host[]): Promise<void> {
  await waitFor('every host to answer', SPREAD_TIMEOUT_MS, async () => {
    for (const host of hosts)
      if ((await askWho(host.address, PORT, 2)) === undefined) return undefined;
    return true;
  });
}

async function demonstrate(hosts: readonly Host[]): Promise<void> {
  const manager = managerOf(hosts);
  const socket = socketOf(manager, 'skep');
  say('\n== docker swarm init, docker swarm join (stock CLI)');
  await formSwarm(hosts, 'skep');
  say(await mustDocker(socket, ['node', 'ls']));

  say('\n== docker network create -d overlay front; docker service create --replicas 3 -p 8000:80');
  await mustDocker(socket, ['network', 'create', '-d', 'overlay', 'front']);
  await mustDocker(socket, [
    ...['service', 'create', '--name', 'web', '--replicas', '3', '--network', 'front'],
    ...['--publish', `published=${PORT},target=80`, WEB_IMAGE],
  ]);
  await waitForReplicas(socket, 'web', 3, SPREAD_TIMEOUT_MS);
  say(await mustDocker(socket, ['service', 'ls']));

  say(`\n== every host asked from outside (${CLIENT_ADDRESS})`);
  await waitUntilAllAnswer(hosts);
  await askEveryHost(hosts);

  say('\n== docker service scale web=6');
  await mustDocker(socket, ['service', 'scale', 'web=6']);
  await waitForReplicas(socket, 'web', 6, SPREAD_TIMEOUT_MS);
  await showTasks(socket, hosts);

  const drained = hosts.at(-1) ?? manager;
  say(`\n== docker node update --availability drain ${drained.name}`);
  await mustDocker(socket, ['node', 'update', '--availability', 'drain', drained.name]);
  await waitFor('tasks to leave the drained node', SPREAD_TIMEOUT_MS, async () => {
    const tasks = await runningTasks(socket, 'web');
    const left = tasks.every((task) => task.node !== drained.name);
    return left && tasks.length === 6 ? true : undefined;
  });
  await showTasks(socket, hosts);
  say('\n== every host asked again, the drained one too');
  await askEveryHost(hosts);
}

function printTryIt(hosts: readonly Host[]): void {
  const manager = managerOf(hosts);
  say('\nTry it yourself:');
  say(`  export DOCKER_HOST=unix://${manager.skepSocket}`);
  say('  docker node ls; docker service ps web; docker service scale web=9');
  say(`  docker node update --availability active ${hosts.at(-1)?.name ?? manager.name}`);
  say(`  nsenter --net=/var/run/netns/under busybox wget -qO- ${manager.address}:${PORT}/who`);
}

async function main(): Promise<void> {
  const once = process.argv.includes('--once');
  let interrupted = false;
  const stop = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.on(signal, () => {
        interrupted = true;
        resolve();
      });
  });
  const hosts = await up(3, { report: say });
  try {
    await Promise.race([demonstrate(hosts), stop]);
    if (!interrupted) {
      say(problems.length === 0 ? '\nAll as expected.' : `\n${problems.length} not as expected.`);
      if (!once) {
        printTryIt(hosts);
        say('\nThe hosts stay up; Ctrl-C removes them.');
        await stop;
      }
    }
  } finally {
    say('\nremoving the hosts');
    await down();
  }
}

try {
  await main();
} catch (error) {
  problems.push(String(error));
  console.error(error);
}
process.exit(problems.length === 0 ? 0 : 1);
