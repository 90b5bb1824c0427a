/**
 * Joins what this node remembers with what others announced into one view, and finds the names a
 * local container may see.
 */
import { ownEndpoints, ownHostPorts } from './announcer.js';
import type { NameTable } from './dns/names.js';
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

/** Name tables of each local container, by every address it has. */
export function namesBySource(
  state: LocalState,
  tables: ReadonlyMap<string, NameTable>,
): ReadonlyMap<string, readonly NameTable[]> {
  const bySandbox = new Map<string, Set<NameTable>>();
  const joined = [...state.endpoints.values()].filter((each) => each.interfaceName !== undefined);
  for (const { id, sandbox, networkId } of joined) {
    const table = tables.get(networkId);
    const of = bySandbox.get(sandbox ?? id) ?? new Set<NameTable>();
    if (table !== undefined) of.add(table);
    bySandbox.set(sandbox ?? id, of);
  }
  const bySource = new Map<string, readonly NameTable[]>();
  for (const { id, sandbox, address } of joined) {
    const of = [...(bySandbox.get(sandbox ?? id) ?? [])];
    bySource.set(
      address,
      of.sort((a, b) => (a.networkName < b.networkName ? -1 : 1)),
    );
  }
  return bySource;
}

/** Network namespaces of the containers here that have joined a swarm network, tasks or not. */
export function joinedSandboxes(state: LocalState): ReadonlySet<string> {
  const sandboxes = new Set<string>();
  for (const { sandbox, interfaceName } of state.endpoints.values())
    if (sandbox !== undefined && interfaceName !== undefined) sandboxes.add(sandbox);
  return sandboxes;
}
