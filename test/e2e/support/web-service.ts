/**
 * The service that tests of failures watch: a web server on each host, published and on an overlay
 * network, with a global service beside it that keeps every host on that network.
 */
import { waitFor } from '../../testbed/commands.js';
import { WEB_IMAGE } from '../../testbed/layout.js';
import {
  managerOf,
  runningTasks,
  socketOf,
  tasksOf,
  waitForReplicas,
} from '../../testbed/swarm.js';
import { type Host, askWho, mustDocker } from '../../testbed/testbed.js';
import { differences } from './tables.js';

/** The port `web` is published on. */
export const WEB_PORT = 8000;

const LIMIT_MS = 60_000;

/** Creates network `front` and services `anchor` and `web`, one task a host; waits until all is in force. */
export async function startWeb(hosts: readonly Host[]): Promise<void> {
  const socket = socketOf(managerOf(hosts), 'skep');
  await mustDocker(socket, ['network', 'create', '-d', 'overlay', 'front']);
  await mustDocker(socket, [
    ...['service', 'create', '--detach', '--name', 'anchor', '--mode', 'global'],
    ...['--network', 'front', WEB_IMAGE],
  ]);
  await waitForReplicas(socket, 'anchor', hosts.length, LIMIT_MS);
  await mustDocker(socket, [
    ...['service', 'create', '--detach', '--name', 'web', '--replicas', String(hosts.length)],
    ...['--network', 'front', '--publish', `published=${WEB_PORT},target=80`, WEB_IMAGE],
  ]);
  await waitForReplicas(socket, 'web', hosts.length, LIMIT_MS);
  for (const host of hosts)
    await waitFor(`${host.name} to answer`, LIMIT_MS, async () =>
      askWho(host.address, WEB_PORT, 2),
    );
  await agreement(hosts, LIMIT_MS);
  const running = await runningTasks(socket, 'web');
  const nodes = new Set(running.map(({ node }) => node));
  if (nodes.size !== hosts.length) throw new Error(`web is not everywhere: ${[...nodes].join()}`);
}

/** Waits until the kernels of all hosts hold the same. Milliseconds it took. */
export async function agreement(hosts: readonly Host[], limitMs: number): Promise<number> {
  const beganMs = performance.now();
  let last: readonly string[] = [];
  try {
    await waitFor('the hosts to agree', limitMs, async () => {
      last = await differences(hosts);
      return last.length === 0 ? true : undefined;
    });
  } catch (error) {
    throw new Error(last.join('\n'), { cause: error });
  }
  return Math.round(performance.now() - beganMs);
}

/** Ids of all containers that run, on all hosts. */
export async function containerIds(hosts: readonly Host[]): Promise<readonly string[]> {
  const ids = await Promise.all(
    hosts.map(async (host) => mustDocker(host.dockerSocket, ['ps', '-q', '--no-trunc'])),
  );
  return ids.flatMap((text) => text.split('\n').filter(Boolean)).sort();
}

/** Ids of all tasks of `web`, history included. */
export async function webTasks(hosts: readonly Host[]): Promise<readonly string[]> {
  const tasks = await tasksOf(socketOf(managerOf(hosts), 'skep'), 'web');
  return tasks.map(({ id }) => id).sort();
}
