/**
 * Who of this host holds a port, as /proc tells: sockets of this network namespace, and the processes
 * that have them open.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

const TCP_LISTEN = '0A';
const NO_PEER = /^0+:0000$/;

/** Who has a port. */
export type PortHolder =
  | { readonly kind: 'process'; readonly name: string; readonly pid: number }
  /** A socket of the kernel's own, as VXLAN devices have. */
  | { readonly kind: 'kernel' }
  | { readonly kind: 'unknown' };

/** Protocols with tables of sockets. */
export type HeldProtocol = 'tcp' | 'udp';

/** Ports of one protocol, from `port` on. */
export interface PortRun {
  readonly protocol: HeldProtocol;
  readonly port: number;
  readonly count: number;
}

/** A run of ports with one that is held. */
export interface HeldPort {
  readonly run: PortRun;
  readonly port: number;
  readonly holder: PortHolder;
}

/** Holder of a local port in this network namespace; undefined if free, or held by this process. */
export function portHolder(protocol: HeldProtocol, port: number): PortHolder | undefined {
  return heldPorts([{ protocol, port, count: 1 }])[0]?.holder;
}

/**
 * The runs of which somebody else than this process holds a port, with the lowest such port. Sockets that wait for
 * whoever comes count: those that listen (TCP), those without a peer (UDP).
 */
export function heldPorts(runs: readonly PortRun[]): readonly HeldPort[] {
  const tables = new Map(
    (['tcp', 'udp'] as const)
      .filter((protocol) => runs.some((run) => run.protocol === protocol))
      .map((protocol) => [protocol, socketsOf(protocol)] as const),
  );
  return runs.flatMap((run) => {
    const sockets = (tables.get(run.protocol) ?? []).filter(
      ({ port }) => port >= run.port && port < run.port + run.count,
    );
    const lowest = sockets.reduce((least, { port }) => Math.min(least, port), Infinity);
    const holders = sockets
      .filter(({ port }) => port === lowest)
      .map(({ inode }) => holderOf(inode, run.protocol))
      .filter((holder) => holder.kind !== 'process' || holder.pid !== process.pid);
    const holder = holders.find(({ kind }) => kind === 'process') ?? holders[0];
    return holder === undefined ? [] : [{ run, port: lowest, holder }];
  });
}

/** `nginx (process 123)`. */
export function holderName(holder: PortHolder): string {
  switch (holder.kind) {
    case 'process':
      return `${holder.name} (process ${holder.pid})`;
    case 'kernel':
      return 'the kernel (a VXLAN device of another overlay network?) or a process that cannot be seen from here';
    case 'unknown':
      return 'another process';
  }
}

interface Socket {
  readonly port: number;
  readonly inode: string;
}

/** Sockets of a /proc/net table that wait for whoever comes. */
export function waitingSockets(table: string, protocol: HeldProtocol): readonly Socket[] {
  return table.split('\n').flatMap((line) => {
    const [, local = '', peer = '', state = '', , , , , , inode = '0'] = line.trim().split(/\s+/);
    const port = Number.parseInt(local.split(':')[1] ?? '', 16);
    const waits = protocol === 'tcp' ? state === TCP_LISTEN : NO_PEER.test(peer);
    return waits && port > 0 ? [{ port, inode }] : [];
  });
}

function socketsOf(protocol: HeldProtocol): readonly Socket[] {
  return ['', '6'].flatMap((family) =>
    waitingSockets(readText(`/proc/self/net/${protocol}${family}`), protocol),
  );
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    // A kernel without IPv6 has no table for it; a process may have ended.
    return '';
  }
}

/** Looks through the open files of every process. */
function holderOf(inode: string, protocol: HeldProtocol): PortHolder {
  const wanted = `socket:[${inode}]`;
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || !holds(pid, wanted)) continue;
    return { kind: 'process', name: readText(`/proc/${pid}/comm`).trim(), pid };
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
