/**
 * Two kinds of liveness: the agent (gossip) and the data path (echoes answered in the kernel). A
 * node is dead when gossip says failed and its data path has been silent for a bound. A stopped
 * skepd alone takes nothing out.
 */
import type { Clock } from '../model/environment.js';
import type { GossipMember } from '../native/gossip-types.js';
import {
  DOUBT_MS_MIN,
  ECHO_PERIOD_MS,
  ECHO_SILENCE_MS,
  FAILED_COUNTS_MS,
  FAILED_WATCH_MS,
  FAILED_WATCH_PERIODS,
  INTEREST_MS,
  REFRESH_MS,
} from './limits.js';

/** The part of the data path used here. */
export interface EchoSource {
  sendEchoes(tunnelAddresses: readonly string[]): void;
  echoReplies(): ReadonlyMap<string, number>;
}

/** Where the announcements of an owner stand. */
export interface HeldEntries {
  heldOwners(): ReadonlySet<string>;
  tunnelsOf(owner: string): readonly string[];
  dropHeld(owner: string): boolean;
}

/** What is watched about one tunnel. */
interface TunnelWatch {
  /** When watching began, or the last echo was seen to have come back (own clock). */
  heardMs: number;
  /** The data path's stamp of that echo; only its changing matters. */
  stamp: number | undefined;
  /** When the last echo was seen to have come back, if one was. */
  answeredMs?: number;
}

/** What liveness is judged from, and who is told. */
export interface LivenessParts {
  readonly clock: Clock;
  readonly echoes: EchoSource;
  readonly entries: HeldEntries;
  /** The data path of a member that failed answers again. */
  readonly onAnswer: (owner: string) => void;
}

/** Watches members gossip has doubts about, and tunnels leftovers lead to. */
export class Liveness {
  private readonly clock: Clock;
  private readonly echoes: EchoSource;
  private readonly entries: HeldEntries;
  private readonly onAnswer: (owner: string) => void;
  private readonly members = new Map<string, GossipMember>();
  /** Members that failed, and when. */
  private readonly failedMs = new Map<string, number>();
  /** Since when gossip has had doubts about members that it has doubts about. */
  private readonly doubtedMs = new Map<string, number>();
  /** Tunnels of members in doubt, kept when what they announced is dropped. */
  private readonly lastTunnels = new Map<string, readonly string[]>();
  private ticks = 0;
  /** When a member came back to life while entries of it were held. */
  private readonly returnedMs = new Map<string, number>();
  private readonly tunnels = new Map<string, TunnelWatch>();
  /** Members somebody asked about, and when. */
  private readonly interest = new Map<string, number>();

  constructor(parts: LivenessParts) {
    this.clock = parts.clock;
    this.echoes = parts.echoes;
    this.entries = parts.entries;
    this.onAnswer = parts.onAnswer;
  }

  /** Takes in what gossip says of a member. */
  member(member: GossipMember): void {
    const former = this.members.get(member.name);
    this.members.set(member.name, member);
    if (member.state === 'alive') {
      if (former !== undefined && former.state !== 'alive') {
        this.returnedMs.set(member.name, this.clock.monotonicMs());
      }
    } else {
      this.returnedMs.delete(member.name);
    }
    if (member.state !== 'failed') this.failedMs.delete(member.name);
    else if (former?.state !== 'failed') this.failedMs.set(member.name, this.clock.monotonicMs());
    const isDoubted = member.state === 'suspect' || member.state === 'failed';
    if (!isDoubted) this.doubtedMs.delete(member.name);
    else if (!this.doubtedMs.has(member.name))
      this.doubtedMs.set(member.name, this.clock.monotonicMs());
    if (member.state === 'left') {
      this.members.delete(member.name);
      this.lastTunnels.delete(member.name);
    }
  }

  /** Forgets a member, as if it had left. */
  disown(owner: string): void {
    const member = this.members.get(owner);
    if (member !== undefined) this.member({ ...member, state: 'left' });
  }

  /** Where gossip has a member, also one that failed; undefined if it knows none of that name. */
  addressOf(owner: string): string | undefined {
    return this.members.get(owner)?.address;
  }

  /** Whether gossip has no doubt about a member. */
  isMemberAlive(owner: string): boolean {
    return this.members.get(owner)?.state === 'alive';
  }

  /**
   * Members, this node not counted: those reached, by gossip or data path, and all but the ones that
   * failed long ago.
   */
  counts(): { readonly reached: number; readonly others: number } {
    const now = this.clock.monotonicMs();
    let reached = 0;
    let others = 0;
    for (const { name } of this.members.values()) {
      if (this.isReached(name)) reached += 1;
      if (now - (this.failedMs.get(name) ?? now) < FAILED_COUNTS_MS) others += 1;
    }
    return { reached, others };
  }

  /** Whether a member with one of these addresses is reached, by gossip or data path. */
  isAnyReached(addresses: readonly string[]): boolean {
    return [...this.members.values()].some(
      ({ name, address }) => addresses.includes(address) && this.isReached(name),
    );
  }

