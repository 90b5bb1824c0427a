/**
 * A program: joins the swarm of a stock manager as a worker, takes the gossip keys from its session,
 * and the manager's ring with them. Prints one JSON line an event, with the name in it if it is an
 * endpoint's; obeys lines on stdin.
 *   engine-ring-mate.js STATE_DIRECTORY MANAGER_HOST OWN_HOST NETWORK_ID TOKEN
 *   put KEY HEX | delete KEY | leave
 */
import { createInterface } from 'node:readline';
import { createLogger } from '../../../src/observe/logger.js';
import type { SessionMessage } from '../../../src/model/gen/docker/swarmkit/v1/dispatcher_pb.js';
import { systemEnvironment as env } from '../../../src/observe/system-environment.js';
import { startGossip } from '../../../src/native/gossip.js';
import { decodeEndpoint, ENDPOINT_TABLE } from '../../../src/network/records.js';
import { joinCluster } from '../../../src/rpc/identity/join.js';
import { NodeIdentity } from '../../../src/rpc/identity/node-identity.js';
import { ManagerConnector } from '../../../src/rpc/manager-connector.js';
import { Remotes } from '../../../src/rpc/remotes.js';

const [stateDirectory = '', manager = '', own = '', networkId = '', token = ''] =
  process.argv.slice(2);
const addr = `${manager}:2377`;
const signal = new AbortController().signal;

const joined = await joinCluster({
  token,
  remoteAddrs: [addr],
  availability: 'active',
  env,
  logger: createLogger({ level: 'fatal' }),
  signal,
});
const identity = await NodeIdentity.create(stateDirectory, joined);
const remotes = new Remotes(env.random, [{ nodeId: '', addr }]);
const connection = await new ManagerConnector({ remotes, identity, env }).connect();
const session = connection.dispatcher.session({
  description: { hostname: 'ring-mate', engine: { engineVersion: '20.10.24' } },
  sessionId: '',
});
const iterator: AsyncIterator<SessionMessage> = session[Symbol.asyncIterator]();
const first = await iterator.next();
if (first.done === true) throw new Error('the session ended at once');
const keys = first.value.networkBootstrapKeys
  .filter(({ subsystem }) => subsystem === 'networking:gossip')
  .sort((a, b) => (a.lamportTime < b.lamportTime ? -1 : 1))
  .map(({ key }) => key);

const say = (value: object): void => void process.stdout.write(`${JSON.stringify(value)}\n`);
const gossip = startGossip(
  {
    nodeName: 'skep-ring-mate',
    bindAddress: own,
    advertiseAddress: own,
    port: 7946,
    keys,
    profile: 'lan',
    delegate: 'networkdb',
  },
  (events) => {
    for (const event of events) {
      const isEndpoint = event.type === 'entry' && event.table === ENDPOINT_TABLE;
      say(isEndpoint ? { ...event, name: decodeEndpoint(event.value)?.name } : event);
    }
  },
);
say({ type: 'joined', keys: keys.length, reached: await gossip.join([manager]) });
gossip.joinNetwork(networkId);

for await (const line of createInterface(process.stdin)) {
  const [verb, key = '', hex = ''] = line.split(' ');
  if (verb === 'put') gossip.putEntry(networkId, ENDPOINT_TABLE, key, Buffer.from(hex, 'hex'));
  else if (verb === 'delete') gossip.deleteEntry(networkId, ENDPOINT_TABLE, key);
  else break;
}
await gossip.leave(5000);
say({ type: 'bye', undecodable: gossip.counters().droppedUndecodable ?? 0 });
process.exit(0);
