/**
 * Facts about this host that the checks at start ask for, most of them read from /proc: capabilities,
 * mounts, devices, and who holds a port.
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { portHolder, type PortHolder } from '../network/port-holders.js';

const COMMAND_TIMEOUT_MS = 10_000;

/** A mounted file system. */
export interface Mount {
  readonly point: string;
  readonly type: string;
}

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
  portHolder,
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
