/**
 * Name tables out of endpoints, as a name server that was fed with them has them.
 */
import { NetworkNames } from '../../../src/network/dns/names.js';
import { wantedNetworks } from '../../../src/network/dns/wanted-names.js';
import type { EndpointView, NetworkView } from '../../../src/network/view.js';

/** One table a network, by its id. */
export function nameTables(
  networks: readonly NetworkView[],
  endpoints: readonly EndpointView[],
): ReadonlyMap<string, NetworkNames> {
  const tables = new Map<string, NetworkNames>();
  for (const [id, { network, rows }] of wantedNetworks(networks, endpoints)) {
    const table = new NetworkNames(network);
    for (const row of rows.values()) table.put(row);
    tables.set(id, table);
  }
  return tables;
}
