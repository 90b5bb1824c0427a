/**
 * The state of one node and its elementary moves: becoming a role, beginning a term, sending. What
 * happens on which message is in election.ts, replication.ts, follower.ts and step.ts. There is no
 * clock, disk or network here: time is `tick`, everything else goes out through `Ready`.
 */
import { invariant } from '../model/errors.js';
import type { RaftConfig } from './config.js';
import { entryBytes, RaftLog } from './raft-log.js';
import { ReadOnlyQueue } from './read-only.js';
import { Tracker } from './tracker.js';
import {
  type Entry,
  type EntryKind,
  type Message,
  NO_NODE,
  type NodeId,
  type OutgoingMessage,
  type ReadState,
  type Role,
} from './types.js';

/** A read request that arrived before the leader committed an entry of its own term. */
export interface EarlyRead {
  readonly context: string;
  readonly from: NodeId;
}

/** See the file's head. Fields are written by the modules named there and by nobody else. */
export class RaftCore {
  readonly id: NodeId;
  readonly config: RaftConfig;
  readonly log: RaftLog;
  readonly tracker: Tracker;
  readonly reads = new ReadOnlyQueue();

  term: number;
  vote: NodeId;
  role: Role = 'follower';
  leader: NodeId = NO_NODE;
  /** Ticks since the leader was last heard of; on a leader, since the last quorum check. */
  electionElapsed = 0;
  heartbeatElapsed = 0;
  /** Redrawn at each change of role, so that split votes do not repeat. */
  randomizedElectionTicks = 0;
  /** Who is to take over leadership; proposals wait meanwhile. */
  transferTarget: NodeId = NO_NODE;
  /** No further membership change before this index is applied. */
  pendingConfIndex = 0;
  uncommittedBytes = 0;
  earlyReads: EarlyRead[] = [];
  /** Every member is to be sent what it lacks before messages are handed out; see replication.ts. */
  isBroadcastDue = false;

  /** Out at once. */
  messages: Message[] = [];
  /** Out when the state they rest on is durable; those to this node itself are stepped then. */
  messagesAfterPersist: Message[] = [];
  readStates: ReadState[] = [];

  constructor(config: RaftConfig) {
    const { stored } = config;
    this.id = config.id;
    this.config = config;
    this.term = stored.hardState.term;
    this.vote = stored.hardState.vote;
    this.log = new RaftLog(stored.snapshot, stored.entries, stored.hardState.commit);
    this.tracker = new Tracker({
      messagesMax: config.inflightMessagesMax,
      bytesMax: config.inflightBytesMax,
    });
    this.tracker.restore(stored.snapshot.conf, this.log.lastIndex + 1);
    this.becomeFollower(this.term, NO_NODE);
  }

  /** Whether this node may stand for election: a voter whose state is complete. */
  get isPromotable(): boolean {
    return this.tracker.voters.has(this.id) && this.log.pendingSnapshot === undefined;
  }

  /** Whether a leader's commit index is known to be up to date (Raft paper, 8). */
  get hasCommittedInTerm(): boolean {
    return this.log.termAt(this.log.committed) === this.term;
  }

  /**
   * Sends a message. Acknowledgements and votes rest on what is to be persisted first; what a
   * leader sends does not.
   */
  send(message: OutgoingMessage): void {
    const complete = { term: this.term, ...message, from: this.id } as Message;
    switch (complete.type) {
      case 'append':
      case 'heartbeat':
      case 'snapshot':
      case 'timeoutNow':
      case 'readIndex':
      case 'readIndexResponse':
      // Promises nothing: a follower whose disk is slow still counts for its leader's quorum.
      case 'heartbeatResponse':
        invariant(complete.to !== this.id, 'only acknowledgements go to the node itself');
        this.messages.push(complete);
        return;
      default:
        this.messagesAfterPersist.push(complete);
    }
  }

  becomeFollower(term: number, leader: NodeId): void {
    this.#reset(term);
    this.role = 'follower';
    this.leader = leader;
  }

  /** Asks around without disturbing anyone: term and vote stay as they are. */
  becomePreCandidate(): void {
    invariant(this.role !== 'leader', 'a leader does not campaign');
    this.role = 'preCandidate';
    this.leader = NO_NODE;
    this.tracker.resetVotes();
    this.#drawElectionTimeout();
  }

  becomeCandidate(): void {
    invariant(this.role !== 'leader', 'a leader does not campaign');
    this.#reset(this.term + 1);
    this.role = 'candidate';
    this.vote = this.id;
  }

  /** Takes the lead, with an empty entry that lets entries of earlier terms be committed. */
  becomeLeader(): void {
    invariant(this.role === 'candidate', 'only a candidate becomes leader');
    this.#reset(this.term);
    this.role = 'leader';
    this.leader = this.id;
    const self = this.tracker.get(this.id);
    invariant(self !== undefined, 'a leader is a member');
    self.match = this.log.stable;
    self.becomeReplicate();
    // Whatever lies uncommitted in the log may be a membership change.
    this.pendingConfIndex = this.log.lastIndex;
    this.appendOwn('normal', new Uint8Array(0));
  }

  /** Appends an entry of this leader's term; its acknowledgement comes once it is durable. */
  appendOwn(kind: EntryKind, data: Uint8Array): Entry {
    invariant(this.role === 'leader', 'only a leader makes entries');
    const entry = { term: this.term, index: this.log.lastIndex + 1, kind, data };
    this.log.append([entry]);
    this.uncommittedBytes += entryBytes(entry);
    this.send({
      type: 'appendResponse',
      to: this.id,
      index: entry.index,
      reject: false,
      rejectHint: 0,
      logTerm: 0,
    });
    return entry;
  }

  #reset(term: number): void {
    invariant(term >= this.term, 'terms only grow');
    if (term !== this.term) {
      this.term = term;
      this.vote = NO_NODE;
    }
    this.leader = NO_NODE;
    this.electionElapsed = 0;
    this.heartbeatElapsed = 0;
    this.transferTarget = NO_NODE;
    this.pendingConfIndex = 0;
    this.uncommittedBytes = 0;
    this.earlyReads = [];
    this.isBroadcastDue = false;
    this.reads.clear();
    this.tracker.resetVotes();
    this.tracker.resetProgress(this.log.lastIndex + 1);
    this.#drawElectionTimeout();
  }

  #drawElectionTimeout(): void {
    const { electionTicks, random } = this.config;
    this.randomizedElectionTicks = electionTicks + Math.floor(random.next() * electionTicks);
  }
}
