/**
 * What two nodes say to each other about direct return, beside the self-test's messages and through
 * the tunnel, so that only members take part: an entry node asks for a probe, the backend's node says
 * whether it sent one, and the entry node says whether it came. Decoding is for bytes anybody may
 * have sent: what is malformed yields `undefined`, never an exception.
 *
 * Layout: `SKPD`, version, type, flags, 0, nonce (16).
 */
import { DIRECT_NONCE_BYTES } from './limits.js';

/** A message about the probe with this nonce. */
export type DirectMessage = { readonly nonce: Uint8Array } & (
  | { readonly kind: 'ask' /** As long as a reply can be. */; readonly full: boolean }
  /** Answer to `ask`. */
  | { readonly kind: 'sent' }
  /** The same: this node never returns directly. */
  | { readonly kind: 'unable' }
  /** It came: replies may take that way for a while. */
  | { readonly kind: 'proven' }
  /** Replies may not take that way any more. */
  | { readonly kind: 'withdrawn' }
);

const MAGIC = Buffer.from('SKPD');
const VERSION = 1;
const VERSION_AT = 4;
const TYPE_AT = 5;
const FLAGS_AT = 6;
const NONCE_AT = 8;
const MESSAGE_BYTES = NONCE_AT + DIRECT_NONCE_BYTES;
const FULL = 1;
const KINDS: Readonly<Record<DirectMessage['kind'], number>> = {
  ask: 1,
  sent: 2,
  unable: 3,
  proven: 4,
  withdrawn: 5,
};

/** Bytes of a message. */
export function encodeDirectMessage(message: DirectMessage): Buffer {
  const bytes = Buffer.alloc(MESSAGE_BYTES);
  MAGIC.copy(bytes);
  bytes[VERSION_AT] = VERSION;
  bytes[TYPE_AT] = KINDS[message.kind];
  bytes[FLAGS_AT] = message.kind === 'ask' && message.full ? FULL : 0;
  bytes.set(message.nonce, NONCE_AT);
  return bytes;
}

/** Reads one. */
export function decodeDirectMessage(bytes: Uint8Array): DirectMessage | undefined {
  if (bytes.length !== MESSAGE_BYTES) return undefined;
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (!view.subarray(0, VERSION_AT).equals(MAGIC) || view[VERSION_AT] !== VERSION) return undefined;
  const nonce = Uint8Array.from(view.subarray(NONCE_AT));
  switch (view[TYPE_AT]) {
    case KINDS.ask:
      return { kind: 'ask', nonce, full: view[FLAGS_AT] === FULL };
    case KINDS.sent:
      return { kind: 'sent', nonce };
    case KINDS.unable:
      return { kind: 'unable', nonce };
    case KINDS.proven:
      return { kind: 'proven', nonce };
    case KINDS.withdrawn:
      return { kind: 'withdrawn', nonce };
    default:
      return undefined;
  }
}
