/**
 * skepd inside a host: start, find its process, kill, start again.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { startLogged } from './commands.js';
import { type HostLayout, skepProgram } from './layout.js';
import { insideHost } from './namespaces.js';

/**
 * Starts skepd in the host's namespaces, with these variables and arguments added, out of a package that
 * may be another one; returns at once.
 */
export function startSkepd(
  host: HostLayout,
  holderPid: number,
  environment: Readonly<Record<string, string>> = {},
  extraArgs: readonly string[] = [],
  root?: string,
): void {
  const args = [
    ...insideHost(holderPid),
    process.execPath,
    skepProgram(root),
    'daemon',
    ...['--state-dir', host.skepState],
    ...['--engine-socket', host.dockerSocket],
    ...['--api-socket', host.skepSocket],
    ...['--pin-dir', `${host.bpfDirectory}/skep`],
    ...['--plugin-socket', '/run/docker/plugins/skep.sock'],
    ...['--log-level', process.env['SKEP_LOG_LEVEL'] ?? 'info'],
    ...extraArgs,
  ];
  // Without a registry, tasks must not stall on pulls of images that are there.
  startLogged('nsenter', args, host.skepLog, {
    DOCKER_SERVICE_PREFER_OFFLINE_IMAGE: '1',
    ...environment,
  });
}

/** Process id of the host's skepd, or undefined when none runs. */
export function skepdPid(host: HostLayout): number | undefined {
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    let argv: string[];
    try {
      argv = readFileSync(`/proc/${entry}/cmdline`, 'utf8').split('\0');
    } catch {
      continue; // The process ended while we looked.
    }
    if (argv[0] === process.execPath && argv[2] === 'daemon' && argv.includes(host.skepState))
      return Number(entry);
  }
  return undefined;
}
