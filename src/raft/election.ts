/** Standing for election and voting. */
import type { RaftCore } from './core.js';
import { broadcastAppend } from './replication.js';
import { NO_NODE, type VoteMessage, type VoteResponse } from './types.js';

/** How an election begins: with a poll, at once, or on the leader's wish. */
export type CampaignKind = 'preVote' | 'election' | 'transfer';

/** Begins an election if this node may. */
export function campaign(core: RaftCore, kind: CampaignKind): void {
  if (core.role === 'leader' || !core.isPromotable) return;
  // A membership change that is committed and not applied here decides who may vote.
  if (hasUnappliedConfChange(core)) return;
  const isPoll = kind === 'preVote';
  if (isPoll) core.becomePreCandidate();
  else core.becomeCandidate();
  const term = isPoll ? core.term + 1 : core.term;
  for (const to of [...core.tracker.voters].sort((a, b) => a - b)) {
    if (to === core.id) {
      const type = isPoll ? 'preVoteResponse' : 'voteResponse';
      answerVote(core, { type, to, term, reject: false });
      continue;
    }
    core.messagesAfterPersist.push({
      type: isPoll ? 'preVote' : 'vote',
      from: core.id,
      to,
      term,
      index: core.log.lastIndex,
      logTerm: core.log.lastTerm,
      transfer: kind === 'transfer',
    });
  }
}

function hasUnappliedConfChange(core: RaftCore): boolean {
  const { log } = core;
  if (log.applied >= log.committed) return false;
  return log
    .entriesFrom(log.applied + 1, Number.POSITIVE_INFINITY)
    .some((entry) => entry.index <= log.committed && entry.kind === 'confChange');
}

/** Grants or refuses a vote; the term of a real vote is this node's by now. */
export function handleVote(core: RaftCore, message: VoteMessage): void {
  const isPoll = message.type === 'preVote';
  const free =
    core.vote === message.from ||
    (core.vote === NO_NODE && core.leader === NO_NODE) ||
    (isPoll && message.term > core.term);
  const type = isPoll ? 'preVoteResponse' : 'voteResponse';
  if (free && core.log.isUpToDate(message.index, message.logTerm)) {
    // A poll is answered with the term asked for, so that the asker does not ignore it.
    answerVote(core, { type, to: message.from, term: message.term, reject: false });
    if (!isPoll) {
      core.electionElapsed = 0;
      core.vote = message.from;
    }
    return;
  }
  answerVote(core, { type, to: message.from, term: core.term, reject: true });
}

/** Sends a vote or refusal, with what the asker may not know to be committed. */
export function answerVote(
  core: RaftCore,
  answer: Omit<VoteResponse, 'from' | 'commit' | 'logTerm'>,
): void {
  const commit = core.log.committed;
  core.send({ ...answer, commit, logTerm: core.log.termAt(commit) ?? 0 });
}

/** Takes the commit index out of a vote's answer, if this node has that very entry. */
export function learnCommit(core: RaftCore, { commit, logTerm }: VoteResponse): void {
  if (logTerm === 0 || !core.log.matches(commit, logTerm)) return;
  core.log.commitTo(commit);
  const stands = core.role === 'candidate' || core.role === 'preCandidate';
  // It asks the wrong ones, as it learns now.
  if (stands && hasUnappliedConfChange(core)) core.becomeFollower(core.term, NO_NODE);
}

/** Counts a vote for this candidate. */
export function handleVoteResponse(core: RaftCore, message: VoteResponse): void {
  const expected = core.role === 'preCandidate' ? 'preVoteResponse' : 'voteResponse';
  if (message.type !== expected) return;
  switch (core.tracker.recordVote(message.from, !message.reject)) {
    case 'won':
      if (core.role === 'preCandidate') {
        campaign(core, 'election');
      } else {
        core.becomeLeader();
        broadcastAppend(core);
      }
      return;
    case 'lost':
      core.becomeFollower(core.term, NO_NODE);
      return;
    case 'pending':
  }
}
