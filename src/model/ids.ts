/**
 * Object ids as SwarmKit makes them (identity/randomid.go): 17 random bytes with the top bit set,
 * written in base 36, characters 1 to 25.
 */
import type { RandomSource } from './environment.js';

/** Length of every object id. */
export const ID_LENGTH = 25;

/** A new random object id: 25 characters of [0-9a-z]. */
export function newId(random: RandomSource): string {
  const bytes = Uint8Array.from(random.bytes(17));
  bytes[0] = (bytes[0] ?? 0) | 0x80;
  return base36(bytes).slice(1, 1 + ID_LENGTH);
}

/** Big-endian bytes as a base-36 number without padding. */
export function base36(bytes: Uint8Array): string {
  return BigInt(`0x${Buffer.from(bytes).toString('hex')}`).toString(36);
}

/** Id of a secret with the value for one task only (SwarmKit identity.CombineTwoIDs). */
export function taskSecretId(secretId: string, taskId: string): string {
  return `${secretId}.${taskId}`;
}
