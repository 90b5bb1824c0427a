/**
 * A data path without packets, for tests of rooms above: it keeps the rows it was given, refuses
 * what the real one must never be asked, and answers echoes for the tunnels a test calls alive.
 */
import { invariant } from '../model/errors.js';
import type {
  BackendRow,
  ConnectionRow,
  CounterRow,
  Datapath,
  DatapathRepair,
  DatapathState,
  DirectProbeRow,
  DirectWayRow,
  LinkRow,
  NetworkRow,
  NodeRow,
  RemoteEndpointRow,
  ServiceKey,
  ServiceRow,
  TraceFilter,
  TraceRow,
  WireguardPeerRow,
} from './datapath-types.js';

const CONTAINER_MTU = 1450;

function addressKey(row: { readonly vni: number; readonly address: string }): string {
  return `${row.vni}/${row.address}`;
}

function serviceText(key: ServiceKey): string {
  if (key.kind === 'vip') return `vip ${addressKey(key)}`;
  const place = key.kind === 'landing' ? addressKey(key) : (key.address ?? '');
  return `${key.kind} ${place} ${key.port}/${key.protocol}`;
}

/** Rows in memory; a second instance over the same rows is a restarted process. */
export class RecordingDatapath implements Datapath {
  readonly containerMtu = CONTAINER_MTU;
  nodeId: string | undefined;
  localAddresses: readonly string[] = [];
  underlay: readonly string[] = [];
  /** Tunnels whose kernel answers echoes. */
  readonly answering = new Set<string>();
  /** Names of the calls made, in order, with the number of rows. */
  readonly calls: string[] = [];
  destroyed = false;
  private stamp = 1;
  private readonly replies = new Map<string, number>();
  private readonly nodeRows = new Map<string, NodeRow>();
  private readonly networkRows = new Map<number, NetworkRow>();
  private readonly linkRows = new Map<string, LinkRow>();
  private readonly remoteRows = new Map<string, RemoteEndpointRow>();
  private readonly backendRows = new Map<string, BackendRow>();
  private readonly serviceRows = new Map<string, ServiceRow>();

  /** Ways through WireGuard as last told. */
  wireguard: readonly WireguardPeerRow[] = [];

  setWireguard(rows: readonly WireguardPeerRow[]): void {
    this.calls.push(`setWireguard ${rows.length}`);
    this.wireguard = rows;
  }

  setNodeId(nodeId: string): void {
    this.calls.push(`setNodeId ${nodeId}`);
    this.nodeId = nodeId;
  }

  setUnderlay(interfaceNames: readonly string[]): boolean {
    const changed = interfaceNames.join(' ') !== this.underlay.join(' ');
    this.underlay = interfaceNames;
    return changed;
  }

  setLocalAddresses(addresses: readonly string[]): void {
    this.localAddresses = addresses;
  }

  putNodes(rows: readonly NodeRow[]): void {
    this.calls.push(`putNodes ${rows.length}`);
    for (const row of rows) this.nodeRows.set(row.nodeId, row);
  }

  removeNodes(nodeIds: readonly string[]): void {
    this.calls.push(`removeNodes ${nodeIds.length}`);
    for (const nodeId of nodeIds) this.nodeRows.delete(nodeId);
  }

  putNetworks(rows: readonly NetworkRow[]): void {
    this.calls.push(`putNetworks ${rows.length}`);
    for (const row of rows) this.networkRows.set(row.vni, row);
  }

  removeNetworks(vnis: readonly number[]): void {
    this.calls.push(`removeNetworks ${vnis.length}`);
    for (const vni of vnis) this.networkRows.delete(vni);
  }

  attachLink(row: LinkRow): void {
    this.calls.push(`attachLink ${row.address}`);
    this.linkRows.set(row.interfaceName, row);
  }

  detachLink(interfaceName: string): void {
    this.linkRows.delete(interfaceName);
  }

  links(): readonly LinkRow[] {
    return [...this.linkRows.values()];
  }

  putRemoteEndpoints(rows: readonly RemoteEndpointRow[]): void {
    this.calls.push(`putRemoteEndpoints ${rows.length}`);
    for (const row of rows) this.remoteRows.set(addressKey(row), row);
  }

  removeRemoteEndpoints(rows: readonly { readonly vni: number; readonly address: string }[]): void {
    this.calls.push(`removeRemoteEndpoints ${rows.length}`);
    for (const row of rows) this.remoteRows.delete(addressKey(row));
  }

  putBackends(rows: readonly BackendRow[]): void {
    this.calls.push(`putBackends ${rows.length}`);
    for (const row of rows) this.backendRows.set(addressKey(row), row);
  }

