/** What a leader does on its members' answers and on requests. */
import { encodeConfChange } from './conf-change.js';
import type { RaftCore } from './core.js';
import type { Progress } from './progress.js';
import { entryBytes } from './raft-log.js';
import {
  answerRead,
  broadcastAppend,
  maybeCommit,
  maybeSendAppend,
  sendRest,
} from './replication.js';
import {
  type AcceptedProposal,
  type AppendResponse,
  type ConfChange,
  type DropReason,
  type Entry,
  type EntryKind,
  type HeartbeatResponse,
  NO_NODE,
  type NodeId,
  type ProposeResult,
} from './types.js';

/** Takes a proposal into the log, or says why not. */
export function propose(core: RaftCore, data: Uint8Array): ProposeResult {
  return refused(refusalOf(core, data)) ?? appendProposal(core, 'normal', data);
}

/** Takes a membership change into the log, or says why not. */
export function proposeConfChange(core: RaftCore, change: ConfChange): ProposeResult {
  const data = encodeConfChange(change);
  const refusal = refused(refusalOf(core, data) ?? confRefusalOf(core, change));
  if (refusal !== undefined) return refusal;
  const result = appendProposal(core, 'confChange', data);
  core.pendingConfIndex = result.index;
  return result;
}

/** Ends a joint configuration that is to end by itself, once it is applied. */
export function maybeLeaveJoint(core: RaftCore): void {
  if (core.role !== 'leader' || !core.tracker.leavesJoint) return;
  proposeConfChange(core, { kind: 'leaveJoint' });
}

function appendProposal(core: RaftCore, kind: EntryKind, data: Uint8Array): AcceptedProposal {
  const { index, term } = core.appendOwn(kind, data);
  broadcastAppend(core);
  return { kind: 'accepted', index, term };
}

function refused(reason: DropReason | undefined): ProposeResult | undefined {
  return reason === undefined ? undefined : { kind: 'dropped', reason };
}

function refusalOf(core: RaftCore, data: Uint8Array): DropReason | undefined {
  if (core.role !== 'leader' || core.tracker.get(core.id) === undefined) return 'notLeader';
  if (core.transferTarget !== NO_NODE) return 'transferring';
  const bytes = core.uncommittedBytes;
  const full = bytes > 0 && bytes + data.length > core.config.uncommittedBytesMax;
  return full ? 'tooMuchUncommitted' : undefined;
}

function confRefusalOf(core: RaftCore, change: ConfChange): DropReason | undefined {
  // One at a time, and not before the leader has committed in its own term: otherwise two
  // changes made on different logs could yield disjoint majorities.
  if (core.pendingConfIndex > core.log.applied || !core.hasCommittedInTerm) {
    return 'confChangePending';
  }
  const leaves = change.kind === 'leaveJoint';
  if (core.tracker.isJoint) return leaves ? undefined : 'confChangePending';
  const isImpossible = leaves || (change.kind === 'joint' && !core.tracker.wouldChange(change));
  return isImpossible ? 'impossible' : undefined;
}

/** Takes a member's (or its own) answer to an append. */
export function handleAppendResponse(core: RaftCore, message: AppendResponse): void {
  const progress = core.tracker.get(message.from);
  if (progress === undefined) return;
  progress.recentActive = true;
  if (message.reject) {
    handleReject(core, message, progress);
    return;
  }
  // A member cannot have what was never sent: a hostile or confused answer.
  if (message.index > core.log.lastIndex) return;
  const wasPaused = progress.isPaused;
  const isProbeAnswer = progress.match === message.index && progress.state.kind === 'probe';
  if (!progress.acknowledge(message.index) && !isProbeAnswer) return;
  settleProgress(core, progress, message.index);
  if (maybeCommit(core)) {
    broadcastAppend(core);
  } else if (message.from !== core.id) {
    if (wasPaused || progress.canBumpCommit(core.log.committed)) {
      maybeSendAppend(core, message.from, true);
    }
  }
  if (message.from !== core.id) sendRest(core, message.from);
  maybeFinishTransfer(core, message.from, progress);
}

