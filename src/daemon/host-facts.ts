/**
 * Facts about this host that the checks at start ask for, read from /proc: capabilities, mounts,
 * devices, and who holds a port.
 */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

const COMMAND_TIMEOUT_MS = 10_000;
const TCP_LISTEN = '0A';

/** A mounted file system. */
export interface Mount {
  readonly point: string;
  readonly type: string;
}

/** Who has a port. */
export type PortHolder =
  | { readonly kind: 'process'; readonly name: string; readonly pid: number }
  /** A socket of the kernel's own, as VXLAN devices have. */
  | { readonly kind: 'kernel' }
  | { readonly kind: 'unknown' };

/** How a command ended. */
export type CommandOutcome =
  | { readonly kind: 'ok' }
  | { readonly kind: 'missing' }
  | { readonly kind: 'failed'; readonly message: string };

/** What may be asked; tests bring their own. */
export interface HostFacts {
  /** Effective capabilities of this process as a bit set. */
  capabilities(): bigint;
  mounts(): readonly Mount[];
  deviceExists(name: string): boolean;
  /** Holder of a local port in this network namespace; undefined if free, or held by this process. */
  portHolder(protocol: 'tcp' | 'udp', port: number): PortHolder | undefined;
  run(command: string, args: readonly string[]): Promise<CommandOutcome>;
}

/** This host. */
export const realHost: HostFacts = {
  capabilities() {
    const line = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'));
    return BigInt(`0x${line?.[1] ?? '0'}`);
  },
  mounts: () => parseMounts(readFileSync('/proc/self/mountinfo', 'utf8')),
  deviceExists(name) {
    return new RegExp(`^\\s*${name}:`, 'm').test(readFileSync('/proc/self/net/dev', 'utf8'));
  },
  portHolder(protocol, port) {
    const inodes = ['', '6'].flatMap((family) => {
      return socketsOn(readTable(`/proc/self/net/${protocol}${family}`), protocol, port);
    });
    if (inodes.length === 0) return undefined;
    const holders = inodes.map((inode) => holderOf(inode, protocol));
    const foreign = holders.filter((each) => each.kind !== 'process' || each.pid !== process.pid);
    return foreign.find(({ kind }) => kind === 'process') ?? foreign[0];
  },
  run(command, args) {
    return new Promise((resolve) => {
      execFile(command, args, { timeout: COMMAND_TIMEOUT_MS }, (error, _stdout, stderr) => {
        if (error === null) resolve({ kind: 'ok' });
        else if (error.code === 'ENOENT') resolve({ kind: 'missing' });
        else resolve({ kind: 'failed', message: stderr.trim().split('\n')[0] || error.message });
      });
    });
  },
};

/** Mount points and types of a mountinfo file, in the order of mounting. */
export function parseMounts(mountinfo: string): readonly Mount[] {
  return mountinfo.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ');
    const point = before.split(' ')[4];
    const type = after.split(' ')[0];
    if (point === undefined || type === undefined || type === '') return [];
    // The kernel writes blanks and the like as octal escapes.
    const plain = point.replace(/\\([0-7]{3})/g, (_all, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    return [{ point: plain, type }];
  });
}

/** Inodes of the sockets in a /proc/net table that are bound to (TCP: listen on) a port. */
export function socketsOn(table: string, protocol: 'tcp' | 'udp', port: number): readonly string[] {
  return table.split('\n').flatMap((line) => {
    const fields = line.trim().split(/\s+/);
    const [, local = '', , state = ''] = fields;
    const bound = Number.parseInt(local.split(':')[1] ?? '', 16);
    if (bound !== port || (protocol === 'tcp' && state !== TCP_LISTEN)) return [];
    return [fields[9] ?? '0'];
  });
}

function readTable(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    // A kernel without IPv6 has no table for it.
    return '';
  }
}

/** Looks through the open files of every process. */
function holderOf(inode: string, protocol: 'tcp' | 'udp'): PortHolder {
  const wanted = `socket:[${inode}]`;
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || !holds(pid, wanted)) continue;
    return { kind: 'process', name: readTable(`/proc/${pid}/comm`).trim(), pid };
  }
  // A UDP socket that is open in no process is one of the kernel's tunnels.
  return protocol === 'udp' ? { kind: 'kernel' } : { kind: 'unknown' };
}

function holds(pid: number, wanted: string): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => linkOf(`/proc/${pid}/fd/${fd}`) === wanted);
  } catch {
    // The process has ended, or is not ours to look into.
    return false;
  }
}

function linkOf(file: string): string | undefined {
  try {
    return readlinkSync(file);
  } catch {
    // Closed meanwhile.
    return undefined;
  }
}
