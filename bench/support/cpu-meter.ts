/**
 * CPU time of the testbed's daemons: skepd processes and engines are moved into a cgroup each, so
 * that what short-lived children (shims, runc) use is counted, and what else runs on the machine
 * is not. Containers have cgroups of their own and are left out.
 */
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  writeFileSync,
} from 'node:fs';
import { removeCgroups } from '../../test/testbed/namespaces.js';
import { skepdPid } from '../../test/testbed/skepd.js';
import type { Host } from '../../test/testbed/testbed.js';

const PARENT = '/skep-bench';
const ENGINE_COMMANDS = /^(dockerd|containerd)/;

/** CPU seconds used so far. */
export interface CpuSeconds {
  readonly skepd: number;
  readonly engines: number;
}

/** Counts from its making until `close`. The hosts must run no container when it is made. */
export class CpuMeter {
  private readonly skepd: string;
  private readonly engines: string;

  constructor(hosts: readonly Host[]) {
    this.skepd = makeCgroup('skepd');
    this.engines = makeCgroup('engines');
    for (const host of hosts) {
      const skepd = skepdPid(host);
      if (skepd !== undefined) move(skepd, this.skepd);
      for (const pid of enginePids(host)) move(pid, this.engines);
    }
  }

  /** Counters now; subtract two of them. */
  read(): CpuSeconds {
    return { skepd: usedSeconds(this.skepd), engines: usedSeconds(this.engines) };
  }

  /** Removes the cgroups, once the hosts are gone. */
  static async close(): Promise<void> {
    await removeCgroups(PARENT);
  }
}

/** A new cgroup in the hierarchy that accounts CPU time (cgroup v1's cpuacct, else v2). */
function makeCgroup(name: string): string {
  const legacy = '/sys/fs/cgroup/cpuacct';
  const root = existsSync(`${legacy}/cpuacct.usage`) ? legacy : '/sys/fs/cgroup';
  const directory = `${root}${PARENT}/${name}`;
  mkdirSync(directory, { recursive: true });
  return directory;
}

function move(pid: number, cgroup: string): void {
  writeFileSync(`${cgroup}/cgroup.procs`, String(pid));
}

function usedSeconds(cgroup: string): number {
  if (existsSync(`${cgroup}/cpuacct.usage`))
    return Number(readFileSync(`${cgroup}/cpuacct.usage`, 'utf8')) / 1e9;
  const usage = /^usage_usec (\d+)$/m.exec(readFileSync(`${cgroup}/cpu.stat`, 'utf8'));
  return Number(usage?.[1] ?? Number.NaN) / 1e6;
}

/** Processes of a host's engine: those of its PID namespace with an engine's command name. */
function enginePids(host: Host): readonly number[] {
  const namespace = readlinkSync(`/proc/${host.holderPid}/ns/pid`);
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => {
      try {
        if (readlinkSync(`/proc/${pid}/ns/pid`) !== namespace) return false;
        return ENGINE_COMMANDS.test(readFileSync(`/proc/${pid}/comm`, 'utf8'));
      } catch {
        return false; // The process ended while we looked.
      }
    });
}
