/**
 * A Raft node without threads, clock, disk or network, of etcd-raft's shape: feed it with `tick`,
 * `step` and requests, do what `ready` says in the order given at {@link Ready}, then `advance`.
 * One Ready is out at a time; what arrives meanwhile is gathered for the next, which is what makes
 * many proposals share one flush. PreVote, CheckQuorum and step-down on removal are always on;
 * membership changes by one member, or by several by way of a joint configuration.
 */
import { invariant } from '../model/errors.js';
import { completeConfig, type RaftOptions } from './config.js';
import { decodeConfChange } from './conf-change.js';
import { RaftCore } from './core.js';
import { campaign } from './election.js';
import {
  bytesOf,
  maybeLeaveJoint,
  propose,
  proposeConfChange,
  releaseUncommitted,
  reportSnapshot,
  reportUnreachable,
  transferLeader,
} from './leader.js';
import type { ProgressState } from './progress.js';
import {
  broadcastAppend,
  maybeCommit,
  maybeSendAppend,
  peersOf,
  sendDueAppends,
} from './replication.js';
import { requestRead, step, tick } from './step.js';
import {
  type ConfChange,
  type ConfState,
  type Entry,
  type HardState,
  type Message,
  NO_NODE,
  type NodeId,
  type ProposeResult,
  type Ready,
  type Role,
} from './types.js';

/** A member as its leader sees it. */
export interface MemberProgress {
  readonly match: number;
  readonly next: number;
  readonly state: ProgressState['kind'];
  readonly recentActive: boolean;
  readonly isLearner: boolean;
}

/** A node's state for display and decisions outside the core. */
export interface RaftStatus {
  readonly id: NodeId;
  readonly role: Role;
  readonly leader: NodeId;
  readonly term: number;
  readonly vote: NodeId;
  readonly commit: number;
  readonly applied: number;
  readonly lastIndex: number;
  readonly transferTarget: NodeId;
  readonly conf: ConfState;
  /** Empty except on a leader. */
  readonly progress: ReadonlyMap<NodeId, MemberProgress>;
}

/** See the file's head. */
export class RawNode {
  readonly #core: RaftCore;
  #sentHardState: HardState;
  #sentRole: Role;
  #sentLeader: NodeId;
  #outstanding: Ready | undefined;
  /** Acknowledgements of this node to itself, stepped when their Ready is durable. */
  #ownMessages: Message[] = [];

  constructor(options: RaftOptions) {
    this.#core = new RaftCore(completeConfig(options));
    this.#sentHardState = this.#hardState();
    this.#sentRole = this.#core.role;
    this.#sentLeader = this.#core.leader;
  }