function handleReject(core: RaftCore, message: AppendResponse, progress: Progress): void {
  // Skip all of our entries of terms that the follower cannot have at the hinted place.
  const hint =
    message.logTerm > 0
      ? core.log.findConflictByTerm(message.rejectHint, message.logTerm).index
      : message.rejectHint;
  if (!progress.reject(message.index, hint)) return;
  if (progress.state.kind === 'replicate') progress.becomeProbe();
  maybeSendAppend(core, message.from, true);
}

/** The member's log is known to match up to `index`: choose how to go on. */
function settleProgress(core: RaftCore, progress: Progress, index: number): void {
  switch (progress.state.kind) {
    case 'probe':
      progress.becomeReplicate();
      return;
    case 'snapshot':
      // It reached the log by whatever way, even below the snapshot that is under way.
      if (progress.match + 1 >= core.log.firstIndex) progress.becomeReplicate();
      return;
    case 'replicate':
      progress.inflights.freeTo(index);
  }
}

function maybeFinishTransfer(core: RaftCore, from: NodeId, progress: Progress): void {
  if (from !== core.transferTarget || progress.match !== core.log.lastIndex) return;
  core.send({ type: 'timeoutNow', to: from });
}

/** Takes a sign of life of a member, and its confirmation of read requests. */
export function handleHeartbeatResponse(core: RaftCore, message: HeartbeatResponse): void {
  const progress = core.tracker.get(message.from);
  if (progress === undefined) return;
  progress.recentActive = true;
  progress.paused = false;
  // With a full window this sends an empty append, whose answer frees or corrects the window.
  if (progress.match < core.log.lastIndex || progress.state.kind === 'probe') {
    maybeSendAppend(core, message.from, true);
  }
  if (message.context === '') return;
  const read = core.reads.confirm(message.context, message.from);
  if (read === undefined) return;
  if (!core.tracker.isQuorum(read.confirmedBy)) return;
  for (const { context, from, index } of core.reads.takeThrough(message.context)) {
    answerRead(core, context, from, index);
  }
}

/** Hands leadership to a voter, once it has the whole log. */
export function transferLeader(core: RaftCore, to: NodeId): void {
  const progress = core.tracker.get(to);
  if (core.role !== 'leader' || progress === undefined || !core.tracker.voters.has(to)) return;
  if (to === core.id || to === core.transferTarget) return;
  // The transfer has one election timeout to succeed, from now.
  core.electionElapsed = 0;
  core.transferTarget = to;
  if (progress.match === core.log.lastIndex) core.send({ type: 'timeoutNow', to });
  else maybeSendAppend(core, to, true);
}

/** The shell could not reach a member: stop streaming to it blindly. */
export function reportUnreachable(core: RaftCore, id: NodeId): void {
  const progress = core.tracker.get(id);
  if (core.role === 'leader' && progress?.state.kind === 'replicate') progress.becomeProbe();
}

/** The shell knows what became of a snapshot sent to a member. */
export function reportSnapshot(core: RaftCore, id: NodeId, arrived: boolean): void {
  const progress = core.tracker.get(id);
  if (core.role !== 'leader' || progress?.state.kind !== 'snapshot') return;
  if (arrived) progress.becomeProbe();
  else progress.snapshotFailed();
  // Its answer, or the next heartbeat's, resumes sending.
  progress.paused = true;
}

/** Applied entries no longer count as uncommitted. */
export function releaseUncommitted(core: RaftCore, bytes: number): void {
  core.uncommittedBytes = Math.max(0, core.uncommittedBytes - bytes);
}

/** Bytes that entries count for in the uncommitted limit. */
export function bytesOf(entries: readonly Entry[]): number {
  return entries.reduce((sum, entry) => sum + entryBytes(entry), 0);
}
