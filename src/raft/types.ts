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
export interface ConfChange {
  readonly kind: 'addVoter' | 'addLearner' | 'removeMember' | 'updateMember';
  readonly nodeId: NodeId;
  readonly context: Uint8Array;
}

/** The members as of some index. */
export interface ConfState {
  readonly voters: readonly NodeId[];
  /** Members that receive the log and have no vote. */
  readonly learners: readonly NodeId[];
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

export interface VoteResponse extends Envelope {
  readonly type: 'voteResponse' | 'preVoteResponse';
  readonly reject: boolean;
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

/** Why a proposal was not taken. It is not in the log and may be made again. */
export type DropReason = 'notLeader' | 'transferring' | 'confChangePending' | 'tooMuchUncommitted';

/** Where a proposal went. */
export type ProposeResult =
  | { readonly kind: 'accepted'; readonly index: number; readonly term: number }
  | { readonly kind: 'dropped'; readonly reason: DropReason };
