/**
 * Two kinds of liveness: the agent (gossip) and the data path (echoes answered in the kernel). A
 * node is dead when gossip says failed and its data path has been silent for a bound. A stopped
 * skepd alone takes nothing out.
 */
import type { Clock } from '../model/environment.js';
import type { GossipMember } from '../native/gossip-types.js';
import { ECHO_SILENCE_MS, INTEREST_MS, REFRESH_MS } from './limits.js';

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
}

/** Watches members gossip has doubts about, and tunnels leftovers lead to. */
export class Liveness {
  private readonly clock: Clock;
  private readonly echoes: EchoSource;
  private readonly entries: HeldEntries;
  private readonly members = new Map<string, GossipMember>();
  /** When a member came back to life while entries of it were held. */
  private readonly returnedMs = new Map<string, number>();
  private readonly tunnels = new Map<string, TunnelWatch>();
  /** Members somebody asked about, and when. */
  private readonly interest = new Map<string, number>();

  constructor(clock: Clock, echoes: EchoSource, entries: HeldEntries) {
    this.clock = clock;
    this.echoes = echoes;
    this.entries = entries;
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
    if (member.state === 'left') this.members.delete(member.name);
  }

  /** Whether gossip has no doubt about a member. */
  isMemberAlive(owner: string): boolean {
    return this.members.get(owner)?.state === 'alive';
  }

  /** Members that are in the ring, this node not counted. */
  aliveCount(): number {
    return [...this.members.values()].filter(({ state }) => state === 'alive').length;
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
    this.readReplies(wanted, now);
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
    if (wanted.size > 0) this.echoes.sendEchoes([...wanted]);
    return changed;
  }

  /** True while a watched tunnel is not known to be silent. */
  answers(tunnelAddress: string): boolean {
    const watch = this.tunnels.get(tunnelAddress);
    return watch === undefined || this.clock.monotonicMs() - watch.heardMs < ECHO_SILENCE_MS;
  }

  /**
   * True while some tunnel of a member is not known to be silent; false if none is known. Asking
   * starts a watch: who asks again a silence later hears what the echoes say.
   */
  isDataPathAlive(owner: string): boolean {
    this.interest.set(owner, this.clock.monotonicMs());
    return this.tunnelsOf(owner).some((tunnel) => this.answers(tunnel));
  }

  private tunnelsOf(owner: string): readonly string[] {
    return this.entries.tunnelsOf(owner);
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

  private readReplies(wanted: ReadonlySet<string>, now: number): void {
    for (const tunnel of this.tunnels.keys()) if (!wanted.has(tunnel)) this.tunnels.delete(tunnel);
    const replies = wanted.size === 0 ? new Map<string, number>() : this.echoes.echoReplies();
    for (const tunnel of wanted) {
      const stamp = replies.get(tunnel);
      const watch = this.tunnels.get(tunnel);
      if (watch === undefined) {
        this.tunnels.set(tunnel, { heardMs: now, stamp });
      } else if (stamp !== watch.stamp) {
        watch.stamp = stamp;
        watch.heardMs = now;
      }
    }
  }
}
