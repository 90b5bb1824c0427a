/** An API server in a temporary folder, with a membership to steer. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Test } from 'tap';
import { ApiServer } from '../../../src/api/server.js';
import { silentLogger } from '../../../src/observe/logger.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import { TestMembership } from './test-membership.js';

/** A running server. */
export interface ApiFixture {
  readonly socketPath: string;
  readonly folder: string;
  readonly membership: TestMembership;
  readonly server: ApiServer;
}

/** Starts a server before `engineSocketPath`; both end with the test. */
export async function startApi(t: Test, engineSocketPath?: string): Promise<ApiFixture> {
  const folder = await mkdtemp(path.join(tmpdir(), 'skep-api-socket-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const membership = new TestMembership('api-host');
  const socketPath = path.join(folder, 'skep.sock');
  const server = new ApiServer({
    socketPath,
    engineSocketPath: engineSocketPath ?? path.join(folder, 'no-engine.sock'),
    membership,
    logger: silentLogger,
    environment: systemEnvironment,
  });
  await server.start();
  t.teardown(async () => {
    await server.stop();
    await membership.close();
  });
  return { socketPath, folder, membership, server };
}

/** Makes the fixture's node a manager. */
export async function initSwarm(fixture: ApiFixture): Promise<string> {
  return fixture.membership.init({
    listenAddr: '0.0.0.0:2377',
    advertiseAddr: '',
    dataPathAddr: '',
    dataPathPort: 0,
    defaultAddrPool: [],
    subnetSize: 0,
    forceNewCluster: false,
    autoLockManagers: false,
    availability: 'active',
    applySpec: (cluster) => cluster,
  });
}
