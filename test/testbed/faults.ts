/**
 * Faults of hosts and of the network between them: links down, partitions, halted and blocked daemons.
 */
import { readFileSync } from 'node:fs';
import { must, run } from './commands.js';
import { CLIENT_NAMESPACE, packageRoot } from './layout.js';
import { insideHost } from './namespaces.js';
import { skepdPid } from './skepd.js';
import type { Host } from './testbed.js';

const PARTITION_TABLE = 'skep-partition';

/** Takes a host's link to the underlay down or up: to the host itself it looks as if nothing had happened. */
export async function setUplink(host: Host, state: 'up' | 'down'): Promise<void> {
  await must('ip', ['-n', CLIENT_NAMESPACE, 'link', 'set', host.bridgePort, state]);
}

/** What passes between two hosts. */
export interface Cut {
  readonly from: Host;
  readonly to: Host;
  /** Only these ports, of TCP and UDP alike, at either end; all packets if absent. */
  readonly ports?: readonly number[];
}

/** Lets packets from one host to another be lost on the bridge; replaces earlier cuts. One-way. */
export async function cut(cuts: readonly Cut[]): Promise<void> {
  const rules = cuts.flatMap(({ from, to, ports }) => {
    const way = `iifname ${from.bridgePort} oifname ${to.bridgePort}`;
    if (ports === undefined) return [`${way} drop`];
    const set = `{ ${ports.join(', ')} }`;
    return ['sport', 'dport'].flatMap((side) =>
      ['tcp', 'udp'].map((protocol) => `${way} ${protocol} ${side} ${set} drop`),
    );
  });
  const table = `bridge ${PARTITION_TABLE}`;
  const script = [
    `add table ${table}`,
    `delete table ${table}`,
    `table ${table} {`,
    'chain forward {',
    'type filter hook forward priority 0',
    ...rules,
    '}',
    '}',
  ];
  await nft(script.join('\n'));
}

/** Ends all cuts. */
export async function heal(): Promise<void> {
  await nft(`add table bridge ${PARTITION_TABLE}\ndelete table bridge ${PARTITION_TABLE}`);
}

/** Cuts of both directions between each of `left` and each of `right`. */
export function between(
  left: readonly Host[],
  right: readonly Host[],
  ports?: readonly number[],
): readonly Cut[] {
  const only = ports === undefined ? {} : { ports };
  return left.flatMap((a) =>
    right.flatMap((b) => [
      { from: a, to: b, ...only },
      { from: b, to: a, ...only },
    ]),
  );
}

async function nft(script: string): Promise<void> {
  const enter = [`--net=/var/run/netns/${CLIENT_NAMESPACE}`, 'nft', '-f', '-'];
  await must('nsenter', enter, { input: script });
}

/**
 * SIGSTOP or SIGCONT to a host's skepd. The nsenter that started it stops when it sees it stopped, and
 * would then never collect it: it goes on together with it.
 */
export function signalSkepd(host: Host, signal: 'SIGSTOP' | 'SIGCONT'): void {
  const pid = skepdPid(host);
  if (pid === undefined) throw new Error(`${host.name}: no skepd runs`);
  process.kill(pid, signal);
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  if (signal === 'SIGCONT' && parent > 1) process.kill(parent, signal);
}

/**
 * Keeps skepd's event loop busy for so long; its other threads go on. By Node's inspector, which
 * SIGUSR1 opens inside the host.
 */
export async function blockEventLoop(host: Host, milliseconds: number): Promise<void> {
  const pid = skepdPid(host);
  if (pid === undefined) throw new Error(`${host.name}: no skepd runs`);
  process.kill(pid, 'SIGUSR1');
  const script = `${packageRoot()}/dist/test/testbed/block-event-loop.js`;
  const command = [process.execPath, '--experimental-websocket', '--no-warnings', script];
  const result = await run(
    'nsenter',
    [...insideHost(host.holderPid), ...command, String(milliseconds)],
    { timeoutMs: milliseconds + 20_000 },
  );
  if (result.code !== 0) throw new Error(`${host.name}: ${result.stderr}`);
}
