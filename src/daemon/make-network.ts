/**
 * A node's networking, made from what is recorded about the node: the packet side is opened only
 * once its ports are free.
 */
import { SkepError } from '../model/errors.js';
import { openDatapath } from '../native/datapath.js';
import { startGossip } from '../native/gossip.js';
import { openNamespaceResolver } from '../native/namespace-resolver.js';
import { DNS_ADDRESS, DNS_PORT, GOSSIP_PORT } from '../network/limits.js';
import { HostWireguardDevices } from '../network/encryption/host-devices.js';
import { NodeNetwork } from '../network/node-network.js';
import type { IdentitySource } from '../rpc/types.js';
import { DeferredNetwork } from './deferred-network.js';
import type { NodeRecord, NodeState } from './node-state.js';
import { statePaths } from './options.js';
import { checkGossipPort, checkTunnelPort } from './preflight.js';
import type { NodeContext } from './running-node.js';

/** A stock engine that has just left a swarm gives its ports back only after a while. */
const PORTS_TIMEOUT_MS = 10_000;
const PORTS_POLL_MS = 200;

/** Resolves once tunnel and gossip port are free (or ours). @throws SkepError that names the holder */
export async function portsFree(context: NodeContext, dataPathPort: number): Promise<void> {
  const { clock } = context.environment;
  const deadlineMs = clock.monotonicMs() + PORTS_TIMEOUT_MS;
  for (;;) {
    try {
      checkTunnelPort(dataPathPort);
      checkGossipPort(GOSSIP_PORT);
      return;
    } catch (error) {
      if (clock.monotonicMs() > deadlineMs) throw error;
    }
    await new Promise<void>((resolve) => {
      clock.setTimer(PORTS_POLL_MS, resolve);
    });
  }
}

const RENEWED_MAPS =
  'tables of the skepd before could not be taken over, since their rows mean something else now: they ' +
  'are filled again from what the cluster announces, and connections through services may be reset';

/** Networking that opens the packet side once the port is known. */
export function makeNetwork(
  context: NodeContext,
  record: NodeRecord,
  identity: IdentitySource,
): DeferredNetwork {
  const { options, environment, logger, netlink, engine, attachments } = context;
  const paths = statePaths(options.stateDir);
  const recorded = record.value;
  return new DeferredNetwork({
    recordedPort: recorded.DataPathPort,
    logger,
    onPort: (dataPathPort) => record.setDataPathPort(dataPathPort),
    open: async (dataPathPort) => {
      await portsFree(context, dataPathPort);
      const datapath = await openDatapath({
        pinDirectory: options.pinDir,
        underlayInterfaces: underlayInterfaces(context, recorded),
        tunnelAddress: recorded.DataPathAddr,
        tunnelPort: dataPathPort,
        dnsAddress: DNS_ADDRESS,
      });
      const { renewedMaps } = datapath;
      if (renewedMaps.length > 0) logger.warn({ maps: renewedMaps }, RENEWED_MAPS);
      return new NodeNetwork({
        datapath,
        netlink,
        openNamespaceResolver,
        startGossip,
        engine,
        attachments,
        identity,
        wireguard: new HostWireguardDevices(netlink),
        environment,
        logger: logger.child({ room: 'network' }),
        options: {
          stateDirectory: paths.network,
          pluginSocket: options.pluginSocket,
          tunnelAddress: recorded.DataPathAddr,
          gossipBindAddress: '0.0.0.0',
          advertiseAddress: recorded.LocalAddr,
          gossipPort: GOSSIP_PORT,
          gossipProfile: 'fast',
          dnsAddress: DNS_ADDRESS,
          dnsPort: DNS_PORT,
          resolvConf: '/etc/resolv.conf',
        },
      });
    },
  });
}

/** The interfaces that carry the data path address and the advertised one. */
function underlayInterfaces(context: NodeContext, recorded: NodeState): readonly string[] {
  const wanted = new Set([recorded.DataPathAddr, recorded.LocalAddr]);
  const found = context.netlink.addresses().filter(({ address }) => wanted.has(address));
  const names = found.map(({ interfaceName }) => interfaceName);
  if (!found.some(({ address }) => address === recorded.DataPathAddr))
    throw new SkepError(
      'failed_precondition',
      `no interface of this host has the data path address ${recorded.DataPathAddr}: give one with --data-path-addr`,
    );
  return [...new Set(names)];
}
