/** The leader's sending side: appends, snapshots, heartbeats, and moving the commit index. */
import type { RaftCore } from './core.js';
import type { Progress } from './progress.js';
import { entryBytes } from './raft-log.js';
import { type Entry, NO_NODE, type NodeId } from './types.js';

/** Ids of all members but this one. */
export function peersOf(core: RaftCore): readonly NodeId[] {
  return core.tracker.ids.filter((id) => id !== core.id);
}

/**
 * Sends the member what it lacks, or with `evenIfEmpty` at least the commit index. Returns false
 * when nothing was sent: the member is paused, or there is nothing new.
 */
export function maybeSendAppend(core: RaftCore, to: NodeId, evenIfEmpty: boolean): boolean {
  const progress = core.tracker.get(to);
  if (progress === undefined || progress.isPaused) return false;
  const previous = progress.next - 1;
  const previousTerm = core.log.termAt(previous);
  if (previousTerm === undefined) return maybeSendSnapshot(core, to, progress);
  const windowFull = progress.state.kind === 'replicate' && progress.inflights.isFull;
  const entries: readonly Entry[] = windowFull
    ? []
    : core.log.entriesFrom(progress.next, core.config.messageBytesMax);
  if (entries.length === 0 && !evenIfEmpty) return false;
  core.send({
    type: 'append',
    to,
    index: previous,
    logTerm: previousTerm,
    entries,
    commit: core.log.committed,
  });
  progress.sent(
    entries.length,
    entries.reduce((sum, entry) => sum + entryBytes(entry), 0),
  );
  progress.sentCommit = Math.max(
    progress.sentCommit,
    Math.min(core.log.committed, progress.next - 1),
  );
  return true;
}

/** Sends the newest snapshot to a member whose entries are compacted. */
function maybeSendSnapshot(core: RaftCore, to: NodeId, progress: Progress): boolean {
  // A member that is not there would only cost the sending.
  if (!progress.recentActive) return false;
  const snapshot = core.config.latestSnapshot();
  if (snapshot === undefined) return false;
  progress.becomeSnapshot(snapshot.index);
  core.send({ type: 'snapshot', to, snapshot });
  return true;
}

/**
 * Has every member sent what it lacks, and the commit index, when messages are next handed out: so
 * that entries proposed and acknowledgements taken in one go share a message.
 */
export function broadcastAppend(core: RaftCore): void {
  core.isBroadcastDue = true;
}

/** Sends what {@link broadcastAppend} has promised. */
export function sendDueAppends(core: RaftCore): void {
  if (!core.isBroadcastDue) return;
  core.isBroadcastDue = false;
  for (const id of peersOf(core)) {
    maybeSendAppend(core, id, true);
    sendRest(core, id);
  }
}

/** Sends the member all that fits in its window. */
export function sendRest(core: RaftCore, to: NodeId): void {
  while (maybeSendAppend(core, to, false)) {
    // Each message takes what fits in one.
  }
}

/** Sends every member a sign of life, and of the newest read request. */
export function broadcastHeartbeat(core: RaftCore): void {
  const context = core.reads.lastContext;
  for (const to of peersOf(core)) {
    const progress = core.tracker.get(to);
    if (progress === undefined) continue;
    // Never beyond what the member is known to have: it may have other entries there.
    const commit = Math.min(progress.match, core.log.committed);
    core.send({ type: 'heartbeat', to, commit, context });
    progress.sentCommit = Math.max(progress.sentCommit, commit);
  }
}

/**
 * Moves the commit index to what a majority has; true if it moved. Entries of earlier terms are
 * committed only along with one of this term (Raft paper, 5.4.2).
 */
export function maybeCommit(core: RaftCore): boolean {
  const agreed = core.tracker.agreedIndex();
  if (agreed <= core.log.committed || !core.log.matches(agreed, core.term)) return false;
  core.log.commitTo(agreed);
  releaseEarlyReads(core);
  return true;
}

/** Takes a read request; it is answered when this node is known to lead still. */
export function acceptRead(core: RaftCore, context: string, from: NodeId): void {
  if (!core.hasCommittedInTerm) {
    core.earlyReads.push({ context, from });
    return;
  }
  if (core.tracker.isOnlyVoter(core.id)) {
    answerRead(core, context, from, core.log.committed);
    return;
  }
  core.reads.add({ context, from, index: core.log.committed }, core.id);
  broadcastHeartbeat(core);
}

/** Answers a confirmed read request, here or at the follower it came from. */
export function answerRead(core: RaftCore, context: string, from: NodeId, index: number): void {
  if (from === core.id || from === NO_NODE) core.readStates.push({ index, context });
  else core.send({ type: 'readIndexResponse', to: from, index, context });
}

/** The leader knows its commit index now: take the requests that waited for it. */
function releaseEarlyReads(core: RaftCore): void {
  if (!core.hasCommittedInTerm || core.earlyReads.length === 0) return;
  const waiting = core.earlyReads;
  core.earlyReads = [];
  for (const { context, from } of waiting) acceptRead(core, context, from);
}
