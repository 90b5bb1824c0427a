/** The members as this node knows them: configuration, each one's progress, votes of an election. */
import { Inflights } from './inflights.js';
import { Progress } from './progress.js';
import { agreedIndex, hasMajority, voteResult, type VoteResult } from './quorum.js';
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
  readonly #voters = new Set<NodeId>();
  /** Undefined when members came or went since they were sorted. */
  #ids: readonly NodeId[] | undefined;
  #votes = new Map<NodeId, boolean>();

  constructor(limits: InflightLimits) {
    this.#limits = limits;
  }

  /** All members' ids in ascending order, so that messages go out in a fixed order. */
  get ids(): readonly NodeId[] {
    this.#ids ??= [...this.#progress.keys()].sort((a, b) => a - b);
    return this.#ids;
  }

  get voters(): ReadonlySet<NodeId> {
    return this.#voters;
  }

  get conf(): ConfState {
    const ids = this.ids;
    return {
      voters: ids.filter((id) => this.#voters.has(id)),
      learners: ids.filter((id) => !this.#voters.has(id)),
    };
  }

  get(id: NodeId): Progress | undefined {
    return this.#progress.get(id);
  }

  /** Replaces the configuration; everyone's progress begins anew. */
  restore(conf: ConfState, next: number): void {
    this.#progress.clear();
    this.#ids = undefined;
    this.#voters.clear();
    for (const id of conf.voters) {
      this.#voters.add(id);
      this.#progress.set(id, this.#newProgress(0, next, false));
    }
    for (const id of conf.learners) {
      if (!this.#voters.has(id)) this.#progress.set(id, this.#newProgress(0, next, true));
    }
  }

  /** Applies one change; repeating one changes nothing. */
  apply(change: ConfChange, next: number): void {
    const { kind, nodeId } = change;
    const current = this.#progress.get(nodeId);
    this.#ids = undefined;
    switch (kind) {
      case 'addVoter':
      case 'addLearner': {
        const isLearner = kind === 'addLearner';
        // A voter does not become a learner in one step: it might be the quorum's last link.
        if (current !== undefined && (!current.isLearner || isLearner)) return;
        const progress = this.#newProgress(current?.match ?? 0, current?.next ?? next, isLearner);
        // Counted as active, or the quorum check could fail before it had a chance to answer.
        progress.recentActive = true;
        this.#progress.set(nodeId, progress);
        if (!isLearner) this.#voters.add(nodeId);
        return;
      }
      case 'removeMember':
        // A cluster without voters could never decide anything again; refusing is deterministic.
        if (this.#voters.has(nodeId) && this.#voters.size === 1) return;
        this.#progress.delete(nodeId);
        this.#voters.delete(nodeId);
        return;
      case 'updateMember':
        return;
    }
  }

  /** Begins everyone's progress anew, for a new term. */
  resetProgress(next: number): void {
    for (const [id, progress] of this.#progress) {
      this.#progress.set(id, this.#newProgress(0, next, progress.isLearner));
    }
  }

  /** Highest index on a majority's disks. */
  agreedIndex(): number {
    return agreedIndex(this.#voters, (id) => this.#progress.get(id)?.match ?? 0);
  }

  /** Whether a majority (with `self` counted) was heard of since the last call; starts anew. */
  checkQuorumActive(self: NodeId): boolean {
    const active = hasMajority(
      this.#voters,
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
    return voteResult(this.#voters, this.#votes);
  }

  #newProgress(match: number, next: number, isLearner: boolean): Progress {
    const inflights = new Inflights(this.#limits.messagesMax, this.#limits.bytesMax);
    return new Progress({ match, next, isLearner, inflights });
  }
}
