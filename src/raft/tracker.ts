/** The members as this node knows them: configuration, each one's progress, votes of an election. */
import { Inflights } from './inflights.js';
import {
  changedMembership,
  confOf,
  type Membership,
  membershipOf,
  membersOf,
  NO_MEMBERS,
  votersOf,
} from './membership.js';
import { Progress } from './progress.js';
import { agreedIndex, type Halves, hasMajority, voteResult, type VoteResult } from './quorum.js';
import type { ConfChange, ConfState, NodeId } from './types.js';

/** Bounds of the window towards each member. */
export interface InflightLimits {
  readonly messagesMax: number;
  readonly bytesMax: number;
}

/** See the file's head. */
export class Tracker {
  readonly #limits: InflightLimits;
  readonly #progress = new Map<NodeId, Progress>();
  #membership: Membership = NO_MEMBERS;
  #voters: ReadonlySet<NodeId> = votersOf(NO_MEMBERS);
  #halves: Halves = [];
  /** All members' ids in ascending order, so that messages go out in a fixed order. */
  #ids: readonly NodeId[] = [];
  #votes = new Map<NodeId, boolean>();

  constructor(limits: InflightLimits) {
    this.#limits = limits;
  }

  /** All members' ids in ascending order. */
  get ids(): readonly NodeId[] {
    return this.#ids;
  }

  /** Everyone with a vote; in a joint configuration those of both halves. */
  get voters(): ReadonlySet<NodeId> {
    return this.#voters;
  }

  get conf(): ConfState {
    return confOf(this.#membership);
  }

  /** Whether a joint change is under way. */
  get isJoint(): boolean {
    return this.#halves.length > 1;
  }

  /** Whether the leader is to end the joint configuration by itself. */
  get leavesJoint(): boolean {
    return this.#membership.autoLeave;
  }

  get(id: NodeId): Progress | undefined {
    return this.#progress.get(id);
  }

  /** Whether this voter decides alone, perhaps in both halves. */
  isOnlyVoter(id: NodeId): boolean {
    return this.#voters.size === 1 && this.#voters.has(id);
  }

  /** Replaces the configuration; everyone's progress begins anew. */
  restore(conf: ConfState, next: number): void {
    this.#progress.clear();
    this.#use(membershipOf(conf));
    for (const id of this.#ids) this.#progress.set(id, this.#newProgress(0, next));
  }

  /** Whether a change would change anything. */
  wouldChange(change: ConfChange): boolean {
    return changedMembership(this.#membership, change) !== this.#membership;
  }

  /** Applies a change; what is impossible, or there already, changes nothing. */
  apply(change: ConfChange, next: number): void {
    const membership = changedMembership(this.#membership, change);
    if (membership === this.#membership) return;
    const formerVoters = this.#voters;
    this.#use(membership);
    const members = membersOf(membership);
    for (const id of this.#progress.keys()) if (!members.has(id)) this.#progress.delete(id);
    for (const id of members) {
      const current = this.#progress.get(id);
      const isPromoted = this.#voters.has(id) && !formerVoters.has(id);
      if (current !== undefined && !isPromoted) continue;
      const progress = current ?? this.#newProgress(0, next);
      // Counted as active, or the quorum check could fail before it had a chance to answer.
      progress.recentActive = true;
      this.#progress.set(id, progress);
    }
  }

  /** Begins everyone's progress anew, for a new term. */
  resetProgress(next: number): void {
    for (const id of this.#progress.keys()) this.#progress.set(id, this.#newProgress(0, next));
  }

  /** Highest index on the disks of a quorum. */
  agreedIndex(): number {
    return agreedIndex(this.#halves, (id) => this.#progress.get(id)?.match ?? 0);
  }

  /** Whether these make a quorum. */
  isQuorum(members: ReadonlySet<NodeId>): boolean {
    return hasMajority(this.#halves, (id) => members.has(id));
  }

  /** Whether a quorum (with `self` counted) was heard of since the last call; starts anew. */
  checkQuorumActive(self: NodeId): boolean {
    const active = hasMajority(
      this.#halves,
      (id) => id === self || this.#progress.get(id)?.recentActive === true,
    );
    for (const progress of this.#progress.values()) progress.recentActive = false;
    return active;
  }

  resetVotes(): void {
    this.#votes = new Map();
  }

  /** Counts the first vote of each member; returns how the election stands. */
  recordVote(id: NodeId, granted: boolean): VoteResult {
    if (!this.#votes.has(id)) this.#votes.set(id, granted);
    return voteResult(this.#halves, this.#votes);
  }

  #use(membership: Membership): void {
    const { incoming, outgoing } = membership;
    this.#membership = membership;
    this.#voters = votersOf(membership);
    this.#halves = outgoing.size === 0 ? [incoming] : [incoming, outgoing];
    this.#ids = [...membersOf(membership)].sort((a, b) => a - b);
  }

  #newProgress(match: number, next: number): Progress {
    const inflights = new Inflights(this.#limits.messagesMax, this.#limits.bytesMax);
    return new Progress({ match, next, inflights });
  }
}
