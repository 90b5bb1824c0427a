/**
 * Managers whose hosts have other addresses than those known. Gossip tells where a member is now; whether
 * it is the manager looked for, its certificate says.
 */
import type { ManagerPeer } from './types.js';

/**
 * The managers that are elsewhere now, at the ports known.
 * @param addressOf where a node is now, without port; undefined if nothing is known of it
 */
export function movedManagers(
  peers: readonly ManagerPeer[],
  addressOf: (nodeId: string) => string | undefined,
): readonly ManagerPeer[] {
  const known = new Set(peers.map(({ addr }) => addr));
  return peers.flatMap(({ nodeId, addr }) => {
    const address = nodeId === '' ? undefined : addressOf(nodeId);
    if (address === undefined) return [];
    const moved = `${address}${addr.slice(addr.lastIndexOf(':'))}`;
    return known.has(moved) ? [] : [{ nodeId, addr: moved }];
  });
}
