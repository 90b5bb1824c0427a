/**
 * Which nodes' paths are tested.
 */
import type { DesiredDatapath } from '../desired.js';
import { nodeKey } from '../records.js';
import type { ClusterView } from '../view.js';
import type { PathPeer } from './types.js';

/** The other nodes. Nodes of ours say which ingress address is their own by the key of its entry. */
export function pathPeers(
  view: Pick<ClusterView, 'networks' | 'peers'>,
  desired: Pick<DesiredDatapath, 'nodes'>,
): readonly PathPeer[] {
  const network = view.networks.find(({ info }) => info.ingress)?.info;
  const ingress = network?.id;
  const encrypted = network?.encrypted ?? false;
  const own = new Map<string, string>();
  for (const { networkId, key, owner, address, tunnelAddress } of view.peers) {
    if (networkId !== ingress || key !== nodeKey(owner, networkId)) continue;
    own.set(`${address} ${tunnelAddress}`, owner);
  }
  return desired.nodes.map(({ nodeId, tunnelAddress }): PathPeer => {
    const owner = own.get(`${nodeId} ${tunnelAddress}`);
    return { owner: owner ?? '', nodeId, tunnelAddress, answers: owner !== undefined, encrypted };
  });
}
