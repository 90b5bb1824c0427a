/**
 * The data of the consensus core: entries, messages, durable state, and what a node hands out to
 * be done ({@link Ready}). Terms and indexes are whole numbers below 2^53 (a million entries a
 * second would take 285 years to get there); node ids are whole numbers in [1, 2^53).
 */

/** Identifies a member for ever: an id is never used again after its member was removed. */
export type NodeId = number;

/** No node: no leader known, no vote given. */
export const NO_NODE: NodeId = 0;

/** What an entry is for. Empty normal entries are what a new leader begins its term with. */
export type EntryKind = 'normal' | 'confChange';

/** One slot of the log. */
export interface Entry {
  readonly term: number;
  readonly index: number;
  readonly kind: EntryKind;
  readonly data: Uint8Array;
}

/** A change of the membership by one member. `context` is the caller's and opaque here. */
export interface MemberChange {
  readonly kind: 'addVoter' | 'addLearner' | 'removeMember' | 'updateMember';
  readonly nodeId: NodeId;
  readonly context: Uint8Array;
}

/**
 * A change by several members, by way of a joint configuration: from when it is applied until it
 * is left, both the old and the new voters must agree to everything. A voter added as a learner
 * loses its vote when the joint configuration is left.
 */
export interface JointChange {
  readonly kind: 'joint';
  /**
   * How the joint configuration is left: `explicit` by a {@link LeaveJoint} of the caller's,
   * `implicit` by the leader itself, as soon as it is applied; `auto` as `implicit`, and with one
   * change only there is no joint configuration.
   */
  readonly transition: 'auto' | 'implicit' | 'explicit';
  readonly changes: readonly MemberChange[];
}

/** Ends a joint configuration: only the new voters vote from then on. */
export interface LeaveJoint {
  readonly kind: 'leaveJoint';
}

/** A change of the membership. */
export type ConfChange = MemberChange | JointChange | LeaveJoint;

/** The members as of some index. */
export interface ConfState {
  /** Those that vote; in a joint configuration the new half. */
  readonly voters: readonly NodeId[];
  /** Members that receive the log and have no vote. */
  readonly learners: readonly NodeId[];
  /** Absent when no joint change is under way. */
  readonly joint?: JointConf | undefined;
}

/** What a joint configuration has besides the new half. */
export interface JointConf {
  /** The voters of before, the old half. */
  readonly outgoing: readonly NodeId[];
  /** Those of them that will be learners. */
  readonly learnersNext: readonly NodeId[];
  /** Whether the leader ends it by itself. */
  readonly autoLeave: boolean;
}

/** Where a snapshot stands in the log, and the members at that point. */
export interface SnapshotMeta {
  readonly index: number;
  readonly term: number;
  readonly conf: ConfState;
}

/**
 * A snapshot on its way. The core never looks at `data`; a shell may leave it out and fill it in
 * when the message is sent.
 */
export interface Snapshot extends SnapshotMeta {
  readonly data?: Uint8Array;
}

/** What must be on disk before a promise to another node may rest on it. */
export interface HardState {
  readonly term: number;
  readonly vote: NodeId;
  readonly commit: number;
}

/** Roles of a node. */
export type Role = 'follower' | 'preCandidate' | 'candidate' | 'leader';

/** Volatile state worth telling about. */
export interface SoftState {
  readonly leader: NodeId;
  readonly role: Role;
}

/** Answer to a read request: the state machine may answer it once `index` is applied. */
export interface ReadState {
  readonly index: number;
  readonly context: string;
}

interface Envelope {
  readonly from: NodeId;
  readonly to: NodeId;
  readonly term: number;
}

/** Entries after `index`, whose term is `logTerm`. */
export interface AppendMessage extends Envelope {
  readonly type: 'append';
  readonly index: number;
  readonly logTerm: number;
  readonly entries: readonly Entry[];
  readonly commit: number;
}

/**
 * Accepted up to `index`; or, with `reject`, no match at `index`, and a hint: the follower's log
 * may match the leader's at `rejectHint` and below, where its term is `logTerm`.
 */
