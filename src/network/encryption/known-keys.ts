/**
 * The key records of other nodes, the newest of each. A record stays known after its node has left,
 * so that an older one is not believed later; only nodes that announce one on a network in use here
 * are peers.
 */
import type { GossipEvent } from '../../native/gossip-types.js';
import type { TlsIdentity } from '../../rpc/types.js';
import { KEY_CLOCK_SKEW_MS, KEY_RECORDS_MAX } from '../limits.js';
import { KEY_TABLE, type NodeKeys, readKeyRecord, type RecordRefusal } from './key-record.js';

type EntryEvent = Extract<GossipEvent, { type: 'entry' | 'entry-removed' }>;

/** Place of records that were stored: gossip has not said yet on which networks they are. */
const FROM_FILE = '';

interface Known {
  readonly record: Uint8Array;
  readonly keys: NodeKeys;
  /** Networks it is announced on. */
  readonly networks: Set<string>;
}

/** What became of an event. */
export type KeyEventOutcome = 'changed' | 'unchanged' | RecordRefusal | 'replayed' | 'too-many';

/** Records by node id. */
export class KnownKeys {
  private readonly known = new Map<string, Known>();
  /** The last record of each node whose certificate does not lead to a root known here, yet. */
  private readonly uncertified = new Map<string, { networkId: string; value: Uint8Array }>();
  private readonly identity: () => TlsIdentity;
  private readonly nowMs: () => number;

  constructor(identity: () => TlsIdentity, nowMs: () => number) {
    this.identity = identity;
    this.nowMs = nowMs;
  }

  /** Takes records over from the last process; they are checked again. */
  restore(records: ReadonlyMap<string, Uint8Array>): void {
    for (const [owner, value] of records) this.learn(owner, FROM_FILE, value);
  }

  /** Takes in what gossip says. Events of other tables are for others. */
  apply(event: EntryEvent): KeyEventOutcome {
    if (event.table !== KEY_TABLE) return 'unchanged';
    const { networkId, owner } = event;
    if (event.type === 'entry') return this.learn(owner, networkId, event.value);
    // A failed node's packets may go on without its skepd.
    if (event.reason === 'owner-failed') return 'unchanged';
    return this.leave(owner, networkId) ? 'changed' : 'unchanged';
  }

  /** This node has another certificate or root: looks again at what it could not judge. */
  judgeAgain(): KeyEventOutcome {
    const waiting = [...this.uncertified];
    this.uncertified.clear();
    const outcomes = waiting.map(([owner, { networkId, value }]) =>
      this.learn(owner, networkId, value),
    );
    return outcomes.includes('changed') ? 'changed' : 'unchanged';
  }

  /** A network is no longer followed here. */
  dropNetwork(networkId: string): void {
    for (const owner of this.known.keys()) this.leave(owner, networkId);
  }

  /** Keys of the nodes that are peers now, by node id in order. */
  peers(): readonly NodeKeys[] {
    const nowMs = this.nowMs();
    return [...this.known.values()]
      .filter(({ networks, keys }) => {
        return networks.size > 0 && keys.expiresMs + KEY_CLOCK_SKEW_MS >= nowMs;
      })
      .map(({ keys }) => keys)
      .sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1));
  }

  /** Every record, to be stored. */
  records(): ReadonlyMap<string, Uint8Array> {
    return new Map([...this.known].map(([owner, { record }]) => [owner, record]));
  }

  private learn(owner: string, networkId: string, value: Uint8Array): KeyEventOutcome {
    const former = this.known.get(owner);
    if (former !== undefined && Buffer.compare(former.record, value) === 0) {
      const isNew = former.networks.size === 0;
      former.networks.delete(FROM_FILE);
      former.networks.add(networkId);
      return isNew ? 'changed' : 'unchanged';
    }
    if (former === undefined && this.known.size >= KEY_RECORDS_MAX) return 'too-many';
    const judge = { owner, identity: this.identity(), nowMs: this.nowMs() };
    const read = readKeyRecord(value, judge);
    if (read.kind === 'refused') {
      const hasRoom = this.uncertified.has(owner) || this.uncertified.size < KEY_RECORDS_MAX;
      if (read.why === 'certificate' && hasRoom) this.uncertified.set(owner, { networkId, value });
      return read.why;
    }
    this.uncertified.delete(owner);
    if (former !== undefined && read.keys.sequence <= former.keys.sequence) return 'replayed';
    const networks = new Set(former?.networks ?? []);
    networks.delete(FROM_FILE);
    networks.add(networkId);
    this.known.set(owner, { record: value, keys: read.keys, networks });
    return 'changed';
  }

  /** True if the node is no peer any more. */
  private leave(owner: string, networkId: string): boolean {
    const networks = this.known.get(owner)?.networks;
    if (networks === undefined || networks.size === 0) return false;
    networks.delete(networkId);
    networks.delete(FROM_FILE);
    return networks.size === 0;
  }
}
