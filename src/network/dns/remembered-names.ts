/**
 * Names of other nodes' endpoints that a former skepd had told the name server. They are answered on until
 * gossip has told them again, or says that they are gone: a restart takes no name away.
 */
import type { LocalState } from '../local-state.js';
import { subnetOf } from '../network-info.js';
import type { KeepTunnel, PinnedRows } from '../pinned.js';
import type { DumpedNetwork } from './name-connection.js';
import type { NameRow } from './names.js';
import { isOwnKey } from './wanted-names.js';

/** Whether the endpoint with an address on a network may still be there. */
export type KeepEndpoint = (networkId: string, address: string) => boolean;

/** An endpoint may still be there as long as its packets may: the data path's leftovers decide. */
export function leftoversKept(
  state: Pick<LocalState, 'networks'>,
  pinned: Pick<PinnedRows, 'tunnelTo'> | undefined,
  keepTunnel: KeepTunnel,
): KeepEndpoint {
  if (pinned === undefined) return () => false;
  const byTunnel = new Map<string | undefined, boolean>();
  return (networkId, address) => {
    const info = state.networks.get(networkId)?.info;
    const subnet = info && subnetOf(info, address);
    const tunnel = subnet && pinned.tunnelTo({ vni: subnet.vni, address });
    const isKept = byTunnel.get(tunnel) ?? keepTunnel(tunnel);
    byTunnel.set(tunnel, isKept);
    return isKept;
  };
}

/** The leftovers; shrinks as the tables name the same endpoints again. */
export class RememberedNames {
  private readonly networks: Map<string, Map<string, NameRow>>;
  /** Endpoints that were withdrawn while something was left: network and address. */
  private readonly withdrawn = new Set<string>();

  constructor(dumped: readonly DumpedNetwork[]) {
    this.networks = new Map(
      dumped.map(({ network, rows }) => [
        network.id,
        // What runs here is known here.
        new Map(rows.filter(({ key }) => !isOwnKey(key)).map((row) => [row.key, row])),
      ]),
    );
  }

  /** An endpoint was withdrawn. */
  forget(networkId: string, address: string): void {
    if ((this.networks.get(networkId)?.size ?? 0) > 0)
      this.withdrawn.add(`${networkId} ${address}`);
  }

  /** Adds to the rows of a network what is left and kept. `known`: keys announced, in traffic or not. */
  addTo(
    networkId: string,
    rows: Map<string, NameRow>,
    known: ReadonlySet<string>,
    keep: KeepEndpoint,
  ): void {
    const left = this.networks.get(networkId);
    for (const [key, row] of left ?? []) {
      const isWithdrawn = this.withdrawn.has(`${networkId} ${row.endpointIp}`);
      if (isWithdrawn || known.has(key) || !keep(networkId, row.endpointIp)) left?.delete(key);
      else rows.set(key, row);
    }
  }
}