export interface AppendResponse extends Envelope {
  readonly type: 'appendResponse';
  readonly index: number;
  readonly reject: boolean;
  readonly rejectHint: number;
  readonly logTerm: number;
}

/** Asks for a vote; `transfer` when the leader itself wants the election. */
export interface VoteMessage extends Envelope {
  readonly type: 'vote' | 'preVote';
  readonly index: number;
  readonly logTerm: number;
  readonly transfer: boolean;
}

/**
 * A vote or its refusal. `commit` and `logTerm` name the last entry that the voter knows to be
 * committed: the asker may have it and not know that, because whoever agreed upon it with the former
 * leader is no voter any more, and has a longer log that forbids it to vote for the asker.
 */
export interface VoteResponse extends Envelope {
  readonly type: 'voteResponse' | 'preVoteResponse';
  readonly reject: boolean;
  readonly commit: number;
  readonly logTerm: number;
}

/** Sign of life of the leader; `context` of the newest waiting read request, or empty. */
export interface HeartbeatMessage extends Envelope {
  readonly type: 'heartbeat';
  readonly commit: number;
  readonly context: string;
}

export interface HeartbeatResponse extends Envelope {
  readonly type: 'heartbeatResponse';
  readonly context: string;
}

export interface SnapshotMessage extends Envelope {
  readonly type: 'snapshot';
  readonly snapshot: Snapshot;
}

/** Makes the receiver campaign at once. */
export interface TimeoutNowMessage extends Envelope {
  readonly type: 'timeoutNow';
}

/** A follower's read request, on its way to the leader. */
export interface ReadIndexMessage extends Envelope {
  readonly type: 'readIndex';
  readonly context: string;
}

export interface ReadIndexResponse extends Envelope {
  readonly type: 'readIndexResponse';
  readonly index: number;
  readonly context: string;
}

/** What nodes say to each other. */
export type Message =
  | AppendMessage
  | AppendResponse
  | VoteMessage
  | VoteResponse
  | HeartbeatMessage
  | HeartbeatResponse
  | SnapshotMessage
  | TimeoutNowMessage
  | ReadIndexMessage
  | ReadIndexResponse;

/** A message as the parts of the core make it; the envelope is completed when it is sent. */
export type OutgoingMessage = {
  [M in Message as M['type']]: Omit<M, 'from' | 'term'> & { readonly term?: number };
}[Message['type']];

/**
 * What has to be done, in this order:
 * 1. `messages` may be sent at once; `committedEntries` (which are durable here) be applied, and
 *    `readStates` be answered when applied far enough;
 * 2. `snapshot`, `entries`, `hardState` are made durable, in this order; stored entries from the
 *    first index of `entries` on are replaced. Without `mustSync` no flush is needed;
 * 3. `messagesAfterPersist` are sent;
 * 4. `advance()` is called.
 */
export interface Ready {
  readonly softState: SoftState | undefined;
  readonly hardState: HardState | undefined;
  readonly readStates: readonly ReadState[];
  readonly entries: readonly Entry[];
  readonly snapshot: Snapshot | undefined;
  readonly committedEntries: readonly Entry[];
  readonly messages: readonly Message[];
  readonly messagesAfterPersist: readonly Message[];
  readonly mustSync: boolean;
}

/**
 * Why a proposal was not taken. It is not in the log and may be made again; `impossible` is a
 * change that would leave no voters, or that ends a joint configuration where there is none.
 */
export type DropReason =
  | 'notLeader'
  | 'transferring'
  | 'confChangePending'
  | 'impossible'
  | 'tooMuchUncommitted';

/** Where an entry was put; whether it stays there is known when that index is applied. */
export interface AcceptedProposal {
  readonly kind: 'accepted';
  readonly index: number;
  readonly term: number;
}

/** Where a proposal went. */
export type ProposeResult =
  | AcceptedProposal
  | { readonly kind: 'dropped'; readonly reason: DropReason };