  /** Lets one unit of time pass. */
  tick(): void {
    tick(this.#core);
  }

  /** Takes a message of another member. Messages for others are ignored. */
  step(message: Message): void {
    if (message.to !== this.#core.id || message.from === this.#core.id) return;
    step(this.#core, message);
  }

  /** Stands for election now, without a poll; for the only voter at its start. */
  campaign(): void {
    campaign(this.#core, 'election');
  }

  /** Proposes an entry; the outcome is known when its index is applied. */
  propose(data: Uint8Array): ProposeResult {
    return propose(this.#core, data);
  }

  /** Proposes a change of the membership; it takes effect by `applyConfChange`. */
  proposeConfChange(change: ConfChange): ProposeResult {
    return proposeConfChange(this.#core, change);
  }

  /** The change in a committed entry of kind confChange. */
  static confChangeOf(entry: Entry): ConfChange {
    invariant(entry.kind === 'confChange', 'the entry is a membership change');
    return decodeConfChange(entry.data);
  }

  /** To be called for each committed membership change, before `advance`. */
  applyConfChange(change: ConfChange): ConfState {
    const core = this.#core;
    core.tracker.apply(change, core.log.lastIndex + 1);
    if (core.role !== 'leader') return core.tracker.conf;
    if (!core.tracker.voters.has(core.id)) {
      // The others may not know yet that they are on their own, and cannot ask this node any more.
      broadcastAppend(core);
      sendDueAppends(core);
      core.becomeFollower(core.term, NO_NODE);
      return core.tracker.conf;
    }
    if (core.transferTarget !== NO_NODE && !core.tracker.voters.has(core.transferTarget)) {
      core.transferTarget = NO_NODE;
    }
    // A smaller quorum may already agree on more; a new member wants the log.
    if (maybeCommit(core)) broadcastAppend(core);
    else for (const id of peersOf(core)) maybeSendAppend(core, id, true);
    return core.tracker.conf;
  }

  /**
   * Asks for a linearizable read; a read state with `context` (unique, not empty) follows. False
   * when no leader is known; no answer comes when leadership changes, so ask again after a while.
   */
  readIndex(context: string): boolean {
    return requestRead(this.#core, context, this.#core.id);
  }

  /** Hands leadership to another voter; given up after an election timeout. */
  transferLeader(to: NodeId): void {
    transferLeader(this.#core, to);
  }

  /** A message to the member could not be delivered. */
  reportUnreachable(id: NodeId): void {
    reportUnreachable(this.#core, id);
  }

  /** What became of a snapshot sent to the member. */
  reportSnapshot(id: NodeId, arrived: boolean): void {
    reportSnapshot(this.#core, id, arrived);
  }

  /** Forgets log entries up to `index`, which must be covered by the latest snapshot. */
  compact(index: number): void {
    this.#core.log.compact(index);
  }

  /** Term of the entry at `index`; undefined where the log does not reach. */
  termAt(index: number): number | undefined {
    return this.#core.log.termAt(index);
  }

  /** Whether `ready` has something to be done. */
  hasReady(): boolean {
    const core = this.#core;
    return (
      core.isBroadcastDue ||
      core.messages.length > 0 ||
      core.messagesAfterPersist.length > 0 ||
      core.readStates.length > 0 ||
      core.log.hasUnstable ||
      core.log.pendingSnapshot !== undefined ||
      core.log.hasEntriesToApply ||
      core.role !== this.#sentRole ||
      core.leader !== this.#sentLeader ||
      !isSameHardState(this.#hardState(), this.#sentHardState)
    );
  }

  /**
   * Messages that may go at once, also while a Ready is out: they rest on nothing that is being
   * persisted. So a leader whose disk is slow is still heard of.
   */
  takeMessages(): readonly Message[] {
    sendDueAppends(this.#core);
    const { messages } = this.#core;
    this.#core.messages = [];
    return messages;
  }

  /** What is to be done now; `advance` must follow before the next. */
  ready(): Ready {
    invariant(this.#outstanding === undefined, 'advance comes before the next ready');
    const core = this.#core;
    sendDueAppends(core);
    const hardState = this.#hardState();
    const hardStateChanged = !isSameHardState(hardState, this.#sentHardState);
    const softChanged = core.role !== this.#sentRole || core.leader !== this.#sentLeader;
    const entries = core.log.takeUnstable();
    const snapshot = core.log.pendingSnapshot;
    const mustSync =
      entries.length > 0 ||
      snapshot !== undefined ||
      hardState.term !== this.#sentHardState.term ||
      hardState.vote !== this.#sentHardState.vote;
    const ready: Ready = {
      softState: softChanged ? { role: core.role, leader: core.leader } : undefined,
      hardState: hardStateChanged ? hardState : undefined,
      readStates: core.readStates,
      entries,
      snapshot,
      committedEntries: core.log.entriesToApply(core.config.applyBytesMax),
      messages: core.messages,
      messagesAfterPersist: core.messagesAfterPersist.filter((m) => m.to !== core.id),
      mustSync,
    };
    this.#ownMessages = core.messagesAfterPersist.filter((m) => m.to === core.id);
    core.messages = [];
    core.messagesAfterPersist = [];
    core.readStates = [];
    this.#sentHardState = hardState;
    this.#sentRole = core.role;
    this.#sentLeader = core.leader;
    this.#outstanding = ready;
    return ready;
  }

  /** All of the outstanding Ready is done: written, applied, sent. */
  advance(): void {
    const ready = this.#outstanding;
    invariant(ready !== undefined, 'advance follows ready');
    this.#outstanding = undefined;
    const core = this.#core;
    const lastApplied = ready.committedEntries.at(-1);
    if (lastApplied !== undefined) {
      // A snapshot may have come in between and be ahead of it.
      if (lastApplied.index > core.log.applied && core.log.pendingSnapshot === undefined) {
        core.log.appliedTo(lastApplied.index);
      }
      releaseUncommitted(core, bytesOf(ready.committedEntries));
    }
    if (ready.snapshot !== undefined) core.log.snapshotInstalled(ready.snapshot);
    const lastWritten = ready.entries.at(-1);
    if (lastWritten !== undefined) core.log.stableTo(lastWritten.index, lastWritten.term);
    const own = this.#ownMessages;
    this.#ownMessages = [];
    for (const message of own) step(core, message);
    if (lastApplied !== undefined) maybeLeaveJoint(core);
  }

  /** Who leads, as far as this node knows; {@link NO_NODE} if nobody. */
  get leader(): NodeId {
    return this.#core.leader;
  }

  get role(): Role {
    return this.#core.role;
  }

  get term(): number {
    return this.#core.term;
  }

  /** Index of the last entry of the log, durable or not. */
  get lastIndex(): number {
    return this.#core.log.lastIndex;
  }

  /** Index that a proposal would get now; undefined where none would be taken. */
  get nextIndex(): number | undefined {
    const { role, transferTarget, log } = this.#core;
    return role === 'leader' && transferTarget === NO_NODE ? log.lastIndex + 1 : undefined;
  }

  /** Everything worth showing; costs more than the single properties. */
  status(): RaftStatus {
    const core = this.#core;
    const progress = new Map<NodeId, MemberProgress>();
    if (core.role === 'leader') {
      for (const id of core.tracker.ids) {
        const member = core.tracker.get(id);
        if (member === undefined) continue;
        const { match, next, recentActive } = member;
        const isLearner = !core.tracker.voters.has(id);
        progress.set(id, { match, next, state: member.state.kind, recentActive, isLearner });
      }
    }
    return {
      id: core.id,
      role: core.role,
      leader: core.leader,
      term: core.term,
      vote: core.vote,
      commit: core.log.committed,
      applied: core.log.applied,
      lastIndex: core.log.lastIndex,
      transferTarget: core.transferTarget,
      conf: core.tracker.conf,
      progress,
    };
  }

  #hardState(): HardState {
    const { term, vote, log } = this.#core;
    return { term, vote, commit: log.committed };
  }
}

function isSameHardState(a: HardState, b: HardState): boolean {
  return a.term === b.term && a.vote === b.vote && a.commit === b.commit;
}
