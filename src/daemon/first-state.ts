/**
 * What a node records about its start: the addresses and ports that an init or a join gives it.
 */
import type { InitRequest, JoinRequest } from '../api/types.js';
import { SkepError } from '../model/errors.js';
import type { DataPathFamily } from '../model/labels/keys.js';
import {
  resolveAddressPools,
  resolveAdvertiseAddress,
  resolveListenAddress,
  type SystemAddress,
  systemAddresses,
} from './addresses.js';
import { resolveDataPathAddress, resolveDataPathPort } from './data-path.js';
import type { NodeState, RequestedAddresses } from './node-state.js';
import type { NodeContext } from './running-node.js';

/** The data path address of a joining node, once it is known of which family the swarm's is. */
export type ChooseDataPathAddress = (family: DataPathFamily | undefined) => string;

/** The part of the daemon's surroundings used here. */
export type Host = Pick<NodeContext, 'netlink' | 'options'>;

/**
 * Of the node that founds a swarm, or takes one over by force, whose data path is of `family`.
 * @throws SkepError with Docker's texts
 */
export function initState(
  { netlink, options }: Host,
  request: InitRequest,
  family?: DataPathFamily,
): NodeState & Required<Pick<NodeState, 'Requested'>> {
  const own = netlink.addresses();
  const system = systemAddresses(own);
  const requested = requestedAddresses(request, options);
  const listen = resolveListenAddress(requested.ListenAddr, system);
  const advertise = resolveAdvertiseAddress(requested.AdvertiseAddr, listen, system);
  const pools = resolveAddressPools(request.defaultAddrPool, request.subnetSize);
  return {
    LocalAddr: advertise.host,
    RemoteAddr: '',
    ListenAddr: `${listen.host}:${listen.port}`,
    AdvertiseAddr: `${advertise.host}:${advertise.port}`,
    DataPathAddr: resolveDataPathAddress(
      { value: requested.DataPathAddr, advertised: advertise.host, own },
      family,
    ),
    DataPathPort: resolveDataPathPort(request.dataPathPort || options.dataPathPort),
    DefaultAddressPool: pools.pools,
    SubnetSize: pools.subnetSize,
    Requested: requested,
  };
}

function requestedAddresses(
  request: InitRequest | JoinRequest,
  options: Host['options'],
): RequestedAddresses {
  return {
    ListenAddr: request.listenAddr || options.listenAddr,
    AdvertiseAddr: request.advertiseAddr || options.advertiseAddr,
    DataPathAddr: request.dataPathAddr || options.dataPathAddr,
  };
}

/**
 * Of a node that joins. Docker ignores advertise addresses it cannot resolve then: the manager sees the
 * real one. The data path address is the one it has should the swarm not say of which family it must be.
 * @throws SkepError with Docker's texts
 */
export function joinState(
  { netlink, options }: Host,
  request: JoinRequest,
): { readonly state: NodeState; readonly dataPathAddress: ChooseDataPathAddress } {
  const own = netlink.addresses();
  const system = systemAddresses(own);
  const requested = requestedAddresses(request, options);
  const listen = resolveListenAddress(requested.ListenAddr, system);
  const remote = request.remoteAddrs[0];
  if (remote === undefined)
    throw new SkepError('invalid_argument', 'at least 1 RemoteAddr is required to join');
  const given = requested.AdvertiseAddr;
  const advertise =
    given === '' && listen.host === '0.0.0.0'
      ? { host: sourceTowards(remote, netlink, system), port: listen.port }
      : resolveAdvertiseAddress(given, listen, system);
  if (advertise.host.startsWith('127.'))
    throw new SkepError(
      'invalid_argument',
      `advertise address ${advertise.host} is this host alone: give one that the other nodes can reach`,
    );
  const value = requested.DataPathAddr;
  const dataPathAddress: ChooseDataPathAddress = (family) =>
    resolveDataPathAddress({ value, advertised: advertise.host, own: netlink.addresses() }, family);
  const state = {
    LocalAddr: advertise.host,
    RemoteAddr: remote,
    ListenAddr: `${listen.host}:${listen.port}`,
    AdvertiseAddr: `${advertise.host}:${advertise.port}`,
    DataPathAddr: dataPathAddress(undefined),
    DataPathPort: 0,
    DefaultAddressPool: [],
    SubnetSize: 0,
    Requested: requested,
  };
  return { state, dataPathAddress };
}

/** The address this host uses towards a manager; the host's first address if that cannot be told. */
export function sourceTowards(
  remote: string,
  netlink: Host['netlink'],
  system: readonly SystemAddress[],
): string {
  const host = remote.replace(/:\d+$/, '');
  try {
    return netlink.routeTo(host).source;
  } catch (error) {
    const [first] = system;
    if (first !== undefined) return first.address;
    throw new SkepError('invalid_argument', "could not find the system's IP address", {
      cause: error,
    });
  }
}
