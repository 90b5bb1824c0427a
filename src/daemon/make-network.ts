/**
 * A node's networking, made from what is recorded about the node: the packet side is opened only
 * once its ports are free.
 */
import { SkepError } from '../model/errors.js';
import { GOSSIP_PORT } from '../model/swarm-ports.js';
import { openDatapath } from '../native/datapath.js';
import { startGossip } from '../native/gossip.js';
import { NameKeeper } from '../network/dns/name-keeper.js';
import { DNS_ADDRESS, DNS_PORT } from '../network/limits.js';
import { HostWireguardDevices } from '../network/encryption/host-devices.js';
import { NodeNetwork } from '../network/node-network.js';
import type { IdentitySource } from '../rpc/types.js';
import { DeferredNetwork } from './deferred-network.js';
import type { ChooseDataPathAddress } from './first-state.js';
import type { NodeRecord } from './node-state.js';
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

/** What a node's networking is made from. */
export interface NetworkParts {
  readonly context: NodeContext;
  readonly record: NodeRecord;
  readonly identity: IdentitySource;
  /** Of a node that joins; others keep the address they have. */
  readonly dataPathAddress?: ChooseDataPathAddress;
}

/** Networking that opens the packet side once the port is known. */
export function makeNetwork(parts: NetworkParts): DeferredNetwork {
  const { context, record, identity, dataPathAddress } = parts;
  const { options, environment, logger, netlink, engine, attachments } = context;
  const paths = statePaths(options.stateDir);
  const recorded = record.value;
  return new DeferredNetwork({
    recordedPort: recorded.DataPathPort,
    logger,
    open: async ({ port, family }) => {
      const tunnelAddress = dataPathAddress?.(family) ?? recorded.DataPathAddr;
      await portsFree(context, port);
      const datapath = await openDatapath({
        pinDirectory: options.pinDir,
        recordFile: paths.hostRecord,
        underlayInterfaces: underlayInterfaces(context, tunnelAddress, recorded.LocalAddr),
        tunnelAddress,
        tunnelPort: port,
        forceClsact: options.forceClsact,
        dnsAddress: DNS_ADDRESS,
      });
      record.setDataPath(port, tunnelAddress);
      const { renewedMaps } = datapath;
      if (renewedMaps.length > 0) logger.warn({ maps: renewedMaps }, RENEWED_MAPS);
      return new NodeNetwork({
        datapath,
        netlink,
        names: new NameKeeper({
          directory: paths.names,
          clock: environment.clock,
          logger: logger.child({ room: 'network' }),
        }),
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
          tunnelAddress,
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
function underlayInterfaces(
  context: NodeContext,
  dataPathAddress: string,
  advertised: string,
): readonly string[] {
  const wanted = new Set([dataPathAddress, advertised]);
  const found = context.netlink.addresses().filter(({ address }) => wanted.has(address));
  const names = found.map(({ interfaceName }) => interfaceName);
  if (!found.some(({ address }) => address === dataPathAddress))
    throw new SkepError(
      'failed_precondition',
      `no interface of this host has the data path address ${dataPathAddress}: give one with --data-path-addr`,
    );
  return [...new Set(names)];
}
