/**
 * A stock engine, which can have a swarm of its own, and our API server before another one, over the
 * real control and store.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Test } from 'tap';
import { ApiServer } from '../../../src/api/server.js';
import { silentLogger } from '../../../src/observe/logger.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import { PrivateEngine } from './private-engine.js';
import { TestMembership } from './test-membership.js';

const HOSTNAME = 'api-host';

/** Sockets of both. */
export interface Sides {
  readonly stock: string;
  readonly ours: string;
}

/** Starts both; they end with the test. */
export async function startSides(t: Test): Promise<Sides> {
  const folder = await mkdtemp(path.join(tmpdir(), 'skep-api-socket-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const start = async () => {
    const engine = await PrivateEngine.start(HOSTNAME);
    t.teardown(() => engine.stop());
    return engine;
  };
  const [stock, behind] = await Promise.all([start(), start()]);
  const membership = new TestMembership(HOSTNAME);
  const ours = path.join(folder, 'skep.sock');
  const server = new ApiServer({
    socketPath: ours,
    engineSocketPath: behind.socketPath,
    membership,
    logger: silentLogger,
    environment: systemEnvironment,
  });
  await server.start();
  t.teardown(async () => {
    await server.stop();
    await membership.close();
  });
  return { stock: stock.socketPath, ours };
}
