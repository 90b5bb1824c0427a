/**
 * The managers as a group: who is a member, who joins and who is taken out, and whether what is
 * read here is agreed upon. Changes of the membership happen on the leader, one after the other.
 */
import type { Environment } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import type { Logger } from '../../observe/logger.js';
import type { RaftPeer } from '../../rpc/raft/raft-link.js';
import type { ManagerPeer } from '../../rpc/types.js';
import type { RaftStatus } from '../../raft/raw-node.js';
import type { RaftMember } from '../../store/members.js';
import { notLeading, wasNotProposed } from '../../store/proposer.js';
import type { ManagerGroup } from '../control/node-control.js';
import {
  CATCH_UP_ENTRIES,
  CATCH_UP_MS,
  CATCH_UP_POLL_MS,
  LEADER_POLL_MS,
  LEADER_WAIT_MS,
} from './limits.js';

/** The raft member of this manager; a RaftNode. */
export interface GroupMember {
  readonly isLeader: boolean;
  readonly isMember: boolean;
  status(): RaftStatus;
  members(): readonly RaftMember[];
  leader(): RaftMember | undefined;
  addMember(member: RaftMember, as?: 'voter' | 'learner'): Promise<void>;
  removeMember(raftId: number): Promise<void>;
  transferLeadership(to?: number): void;
  readBarrier(timeoutMs?: number): Promise<void>;
}

/** What the group hears of the other managers; a ManagerTransport. */
export interface GroupTransport {
  isActive(raftId: number): boolean;
  moved(): readonly RaftPeer[];
  verify(peer: RaftPeer): Promise<void>;
}

/** What a group is made of. */
export interface RaftGroupOptions {
  readonly raft: GroupMember;
  readonly transport: GroupTransport;
  readonly environment: Environment;
  readonly logger: Logger;
}

/** See the file's head. */
export class RaftGroup implements ManagerGroup {
  readonly #raft: GroupMember;
  readonly #transport: GroupTransport;
  readonly #environment: Environment;
  readonly #logger: Logger;
  #changes: Promise<void> = Promise.resolve();
  #isStopped = false;
  #look: Promise<void> | undefined;
  /** Ends of the reads that wait. */
  readonly #waits = new Set<() => void>();

  constructor(options: RaftGroupOptions) {
    this.#raft = options.raft;
    this.#transport = options.transport;
    this.#environment = options.environment;
    this.#logger = options.logger;
  }

