/**
 * Runs a raft member: gives the pure core its ticks and messages, makes durable what it hands out,
 * applies agreed entries to the store, and tells who leads. One step of persisting is under way at
 * a time; proposals that come meanwhile share the next flush. A failed write ends the node.
 */
import type { Environment, Timer } from '../model/environment.js';
import { InvariantError, SkepError } from '../model/errors.js';
import type { Logger } from '../observe/logger.js';
import { RawNode, type RaftStatus } from '../raft/raw-node.js';
import type {
  ConfChange,
  ConfState,
  DropReason,
  Entry,
  HardState,
  MemberChange,
  Message,
  NodeId,
  ProposeResult,
  Ready,
  Snapshot,
  SnapshotMeta,
} from '../raft/types.js';
import {
  KEPT_ENTRIES,
  PROPOSAL_DEADLINE_MS,
  READ_RETRY_TICKS,
  SNAPSHOT_INTERVAL_BYTES,
  SNAPSHOT_INTERVAL_ENTRIES,
  SPARE_RETRY_MS,
  TICK_INTERVAL_MS,
  WEDGE_TIMEOUT_MS,
} from './limits.js';
import {
  decodeMember,
  decodeSnapshotContent,
  encodeMember,
  encodeSnapshotContent,
  type RaftMember,
} from './members.js';
import { type Deferred, deferred } from './deferred.js';
import { MemoryStore } from './memory-store.js';
import { PendingProposals, refusedProposal } from './pending-proposals.js';
import {
  type LogPlace,
  lostLeadership,
  notLeading,
  type Proposal,
  type Proposer,
} from './proposer.js';
import { PendingReads } from './pending-reads.js';
import { newRaftId } from './raft-id.js';
import type { KnownState } from './sole-member.js';
import { encodeSnapshot } from './store-snapshot.js';
import type { RaftStorage } from './wal/raft-storage.js';
import type { DataKey } from './wal/record.js';

/** Carries messages to other members; may lose them, must not block, throw, or report back at once. */
export interface RaftTransport {
  /**
   * `to` is undefined for a member that is not known here yet, as to one who joins everybody is:
   * an answer then goes where the message came from. For a snapshot the sender must hear
   * `reportSnapshot` in the end.
   */
  send(message: Message, to: RaftMember | undefined): void;
}

/** Hears of leadership: `true` once this node leads and has applied all that went before. */
export type LeadershipListener = (isLeader: boolean, term: number) => void;

/** What a {@link RaftNode} is made of. */
export interface RaftNodeOptions {
  readonly storage: RaftStorage;
  readonly environment: Environment;
  readonly logger: Logger;
  /** None while there is one voter only. */
  readonly transport?: RaftTransport;
  /** The node cannot go on; the process must end. */
  readonly onFatal: (error: Error) => void;
  readonly tickIntervalMs?: number;
  readonly heartbeatTicks?: number;
  readonly electionTicks?: number;
  readonly snapshotIntervalEntries?: number;
  readonly proposalDeadlineMs?: number;
  readonly freezeObjects?: boolean;
}

/** See the file's head. */
export class RaftNode implements Proposer {
  /** The replicated store; writable while this node leads. */
  readonly store: MemoryStore;
  readonly #options: RaftNodeOptions;
  readonly #raw: RawNode;
  readonly #storage: RaftStorage;
  readonly #logger: Logger;
  readonly #proposals: PendingProposals;
  readonly #reads: PendingReads;
  readonly #listeners = new Set<LeadershipListener>();
  readonly #leaderListeners = new Set<() => void>();
  readonly #members = new Map<NodeId, RaftMember>();
  #conf: ConfState;
  #snapshot: SnapshotMeta;
  /** Applied index and bytes since the last snapshot. */
  #applied: number;
  #bytesSinceSnapshot = 0;
  #snapshotTask: Promise<void> | undefined;
  /** A snapshot that is to replace all of the log, once it covers `fromIndex`. */
  #rewrite: { readonly fromIndex: number; readonly done: Deferred<void> } | undefined;
  /** Term in which this node was announced as leader, 0 when it does not lead. */
  #leadingTerm = 0;
  #isPumping = false;
  #isPumpDue = false;
  #persisting: Promise<void> | undefined;
  /** The last hard state that was written with a flush: its term and vote are promises. */
  #promised: HardState;
  /** A newer one with nothing new in it but the commit index. */
  #unwritten: HardState | undefined;
  #isStopped = false;
  #tickTimer: Timer | undefined;
  #spaceCheckedMs = 0;
  #mustAskAgain = false;
  #ticksToAsk = READ_RETRY_TICKS;

