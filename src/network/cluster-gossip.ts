/**
 * This node's place in the gossip ring: starts the thread once the keys are known, joins through
 * the managers, follows which networks are in use here, and announces own entries.
 */
import type { Clock } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import type { EncryptionKey } from '../model/gen/docker/swarmkit/v1/types_pb.js';
import type {
  Gossip,
  GossipEvent,
  GossipOptions,
  GossipProfile,
  StartGossip,
} from '../native/gossip-types.js';
import type { Logger } from '../observe/logger.js';
import { Announcer, type OwnEntry } from './announcer.js';
import { MEMBERS_CALL_PERIOD_MS, MEMBERS_CALLED_MAX, REJOIN_PERIOD_MS } from './limits.js';
import type { NodeNetworkConfig } from './types.js';

const GOSSIP_SUBSYSTEM = 'networking:gossip';

/** Where and how to take part. */
export interface ClusterGossipOptions {
  readonly bindAddress: string;
  readonly advertiseAddress: string;
  readonly port: number;
  readonly profile: GossipProfile;
}

/** What the ring is given and told. */
export interface ClusterGossipParts {
  readonly startGossip: StartGossip;
  readonly options: ClusterGossipOptions;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onEvents: (events: readonly GossipEvent[]) => void;
  /** Networks may be followed now. */
  readonly onReady: () => void;
}

/** Where joining stands. */
export type JoinState =
  | { readonly kind: 'not-started' }
  | { readonly kind: 'joining' }
  /** In the ring since; also when there is nobody else to join. */
  | { readonly kind: 'joined'; readonly sinceMs: number };

/** What another node waits for. */
export type InSync = Extract<GossipEvent, { type: 'in-sync' }>;

/** One membership; a node that leaves makes a new one. */
export class ClusterGossip {
  private readonly parts: ClusterGossipParts;
  private gossip: Gossip | undefined;
  private announcer: Announcer | undefined;
  private nodeName = '';
  private keys = '';
  private peers: readonly string[] = [];
  /** Other nodes, where this one manages them; which of them is called next, and when some were. */
  private members: readonly string[] = [];
  private nextMember = 0;
  private calledMs = Number.NEGATIVE_INFINITY;
  private memberAnswered = false;
  private readonly networks = new Set<string>();
  private state: JoinState = { kind: 'not-started' };
  private triedMs = Number.NEGATIVE_INFINITY;
  /**
   * The first join has ended, one way or the other. Networks are joined only then: joining one
   * fetches its entries from the members that are known at that moment.
   */
  private ready = false;

  constructor(parts: ClusterGossipParts) {
    this.parts = parts;
  }

  get join(): JoinState {
    return this.state;
  }

  /** Takes over what a session with a manager told. @throws EADDRINUSE and the like at the first call */
  configure(
    nodeName: string,
    keys: readonly EncryptionKey[],
    others: Pick<NodeNetworkConfig, 'managerAddresses' | 'memberAddresses'>,
  ): void {
    const ring = keyRing(keys);
    const text = ring.map((key) => Buffer.from(key).toString('hex')).join(' ');
    if (this.gossip !== undefined && nodeName !== this.nodeName) this.close();
    if (this.gossip === undefined) {
      this.start(nodeName, ring);
    } else if (text !== this.keys && ring.length > 0) {
      this.gossip.setKeys(ring);
    }
    this.keys = text;
    const { advertiseAddress } = this.parts.options;
    this.members = others.memberAddresses;
    const peers = [...new Set(others.managerAddresses)]
      .filter((address) => address !== advertiseAddress)
      .sort();
    const fresh = peers.filter((address) => !this.peers.includes(address));
    this.peers = peers;
    if (fresh.length > 0) this.reach(fresh);
    else if (peers.length === 0) this.joined();
    if (peers.length === 0) {
      this.becomeReady();
      this.callMembers();
    }
  }

  /** Called now and then: tries again while nobody could be reached. */
  tick(): void {
    if (this.peers.length === 0) this.callMembers();
    if (this.state.kind !== 'joining') return;
    if (this.parts.clock.monotonicMs() - this.triedMs >= REJOIN_PERIOD_MS) this.reach(this.peers);
  }

  /** Joins and leaves networks so that exactly these are followed. Returns the ones left. */
  follow(networkIds: ReadonlySet<string>): readonly string[] {
    const { gossip, networks } = this;
    if (gossip === undefined || !this.ready) return [];
    const left = [...networks].filter((id) => !networkIds.has(id));
    for (const id of left) {
      this.announcer?.forgetNetwork(id);
      gossip.leaveNetwork(id);
      networks.delete(id);
    }
    for (const id of networkIds) {
      if (networks.has(id)) continue;
      gossip.joinNetwork(id);
      networks.add(id);
    }
    return left;
  }

