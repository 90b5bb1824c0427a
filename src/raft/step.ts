/** The one entrance for messages and ticks: terms first, then what the node's role makes of it. */
import type { RaftCore } from './core.js';
import { answerVote, campaign, handleVote, handleVoteResponse, learnCommit } from './election.js';
import { handleAppend, handleHeartbeat, handleSnapshot } from './follower.js';
import { handleAppendResponse, handleHeartbeatResponse, maybeLeaveJoint } from './leader.js';
import { PENDING_READS_MAX } from './limits.js';
import { acceptRead, broadcastHeartbeat } from './replication.js';
import { type Message, NO_NODE } from './types.js';

/** Takes a message of another node, or the node's own after persisting. */
export function step(core: RaftCore, message: Message): void {
  if (message.type === 'voteResponse' || message.type === 'preVoteResponse') {
    learnCommit(core, message);
  }
  if (message.term > core.term) {
    if (!enterTerm(core, message)) return;
  } else if (message.term < core.term) {
    answerStale(core, message);
    return;
  }
  switch (message.type) {
    case 'vote':
    case 'preVote':
      handleVote(core, message);
      return;
    default:
      stepInRole(core, message);
  }
}

/** Meets a higher term; false when the message is to be ignored. */
function enterTerm(core: RaftCore, message: Message): boolean {
  switch (message.type) {
    case 'vote':
    case 'preVote': {
      // Whoever hears of a leader does not help to depose it: a removed or cut-off node would
      // disturb the rest. The leader's own wish is excepted.
      const inLease = core.leader !== NO_NODE && core.electionElapsed < core.config.electionTicks;
      if (inLease && !message.transfer) return false;
      if (message.type === 'vote') core.becomeFollower(message.term, NO_NODE);
      return true;
    }
    case 'preVoteResponse':
      // Granted polls carry the future term; a refusal carries the refuser's own, a higher one.
      if (message.reject) core.becomeFollower(message.term, NO_NODE);
      return true;
    case 'append':
    case 'heartbeat':
    case 'snapshot':
      core.becomeFollower(message.term, message.from);
      return true;
    default:
      core.becomeFollower(message.term, NO_NODE);
      return true;
  }
}

/** Answers a message of an old term where silence would block someone. */
function answerStale(core: RaftCore, message: Message): void {
  switch (message.type) {
    case 'heartbeat':
    case 'append':
      // A leader that was cut off learns the new term by this; votes alone would not reach it.
      core.send({
        type: 'appendResponse',
        to: message.from,
        index: 0,
        reject: false,
        rejectHint: 0,
        logTerm: 0,
      });
      return;
    case 'preVote':
      // A laggard that polls must learn our term, or it would poll for ever.
      answerVote(core, {
        type: 'preVoteResponse',
        to: message.from,
        term: core.term,
        reject: true,
      });
      return;
    default:
  }
}

function stepInRole(core: RaftCore, message: Message): void {
  switch (core.role) {
    case 'leader':
      stepLeader(core, message);
      return;
    case 'candidate':
    case 'preCandidate':
      stepCandidate(core, message);
      return;
    case 'follower':
      stepFollower(core, message);
  }
}

function stepLeader(core: RaftCore, message: Message): void {
  switch (message.type) {
    case 'appendResponse':
      handleAppendResponse(core, message);
      return;
    case 'heartbeatResponse':
      handleHeartbeatResponse(core, message);
      return;
    case 'readIndex':
      requestRead(core, message.context, message.from);
      return;
    default:
  }
}

function stepCandidate(core: RaftCore, message: Message): void {
  switch (message.type) {
    case 'append':
    case 'heartbeat':
    case 'snapshot':
      // Someone else won this term.
      core.becomeFollower(message.term, message.from);
      stepFollower(core, message);
      return;
    case 'voteResponse':
    case 'preVoteResponse':
      handleVoteResponse(core, message);
      return;
    default:
  }
}

function stepFollower(core: RaftCore, message: Message): void {
  switch (message.type) {
    case 'append':
    case 'heartbeat':
    case 'snapshot':
      core.electionElapsed = 0;
      core.leader = message.from;
      if (message.type === 'append') handleAppend(core, message);
      else if (message.type === 'heartbeat') handleHeartbeat(core, message);
      else handleSnapshot(core, message);
      return;
    case 'timeoutNow':
      campaign(core, 'transfer');
      return;
    case 'readIndexResponse':
      core.readStates.push({ index: message.index, context: message.context });
      return;
    default:
  }
}

/**
 * Asks for a read index; the answer comes as a read state with the same context, or never (the
 * asker tries again). False when there is nobody to ask or too many wait.
 */
export function requestRead(core: RaftCore, context: string, from: number): boolean {
  if (core.role === 'leader') {
    if (core.reads.size + core.earlyReads.length >= PENDING_READS_MAX) return false;
    acceptRead(core, context, from);
    return true;
  }
  if (core.leader === NO_NODE) return false;
  core.send({ type: 'readIndex', to: core.leader, context });
  return true;
}

/** Lets one tick of time pass. */
export function tick(core: RaftCore): void {
  core.electionElapsed += 1;
  if (core.role === 'leader') tickLeader(core);
  else if (core.isPromotable && core.electionElapsed >= core.randomizedElectionTicks) {
    core.electionElapsed = 0;
    campaign(core, 'preVote');
  }
}

function tickLeader(core: RaftCore): void {
  core.heartbeatElapsed += 1;
  if (core.electionElapsed >= core.config.electionTicks) {
    core.electionElapsed = 0;
    if (!core.tracker.checkQuorumActive(core.id)) {
      core.becomeFollower(core.term, NO_NODE);
      return;
    }
    // A transfer that took this long has failed; go on leading.
    core.transferTarget = NO_NODE;
    maybeLeaveJoint(core);
  }
  if (core.heartbeatElapsed >= core.config.heartbeatTicks) {
    core.heartbeatElapsed = 0;
    broadcastHeartbeat(core);
  }
}
