/** Raft messages as bytes and back. What cannot be a message is refused, never half understood. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { SkepError } from '../../model/errors.js';
import {
  type RaftMessage,
  RaftMessageSchema,
  RaftMessageType as Type,
} from '../../model/gen/skep/manager/v1/raft_pb.js';
import type { Entry, Message } from '../../raft/types.js';

const TYPES = {
  append: Type.APPEND,
  appendResponse: Type.APPEND_RESPONSE,
  vote: Type.VOTE,
  voteResponse: Type.VOTE_RESPONSE,
  preVote: Type.PRE_VOTE,
  preVoteResponse: Type.PRE_VOTE_RESPONSE,
  heartbeat: Type.HEARTBEAT,
  heartbeatResponse: Type.HEARTBEAT_RESPONSE,
  snapshot: Type.SNAPSHOT,
  timeoutNow: Type.TIMEOUT_NOW,
  readIndex: Type.READ_INDEX,
  readIndexResponse: Type.READ_INDEX_RESPONSE,
} as const satisfies Readonly<Record<Message['type'], Type>>;

/** Longest context of a read request: two raft ids and a number in decimal. */
const CONTEXT_CHARS_MAX = 64;

/** The bytes of a message; of a snapshot without its data. */
export function encodeMessage(message: Message): Uint8Array {
  const wire = create(RaftMessageSchema, {
    type: TYPES[message.type],
    from: BigInt(message.from),
    to: BigInt(message.to),
    term: BigInt(message.term),
  });
  fill(wire, message);
  return toBinary(RaftMessageSchema, wire);
}

function fill(wire: RaftMessage, message: Message): void {
  if ('index' in message) wire.index = BigInt(message.index);
  if ('logTerm' in message) wire.logTerm = BigInt(message.logTerm);
  if ('commit' in message) wire.commit = BigInt(message.commit);
  if ('reject' in message) wire.reject = message.reject;
  if ('context' in message) wire.context = message.context;
  switch (message.type) {
    case 'append':
      for (const { term, index, kind, data } of message.entries) {
        wire.entries.push({
          $typeName: 'skep.manager.v1.RaftEntry',
          term: BigInt(term),
          index: BigInt(index),
          isConfChange: kind === 'confChange',
          data,
        });
      }
      return;
    case 'appendResponse':
      wire.rejectHint = BigInt(message.rejectHint);
      return;
    case 'vote':
    case 'preVote':
      wire.transfer = message.transfer;
      return;
    case 'snapshot': {
      const { index, term, conf, data } = message.snapshot;
      wire.snapshot = {
        $typeName: 'skep.manager.v1.RaftSnapshot',
        index: BigInt(index),
        term: BigInt(term),
        voters: conf.voters.map(BigInt),
        learners: conf.learners.map(BigInt),
        votersOutgoing: (conf.joint?.outgoing ?? []).map(BigInt),
        learnersNext: (conf.joint?.learnersNext ?? []).map(BigInt),
        autoLeave: conf.joint?.autoLeave ?? false,
        bytes: BigInt(data?.length ?? 0),
      };
      return;
    }
    default:
  }
}

/** A message off the wire. `snapshotBytes`: how many bytes of it are to follow. */
export interface DecodedMessage {
  readonly message: Message;
  readonly snapshotBytes: number;
}

/** @throws SkepError invalid_argument for bytes that are no message */
export function decodeMessage(bytes: Uint8Array): DecodedMessage {
  let wire: RaftMessage;
  try {
    wire = fromBinary(RaftMessageSchema, bytes);
  } catch (error) {
    throw new SkepError('invalid_argument', 'raft message cannot be decoded', { cause: error });
  }
  if (wire.context.length > CONTEXT_CHARS_MAX) throw refused('its context is too long');
  const message = messageOf(wire);
  return { message, snapshotBytes: number(wire.snapshot?.bytes ?? 0n) };
}

function messageOf(wire: RaftMessage): Message {
  const envelope = { from: number(wire.from), to: number(wire.to), term: number(wire.term) };
  const index = number(wire.index);
  const logTerm = number(wire.logTerm);
  const commit = number(wire.commit);
  const { context, reject } = wire;
  switch (wire.type) {
    case Type.APPEND:
      return {
        ...envelope,
        type: 'append',
        index,
        logTerm,
        commit,
        entries: wire.entries.map(entryOf),
      };
    case Type.APPEND_RESPONSE: {
      const rejectHint = number(wire.rejectHint);
      return { ...envelope, type: 'appendResponse', index, reject, rejectHint, logTerm };
    }
    case Type.VOTE:
    case Type.PRE_VOTE: {
      const type = wire.type === Type.VOTE ? 'vote' : 'preVote';
      return { ...envelope, type, index, logTerm, transfer: wire.transfer };
    }
    case Type.VOTE_RESPONSE:
      return { ...envelope, type: 'voteResponse', reject, commit, logTerm };
    case Type.PRE_VOTE_RESPONSE:
      return { ...envelope, type: 'preVoteResponse', reject, commit, logTerm };
    case Type.HEARTBEAT:
      return { ...envelope, type: 'heartbeat', commit, context };
    case Type.HEARTBEAT_RESPONSE:
      return { ...envelope, type: 'heartbeatResponse', context };
    case Type.SNAPSHOT:
      return { ...envelope, type: 'snapshot', snapshot: snapshotOf(wire) };
    case Type.TIMEOUT_NOW:
      return { ...envelope, type: 'timeoutNow' };
    case Type.READ_INDEX:
      return { ...envelope, type: 'readIndex', context };
    case Type.READ_INDEX_RESPONSE:
      return { ...envelope, type: 'readIndexResponse', index, context };
    default:
      throw refused('its type is not known');
  }
}

function snapshotOf(wire: RaftMessage): Extract<Message, { type: 'snapshot' }>['snapshot'] {
  const { snapshot } = wire;
  if (snapshot === undefined) throw refused('it has no snapshot');
  const { autoLeave } = snapshot;
  const [voters, learners, outgoing, learnersNext] = [
    snapshot.voters,
    snapshot.learners,
    snapshot.votersOutgoing,
    snapshot.learnersNext,
  ].map((ids) => ids.map(number)) as [number[], number[], number[], number[]];
  const conf = { voters, learners };
  const position = { index: number(snapshot.index), term: number(snapshot.term) };
  if (outgoing.length === 0) return { ...position, conf };
  return { ...position, conf: { ...conf, joint: { outgoing, learnersNext, autoLeave } } };
}

function entryOf(entry: RaftMessage['entries'][number]): Entry {
  return {
    term: number(entry.term),
    index: number(entry.index),
    kind: entry.isConfChange ? 'confChange' : 'normal',
    data: entry.data,
  };
}

function number(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw refused('a number in it is too large');
  return Number(value);
}

function refused(why: string): SkepError {
  return new SkepError('invalid_argument', `raft message refused: ${why}`);
}
