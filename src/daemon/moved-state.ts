/**
 * A node whose host has another address than when it came into its swarm, say by DHCP. Where the user
 * named an interface, or nothing, the node goes on under the address of now, as Docker's workers do;
 * an address that was given stays, it need not be the host's own.
 */
import { isIP } from 'node:net';
import { SkepError } from '../model/errors.js';
import { MANAGER_PORT_DEFAULT } from '../model/swarm-ports.js';
import {
  type HostPort,
  recordedHostPort,
  resolveAdvertiseAddress,
  resolveListenAddress,
  splitHostPort,
  type SystemAddress,
  systemAddresses,
} from './addresses.js';
import { dataPathFamily, resolveDataPathAddress } from './data-path.js';
import { type Host, sourceTowards } from './first-state.js';
import type { NodeState, RequestedAddresses } from './node-state.js';

/**
 * The state with the addresses of now; `recorded` itself when they cannot be told.
 * @param isSettled the host had time to get its addresses: one that is missing will not come any more
 * @throws SkepError failed_precondition while it may still come
 */
export function presentState(host: Host, recorded: NodeState, isSettled: boolean): NodeState {
  const { Requested } = recorded;
  if (Requested === undefined) return recorded;
  try {
    return relocated(host, recorded, Requested, isSettled);
  } catch (error) {
    // An interface without an address, or several to choose from: the start says what is missing.
    if (SkepError.from(error).code === 'invalid_argument') return recorded;
    throw error;
  }
}

function relocated(
  { netlink }: Host,
  recorded: NodeState,
  requested: RequestedAddresses,
  isSettled: boolean,
): NodeState {
  const own = netlink.addresses();
  const isGone = (address: string): boolean => {
    if (own.some((entry) => entry.address === address)) return false;
    if (isSettled) return true;
    throw new SkepError(
      'failed_precondition',
      `no interface of this host has the address ${address}: it may be there soon`,
    );
  };
  const system = systemAddresses(own);
  const listen = resolveListenAddress(requested.ListenAddr, system);
  const advertise = isToBeResolved(requested.AdvertiseAddr, () => isGone(recorded.LocalAddr))
    ? advertised({ netlink, recorded, system, listen }, requested.AdvertiseAddr)
    : recordedHostPort(recorded.AdvertiseAddr);
  const wish = { value: requested.DataPathAddr, advertised: advertise.host, own };
  const dataPathAddress = isToBeResolved(requested.DataPathAddr, () =>
    isGone(recorded.DataPathAddr),
  )
    ? resolveDataPathAddress(wish, dataPathFamily(recorded.DataPathAddr))
    : recorded.DataPathAddr;
  return {
    ...recorded,
    LocalAddr: advertise.host,
    ListenAddr: `${listen.host}:${listen.port}`,
    AdvertiseAddr: `${advertise.host}:${advertise.port}`,
    DataPathAddr: dataPathAddress,
  };
}

/** An interface has the address that it has; the host's own choice holds as long as the host has it. */
function isToBeResolved(requested: string, isGone: () => boolean): boolean {
  if (requested === '') return isGone();
  const host = splitHostPort(requested, MANAGER_PORT_DEFAULT)?.host ?? requested;
  return isIP(host) === 0;
}

function advertised(
  now: {
    readonly netlink: Host['netlink'];
    readonly recorded: NodeState;
    readonly system: readonly SystemAddress[];
    readonly listen: HostPort;
  },
  requested: string,
): HostPort {
  const { netlink, recorded, system, listen } = now;
  const isChosenByRoute =
    requested === '' && listen.host === '0.0.0.0' && recorded.RemoteAddr !== '';
  if (!isChosenByRoute) return resolveAdvertiseAddress(requested, listen, system);
  return { host: sourceTowards(recorded.RemoteAddr, netlink, system), port: listen.port };
}
