/**
 * Joins what this node remembers with what others announced into one view.
 */
import { ownEndpoints, ownHostPorts } from './announcer.js';
import type { LocalState } from './local-state.js';
import type { EndpointTables } from './tables.js';
import type { ClusterView, NetworkView } from './view.js';

/** Networks this node takes part in: it has an address of its own there, or something uses them. */
export function networksInUse(state: LocalState): readonly NetworkView[] {
  const views: NetworkView[] = [];
  for (const { info } of state.networks.values()) {
    const attachments = state.node?.attachments.filter(({ networkId }) => networkId === info.id);
    const nodeAddresses = (attachments ?? []).map(({ address }) => address);
    if (nodeAddresses.length > 0 || state.isInUse(info.id)) views.push({ info, nodeAddresses });
  }
  return views;
}

/** The whole view. */
export function clusterView(
  state: LocalState,
  tables: EndpointTables,
  host: Pick<ClusterView, 'tunnelAddress' | 'hostAddresses' | 'encryptedTunnels'>,
): ClusterView {
  return {
    networks: networksInUse(state),
    peers: tables.peers(),
    endpoints: [...ownEndpoints(state), ...tables.endpoints()],
    hostPorts: ownHostPorts(state),
    ...host,
  };
}