  removeBackends(rows: readonly { readonly vni: number; readonly address: string }[]): void {
    this.calls.push(`removeBackends ${rows.length}`);
    for (const row of rows) {
      const user = [...this.serviceRows.values()].find((service) => {
        return service.backends.some((each) => addressKey(each) === addressKey(row));
      });
      invariant(user === undefined, `backend ${addressKey(row)} is in use by a service`);
      this.backendRows.delete(addressKey(row));
    }
  }

  putServices(rows: readonly ServiceRow[]): void {
    this.calls.push(`putServices ${rows.length}`);
    for (const row of rows) {
      for (const backend of row.backends) {
        const known = this.backendRows.has(addressKey(backend));
        invariant(known, `backend ${addressKey(backend)} of ${serviceText(row.key)} is unknown`);
      }
      this.serviceRows.set(serviceText(row.key), row);
    }
  }

  removeServices(keys: readonly ServiceKey[]): void {
    this.calls.push(`removeServices ${keys.length}`);
    for (const key of keys) this.serviceRows.delete(serviceText(key));
  }

  dump(): DatapathState {
    return {
      nodes: [...this.nodeRows.values()],
      networks: [...this.networkRows.values()],
      links: this.links(),
      remoteEndpoints: [...this.remoteRows.values()],
      backends: [...this.backendRows.values()],
      services: [...this.serviceRows.values()],
    };
  }

  sendEchoes(tunnelAddresses: readonly string[]): void {
    for (const tunnel of tunnelAddresses) {
      if (!this.answering.has(tunnel)) continue;
      this.stamp += 1;
      this.replies.set(tunnel, this.stamp);
    }
  }

  /** The row of a tunnel goes, as with the last entry that leads there. */
  forgetReply(tunnel: string): void {
    this.replies.delete(tunnel);
  }

  echoReplies(): ReadonlyMap<string, number> {
    return new Map(this.replies);
  }

  sendSummed(nodeId: string, port: number, payload: Uint8Array): void {
    this.calls.push(`sendSummed ${nodeId} ${port} ${payload.length}`);
  }

  softwareChecksums(): boolean {
    return this.calls.includes('useSoftwareChecksums');
  }

  useSoftwareChecksums(): void {
    this.calls.push('useSoftwareChecksums');
  }

  /** Ways of direct return as last told. */
  directWays: readonly DirectWayRow[] = [];
  /** What a test does with the probes this node sends. */
  onDirectProbe: (tunnelAddress: string, nonce: Uint8Array, packetBytes: number) => boolean = () =>
    false;
  private awaitedProbes = new Map<string, DirectProbeRow>();

  setDirectWays(rows: readonly DirectWayRow[]): void {
    this.directWays = rows;
  }

  awaitDirectProbes(nonces: readonly Uint8Array[]): void {
    const former = this.awaitedProbes;
    const entries = nonces.map((nonce) => [Buffer.from(nonce).toString('hex'), nonce] as const);
    this.awaitedProbes = new Map(
      entries.map(([key, nonce]) => [key, former.get(key) ?? { nonce, bytes: 0 }]),
    );
  }

  directProbes(): readonly DirectProbeRow[] {
    return [...this.awaitedProbes.values()];
  }

  sendDirectProbe(tunnelAddress: string, nonce: Uint8Array, packetBytes: number): boolean {
    return this.onDirectProbe(tunnelAddress, nonce, packetBytes);
  }

  /** A probe arrives from the underlay; the programs know those that are awaited only. */
  receiveDirectProbe(nonce: Uint8Array, bytes: number): void {
    const key = Buffer.from(nonce).toString('hex');
    if (this.awaitedProbes.has(key)) this.awaitedProbes.set(key, { nonce, bytes });
  }

  counters(): readonly CounterRow[] {
    return [];
  }

  connections(): readonly ConnectionRow[] {
    return [];
  }

  startTrace(filter: TraceFilter): void {
    const ports = [filter.port, ...(filter.otherPorts ?? [])].join(',');
    this.calls.push(`startTrace ${filter.address} ${ports}`);
  }

  readTrace(): { readonly rows: readonly TraceRow[]; readonly lost: number } {
    return { rows: [], lost: 0 };
  }

  stopTrace(): void {
    this.calls.push('stopTrace');
  }

  async repair(): Promise<DatapathRepair> {
    return { parts: 0, rules: false };
  }

  close(): void {
    this.calls.push('close');
  }

  destroy(): void {
    this.destroyed = true;
    for (const rows of [this.nodeRows, this.networkRows, this.linkRows]) rows.clear();
    for (const rows of [this.remoteRows, this.backendRows, this.serviceRows]) rows.clear();
  }
}
