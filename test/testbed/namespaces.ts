/**
 * The hosts' namespaces. A host is a network namespace plus one holder process that owns its
 * mount, UTS and PID namespaces: engine, skepd and containers all run inside, so that ending the
 * holder ends every one of them, whatever state they are in.
 */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { must, run, waitFor } from './commands.js';
import {
  CLIENT_ADDRESS,
  CLIENT_ADDRESS6,
  CLIENT_NAMESPACE,
  type HostLayout,
  UNDERLAY_BRIDGE,
} from './layout.js';

/** Makes the client's namespace with the underlay bridge. */
export async function createUnderlay(): Promise<void> {
  await must('ip', ['netns', 'add', CLIENT_NAMESPACE]);
  await ipIn(CLIENT_NAMESPACE, 'link set lo up');
  await ipIn(CLIENT_NAMESPACE, `link add ${UNDERLAY_BRIDGE} type bridge`);
  await ipIn(CLIENT_NAMESPACE, `link set ${UNDERLAY_BRIDGE} up`);
  await ipIn(CLIENT_NAMESPACE, `addr add ${CLIENT_ADDRESS}/24 dev ${UNDERLAY_BRIDGE}`);
  await ipIn(CLIENT_NAMESPACE, `-6 addr add ${CLIENT_ADDRESS6}/64 dev ${UNDERLAY_BRIDGE} nodad`);
  // A router without routes: what the hosts send further out is refused at once, not lost.
  await must('nsenter', [
    `--net=/var/run/netns/${CLIENT_NAMESPACE}`,
    ...['sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1'],
  ]);
}

/** Makes a host's network namespace and joins it to the underlay as `eth0`. */
export async function createHostNetwork(host: HostLayout): Promise<void> {
  const { name, bridgePort } = host;
  await must('ip', ['netns', 'add', name]);
  await ipIn(name, 'link set lo up');
  await must('ip', [
    ...['link', 'add', `e${host.number}`, 'netns', name, 'type', 'veth'],
    ...['peer', 'name', bridgePort, 'netns', CLIENT_NAMESPACE],
  ]);
  await ipIn(name, `link set e${host.number} name eth0`);
  await ipIn(name, `addr add ${host.address}/24 dev eth0`);
  await ipIn(name, `-6 addr add ${host.address6}/64 dev eth0 nodad`);
  await ipIn(name, 'link set eth0 up');
  await ipIn(name, `route add default via ${CLIENT_ADDRESS}`);
  await ipIn(CLIENT_NAMESPACE, `link set ${bridgePort} master ${UNDERLAY_BRIDGE}`);
  await ipIn(CLIENT_NAMESPACE, `link set ${bridgePort} up`);
}

/** Names of all network namespaces of this machine that have one. */
export async function namespaceNames(): Promise<readonly string[]> {
  const lines = (await must('ip', ['netns', 'list'])).split('\n');
  return lines.map((line) => line.split(' ')[0] ?? '').filter(Boolean);
}

/** Deletes a network namespace if it exists, with the processes in it; links into it go with it. */
export async function deleteNamespace(name: string): Promise<void> {
  if (!(await namespaceNames()).includes(name)) return;
  // A holder whose starter was killed before it wrote its id down.
  for (const pid of (await must('ip', ['netns', 'pids', name])).split('\n').filter(Boolean))
    await run('kill', ['-9', pid]);
  await must('ip', ['netns', 'delete', name]);
}

async function ipIn(namespace: string, command: string): Promise<void> {
  await must('ip', ['-n', namespace, ...command.split(' ')]);
}

/**
 * Starts the holder of a host and returns the process id of its PID namespace's init.
 * nsenter, not `ip netns exec`: the latter remounts /sys, and the engine then finds no cgroups.
 */
export async function startHolder(host: HostLayout): Promise<number> {
  mkdirSync(host.bpfDirectory, { recursive: true, mode: 0o700 });
  // A name server that refuses at once: nothing outside the testbed is ever asked. The host itself, since
  // Linux limits how often it tells others that nobody listens, and each of its silences costs 5 s.
  writeFileSync(`${host.directory}/resolv.conf`, `nameserver ${host.address}\n`);
  const script = [
    'set -eu',
    `hostname ${host.name}`,
    'mkdir -p /run/docker /run/wireguard',
    'mount -t tmpfs -o mode=0700 tmpfs /run/docker',
    'mount -t tmpfs -o mode=0700 tmpfs /run/wireguard',
    `mount -t bpf -o mode=0700 bpf ${host.bpfDirectory}`,
    `mount --bind ${host.directory}/resolv.conf /etc/resolv.conf`,
    'sysctl -qw net.ipv4.ip_forward=1',
    'trap : TERM INT HUP',
    'echo ready',
    'while :; do sleep 86400 & wait; done',
  ].join('\n');
  const log = openSync(host.holderLog, 'a', 0o600);
  const child = spawn(
    'nsenter',
    [
      `--net=/var/run/netns/${host.name}`,
      ...['unshare', '--mount', '--uts', '--pid', '--fork', '--kill-child', '--mount-proc'],
      ...['--propagation', 'slave', 'bash', '-c', script],
    ],
    { detached: true, stdio: ['ignore', log, log] },
  );
  closeSync(log);
  child.unref();
  const unsharePid = child.pid;
  if (unsharePid === undefined) throw new Error(`${host.name}: the holder did not start`);
  return await waitFor(`namespaces of ${host.name}`, 10_000, async () => {
    if (!readFileSync(host.holderLog, 'utf8').includes('ready')) return undefined;
    return childOf(unsharePid);
  });
}

/** First child of a process, or undefined. */
export function childOf(pid: number): number | undefined {
  try {
    const first = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')[0];
    return first ? Number(first) : undefined;
  } catch {
    return undefined; // The process has ended.
  }
}

/** nsenter arguments that put a command into a host. */
export function insideHost(holderPid: number): string[] {
  return ['-t', String(holderPid), '-m', '-u', '-n', '-p'];
}

/** Start time of a process in clock ticks since boot: tells a process from a later one of its id. */
export function processStartTicks(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined; // No such process.
  }
}

/** Kills a holder, and with it everything in its PID namespace; waits until it is gone. */
export async function killHolder(pid: number, startTicks: string): Promise<void> {
  if (processStartTicks(pid) !== startTicks) return;
  process.kill(pid, 'SIGKILL');
  await waitFor(`end of holder ${pid}`, 20_000, async () => {
    const now = processStartTicks(pid);
    const zombie = now === startTicks && isZombie(pid);
    return now !== startTicks || zombie ? true : undefined;
  });
}

function isZombie(pid: number): boolean {
  try {
    return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return true; // Gone altogether.
  }
}

/** Removes the cgroups of the hosts' containers, which outlive their processes. */
export async function removeCgroups(parent: string): Promise<void> {
  const mounts = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter((fields) => fields[2] === 'cgroup' || fields[2] === 'cgroup2')
    .map((fields) => fields[1] ?? '');
  for (const mount of mounts)
    await run('find', [`${mount}${parent}`, '-depth', '-type', 'd', '-exec', 'rmdir', '{}', ';']);
}
