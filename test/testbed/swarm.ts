/**
 * Forms swarms on the testbed with the stock docker CLI, through skepd or through the engines'
 * own Swarm, and waits for services.
 */
import { readFileSync } from 'node:fs';
import { waitFor } from './commands.js';
import { dockerRequest } from './http.js';
import { type Host, docker, mustDocker } from './testbed.js';

/** Which of a host's two Docker APIs is meant: skepd's or the stock engine's. */
export type Flavour = 'skep' | 'stock';

/** The Docker API socket of a host. */
export function socketOf(host: Host, flavour: Flavour): string {
  return flavour === 'skep' ? host.skepSocket : host.dockerSocket;
}

/** The first host, which is the manager in everything the testbed forms. */
export function managerOf(hosts: readonly Host[]): Host {
  const [manager] = hosts;
  if (manager === undefined) throw new Error('the testbed has no hosts');
  return manager;
}

/** Docker's `swarm join` ends after 20 s with this and goes on by itself, as a busy machine may need. */
const GOES_ON = 'will continue in the background';
const JOIN_MS = 120_000;

/** Joins a swarm, also where that takes longer than Docker waits for it; `args` are those of `swarm join`. */
export async function joinSwarm(socket: string, args: readonly string[]): Promise<void> {
  const { code, stderr } = await docker(socket, ['swarm', 'join', ...args]);
  if (code === 0) return;
  if (!stderr.includes(GOES_ON)) throw new Error(`swarm join: ${stderr}`);
  await waitFor('the join to end', JOIN_MS, async () => {
    const state = await mustDocker(socket, ['info', '--format', '{{.Swarm.LocalNodeState}}']);
    return state === 'active' ? true : undefined;
  });
}

/**
 * Initialises a swarm on the first host and joins the others as workers; waits until all are Ready.
 * `dataPathOf` gives each host's data path address; without it that is the advertised one.
 */
export async function formSwarm(
  hosts: readonly Host[],
  flavour: Flavour | ((host: Host) => Flavour),
  dataPathOf?: (host: Host) => string,
): Promise<void> {
  const own = (host: Host): readonly string[] => [
    ...['--advertise-addr', host.address],
    ...(dataPathOf === undefined ? [] : ['--data-path-addr', dataPathOf(host)]),
  ];
  const flavourOf = typeof flavour === 'function' ? flavour : () => flavour;
  const manager = managerOf(hosts);
  const socket = socketOf(manager, flavourOf(manager));
  await mustDocker(socket, ['swarm', 'init', ...own(manager)]);
  const token = await mustDocker(socket, ['swarm', 'join-token', '-q', 'worker']);
  for (const host of hosts.slice(1))
    await joinSwarm(socketOf(host, flavourOf(host)), [
      ...['--token', token, ...own(host)],
      `${manager.address}:2377`,
    ]);
  await waitFor('all nodes to be Ready', 30_000, async () => {
    const states = await mustDocker(socket, ['node', 'ls', '--format', '{{.Status}}']);
    const ready = states.split('\n').filter((state) => state === 'Ready').length;
    return ready === hosts.length ? true : undefined;
  });
}

/** Every host leaves its swarm, workers first. */
export async function dissolveSwarm(hosts: readonly Host[], flavour: Flavour): Promise<void> {
  for (const host of [...hosts].reverse())
    await mustDocker(socketOf(host, flavour), ['swarm', 'leave', '--force']);
  for (const host of hosts) await waitForTunnelPort(host);
}

/**
 * Waits until a host that has left has given its ports back: a stock engine does so after it has answered, once
 * more than 30 s after (seen on a busy machine).
 */
export async function waitForTunnelPort(host: Host): Promise<void> {
  await waitFor(`${host.name} to give back UDP port 4789`, 120_000, async () =>
    holdsTunnelPort(host) ? undefined : true,
  );
}

/**
 * Removes a service and waits until its containers are gone on every host. A stock engine that
 * leaves its swarm before loses track of their overlay network.
 */
export async function removeService(
  hosts: readonly Host[],
  flavour: Flavour,
  service: string,
): Promise<void> {
  await mustDocker(socketOf(managerOf(hosts), flavour), ['service', 'rm', service]);
  const filters = encodeURIComponent(
    JSON.stringify({ label: [`com.docker.swarm.service.name=${service}`] }),
  );
  for (const host of hosts)
    await waitFor(`the containers of ${service} to leave ${host.name}`, 60_000, async () => {
      const path = `/v1.41/containers/json?all=1&filters=${filters}`;
      const left = await dockerRequest(host.dockerSocket, 'GET', path);
      return left.status === 200 && (left.body as unknown[]).length === 0 ? true : undefined;
    });
}