  constructor(options: RaftNodeOptions) {
    const { storage, environment } = options;
    this.#options = options;
    this.#storage = storage;
    this.#logger = options.logger.child({ room: 'raft', raftId: storage.raftId });
    this.#snapshot = storage.stored.snapshot;
    this.#conf = this.#snapshot.conf;
    this.#promised = storage.stored.hardState;
    this.#applied = this.#snapshot.index;
    this.store = new MemoryStore({
      environment,
      proposer: this,
      freezeObjects: options.freezeObjects ?? false,
    });
    this.#raw = new RawNode({
      id: storage.raftId,
      stored: storage.stored,
      random: environment.random,
      latestSnapshot: () => (this.#snapshot.index === 0 ? undefined : this.#snapshot),
      ...(options.heartbeatTicks === undefined ? {} : { heartbeatTicks: options.heartbeatTicks }),
      ...(options.electionTicks === undefined ? {} : { electionTicks: options.electionTicks }),
    });
    const deadlineMs = options.proposalDeadlineMs ?? PROPOSAL_DEADLINE_MS;
    const times = { deadlineMs, wedgeMs: WEDGE_TIMEOUT_MS };
    this.#proposals = new PendingProposals(environment.clock, times, () => this.#unwedge());
    const ask = (context: string): boolean => this.#raw.readIndex(context);
    const prefix = `${storage.raftId}-${newRaftId(environment)}`;
    this.#reads = new PendingReads({ clock: environment.clock, deadlineMs, prefix, ask });
  }

  /** Applies what is known to be agreed upon, and begins to take part. To be called once. */
  start(): void {
    this.#guard(() => {
      const { snapshotData, tornBytes } = this.#storage;
      if (tornBytes > 0) {
        this.#logger.warn({ tornBytes }, 'cut off a write that an earlier crash had torn');
      }
      if (snapshotData !== undefined) this.#restore(snapshotData, this.#snapshot.index);
      this.#pump();
      // Nobody else can win: waiting for an election timeout would be idle.
      if (isOnlyVoter(this.#conf, this.#storage.raftId)) this.#raw.campaign();
      this.#pump();
      this.#armTick();
    });
  }

  /** Stops taking part and closes the storage; undecided proposals fail as unavailable. */
  async close(): Promise<void> {
    this.#stop(new SkepError('unavailable', 'raft: node is stopping'));
    await this.#persisting;
    await this.#snapshotTask;
    await this.#writeCommit().catch((error: unknown) => this.#fail(error));
    await this.#storage.close();
  }

  /** Whether this node leads and its store is writable. */
  get isLeader(): boolean {
    return this.#leadingTerm !== 0;
  }

  /** Calls `listener` at once with the present state, then at each change of leadership. */
  onLeadership(listener: LeadershipListener): () => void {
    this.#listeners.add(listener);
    listener(this.isLeader, this.#raw.status().term);
    return () => this.#listeners.delete(listener);
  }

  /** Calls `listener` whenever another node may lead than before, this one or none included. */
  onLeaderChange(listener: () => void): () => void {
    this.#leaderListeners.add(listener);
    return () => this.#leaderListeners.delete(listener);
  }

  /** The core's state, for display. */
  status(): RaftStatus {
    return this.#raw.status();
  }

  /** The members as of what is applied here, by raft id. */
  members(): readonly RaftMember[] {
    return [...this.#members.values()].sort((a, b) => a.raftId - b.raftId);
  }

  /** Whether this node is a member as of what is applied here; not before its first log entries. */
  get isMember(): boolean {
    return this.#members.has(this.#storage.raftId);
  }

  /** The leading member, as far as known. */
  leader(): RaftMember | undefined {
    return this.#members.get(this.#raw.leader);
  }

  get nextPlace(): LogPlace | undefined {
    const index = this.#raw.nextIndex;
    if (this.#leadingTerm === 0 || this.#storage.noSpace !== undefined) return undefined;
    return index === undefined ? undefined : { index: BigInt(index), term: this.#leadingTerm };
  }

  propose(request: Uint8Array, place?: LogPlace): Proposal {
    const { noSpace } = this.#storage;
    if (this.#leadingTerm === 0) return refusedProposal(notLeading());
    if (noSpace !== undefined) {
      const text = `raft: no room on the disk for another log segment: ${noSpace}`;
      return refusedProposal(new SkepError('resource_exhausted', text));
    }
    const isThere =
      place === undefined ||
      (place.term === this.#leadingTerm && Number(place.index) === this.#raw.nextIndex);
    // Leadership went and came again meanwhile: what the entry was made on may not be there.
    if (!isThere) return refusedProposal(notLeading());
    return this.#follow(this.#raw.propose(request));
  }

  /** Adds a voter or learner, or changes a member's address; resolves once that is applied here. */
  async addMember(member: RaftMember, as: 'voter' | 'learner' = 'voter'): Promise<void> {
    const known = this.#members.has(member.raftId);
    const isVoter = this.#conf.voters.includes(member.raftId);
    const added = as === 'voter' ? 'addVoter' : 'addLearner';
    const kind = known && (isVoter || as === 'learner') ? 'updateMember' : added;
    await this.#changeConf({ kind, nodeId: member.raftId, context: encodeMember(member) });
  }

  /** Takes a member out; resolves once that is applied here. The last voter cannot be removed. */
  async removeMember(raftId: NodeId): Promise<void> {
    if (isOnlyVoter(this.#conf, raftId)) {
      throw new SkepError('failed_precondition', 'raft: the last manager cannot be removed');
    }
    await this.#changeConf({ kind: 'removeMember', nodeId: raftId, context: new Uint8Array(0) });
  }

  /** Hands leadership to a voter, by default to the one with the most complete log. */
  transferLeadership(to?: NodeId): void {
    const target = to ?? this.#bestSuccessor();
    if (target === undefined) return;
    this.#raw.transferLeader(target);
    this.#pump();
  }

  /**
   * Resolves when everything that was agreed upon before the call is in the store here; waits
   * through an election for at most `timeoutMs` (default: as proposals).
   * @throws SkepError unavailable when the node stops; deadline_exceeded
   */
  async readBarrier(timeoutMs?: number): Promise<void> {
    if (this.#isStopped) throw lostLeadership();
    const read = this.#reads.add(timeoutMs);
    this.#pump();
    await read;
  }

  /**
   * Encrypts the log with `key` from now on and replaces what older keys encrypted by a snapshot;
   * resolves when nothing of that is on disk any more. Waits until all that is in the log now is
   * agreed upon, however long that takes.
   * @throws SkepError unavailable when the node stops; resource_exhausted on a full disk
   */
  async rotateDataKey(key: DataKey): Promise<void> {
    await this.#storage.useKey(key);
    if (this.#isStopped) throw new SkepError('unavailable', 'raft: node is stopping');
    const rewrite = { fromIndex: this.#raw.status().lastIndex, done: deferred<void>() };
    this.#rewrite = rewrite;
    if (this.#persisting === undefined) this.#maybeSnapshot();
    await rewrite.done.promise;
  }

  /** All that is applied here, for a copy of the cluster's state. */
  async knownState(): Promise<KnownState> {
    const index = this.#applied;
    const { term } = this.#raw.status();
    return { store: await encodeSnapshot(this.store.capture()), index, term };
  }

  /** Takes a message that the transport received. */
  step(message: Message): void {
    if (this.#isStopped) return;
    this.#guard(() => this.#raw.step(message));
    this.#pumpSoon();
  }

  /** The transport could not reach a member. */
  reportUnreachable(raftId: NodeId): void {
    this.#raw.reportUnreachable(raftId);
    this.#pump();
  }

  /** What became of a snapshot the transport was given. */
  reportSnapshot(raftId: NodeId, arrived: boolean): void {
    this.#raw.reportSnapshot(raftId, arrived);
    this.#pump();
  }

  /** The storage failed outside of a write of this node. */
  storageFailed(error: SkepError): void {
    this.#fail(error);
  }

  #follow(result: ProposeResult): Proposal {
    if (result.kind === 'dropped') return refusedProposal(refusalOf(result.reason));
    const proposal = this.#proposals.add(result.index, result.term);
    this.#pumpSoon();
    return proposal;
  }

  async #changeConf(change: ConfChange): Promise<void> {
    if (this.#leadingTerm === 0) throw notLeading();
    this.store.flush();
    await this.#follow(this.#raw.proposeConfChange(change)).applied;
  }

  #bestSuccessor(): NodeId | undefined {
    const { progress, id } = this.#raw.status();
    let best: NodeId | undefined;
    let bestMatch = -1;
    for (const [other, member] of progress) {
      const isCandidate = other !== id && !member.isLearner && member.recentActive;
      if (isCandidate && member.match > bestMatch) {
        best = other;
        bestMatch = member.match;
      }
    }
    return best;
  }

  /** A proposal hangs: perhaps this leader is the reason, so let another one try. */
  #unwedge(): void {
    this.#logger.error({}, 'a proposal was not decided for too long; handing over leadership');
    this.transferLeadership();
  }

  #armTick(): void {
    const intervalMs = this.#options.tickIntervalMs ?? TICK_INTERVAL_MS;
    this.#tickTimer = this.#options.environment.clock.setTimer(intervalMs, () => {
      if (this.#isStopped) return;
      this.#guard(() => this.#raw.tick());
      this.#askAgainAtTimes();
      this.#checkSpace();
      this.#writeCommit().catch((error: unknown) => this.#fail(error));
      this.#pump();
      this.#armTick();
    });
  }

  /** A message to or of the leader may be lost: nothing else would repeat the request. */
  #askAgainAtTimes(): void {
    if (--this.#ticksToAsk > 0) return;
    this.#ticksToAsk = READ_RETRY_TICKS;
    this.#mustAskAgain = true;
  }

  /** While the disk is full, looks now and then whether it still is. */
  #checkSpace(): void {
    const nowMs = this.#options.environment.clock.monotonicMs();
    if (this.#storage.noSpace === undefined || nowMs - this.#spaceCheckedMs < SPARE_RETRY_MS)
      return;
    this.#spaceCheckedMs = nowMs;
    this.#logger.warn({ reason: this.#storage.noSpace }, 'no room on the disk for the raft log');
    this.#storage.checkSpace().catch((error: unknown) => this.#fail(error));
  }

  /**
   * Pumps once all that is ready to run now has run: writers woken by one flush share the next, and
   * messages that arrived together share their answers.
   */
  #pumpSoon(): void {
    if (this.#isPumpDue) return;
    this.#isPumpDue = true;
    process.nextTick(() => {
      this.#isPumpDue = false;
      this.#pump();
    });
  }

  /** Works off what the core hands out, until there is nothing or something is to be persisted. */
  #pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    this.#guard(() => {
      this.#maybeAskAgain();
      while (!this.#isStopped && this.#persisting === undefined && this.#raw.hasReady()) {
        this.#handle(this.#raw.ready());
        this.#maybeAskAgain();
      }
      for (const message of this.#raw.takeMessages()) this.#send(message);
    });
    this.#isPumping = false;
  }

  #maybeAskAgain(): void {
    if (!this.#mustAskAgain || this.#isStopped) return;
    this.#mustAskAgain = false;
    this.#reads.askAgain();
  }

  #handle(ready: Ready): void {
    if (ready.softState !== undefined && ready.softState.role !== 'leader') this.#announce(0);
    // A change of leadership swallows what the former leader was asked.
    if (ready.softState !== undefined) {
      this.#mustAskAgain = true;
      for (const listener of [...this.#leaderListeners]) listener();
    }
    for (const message of ready.messages) this.#send(message);
    for (const entry of ready.committedEntries) this.#apply(entry);
    for (const { context, index } of ready.readStates) this.#reads.confirm(context, index);
    this.#reads.applied(this.#applied);
    if (ready.mustSync) {
      this.#persisting = this.#persist(ready).then(
        () => {
          this.#persisting = undefined;
          // What a message brings about at once must not ask for the next Ready before this one's end.
          this.#isPumping = true;
          this.#guard(() => this.#finish(ready));
          this.#isPumping = false;
          this.#pump();
        },
        (error: unknown) => {
          this.#persisting = undefined;
          this.#fail(error);
        },
      );
      return;
    }
    if (ready.hardState !== undefined) this.#unwritten = ready.hardState;
    this.#finish(ready);
  }

  async #persist(ready: Ready): Promise<void> {
    if (ready.snapshot !== undefined) await this.#install(ready.snapshot);
    const { term, vote } = this.#promised;
    const { entries, hardState } = ready;
    // Losing the commit index alone harms nothing: it need not go with every entry.
    const isNews = hardState?.term !== term || hardState.vote !== vote;
    if (hardState === undefined || (!isNews && ready.snapshot === undefined)) {
      this.#unwritten = hardState ?? this.#unwritten;
      await this.#storage.append({ entries, hardState: undefined, sync: true });
      return;
    }
    this.#promised = hardState;
    this.#unwritten = undefined;
    await this.#storage.append({ entries, hardState, sync: true });
  }

  /** Now and then, so that a restart finds most of what was agreed upon. */
  async #writeCommit(): Promise<void> {
    const hardState = this.#unwritten;
    if (hardState === undefined || this.#persisting !== undefined) return;
    this.#unwritten = undefined;
    await this.#storage.append({ entries: [], hardState, sync: false });
  }

  #finish(ready: Ready): void {
    if (this.#isStopped) return;
    for (const message of ready.messagesAfterPersist) this.#send(message);
    // The core may put an entry of its own into the log now.
    this.store.flush();
    this.#raw.advance();
    this.#maybeSnapshot();
  }

  #send(message: Message): void {
    const { transport } = this.#options;
    const to = this.#members.get(message.to);
    if (transport === undefined) return;
    if (message.type !== 'snapshot') {
      transport.send(message, to);
      return;
    }
    // The core knows where the snapshot stands; what is in it is on disk.
    this.#storage.loadSnapshot().then(
      (snapshot) => {
        if (snapshot === undefined) this.reportSnapshot(message.to, false);
        else transport.send({ ...message, snapshot }, to);
      },
      (error: unknown) => this.#fail(error),
    );
  }

  #apply(entry: Entry): void {
    let refusal: SkepError | undefined;
    if (entry.kind === 'confChange') {
      this.#applyConfChange(RawNode.confChangeOf(entry));
      this.store.applyEntry(BigInt(entry.index), new Uint8Array(0));
    } else {
      refusal = this.store.applyEntry(BigInt(entry.index), entry.data);
    }
    this.#applied = entry.index;
    this.#bytesSinceSnapshot += entry.data.length;
    this.#proposals.applied(entry.index, entry.term, refusal);
    if (this.#leadingTerm === 0) {
      const { role, term } = this.#raw;
      // An own entry applied: everything before it is, too, and the store may be written.
      if (role === 'leader' && entry.term === term) this.#announce(term);
    }
  }

  #applyConfChange(change: ConfChange): void {
    for (const one of memberChangesOf(change)) {
      if (one.kind !== 'removeMember') this.#members.set(one.nodeId, decodeMember(one.context));
      this.#logger.info({ change: one.kind, member: one.nodeId }, 'raft membership changes');
    }
    this.#conf = this.#raw.applyConfChange(change);
    // Who is on its way out of a joint configuration is still to be reached.
    const { voters, learners, joint } = this.#conf;
    const kept = new Set([...voters, ...learners, ...(joint?.outgoing ?? [])]);
    for (const id of this.#members.keys()) if (!kept.has(id)) this.#members.delete(id);
  }

  #announce(term: number): void {
    if (this.#leadingTerm === term) return;
    const endedTerm = this.#leadingTerm;
    this.#leadingTerm = term;
    if (term === 0) this.#proposals.abandon(lostLeadership());
    this.#logger.info({ isLeader: term !== 0, term: term || endedTerm }, 'raft leadership');
    for (const listener of [...this.#listeners]) listener(term !== 0, term || endedTerm);
  }

  /** Replaces the state by a leader's snapshot. */
  async #install(snapshot: Snapshot): Promise<void> {
    const { data } = snapshot;
    if (data === undefined) throw new InvariantError('a received snapshot carries its data');
    // An own snapshot under way is older; it must not come after this one on disk.
    await this.#snapshotTask;
    await this.#storage.saveSnapshot({ ...snapshot, data });
    this.#snapshot = { index: snapshot.index, term: snapshot.term, conf: snapshot.conf };
    this.#conf = snapshot.conf;
    this.#restore(data, snapshot.index);
    this.#logger.info({ index: snapshot.index }, 'installed a snapshot of the leader');
  }

  #restore(data: Uint8Array, index: number): void {
    const { members, store } = decodeSnapshotContent(data);
    this.#members.clear();
    for (const member of members) this.#members.set(member.raftId, member);
    this.#applied = index;
    this.#bytesSinceSnapshot = 0;
    this.store.restore(store, BigInt(index));
  }

  /** Begins a snapshot when enough was applied since the last. */
  #maybeSnapshot(): void {
    if (this.#snapshotTask !== undefined || this.#isStopped) return;
    const entries = this.#applied - this.#snapshot.index;
    const interval = this.#options.snapshotIntervalEntries ?? SNAPSHOT_INTERVAL_ENTRIES;
    const isDue = entries >= interval || this.#bytesSinceSnapshot >= SNAPSHOT_INTERVAL_BYTES;
    const rewrite =
      this.#applied >= (this.#rewrite?.fromIndex ?? Infinity) ? this.#rewrite : undefined;
    if (!isDue && rewrite === undefined) return;
    const term = this.#raw.termAt(this.#applied);
    if (term === undefined) return;
    const meta = { index: this.#applied, term, conf: this.#conf };
    this.#bytesSinceSnapshot = 0;
    if (rewrite !== undefined) this.#rewrite = undefined;
    this.#snapshotTask = this.#takeSnapshot(meta, rewrite === undefined ? KEPT_ENTRIES : 0).then(
      () => {
        this.#snapshotTask = undefined;
        rewrite?.done.resolve();
        if (this.#rewrite !== undefined && this.#persisting === undefined) this.#maybeSnapshot();
      },
      (error: unknown) => {
        this.#snapshotTask = undefined;
        rewrite?.done.reject(SkepError.from(error));
        this.#snapshotFailed(error);
      },
    );
  }

  async #takeSnapshot(meta: SnapshotMeta, keptOnDisk: number): Promise<void> {
    const members = this.members();
    const store = await encodeSnapshot(this.store.capture());
    const data = encodeSnapshotContent({ members, store });
    await this.#storage.saveSnapshot({ ...meta, data }, keptOnDisk);
    this.#snapshot = meta;
    this.#raw.compact(Math.max(0, meta.index - KEPT_ENTRIES));
    this.#logger.info({ index: meta.index, bytes: store.length }, 'took a snapshot');
  }

  #snapshotFailed(error: unknown): void {
    if (error instanceof SkepError && error.code === 'resource_exhausted') {
      // The log goes on as it is; the next applied entries try again.
      this.#logger.warn({ reason: error.message }, 'no room on the disk for a snapshot');
      return;
    }
    this.#fail(error);
  }

  /** Runs `action`; whatever it throws is the end of this node. */
  #guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    if (this.#isStopped) return;
    const failure = error instanceof Error ? error : new Error(String(error));
    this.#logger.fatal({ reason: failure.message }, 'raft cannot go on');
    this.#stop(new SkepError('unavailable', `raft: node has failed: ${failure.message}`));
    this.#options.onFatal(failure);
  }

  #stop(reason: SkepError): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#tickTimer?.cancel();
    this.#announce(0);
    this.#proposals.abandon(reason);
    this.#reads.abandon(reason);
    this.#rewrite?.done.reject(reason);
    this.#rewrite = undefined;
  }
}

function refusalOf(reason: DropReason): SkepError {
  switch (reason) {
    case 'tooMuchUncommitted':
      return new SkepError(
        'resource_exhausted',
        'raft: too much is proposed and not committed yet',
      );
    case 'confChangePending':
      return new SkepError('unavailable', 'raft: another membership change is under way', {
        details: { proposed: false },
      });
    case 'impossible':
      return new SkepError('failed_precondition', 'raft: this membership change is not possible');
    case 'notLeader':
    case 'transferring':
      return notLeading();
  }
}

function memberChangesOf(change: ConfChange): readonly MemberChange[] {
  switch (change.kind) {
    case 'joint':
      return change.changes;
    case 'leaveJoint':
      return [];
    default:
      return [change];
  }
}

function isOnlyVoter({ voters, joint }: ConfState, raftId: NodeId): boolean {
  return joint === undefined && voters.length === 1 && voters[0] === raftId;
}
