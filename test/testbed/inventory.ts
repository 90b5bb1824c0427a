/**
 * A listing of everything a testbed could leave behind: links, namespaces, mounts, BPF objects
 * held by pins, nftables tables, sockets' owners and processes. Equal before `up` and after
 * `down`, or something leaks.
 */
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { run } from './commands.js';
import { testbedRoot } from './layout.js';

const FREED_MS = 5_000;
const POLL_MS = 200;

/** Sections of lines, sorted, without anything that changes by itself (counters, kernel threads). */
export type Inventory = Readonly<Record<string, readonly string[]>>;

/** Takes the inventory of the initial namespaces. */
export async function takeInventory(): Promise<Inventory> {
  return {
    links: await lines('ip', ['-br', 'link', 'show'], (line) => line.split(/\s+/)[0] ?? ''),
    namespaces: await lines('ip', ['netns', 'list'], (line) => line.split(' ')[0] ?? ''),
    mounts: readFileSync('/proc/self/mounts', 'utf8').trim().split('\n').sort(),
    nftables: await lines('nft', ['list', 'tables'], (line) => line),
    rules: await lines('ip', ['rule', 'list'], (line) => line),
    programs: await lines('bpftool', ['prog', 'list'], programName),
    processes: processes(),
    cgroups: await lines(
      'find',
      ['/sys/fs/cgroup', '-type', 'd', '-name', 'skep-*'],
      (line) => line,
    ),
  };
}

function programName(line: string): string {
  const match = /name (\S+)/.exec(line);
  return match?.[1] ?? '';
}

async function lines(
  command: string,
  args: readonly string[],
  pick: (line: string) => string,
): Promise<readonly string[]> {
  const result = await run(command, args);
  return result.stdout
    .split('\n')
    .map(pick)
    .filter((line) => line !== '')
    .sort();
}

/** Command lines of processes that belong to a testbed or to an engine or skepd. */
function processes(): readonly string[] {
  const root = testbedRoot();
  const found: string[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue;
    try {
      readlinkSync(`/proc/${entry}/exe`);
      const command = readFileSync(`/proc/${entry}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      if (command.includes(root) || /\b(dockerd|containerd|wireguard-go)\b/.test(command))
        found.push(command);
    } catch {
      continue; // A kernel thread, or a process that ended.
    }
  }
  return found.sort();
}

/**
 * What is there now and was not in `before`, as `section: +new`, and what has gone, as `section: -gone`;
 * empty when nothing was left behind. The kernel frees programs some time after their last user has gone:
 * it is given that time, and programs of an earlier owner may go meanwhile.
 */
export async function leftBehind(before: Inventory): Promise<readonly string[]> {
  const deadlineMs = performance.now() + FREED_MS;
  for (;;) {
    const differences = compare(before, await takeInventory());
    if (differences.length === 0 || performance.now() > deadlineMs) return differences;
    await setTimeout(POLL_MS);
  }
}

function compare(before: Inventory, after: Inventory): readonly string[] {
  const differences: string[] = [];
  for (const section of Object.keys(before)) {
    const left = before[section] ?? [];
    const right = [...(after[section] ?? [])];
    for (const line of left) {
      const index = right.indexOf(line);
      if (index !== -1) right.splice(index, 1);
      else if (section !== 'programs') differences.push(`${section}: -${line}`);
    }
    for (const line of right) differences.push(`${section}: +${line}`);
  }
  return differences;
}
