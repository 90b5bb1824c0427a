/**
 * Managers of a swarm on the testbed: how many there are and who leads, as `docker node ls` shows it.
 */
import { waitFor } from './commands.js';
import { joinSwarm, managerOf } from './swarm.js';
import { type Host, docker, mustDocker } from './testbed.js';

const LIMIT_MS = 60_000;

/** Makes every host a manager of one new swarm, each joining through the one before. */
export async function formManagers(
  hosts: readonly Host[],
  initOptions: readonly string[] = [],
): Promise<void> {
  const first = managerOf(hosts);
  const advertise = (host: Host): readonly string[] => ['--advertise-addr', host.address];
  await mustDocker(first.skepSocket, ['swarm', 'init', ...advertise(first), ...initOptions]);
  const token = await mustDocker(first.skepSocket, ['swarm', 'join-token', '-q', 'manager']);
  let through = first;
  for (const host of hosts.slice(1)) {
    await joinSwarm(host.skepSocket, [
      ...['--token', token, ...advertise(host)],
      `${through.address}:2377`,
    ]);
    through = host;
  }
  for (const host of hosts) await allReachable(host, hosts.length);
}

/** Hostname to what `docker node ls` shows as manager status, as seen by `host`. */
export async function managerStates(host: Host): Promise<Readonly<Record<string, string>>> {
  const format = '{{.Hostname}} {{.ManagerStatus}}';
  const lines = await mustDocker(host.skepSocket, ['node', 'ls', '--format', format]);
  return Object.fromEntries(
    lines.split('\n').map((line) => {
      const [name = '', state = ''] = line.split(' ');
      return [name, state];
    }),
  );
}

/** Waits until `host` sees these manager states, in any order; '' is a worker's. */
export async function waitForStates(host: Host, wanted: readonly string[]): Promise<void> {
  const text = [...wanted].sort().join();
  await waitFor(`${host.name} to see managers ${text}`, LIMIT_MS, async () => {
    const shown = await docker(host.skepSocket, ['node', 'ls', '--format', '{{.ManagerStatus}}']);
    if (shown.code !== 0) return undefined;
    // Of the lines only the last ends without one of its own.
    const states = shown.stdout.replace(/\n$/, '').split('\n').sort();
    return states.join() === text ? true : undefined;
  });
}

/** Waits until `host` sees a leader, and all other of `count` managers reachable. */
export async function allReachable(host: Host, count: number): Promise<void> {
  await waitForStates(host, ['Leader', ...Array.from({ length: count - 1 }, () => 'Reachable')]);
}

/** The host that leads, as `asked` sees it. */
export async function leaderOf(hosts: readonly Host[], asked: Host): Promise<Host> {
  const states = await managerStates(asked);
  const leader = hosts.find(({ name }) => states[name] === 'Leader');
  if (leader === undefined) throw new Error(`no leader among ${JSON.stringify(states)}`);
  return leader;
}
