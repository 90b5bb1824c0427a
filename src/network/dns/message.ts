/**
 * DNS messages in and out: reads hostile questions without throwing, writes answers that fit, and
 * failures that echo the question byte for byte.
 */
import { decode, encode, type OptAnswer, type Packet, type RecordType } from 'dns-packet';
import { DNS_UDP_BYTES_MAX } from '../limits.js';

const HEADER_BYTES = 12;
const FLAG_RESPONSE = 0x8000;
const FLAG_TRUNCATED = 0x0200;
const FLAG_RECURSION_DESIRED = 0x0100;
const FLAG_RECURSION_AVAILABLE = 0x0080;
const OPCODE_MASK = 0x7800;
const CLASS_IN = 1;
/** Type, class, time to live, length of one answer without name and data. */
const ANSWER_FIXED_BYTES = 10;
const IPV4_BYTES = 4;
const IPV6_BYTES = 16;
const LABEL_LENGTH_MAX = 63;
/** An OPT record: root name, type 41, the size we take, no extended code, version 0, no options. */
const OPT: OptAnswer = {
  ...{ type: 'OPT', name: '.', udpPayloadSize: DNS_UDP_BYTES_MAX, options: [] },
  ...{ extendedRcode: 0, ednsVersion: 0, flags: 0, flag_do: false },
};
const OPT_BYTES = Buffer.from([
  0,
  0,
  41,
  DNS_UDP_BYTES_MAX >> 8,
  DNS_UDP_BYTES_MAX & 0xff,
  0,
  0,
  0,
  0,
  0,
  0,
]);

/** Response codes in use. */
export const RESPONSE_CODES = {
  noError: 0,
  formatError: 1,
  serverFailure: 2,
  nameError: 3,
  refused: 5,
} as const;

/** The response code: the low bits of the fourth byte (RFC 1035, section 4.1.1). */
export function responseCodeOf(message: Buffer): number {
  return (message[3] ?? 0) & 0xf;
}

/** A question with exactly one name. */
export interface DnsQuestion {
  readonly id: number;
  readonly flags: number;
  readonly name: string;
  readonly type: RecordType;
  /** The client speaks EDNS, and gets an OPT record back (RFC 6891). */
  readonly edns: boolean;
  /** Largest UDP answer the client takes. */
  readonly udpBytesMax: number;
  /** Header and question as received. */
  readonly raw: Buffer;
}

/** A question of class IN, or what is wrong with it; undefined: not worth an answer. */
export type ParsedQuestion =
  | { readonly ok: true; readonly question: DnsQuestion }
  | { readonly ok: false; readonly answer: Buffer }
  | undefined;

/** Reads a message from a client; `plainBytesMax` holds without EDNS, `bytesMax` with. */
export function parseQuestion(
  message: Buffer,
  plainBytesMax: number,
  bytesMax: number,
): ParsedQuestion {
  if (message.length < HEADER_BYTES) return undefined;
  const flags = message.readUInt16BE(2);
  // Answering an answer makes loops.
  if ((flags & FLAG_RESPONSE) !== 0) return undefined;
  const end = questionEnd(message);
  const bad = { ok: false, answer: failure(message, end, RESPONSE_CODES.formatError) } as const;
  if (end === undefined || (flags & OPCODE_MASK) !== 0) return bad;
  if (message.readUInt16BE(end - 2) !== CLASS_IN)
    return { ok: false, answer: failure(message, end, RESPONSE_CODES.refused) };
  let packet: Packet;
  try {
    packet = decode(message);
  } catch {
    return bad;
  }
  const [question] = packet.questions ?? [];
  if (question === undefined) return bad;
  const edns = packet.additionals?.find((record) => record.type === 'OPT');
  const announced = edns !== undefined && 'udpPayloadSize' in edns ? edns.udpPayloadSize : 0;
  const udpBytesMax = Math.min(bytesMax, Math.max(plainBytesMax, announced));
  const { name, type } = question;
  const raw = message.subarray(0, end);
  const parsed = { id: packet.id ?? 0, flags, name, type, udpBytesMax, raw };
  return { ok: true, question: { ...parsed, edns: edns !== undefined } };
}

/** End of the one question, or undefined if there is not exactly one plain name. */
export function questionEnd(message: Buffer): number | undefined {
  if (message.length < HEADER_BYTES || message.readUInt16BE(4) !== 1) return undefined;
  let offset = HEADER_BYTES;
  for (;;) {
    const length = message[offset];
    // No compression: there is nothing before the question to point to.
    if (length === undefined || length > LABEL_LENGTH_MAX) return undefined;
    offset += length + 1;
    if (length === 0) break;
  }
  return offset + 4 <= message.length ? offset + 4 : undefined;
}

/** A response without answers. */
export function emptyAnswer(question: DnsQuestion, code: number): Buffer {
  const answer = failure(question.raw, question.raw.length, code);
  if (!question.edns) return answer;
  answer.writeUInt16BE(1, 10);
  return Buffer.concat([answer, OPT_BYTES]);
}

function failure(message: Buffer, end: number | undefined, code: number): Buffer {
  const answer = Buffer.from(message.subarray(0, end ?? HEADER_BYTES));
  const kept = answer.readUInt16BE(2) & (OPCODE_MASK | FLAG_RECURSION_DESIRED);
  answer.writeUInt16BE(FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE | kept | code, 2);
  answer.writeUInt16BE(end === undefined ? 0 : 1, 4);
  answer.fill(0, 6, HEADER_BYTES);
  return answer;
}

/** A or AAAA records; as many as fit `bytesMax`, marked truncated if not all did. */
export function addressAnswer(
  question: DnsQuestion,
  type: 'A' | 'AAAA',
  addresses: readonly string[],
  ttlSeconds: number,
  bytesMax: number,
): Buffer {
  const { name } = question;
  const nameBytes = name === '.' ? 1 : Buffer.byteLength(name) + 2;
  const each = nameBytes + ANSWER_FIXED_BYTES + (type === 'A' ? IPV4_BYTES : IPV6_BYTES);
  const used = question.raw.length + (question.edns ? OPT_BYTES.length : 0);
  const room = Math.max(0, Math.floor((bytesMax - used) / each));
  const fitting = addresses.slice(0, room);
  const truncated = fitting.length < addresses.length ? FLAG_TRUNCATED : 0;
  return encode({
    type: 'response',
    id: question.id,
    flags: responseFlags(question) | truncated,
    questions: [{ name, type: question.type }],
    answers: fitting.map((data) => ({ name, type, ttl: ttlSeconds, data })),
    additionals: ednsOf(question),
  });
}

/** One PTR record. */
export function pointerAnswer(question: DnsQuestion, target: string, ttlSeconds: number): Buffer {
  const { name } = question;
  return encode({
    type: 'response',
    id: question.id,
    flags: responseFlags(question),
    questions: [{ name, type: question.type }],
    answers: [{ name, type: 'PTR', ttl: ttlSeconds, data: target }],
    additionals: ednsOf(question),
  });
}

function ednsOf(question: DnsQuestion): OptAnswer[] {
  return question.edns ? [OPT] : [];
}

function responseFlags(question: DnsQuestion): number {
  return FLAG_RECURSION_AVAILABLE | (question.flags & FLAG_RECURSION_DESIRED);
}