  /**
   * One period: reads the replies, drops what is dead or was not refreshed, sends the next echoes
   * to doubtful members and to `alsoTunnels`. True if entries were dropped.
   */
  tick(alsoTunnels: ReadonlySet<string>): boolean {
    const now = this.clock.monotonicMs();
    const held = this.entries.heldOwners();
    const doubtful = [...this.members.values()].filter(
      ({ state }) => state === 'suspect' || state === 'failed',
    );
    for (const [owner, askedMs] of this.interest) {
      if (now - askedMs >= INTEREST_MS) this.interest.delete(owner);
    }
    const doubted = doubtful.map(({ name }) => name);
    const owners = new Set([...held, ...doubted, ...this.interest.keys()]);
    const wanted = new Set(alsoTunnels);
    for (const owner of owners) for (const each of this.tunnelsOf(owner)) wanted.add(each);
    for (const tunnel of this.readReplies(wanted, now)) this.tellReturned(tunnel);
    let changed = false;
    for (const owner of held) {
      if (this.members.get(owner)?.state === 'alive' && !this.returnedMs.has(owner)) {
        this.returnedMs.set(owner, now);
      }
      if (this.isDead(owner, now) || this.isStale(owner, now)) {
        changed = this.entries.dropHeld(owner) || changed;
        this.returnedMs.delete(owner);
      }
    }
    if (this.ticks++ % FAILED_WATCH_PERIODS !== 0) {
      for (const tunnel of this.longSilent(held, now)) wanted.delete(tunnel);
    }
    if (wanted.size > 0) this.echoes.sendEchoes([...wanted]);
    return changed;
  }

  /** True while a watched tunnel is not known to be silent. */
  answers(tunnelAddress: string): boolean {
    const watch = this.tunnels.get(tunnelAddress);
    return watch === undefined || this.clock.monotonicMs() - watch.heardMs < ECHO_SILENCE_MS;
  }

  /**
   * For how long a member has surely been silent, in gossip and data path, milliseconds: since the first
   * sign of life that was due and did not come. Infinite if nothing is known of it. Asking starts a
   * watch: who asks again a silence later hears what the echoes say.
   */
  silenceMs(owner: string): number {
    const now = this.clock.monotonicMs();
    const tunnels = this.tunnelsOf(owner);
    if (tunnels.length > 0 && this.isMemberAlive(owner)) return 0;
    this.interest.set(owner, now);
    if (tunnels.length === 0) return Number.POSITIVE_INFINITY;
    const missedMs = (this.doubtedMs.get(owner) ?? now) - DOUBT_MS_MIN;
    const answers = tunnels.map((tunnel) => this.tunnels.get(tunnel)?.answeredMs);
    const dueMs = answers.map((answeredMs) => (answeredMs ?? -Infinity) + ECHO_PERIOD_MS);
    return Math.max(0, now - Math.max(missedMs, ...dueMs));
  }

  private tunnelsOf(owner: string): readonly string[] {
    const announced = this.entries.tunnelsOf(owner);
    if (announced.length === 0) return this.lastTunnels.get(owner) ?? [];
    const state = this.members.get(owner)?.state;
    if (state === 'suspect' || state === 'failed') this.lastTunnels.set(owner, announced);
    return announced;
  }

  private isReached(owner: string): boolean {
    if (this.isMemberAlive(owner)) return true;
    return this.tunnelsOf(owner).some((tunnel) => this.tunnels.has(tunnel) && this.answers(tunnel));
  }

  /** Tunnels of members that failed long ago and are not asked about. */
  private longSilent(held: ReadonlySet<string>, now: number): readonly string[] {
    return [...this.failedMs].flatMap(([owner, failedMs]) => {
      if (held.has(owner) || this.interest.has(owner) || now - failedMs < FAILED_WATCH_MS)
        return [];
      return this.tunnelsOf(owner);
    });
  }

  /** Gossip alone would find out only by its own, slower tries. */
  private tellReturned(tunnel: string): void {
    for (const owner of this.failedMs.keys()) {
      if (this.tunnelsOf(owner).includes(tunnel)) this.onAnswer(owner);
    }
  }

  private isDead(owner: string, now: number): boolean {
    const state = this.members.get(owner)?.state;
    if (state === 'alive' || state === 'suspect') return false;
    return this.tunnelsOf(owner).every((tunnel) => {
      const watch = this.tunnels.get(tunnel);
      return watch !== undefined && now - watch.heardMs >= ECHO_SILENCE_MS;
    });
  }

  /** Back in the ring, but the entry was not announced again in time. */
  private isStale(owner: string, now: number): boolean {
    const returned = this.returnedMs.get(owner);
    return returned !== undefined && now - returned >= REFRESH_MS;
  }

  /** Tunnels that answered after a silence. */
  private readReplies(wanted: ReadonlySet<string>, now: number): readonly string[] {
    const returned: string[] = [];
    for (const tunnel of this.tunnels.keys()) if (!wanted.has(tunnel)) this.tunnels.delete(tunnel);
    const replies = wanted.size === 0 ? new Map<string, number>() : this.echoes.echoReplies();
    for (const tunnel of wanted) {
      const stamp = replies.get(tunnel);
      const watch = this.tunnels.get(tunnel);
      if (watch === undefined) {
        this.tunnels.set(tunnel, { heardMs: now, stamp });
      } else if (stamp === undefined) {
        // Its row went with the last entry that led there.
        watch.stamp = undefined;
      } else if (stamp !== watch.stamp) {
        if (now - watch.heardMs >= ECHO_SILENCE_MS) returned.push(tunnel);
        watch.stamp = stamp;
        watch.heardMs = now;
        watch.answeredMs = now;
      }
    }
    return returned;
  }
}