  /** Requests that wait end now. Idempotent. */
  stop(): void {
    this.#isStopped = true;
    for (const end of [...this.#waits]) end();
  }

  isMember(nodeId: string): boolean {
    return this.memberOf(nodeId) !== undefined;
  }

  /** The node's membership, learners included. */
  memberOf(nodeId: string): RaftMember | undefined {
    return this.#raft.members().find((member) => member.nodeId === nodeId);
  }

  canRemove(nodeId: string): boolean {
    const member = this.memberOf(nodeId);
    return member === undefined || this.#canLose(member.raftId);
  }

  /** Whether `member` answers, as this manager sees it. */
  isReachable(member: RaftMember): boolean {
    return member.raftId === this.#raft.status().id || this.#transport.isActive(member.raftId);
  }

  /** Members as of what is applied here. */
  members(): readonly RaftMember[] {
    return this.#raft.members();
  }

  /** Who leads: this manager, another one, or nobody. */
  leader(): 'here' | ManagerPeer | undefined {
    if (this.#raft.isLeader) return 'here';
    const leader = this.#raft.leader();
    // Elected, but not yet ready to lead.
    if (leader === undefined || leader.raftId === this.#raft.status().id) return undefined;
    return { nodeId: leader.nodeId, addr: leader.address };
  }

  /**
   * Resolves when everything that was agreed upon before is in the store here; waits through an
   * election. @throws SkepError unknown, with Docker's text, when nobody leads for `timeoutMs`
   */
  async agreed(timeoutMs = LEADER_WAIT_MS): Promise<void> {
    if (this.#isStopped) throw noLeader();
    await new Promise<void>((resolve, reject) => {
      const end = (): void => {
        this.#waits.delete(end);
        reject(noLeader());
      };
      this.#waits.add(end);
      this.#raft.readBarrier(timeoutMs).then(() => {
        this.#waits.delete(end);
        resolve();
      }, end);
    });
  }

  /**
   * Makes a manager a member: dials it back, lets it catch up, then counts its vote.
   * @throws SkepError unavailable when it does not answer on its address, or this manager does not
   *   lead (any more); failed_precondition; deadline_exceeded when it does not catch up
   */
  async admit(candidate: RaftMember): Promise<void> {
    await this.#inTurn(async () => {
      if (!this.#raft.isLeader) throw notLeading();
      await this.#dialBack(candidate);
      await this.#replaceFormer(candidate);
      if (this.#raft.status().conf.voters.includes(candidate.raftId)) {
        const known = this.memberOf(candidate.nodeId);
        if (known?.address !== candidate.address) await this.#add(candidate, 'voter');
        return;
      }
      await this.#add(candidate, 'learner');
      await this.#caughtUp(candidate.raftId);
      await this.#add(candidate, 'voter');
      this.#logger.info({ nodeId: candidate.nodeId }, 'another manager takes part');
    });
  }

  /**
   * Takes a manager out; leadership goes to another one first, which then has to be asked again.
   * @throws SkepError failed_precondition when that would cost the quorum; unavailable
   */
  async remove(raftId: number): Promise<void> {
    await this.#inTurn(async () => {
      const member = this.members().find((one) => one.raftId === raftId);
      if (member === undefined) return;
      if (!this.#canLose(raftId)) throw quorumLoss();
      if (raftId === this.#raft.status().id) {
        this.#raft.transferLeadership();
        throw new SkepError('unavailable', 'raft: leadership is being handed over');
      }
      await this.#retried(() => this.#raft.removeMember(raftId));
    });
  }

  /** Notes the present addresses of members that speak from other ones than recorded. */
  async followAddresses(): Promise<void> {
    for (const moved of this.#transport.moved()) {
      const isVoter = this.#raft.status().conf.voters.includes(moved.raftId);
      await this.#inTurn(async () => this.#add(moved, isVoter ? 'voter' : 'learner'));
      this.#logger.info({ nodeId: moved.nodeId, addr: moved.address }, 'a manager has moved');
    }
  }

  /** Waits a little; for callers that try again. */
  async pause(delayMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#environment.clock.setTimer(delayMs, resolve);
    });
  }

  /** The next look for a leader; all that wait for one share it. */
  async nextLook(): Promise<void> {
    this.#look ??= this.pause(LEADER_POLL_MS).then(() => {
      this.#look = undefined;
    });
    await this.#look;
  }

  /** Whether a quorum of those that answer would be left without the member (SwarmKit's CanRemoveMember). */
  #canLose(raftId: number): boolean {
    const left = this.#raft.status().conf.voters.filter((voter) => voter !== raftId);
    const own = this.#raft.status().id;
    const reachable = left.filter((voter) => voter === own || this.#transport.isActive(voter));
    return left.length > 0 && reachable.length >= Math.floor(left.length / 2) + 1;
  }

  async #dialBack(candidate: RaftMember): Promise<void> {
    try {
      await this.#transport.verify(candidate);
    } catch (error) {
      throw new SkepError(
        'failed_precondition',
        'could not connect to prospective new cluster member using its advertised address: ' +
          SkepError.from(error).message,
        { cause: error },
      );
    }
  }

  /** A node that lost its state comes with a new raft id: what it was before goes first. */
  async #replaceFormer(candidate: RaftMember): Promise<void> {
    const former = this.memberOf(candidate.nodeId);
    if (former === undefined || former.raftId === candidate.raftId) return;
    if (!this.#canLose(former.raftId)) throw quorumLoss();
    await this.#retried(() => this.#raft.removeMember(former.raftId));
  }

  async #add(member: RaftMember, as: 'voter' | 'learner'): Promise<void> {
    await this.#retried(() => this.#raft.addMember(member, as));
  }

  async #caughtUp(raftId: number): Promise<void> {
    const { clock } = this.#environment;
    const untilMs = clock.monotonicMs() + CATCH_UP_MS;
    for (;;) {
      if (!this.#raft.isLeader) throw notLeading();
      const { progress, commit } = this.#raft.status();
      const match = progress.get(raftId)?.match ?? 0;
      if (match > 0 && commit - match <= CATCH_UP_ENTRIES) return;
      if (clock.monotonicMs() > untilMs) {
        await this.#retried(() => this.#raft.removeMember(raftId));
        throw new SkepError('deadline_exceeded', 'the new manager did not catch up in time');
      }
      await this.pause(CATCH_UP_POLL_MS);
    }
  }

  /** Only one membership change may be on its way; another one waits for it. */
  async #retried(change: () => Promise<void>): Promise<void> {
    const { clock } = this.#environment;
    const untilMs = clock.monotonicMs() + LEADER_WAIT_MS;
    for (;;) {
      try {
        await change();
        return;
      } catch (error) {
        const isOver = clock.monotonicMs() > untilMs || !this.#raft.isLeader || this.#isStopped;
        if (!wasNotProposed(error) || isOver) throw error;
        await this.pause(LEADER_POLL_MS);
      }
    }
  }

  async #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#changes.then(work);
    this.#changes = turn.catch(() => undefined);
    await turn;
  }
}

/** Docker's sentence for a swarm whose managers are too few (daemon/cluster/errors.go). */
export function noLeader(): SkepError {
  return new SkepError(
    'unknown',
    "The swarm does not have a leader. It's possible that too few managers are online. " +
      'Make sure more than half of the managers are online.',
  );
}

/** SwarmKit's ErrCannotRemoveMember. */
export function quorumLoss(): SkepError {
  return new SkepError(
    'failed_precondition',
    "can't remove member from the raft: this would result in a loss of quorum",
  );
}
