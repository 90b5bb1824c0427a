/**
 * A real Docker Engine inside a host: start, wait until it answers, stop.
 */
import { startLogged, waitFor } from './commands.js';
import type { HostLayout } from './layout.js';
import { insideHost } from './namespaces.js';
import { dockerRequest } from './http.js';

/** Parent cgroup of everything that runs on the testbed's engines. */
export const CGROUP_PARENT = '/skep-testbed';

/** Starts dockerd in the host's namespaces; returns at once. */
export function startEngine(
  host: HostLayout,
  holderPid: number,
  options: { readonly liveRestore: boolean },
  extraArgs: readonly string[] = [],
): void {
  const args = [
    ...insideHost(holderPid),
    'dockerd',
    ...['--data-root', `${host.directory}/data`, '--exec-root', `${host.directory}/exec`],
    ...['--pidfile', `${host.directory}/engine.pid`, '-H', `unix://${host.dockerSocket}`],
    ...['--storage-driver', 'overlay2', '--exec-opt', 'native.cgroupdriver=cgroupfs'],
    ...['--cgroup-parent', `${CGROUP_PARENT}/${host.name}`],
    ...(options.liveRestore ? ['--live-restore'] : []),
    ...extraArgs,
  ];
  // Without a registry, stock Swarm must not stall on pulls of images that are there.
  startLogged('nsenter', args, host.engineLog, { DOCKER_SERVICE_PREFER_OFFLINE_IMAGE: '1' });
}

/** Waits until the Docker API at `socket` answers `/_ping`. */
export async function waitForApi(what: string, socket: string, timeoutMs: number): Promise<void> {
  await waitFor(`${what} to answer`, timeoutMs, async () => {
    const answer = await dockerRequest(socket, 'GET', '/_ping');
    return answer.status === 200 ? true : undefined;
  });
}