  /** Makes these the entries of this node; those on networks not followed are left out. */
  announce(entries: readonly OwnEntry[]): void {
    this.announcer?.announce(entries.filter(({ networkId }) => this.networks.has(networkId)));
  }

  /** Resolves with the number of nodes that have not confirmed in time what was announced (see Gossip). */
  async spread(networkIds: readonly string[]): Promise<number> {
    return (await this.gossip?.spread(networkIds)) ?? 0;
  }

  /** What these events stand for is in force on this node. */
  acknowledge(events: readonly InSync[]): void {
    for (const { networkId, owner, version } of events)
      this.gossip?.acknowledge(networkId, owner, version);
  }

  /** A member that failed is heard of by other ways: tries it at once. */
  reconnect(nodeName: string): void {
    this.gossip?.reconnect(nodeName);
  }

  counters(): Readonly<Record<string, number>> {
    return this.gossip?.counters() ?? {};
  }

  /** Says good-bye. */
  async leave(timeoutMs: number): Promise<void> {
    await this.gossip?.leave(timeoutMs);
    this.close();
  }

  /** Goes silent at once: the others keep what this node announced as long as its data path lives. */
  close(): void {
    this.gossip?.close();
    this.gossip = undefined;
    this.announcer = undefined;
    this.networks.clear();
    this.peers = [];
    this.calledMs = Number.NEGATIVE_INFINITY;
    this.memberAnswered = false;
    this.state = { kind: 'not-started' };
    this.ready = false;
  }

  private start(nodeName: string, keys: readonly Uint8Array[]): void {
    const { startGossip, options, onEvents, logger } = this.parts;
    const settings: GossipOptions = { ...options, nodeName, keys, delegate: 'networkdb' };
    this.gossip = startGossip(settings, onEvents);
    this.announcer = new Announcer(this.gossip, logger);
    this.nodeName = nodeName;
    this.state = { kind: 'joining' };
  }

  private reach(addresses: readonly string[]): void {
    const { gossip } = this;
    const { clock, logger } = this.parts;
    if (gossip === undefined) return;
    this.triedMs = clock.monotonicMs();
    gossip.join(addresses).then(
      (reached) => {
        if (this.gossip !== gossip) return;
        if (reached > 0) this.joined();
        else logger.warn({ addresses }, 'no manager answered on the gossip port');
        this.becomeReady();
      },
      (error: unknown) => {
        if (this.gossip !== gossip) return;
        logger.warn({ addresses, err: SkepError.from(error).message }, 'gossip join failed');
        this.becomeReady();
      },
    );
  }

  /**
   * A manager without others tells the nodes it knows where it is: at its former address they would look
   * in vain. One that answers spreads it; until then some others each time.
   */
  private callMembers(): void {
    const { gossip, members } = this;
    const { clock, logger } = this.parts;
    const nowMs = clock.monotonicMs();
    if (gossip === undefined || members.length === 0 || this.memberAnswered) return;
    if (nowMs - this.calledMs < MEMBERS_CALL_PERIOD_MS) return;
    this.calledMs = nowMs;
    const from = this.nextMember % members.length;
    const called = [...members.slice(from), ...members.slice(0, from)].slice(0, MEMBERS_CALLED_MAX);
    this.nextMember = from + called.length;
    gossip.join(called).then(
      (reached) => {
        if (this.gossip === gossip && reached > 0) this.memberAnswered = true;
      },
      (error: unknown) => {
        logger.info({ called, err: SkepError.from(error).message }, 'no node answered yet');
      },
    );
  }

  private becomeReady(): void {
    if (this.ready) return;
    this.ready = true;
    this.parts.onReady();
  }

  private joined(): void {
    if (this.state.kind !== 'joining') return;
    this.state = { kind: 'joined', sinceMs: this.parts.clock.monotonicMs() };
  }
}

/** Keys of the gossip subsystem, oldest first. */
function keyRing(keys: readonly EncryptionKey[]): readonly Uint8Array[] {
  return keys
    .filter(({ subsystem }) => subsystem === GOSSIP_SUBSYSTEM)
    .sort((a, b) => (a.lamportTime < b.lamportTime ? -1 : a.lamportTime > b.lamportTime ? 1 : 0))
    .map(({ key }) => key);
}
