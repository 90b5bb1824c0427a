/**
 * Answers from outside that a name, or a type of it, does not exist, remembered for a few seconds (RFC
 * 2308): containers ask for each name once with every search domain. What exists is asked anew each time.
 */
import { decode } from 'dns-packet';
import { DNS_DENIAL_BYTES_MAX, DNS_DENIAL_SECONDS_MAX, DNS_DENIALS_MAX } from '../limits.js';
import type { Forwarding, ForwardResult } from './forwarder.js';
import { questionEnd, RESPONSE_CODES, responseCodeOf } from './message.js';

const NAME_START = 12;
/** Type and class. */
const AFTER_NAME_BYTES = 4;
const FLAG_TRUNCATED = 0x0200;

interface Denial {
  readonly message: Buffer;
  readonly untilMs: number;
}

/** Stands before what really asks. */
export class RememberedDenials implements Forwarding {
  /** By question, the oldest first. */
  private readonly denials = new Map<string, Denial>();

  /** @param monotonicMs the time */
  constructor(
    private readonly next: Forwarding,
    private readonly monotonicMs: () => number,
  ) {}

  async forward(message: Buffer, transport: 'udp' | 'tcp'): Promise<ForwardResult> {
    const end = questionEnd(message);
    if (end === undefined) return this.next.forward(message, transport);
    const key = keyOf(message, end);
    const known = this.denials.get(key);
    if (known !== undefined && known.untilMs > this.monotonicMs())
      return { kind: 'answer', message: asAsked(known.message, message, end) };
    this.denials.delete(key);
    const result = await this.next.forward(message, transport);
    if (result.kind === 'answer') this.remember(key, result.message, end);
    return result;
  }

  private remember(key: string, message: Buffer, end: number): void {
    // Its question is replaced by whoever asks again, so it must have the same one.
    if (message.length > DNS_DENIAL_BYTES_MAX || questionEnd(message) !== end) return;
    const seconds = secondsOf(message);
    if (seconds <= 0) return;
    const [oldest] = this.denials.keys();
    if (this.denials.size >= DNS_DENIALS_MAX && oldest !== undefined) this.denials.delete(oldest);
    const untilMs = this.monotonicMs() + seconds * 1000;
    this.denials.set(key, { message: Buffer.from(message), untilMs });
  }
}

/** All of a question but its id; upper and lower case of the name are one. */
function keyOf(message: Buffer, end: number): string {
  const nameEnd = end - AFTER_NAME_BYTES;
  const name = message.toString('latin1', NAME_START, nameEnd).toLowerCase();
  return message.toString('latin1', 2, NAME_START) + name + message.toString('latin1', nameEnd);
}

/** The answer with id and question of this message. */
function asAsked(answer: Buffer, message: Buffer, end: number): Buffer {
  const copy = Buffer.from(answer);
  message.copy(copy, 0, 0, 2);
  message.copy(copy, NAME_START, NAME_START, end);
  return copy;
}

/** How long a denial holds: as its SOA says (RFC 2308, section 5), but not longer than ours; 0: it is none. */
function secondsOf(message: Buffer): number {
  const code = responseCodeOf(message);
  if (code !== RESPONSE_CODES.nameError && code !== RESPONSE_CODES.noError) return 0;
  if ((message.readUInt16BE(2) & FLAG_TRUNCATED) !== 0) return 0;
  try {
    const { answers = [], authorities = [] } = decode(message);
    const soa = authorities.find((record) => record.type === 'SOA');
    if (answers.length > 0 || soa?.type !== 'SOA') return 0;
    return Math.min(soa.ttl ?? 0, soa.data.minimum ?? 0, DNS_DENIAL_SECONDS_MAX);
  } catch {
    return 0; // Whoever asked may make something of it.
  }
}
