/**
 * What nodes say to each other when they test their path: a probe of any size whose content follows
 * from its nonce, and the answer that says how much of it arrived, and whether unchanged. Decoding is
 * for bytes anybody may have sent: what is malformed yields `undefined`, never an exception.
 *
 * Layout: `SKPT`, version, type, whether intact, 0, length (2 bytes), nonce (16), filler.
 */
import { createHash } from 'node:crypto';
import { NONCE_BYTES, PROBE_BYTES_MAX, PROBE_BYTES_MIN } from './limits.js';

/** A message as it was read. */
export type PathMessage =
  | { readonly kind: 'probe'; readonly nonce: Uint8Array; readonly intact: boolean }
  | {
      readonly kind: 'answer';
      readonly nonce: Uint8Array;
      /** Length of the probe that arrived. */
      readonly bytes: number;
      readonly intact: boolean;
    };

const MAGIC = Buffer.from('SKPT');
const VERSION = 1;
const VERSION_AT = 4;
const TYPE_AT = 5;
const INTACT_AT = 6;
const LENGTH_AT = 8;
const NONCE_AT = 10;
const FILLER_AT = NONCE_AT + NONCE_BYTES;
const PROBE = 1;
const ANSWER = 2;

/** A probe of `bytes` bytes (PROBE_BYTES_MIN to PROBE_BYTES_MAX). */
export function encodeProbe(nonce: Uint8Array, bytes: number): Buffer {
  return encode(PROBE, nonce, bytes, true, bytes);
}

/** An answer; as short as a probe can be, so that answering never sends more than was received. */
export function encodeAnswer(nonce: Uint8Array, bytes: number, intact: boolean): Buffer {
  return encode(ANSWER, nonce, bytes, intact, PROBE_BYTES_MIN);
}

/** Reads one. A probe whose content was changed on its way is still a probe. */
export function decodePathMessage(message: Uint8Array): PathMessage | undefined {
  const { length } = message;
  if (length < PROBE_BYTES_MIN || length > PROBE_BYTES_MAX) return undefined;
  const view = Buffer.from(message.buffer, message.byteOffset, length);
  if (!view.subarray(0, VERSION_AT).equals(MAGIC) || view[VERSION_AT] !== VERSION) return undefined;
  const nonce = Uint8Array.from(view.subarray(NONCE_AT, FILLER_AT));
  const unchanged = view.subarray(FILLER_AT).equals(filler(nonce, length));
  const bytes = view.readUInt16BE(LENGTH_AT);
  switch (view[TYPE_AT]) {
    case PROBE:
      return { kind: 'probe', nonce, intact: unchanged && bytes === length };
    case ANSWER:
      return unchanged
        ? { kind: 'answer', nonce, bytes, intact: view[INTACT_AT] === 1 }
        : undefined;
    default:
      return undefined;
  }
}

function encode(
  type: number,
  nonce: Uint8Array,
  bytes: number,
  intact: boolean,
  length: number,
): Buffer {
  const message = Buffer.alloc(length);
  MAGIC.copy(message);
  message[VERSION_AT] = VERSION;
  message[TYPE_AT] = type;
  message[INTACT_AT] = intact ? 1 : 0;
  message.writeUInt16BE(bytes, LENGTH_AT);
  message.set(nonce, NONCE_AT);
  message.set(filler(nonce, length), FILLER_AT);
  return message;
}

/** Bytes without a pattern, so that a swap or a shift shows. */
function filler(nonce: Uint8Array, length: number): Buffer {
  return createHash('shake256', { outputLength: length - FILLER_AT })
    .update(nonce)
    .digest();
}
