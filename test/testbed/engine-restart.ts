/**
 * Stops and starts the stock engine of a host of the testbed, as a reboot would.
 */
import { existsSync } from 'node:fs';
import { waitFor } from './commands.js';
import { startEngine, waitForApi } from './engine.js';
import { type Host, inHost } from './testbed.js';

const STOP_TIMEOUT_MS = 30_000;
const START_TIMEOUT_MS = 60_000;

/** Ends the host's engine cleanly; its containers end with it. */
export async function stopEngine(host: Host): Promise<void> {
  const pidFile = `${host.directory}/engine.pid`;
  // The pid in the file is that of the host's own PID namespace.
  await inHost(host, ['sh', '-c', `kill -TERM $(cat ${pidFile})`]);
  await waitFor(`the engine of ${host.name} to end`, STOP_TIMEOUT_MS, async () =>
    existsSync(pidFile) ? undefined : true,
  );
}

/** Starts it again; resolves when it answers. */
export async function startEngineAgain(host: Host): Promise<void> {
  startEngine(host, host.holderPid, { liveRestore: false });
  await waitForApi(`engine of ${host.name}`, host.dockerSocket, START_TIMEOUT_MS);
}
