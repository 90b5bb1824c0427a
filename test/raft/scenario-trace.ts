/** How scenarios show what nodes say and do: one line each. */
import type {
  ConfChange,
  ConfState,
  Entry,
  Message,
  Ready,
  SnapshotMeta,
} from '../../src/raft/types.js';
import { RawNode, type RaftStatus } from '../../src/raft/raw-node.js';

/** What a Ready asks for, but for the messages in it. */
export function describeReady(id: number, ready: Ready): readonly string[] {
  const { softState, hardState, readStates, entries, snapshot, committedEntries } = ready;
  const lines: string[] = [];
  if (softState !== undefined) {
    const { role, leader } = softState;
    lines.push(`${id} is ${role}, ${leader === 0 ? 'knows no leader' : `leader ${leader}`}`);
  }
  const applied = committedEntries.map(describeEntry).join(' ');
  if (applied !== '') lines.push(`${id} applies ${applied}`);
  for (const { context, index } of readStates) lines.push(`${id} may read ${context} at ${index}`);
  const writes: string[] = [];
  if (snapshot !== undefined) writes.push(describeSnapshot(snapshot));
  if (entries.length > 0) writes.push(entries.map(describeEntry).join(' '));
  if (hardState !== undefined) {
    const { term, vote, commit } = hardState;
    writes.push(`term ${term} vote ${vote} commit ${commit}`);
  }
  const flush = ready.mustSync ? '' : ' (no flush)';
  if (writes.length > 0) lines.push(`${id} writes ${writes.join(', ')}${flush}`);
  return lines;
}

/** `index/term`, and what is in it. */
export function describeEntry(entry: Entry): string {
  const { index, term, kind, data } = entry;
  const place = `${index}/${term}`;
  if (kind === 'confChange') return `${place}(${describeChange(RawNode.confChangeOf(entry))})`;
  const text = Buffer.from(data).toString();
  return text === '' ? place : `${place}"${text}"`;
}

const SIGNS = { addVoter: '+', addLearner: '~', removeMember: '-', updateMember: '=' } as const;

function describeChange(change: ConfChange): string {
  switch (change.kind) {
    case 'joint': {
      const changes = change.changes.map(describeChange);
      return `${change.transition} ${changes.join(' ')}`;
    }
    case 'leaveJoint':
      return 'leave';
    default:
      return `${SIGNS[change.kind]}${change.nodeId}`;
  }
}

/** Voters, learners, and the old half of a joint configuration. */
export function describeConf({ voters, learners, joint }: ConfState): string {
  const parts = [`voters ${voters.join()}`];
  if (learners.length > 0) parts.push(`learners ${learners.join()}`);
  if (joint !== undefined) {
    parts.push(`outgoing ${joint.outgoing.join()}`);
    if (joint.learnersNext.length > 0) parts.push(`learners next ${joint.learnersNext.join()}`);
    if (joint.autoLeave) parts.push('left by itself');
  }
  return parts.join('; ');
}

function describeSnapshot({ index, term, conf }: SnapshotMeta): string {
  return `snapshot ${index}/${term} of ${describeConf(conf)}`;
}

/** Sender, receiver, and all that the message says. */
export function describeMessage(message: Message): string {
  const { from, to, term, type } = message;
  return `${from} -> ${to} ${type} term ${term}${detailsOf(message)}`;
}

function detailsOf(message: Message): string {
  switch (message.type) {
    case 'append': {
      const { index, logTerm, entries, commit } = message;
      const listed = entries.map((entry) => ` ${describeEntry(entry)}`).join('');
      return ` after ${index}/${logTerm}:${listed === '' ? ' nothing' : listed}, commit ${commit}`;
    }
    case 'appendResponse': {
      const { index, reject, rejectHint, logTerm } = message;
      if (!reject) return ` accepted to ${index}`;
      return ` rejected ${index}, perhaps ${rejectHint}/${logTerm}`;
    }
    case 'vote':
    case 'preVote': {
      const { index, logTerm, transfer } = message;
      return ` log to ${index}/${logTerm}${transfer ? ', for the leader' : ''}`;
    }
    case 'voteResponse':
    case 'preVoteResponse': {
      const { reject, commit, logTerm } = message;
      return ` ${reject ? 'no' : 'yes'}, commit ${commit}/${logTerm}`;
    }
    case 'heartbeat': {
      const { commit, context } = message;
      return ` commit ${commit}${context === '' ? '' : `, read ${context}`}`;
    }
    case 'heartbeatResponse':
    case 'readIndex':
      return message.context === '' ? '' : ` read ${message.context}`;
    case 'readIndexResponse':
      return ` read ${message.context} at ${message.index}`;
    case 'snapshot':
      return ` ${describeSnapshot(message.snapshot)}`;
    case 'timeoutNow':
      return '';
  }
}

/** A node in one line, and a line for each member it sends to. */
export function describeStatus(status: RaftStatus): readonly string[] {
  const { id, role, leader, term, commit, applied, lastIndex, transferTarget, conf } = status;
  const transfer = transferTarget === 0 ? '' : `, handing over to ${transferTarget}`;
  const place = `log to ${lastIndex}, commit ${commit}, applied ${applied}`;
  return [
    `${id}: ${role} of term ${term}, leader ${leader}, ${place}${transfer}; ${describeConf(conf)}`,
    ...Array.from(status.progress, ([to, { match, next, state, isLearner, recentActive }]) => {
      const part = isLearner ? ' learner' : '';
      return `  ${to}${part}: ${state}, match ${match}, next ${next}${recentActive ? '' : ', silent'}`;
    }),
  ];
}
