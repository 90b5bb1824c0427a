/**
 * Rows a former process left in force. They stay until the tables have been refilled (or are
 * known to be wrong), so that a restart takes nothing out of the packet path.
 */
import type { BackendRow, DatapathState, ServiceRow } from '../native/datapath-types.js';
import { addressKey, type DesiredDatapath, serviceKeyText } from './desired.js';

/** Says whether rows that lead to this tunnel (undefined: to this node) are still to be kept. */
export type KeepTunnel = (tunnelAddress: string | undefined) => boolean;

/** The leftovers; shrinks as the tables name the same rows again. */
export class PinnedRows {
  private readonly nodes: Map<string, DatapathState['nodes'][number]>;
  private readonly networks: Map<number, DatapathState['networks'][number]>;
  private readonly remoteEndpoints: Map<string, DatapathState['remoteEndpoints'][number]>;
  private readonly formerTunnels: ReadonlyMap<string, string>;
  private readonly backends: Map<string, BackendRow>;
  private readonly services: Map<string, ServiceRow>;

  constructor(state: DatapathState) {
    this.nodes = new Map(state.nodes.map((row) => [row.nodeId, row]));
    this.networks = new Map(state.networks.map((row) => [row.vni, row]));
    this.remoteEndpoints = new Map(state.remoteEndpoints.map((row) => [addressKey(row), row]));
    this.formerTunnels = new Map(
      state.remoteEndpoints.map((row) => [addressKey(row), row.tunnelAddress]),
    );
    this.backends = new Map(state.backends.map((row) => [addressKey(row), row]));
    this.services = new Map(state.services.map((row) => [serviceKeyText(row.key), row]));
  }

  /** True once nothing is left to keep. */
  get empty(): boolean {
    return (
      this.nodes.size + this.networks.size + this.remoteEndpoints.size === 0 &&
      this.backends.size + this.services.size === 0
    );
  }

  /** Tunnels the leftovers lead to. */
  tunnels(): ReadonlySet<string> {
    const tunnels = [...this.nodes.values(), ...this.remoteEndpoints.values()];
    return new Set(tunnels.map((row) => row.tunnelAddress));
  }

  /** Where an endpoint of another node was when the former process ended. */
  tunnelTo(row: { readonly vni: number; readonly address: string }): string | undefined {
    return this.formerTunnels.get(addressKey(row));
  }

  /** An endpoint was explicitly withdrawn: its leftovers are wrong. */
  forget(row: { readonly vni: number; readonly address: string }): void {
    this.remoteEndpoints.delete(addressKey(row));
    this.backends.delete(addressKey(row));
  }

  /** `desired` plus the leftovers `keep` allows. Leftovers it refuses are gone for good. */
  merge(desired: DesiredDatapath, keep: KeepTunnel): DesiredDatapath {
    if (this.empty) return desired;
    drop(this.nodes, desired.nodes, (row) => row.nodeId);
    // A tunnel has one node: the announced one.
    const known = new Set(desired.nodes.map((row) => row.tunnelAddress));
    refuse(this.nodes, (row) => !known.has(row.tunnelAddress));
    drop(this.networks, desired.networks, (row) => row.vni);
    drop(this.remoteEndpoints, desired.remoteEndpoints, addressKey);
    drop(this.backends, desired.backends, addressKey);
    refuse(this.nodes, (row) => keep(row.tunnelAddress));
    refuse(this.remoteEndpoints, (row) => keep(row.tunnelAddress));
    refuse(this.backends, (row) => keep(row.tunnelAddress));
    const services = this.mergeServices(desired, keep);
    const vnis = new Set(
      [...this.remoteEndpoints.values(), ...this.backends.values()].map((row) => row.vni),
    );
    refuse(this.networks, (row) => vnis.has(row.vni) || keep(undefined));
    return {
      nodeId: desired.nodeId,
      nodes: [...desired.nodes, ...this.nodes.values()],
      networks: [...desired.networks, ...this.networks.values()],
      remoteEndpoints: [...desired.remoteEndpoints, ...this.remoteEndpoints.values()],
      backends: [...desired.backends, ...this.backends.values()],
      services,
    };
  }

  private mergeServices(desired: DesiredDatapath, keep: KeepTunnel): readonly ServiceRow[] {
    const wanted = new Map(desired.services.map((row) => [serviceKeyText(row.key), row]));
    for (const [key, pinned] of this.services) {
      const left = pinned.backends.filter((row) => {
        return this.backends.get(addressKey(row))?.state === 'active';
      });
      const row = wanted.get(key);
      if (row !== undefined && row.targetPort === pinned.targetPort) {
        // Rules are the announced ones: a leftover must not open what was closed meanwhile.
        wanted.set(key, { ...row, backends: [...row.backends, ...left] });
      } else if (row === undefined && (left.length > 0 || keep(undefined))) {
        wanted.set(key, { ...pinned, backends: left });
      } else {
        this.services.delete(key);
      }
      if (left.length === 0 && row !== undefined) this.services.delete(key);
    }
    return [...wanted.values()];
  }
}

function drop<K, T>(left: Map<K, T>, wanted: readonly T[], keyOf: (row: T) => K): void {
  for (const row of wanted) left.delete(keyOf(row));
}

function refuse<K, T>(left: Map<K, T>, keep: (row: T) => boolean): void {
  for (const [key, row] of left) if (!keep(row)) left.delete(key);
}
