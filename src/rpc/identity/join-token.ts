/**
 * Join tokens: `SWMTKN-1-<digest>-<secret>`. The digest is SHA-256 of the root bundle in base 36,
 * 50 characters; the secret is 16 random bytes in base 36, 25 characters.
 */
import type { RandomSource } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import { base36 } from '../../model/ids.js';
import { rootCaDigest } from './root-ca.js';

const SECRET_BYTES = 16;
const SECRET_CHARS = 25;
const DIGEST_BYTES = 32;
const DIGEST_CHARS = 50;
const FORMAT = /^SWMTKN-(?:1|2-([01]))-([0-9a-z]{50})-([0-9a-z]{25})$/;

/** What a token tells the joining node; the secret stays in the token. */
export interface JoinToken {
  /** SHA-256 of the root bundle. */
  readonly rootDigest: Buffer;
  /** Whether the cluster insists on FIPS mode (format 2). */
  readonly fips: boolean;
}

/** A new token for a cluster with this root bundle. */
export function newJoinToken(rootCaPem: Uint8Array | string, random: RandomSource): string {
  const digest = base36(rootCaDigest(rootCaPem)).padStart(DIGEST_CHARS, '0');
  const secret = base36(random.bytes(SECRET_BYTES)).padStart(SECRET_CHARS, '0');
  return `SWMTKN-1-${digest}-${secret}`;
}

/**
 * Reads a token. @throws SkepError unknown `invalid join token` (Docker answers 500), invalid_argument
 * for none
 */
export function parseJoinToken(token: string): JoinToken {
  if (token === '') throw new SkepError('invalid_argument', NO_TOKEN);
  const [, fips, digest] = FORMAT.exec(token) ?? [];
  if (digest === undefined) throw invalidToken();
  let number = 0n;
  for (const character of digest) number = number * 36n + BigInt(Number.parseInt(character, 36));
  const hex = number.toString(16).padStart(DIGEST_BYTES * 2, '0');
  if (hex.length !== DIGEST_BYTES * 2) throw invalidToken();
  return { rootDigest: Buffer.from(hex, 'hex'), fips: fips === '1' };
}

/** Docker asks the manager with no token, and shows its answer as it is. */
const NO_TOKEN =
  'rpc error: code = InvalidArgument desc = A valid join token is necessary to join this cluster';

function invalidToken(): SkepError {
  return new SkepError('unknown', 'invalid join token');
}
