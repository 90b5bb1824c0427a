/**
 * Which key of which node is used with which own key: the newest pair that has a session, so that a
 * new key is used only once it works, and the old one is not missed. Pure.
 */
import type { WireguardPeerRow } from '../../native/datapath-types.js';
import type { NodeKeys } from './key-record.js';
import { tunnelAddress } from './keys.js';
import { deviceName, type WantedPeer } from './wireguard-device.js';

/** An own key and its device's sessions. */
export interface OwnKey {
  readonly number: bigint;
  /** Public keys of peers that have completed a handshake with it. */
  readonly established: ReadonlySet<string>;
}

/** How peers are reached. */
export interface Ways {
  /** Every tunnel address of every peer, with the own device that leads there. */
  readonly rows: readonly WireguardPeerRow[];
  /** The tunnel address to send to, by node id. */
  readonly tunnels: ReadonlyMap<string, string>;
}

/** No ways yet. */
export const NO_WAYS: Ways = { rows: [], tunnels: new Map() };

/**
 * Chooses for own keys (oldest first, at least one) and the pair of tunnel addresses of this node.
 * Peers must have tunnel numbers of their own (see {@link withoutClashes}).
 */
export function chooseWays(
  own: readonly OwnKey[],
  ownTunnel: number,
  peers: readonly NodeKeys[],
): Ways {
  const rows: WireguardPeerRow[] = [];
  const tunnels = new Map<string, string>();
  const newest = own.at(-1);
  if (newest === undefined) return NO_WAYS;
  for (const { nodeId, tunnel, underlayAddress, generations } of peers) {
    let best: string | undefined;
    for (const { number, publicKey } of generations) {
      const working = own.filter(({ established }) => established.has(publicKey)).at(-1);
      const way = working ?? newest;
      const address = tunnelAddress(tunnel, number);
      rows.push({
        tunnelAddress: address,
        interfaceName: deviceName(way.number),
        source: tunnelAddress(ownTunnel, way.number),
        underlayAddress,
      });
      if (working !== undefined || best === undefined) best = address;
    }
    if (best !== undefined) tunnels.set(nodeId, best);
  }
  return { rows, tunnels };
}

/** All keys of all peers as every own device must know them. */
export function wantedPeers(peers: readonly NodeKeys[]): readonly WantedPeer[] {
  return peers.flatMap(({ underlayAddress, tunnel, generations }) =>
    generations.map(({ number, publicKey, port }) => ({
      publicKey,
      endpoint: `${underlayAddress}:${port}`,
      tunnelAddress: tunnelAddress(tunnel, number),
    })),
  );
}

/**
 * Of nodes with the same pair of tunnel addresses the lowest id keeps it; the others choose again
 * and are left out until they have. `mustMove` says that this node is one of those.
 */
export function withoutClashes(
  nodeId: string,
  ownTunnel: number,
  peers: readonly NodeKeys[],
): { readonly peers: readonly NodeKeys[]; readonly mustMove: boolean } {
  const holders = new Map<number, string>([[ownTunnel, nodeId]]);
  for (const peer of peers) {
    const holder = holders.get(peer.tunnel);
    if (holder === undefined || peer.nodeId < holder) holders.set(peer.tunnel, peer.nodeId);
  }
  return {
    peers: peers.filter((peer) => holders.get(peer.tunnel) === peer.nodeId),
    mustMove: holders.get(ownTunnel) !== nodeId,
  };
}
