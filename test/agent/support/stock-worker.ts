/**
 * A program: joins the cluster of a stock manager and works for it until it is killed.
 *   stock-worker.js ENGINE_SOCKET STATE_DIRECTORY MANAGER_ADDRESS TOKEN
 * Started again on the same state it keeps its identity and finds its containers.
 */
import { join } from 'node:path';
import Docker from 'dockerode';
import { Agent } from '../../../src/agent/agent.js';
import { DockerExecutor } from '../../../src/agent/docker-executor.js';
import { SocketBinds } from '../../../src/model/engine-socket.js';
import { watchProcess } from '../../../src/native/process-watch.js';
import { createLogger } from '../../../src/observe/logger.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import { joinCluster } from '../../../src/rpc/identity/join.js';
import { NodeIdentity } from '../../../src/rpc/identity/node-identity.js';
import { ManagerConnector } from '../../../src/rpc/manager-connector.js';
import { Remotes } from '../../../src/rpc/remotes.js';
import { RecordedNetworking } from './tasks.js';

const [socketPath = '', stateDirectory = '', addr = '', token = ''] = process.argv.slice(2);
const logger = createLogger({ level: 'debug' });
const env = systemEnvironment;

async function identityOfNode(): Promise<NodeIdentity> {
  const known = await NodeIdentity.load(stateDirectory);
  if (known !== undefined) return known;
  const identity = await joinCluster({
    token,
    remoteAddrs: [addr],
    availability: 'active',
    env,
    logger,
    signal: new AbortController().signal,
  });
  return NodeIdentity.create(stateDirectory, identity);
}

const identity = await identityOfNode();
const { nodeId } = identity.facts();
const remotes = new Remotes(env.random, [{ nodeId: '', addr }]);
const connector = new ManagerConnector({ remotes, identity, env });
const network = new RecordedNetworking();
const agent = new Agent({
  nodeId,
  stateDirectory,
  executor: new DockerExecutor({
    docker: new Docker({ socketPath }),
    network,
    environment: env,
    logger,
    nodeId,
    version: '0.0.0-test',
    secretsDirectory: join(stateDirectory, 'secrets'),
    sockets: new SocketBinds('/run/skep.sock', socketPath),
    preferOfflineImage: true,
    genericResources: [],
    tlsInfo: () => undefined,
    watchProcess,
  }),
  network,
  environment: env,
  logger,
  connect: async () => connector.connect(),
  observe: (connection, outcome) => remotes.observe(connection.peer.addr, outcome),
  onSessionMessage: () => undefined,
});
await agent.start();
