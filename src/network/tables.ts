/**
 * Entries other nodes announced, by network. An entry whose owner failed in gossip is not dropped
 * but held: whether the owner is dead is decided by its data path (see liveness.ts).
 */
import type { GossipEvent } from '../native/gossip-types.js';
import { ENTRIES_PER_NETWORK_MAX } from './limits.js';
import {
  decodeEndpoint,
  decodePeer,
  ENDPOINT_TABLE,
  type EndpointValue,
  PEER_TABLE,
  type PeerValue,
} from './records.js';
import type { EndpointView, PeerView } from './view.js';

interface Entry<T> {
  readonly networkId: string;
  readonly key: string;
  readonly owner: string;
  readonly value: T;
  readonly sequence: number;
  held: boolean;
}

/** What an event changed, for whoever keeps leftovers of a former process. */
export interface WithdrawnEndpoint {
  readonly networkId: string;
  readonly address: string;
}

type EntryEvent = Extract<GossipEvent, { type: 'entry' }>;
type RemovalEvent = Extract<GossipEvent, { type: 'entry-removed' }>;

/** All entries of other nodes on the networks this node has joined. */
export class EndpointTables {
  /** By network, then table and key. */
  private readonly networks = new Map<string, Map<string, Entry<EndpointValue | PeerValue>>>();
  /** Of each owner, the tunnels it announced and in how many entries. */
  private readonly tunnels = new Map<string, Map<string, number>>();
  private heldCount = 0;
  private readonly onWithdrawn: (endpoint: WithdrawnEndpoint) => void;
  private sequence = 0;
  private refusedEntries = 0;

  constructor(onWithdrawn: (endpoint: WithdrawnEndpoint) => void = () => undefined) {
    this.onWithdrawn = onWithdrawn;
  }

  /** Entries that were malformed or over the limit, since start. */
  get refused(): number {
    return this.refusedEntries;
  }

  /** Takes a change in. True if anything visible changed. */
  apply(event: EntryEvent | RemovalEvent): boolean {
    return event.type === 'entry' ? this.put(event) : this.remove(event);
  }

  /** Forgets a network this node left. */
  dropNetwork(networkId: string): void {
    for (const entry of this.networks.get(networkId)?.values() ?? []) this.uncount(entry);
    this.networks.delete(networkId);
  }

  /** Removes entries of `owner` that are held; all of them when it is dead, the unrefreshed when it came back. */
  dropHeld(owner: string): boolean {
    return this.drop((entry) => entry.owner === owner && entry.held);
  }

  /** Removes all entries of `owner`. */
  dropOwner(owner: string): boolean {
    return this.drop((entry) => entry.owner === owner);
  }

  private drop(isGone: (entry: Entry<EndpointValue | PeerValue>) => boolean): boolean {
    let changed = false;
    for (const entries of this.networks.values()) {
      for (const [id, entry] of entries) {
        if (!isGone(entry)) continue;
        entries.delete(id);
        this.uncount(entry);
        this.withdrawn(entry);
        changed = true;
      }
    }
    return changed;
  }

  /** Owners with held entries. */
  heldOwners(): ReadonlySet<string> {
    const owners = new Set<string>();
    if (this.heldCount === 0) return owners;
    for (const entry of this.all()) if (entry.held) owners.add(entry.owner);
    return owners;
  }

  /** Tunnel addresses an owner announced. */
  tunnelsOf(owner: string): readonly string[] {
    return [...(this.tunnels.get(owner)?.keys() ?? [])];
  }

  /** Tunnel addresses of each owner that announces some, in order. */
  tunnelsByOwner(): ReadonlyMap<string, readonly string[]> {
    return new Map([...this.tunnels].map(([owner, counts]) => [owner, [...counts.keys()].sort()]));
  }

  /** True if an owner in the ring announces addresses behind this tunnel. */
  announces(tunnelAddress: string): boolean {
    for (const { value, held } of this.all()) {
      if (!held && 'tunnelAddress' in value && value.tunnelAddress === tunnelAddress) return true;
    }
    return false;
  }

  /** The peers among the entries. */
  peers(): readonly PeerView[] {
    const views: PeerView[] = [];
    for (const { value, networkId, key, owner, sequence, held } of this.all()) {
      if ('tunnelAddress' in value) views.push({ ...value, networkId, key, owner, sequence, held });
    }
    return views;
  }

  /** The named endpoints among the entries. */
  endpoints(): readonly EndpointView[] {
    const views: EndpointView[] = [];
    for (const { value, networkId, key, owner } of this.all()) {
      if ('endpointIp' in value) views.push({ ...value, networkId, key, owner });
    }
    return views;
  }

  private *all(): Iterable<Entry<EndpointValue | PeerValue>> {
    for (const entries of this.networks.values()) yield* entries.values();
  }

  private put(event: EntryEvent): boolean {
    const { networkId, table, key, owner } = event;
    if (table !== ENDPOINT_TABLE && table !== PEER_TABLE) return false;
    const value = table === ENDPOINT_TABLE ? decodeEndpoint(event.value) : decodePeer(event.value);
    const entries = this.networks.get(networkId) ?? new Map();
    const id = `${table} ${key}`;
    if (value === undefined || (entries.size >= ENTRIES_PER_NETWORK_MAX && !entries.has(id))) {
      this.refusedEntries += 1;
      return false;
    }
    this.sequence += 1;
    const former = entries.get(id);
    if (former !== undefined) this.uncount(former);
    const entry = { networkId, key, owner, value, sequence: this.sequence, held: false };
    entries.set(id, entry);
    this.countTunnel(entry, 1);
    this.networks.set(networkId, entries);
    return true;
  }

  private remove(event: RemovalEvent): boolean {
    const entries = this.networks.get(event.networkId);
    const id = `${event.table} ${event.key}`;
    const entry = entries?.get(id);
    // A late removal by a former owner must not take the entry of the present one.
    if (entries === undefined || entry === undefined || entry.owner !== event.owner) return false;
    switch (event.reason) {
      case 'owner-failed':
        if (!entry.held) this.heldCount += 1;
        entry.held = true;
        return true;
      case 'deleted':
      case 'owner-left-network':
      case 'owner-left':
        entries.delete(id);
        this.uncount(entry);
        this.withdrawn(entry);
        return true;
    }
  }

  /** The entry is in no map any more. */
  private uncount(entry: Entry<EndpointValue | PeerValue>): void {
    if (entry.held) this.heldCount -= 1;
    this.countTunnel(entry, -1);
  }

  private countTunnel({ owner, value }: Entry<EndpointValue | PeerValue>, by: 1 | -1): void {
    if (!('tunnelAddress' in value)) return;
    const counts = this.tunnels.get(owner) ?? new Map<string, number>();
    const count = (counts.get(value.tunnelAddress) ?? 0) + by;
    if (count > 0) counts.set(value.tunnelAddress, count);
    else counts.delete(value.tunnelAddress);
    if (counts.size > 0) this.tunnels.set(owner, counts);
    else this.tunnels.delete(owner);
  }

  private withdrawn(entry: Entry<EndpointValue | PeerValue>): void {
    const { networkId, value } = entry;
    const address = 'endpointIp' in value ? value.endpointIp : value.address;
    this.onWithdrawn({ networkId, address });
  }
}
