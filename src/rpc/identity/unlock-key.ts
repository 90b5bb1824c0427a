/**
 * The key that unlocks managers (SwarmKit's KEK): 32 random bytes, written for people as
 * `SWMKEY-1-` and base64 without padding.
 */
import { timingSafeEqual } from 'node:crypto';
import { SkepError } from '../../model/errors.js';

/** Bytes of an unlock key. */
export const UNLOCK_KEY_BYTES = 32;

const PREFIX = 'SWMKEY-1-';
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2,3})?$/;

/** The key as `docker swarm unlock-key` shows it. */
export function formatUnlockKey(key: Uint8Array): string {
  return PREFIX + Buffer.from(key).toString('base64').replace(/=+$/, '');
}

/**
 * Reads what a user typed; a well-formed key of another length is returned as it is, and fits
 * nothing. @throws SkepError invalid_argument `invalid key string`, SwarmKit's text
 */
export function parseUnlockKey(text: string): Uint8Array {
  const encoded = text.slice(PREFIX.length);
  if (!text.startsWith(PREFIX) || !BASE64.test(encoded)) {
    throw new SkepError('invalid_argument', 'invalid key string');
  }
  return new Uint8Array(Buffer.from(encoded, 'base64'));
}

/** Whether two keys are the same, none being the same as none; compared in constant time. */
export function sameUnlockKey(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.length === b.length && timingSafeEqual(a, b);
}