/**
 * Removes an overlay network and waits until no engine has it any more: an engine takes it down
 * some time after its last container.
 */
export async function removeNetwork(
  hosts: readonly Host[],
  flavour: Flavour,
  network: string,
): Promise<void> {
  await waitFor(`${network} to be free`, 30_000, async () =>
    mustDocker(socketOf(managerOf(hosts), flavour), ['network', 'rm', network]),
  );
  for (const host of hosts)
    await waitFor(`${network} to leave ${host.name}`, 30_000, async () => {
      const { body } = await dockerRequest(host.dockerSocket, 'GET', '/v1.41/networks');
      const names = (body as { readonly Name: string }[]).map(({ Name }) => Name);
      return names.includes(network) ? undefined : true;
    });
}

/** True while a socket of the host, the kernel's own included, is bound to UDP port 4789. */
function holdsTunnelPort(host: Host): boolean {
  return readFileSync(`/proc/${host.holderPid}/net/udp`, 'utf8').includes(':12B5 ');
}

/** Waits until a service shows `replicas` as N/N. */
export async function waitForReplicas(
  socket: string,
  service: string,
  replicas: number,
  timeoutMs: number,
): Promise<void> {
  await waitFor(`${replicas} replicas of ${service}`, timeoutMs, async () => {
    const shown = await mustDocker(socket, [
      ...['service', 'ls', '--filter', `name=${service}`, '--format', '{{.Name}} {{.Replicas}}'],
    ]);
    const line = shown.split('\n').find((entry) => entry.startsWith(`${service} `));
    return line?.split(' ')[1] === `${replicas}/${replicas}` ? true : undefined;
  });
}

/** A task as `docker service ps` shows it. */
export interface TaskLine {
  readonly id: string;
  readonly name: string;
  readonly node: string;
  readonly desiredState: string;
  readonly currentState: string;
  readonly error: string;
}

/** Tasks of a service, history included. */
export async function tasksOf(socket: string, service: string): Promise<readonly TaskLine[]> {
  const format = '{{.ID}}\t{{.Name}}\t{{.Node}}\t{{.DesiredState}}\t{{.CurrentState}}\t{{.Error}}';
  const output = await mustDocker(socket, [
    ...['service', 'ps', '--no-trunc', '--format', format, service],
  ]);
  return output
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      const [id = '', name = '', node = '', desiredState = '', currentState = '', error = ''] =
        line.split('\t');
      return { id, name, node, desiredState, currentState, error };
    });
}

/** Tasks whose desired and current state is Running. */
export async function runningTasks(socket: string, service: string): Promise<readonly TaskLine[]> {
  const tasks = await tasksOf(socket, service);
  return tasks.filter(
    (task) => task.desiredState === 'Running' && task.currentState.startsWith('Running'),
  );
}

/** The container of a service's running task on a host: id and its address on `network`. */
export async function containerOn(
  host: Host,
  service: string,
): Promise<{ readonly id: string; readonly addresses: Readonly<Record<string, string>> }> {
  const filter = `label=com.docker.swarm.service.name=${service}`;
  const id = await mustDocker(host.dockerSocket, ['ps', '-q', '--no-trunc', '--filter', filter]);
  const [first] = id.split('\n');
  if (first === undefined || first === '')
    throw new Error(`no container of ${service} runs on ${host.name}`);
  const networks = JSON.parse(
    await mustDocker(host.dockerSocket, [
      ...['inspect', '--format', '{{json .NetworkSettings.Networks}}', first],
    ]),
  ) as Record<string, { IPAddress: string }>;
  return {
    id: first,
    addresses: Object.fromEntries(
      Object.entries(networks).map(([name, network]) => [name, network.IPAddress]),
    ),
  };
}

/** True when the API at `socket` says it is in no swarm. */
export async function isOutOfSwarm(socket: string): Promise<boolean> {
  const result = await docker(socket, ['info', '--format', '{{.Swarm.LocalNodeState}}']);
  return result.stdout.trim() === 'inactive';
}
