/**
 * The keys of the raft log and snapshots as they travel in the PEM headers of the node key, under
 * SwarmKit's names. A value is base64 of: version 0, key id (u32 LE), key (32); or, on a manager
 * that locks, version 1, nonce (12), AES-256-GCM of id and key under a key derived from the unlock
 * key, tag (16), with the header's name authenticated along.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { SkepError } from '../../model/errors.js';
import type { DataKey } from '../../store/wal/record.js';
import type { PemHeaders } from './pem-headers.js';

/** Header of the key that is in use. */
export const RAFT_DEK_HEADER = 'raft-dek';
/** Header of the key that is about to replace it: both may be needed to read the log. */
export const RAFT_DEK_PENDING_HEADER = 'raft-dek-pending';
/** Header that asks for yet another key once the pending one is in use. */
export const RAFT_DEK_NEEDS_ROTATION_HEADER = 'raft-dek-needs-rotation';

/** Bytes of a key of the log. */
export const RAFT_DATA_KEY_BYTES = 32;

const PLAIN = 0;
const SEALED = 1;
const ID_BYTES = 4;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const SEALED_BYTES = 1 + NONCE_BYTES + ID_BYTES + RAFT_DATA_KEY_BYTES + TAG_BYTES;

/** What a manager needs to read its log. */
export interface RaftKeys {
  readonly current: DataKey;
  /** Set while the log changes from `current` to this one. */
  readonly pending?: DataKey | undefined;
  /** `pending` was made before the last change of the unlock key: another change must follow. */
  readonly needsRotation: boolean;
}

/** The headers of `keys`, sealed when there is an unlock key. */
export function raftKeyHeaders(keys: RaftKeys, unlockKey: Uint8Array | undefined): PemHeaders {
  const { current, pending, needsRotation } = keys;
  return {
    [RAFT_DEK_HEADER]: encode(RAFT_DEK_HEADER, current, unlockKey),
    ...(pending === undefined
      ? {}
      : { [RAFT_DEK_PENDING_HEADER]: encode(RAFT_DEK_PENDING_HEADER, pending, unlockKey) }),
    ...(needsRotation ? { [RAFT_DEK_NEEDS_ROTATION_HEADER]: 'true' } : {}),
  };
}

/**
 * The keys in these headers; undefined when there are none, as on workers.
 * @throws SkepError data_loss when a value is damaged, permission_denied with a wrong unlock key
 */
export function raftKeysFrom(
  headers: PemHeaders,
  unlockKey: Uint8Array | undefined,
): RaftKeys | undefined {
  const current = headers[RAFT_DEK_HEADER];
  const pending = headers[RAFT_DEK_PENDING_HEADER];
  if (current === undefined) return undefined;
  return {
    current: decode(RAFT_DEK_HEADER, current, unlockKey),
    ...(pending === undefined
      ? {}
      : { pending: decode(RAFT_DEK_PENDING_HEADER, pending, unlockKey) }),
    needsRotation: headers[RAFT_DEK_NEEDS_ROTATION_HEADER] === 'true',
  };
}

function encode(name: string, { keyId, key }: DataKey, unlockKey: Uint8Array | undefined): string {
  const plain = Buffer.alloc(ID_BYTES + RAFT_DATA_KEY_BYTES);
  plain.writeUInt32LE(keyId, 0);
  plain.set(key, ID_BYTES);
  if (unlockKey === undefined) {
    return Buffer.concat([Buffer.from([PLAIN]), plain]).toString('base64');
  }
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', sealingKey(unlockKey), nonce);
  cipher.setAAD(Buffer.from(name));
  const sealed = Buffer.concat([cipher.update(plain), cipher.final()]);
  return Buffer.concat([Buffer.from([SEALED]), nonce, sealed, cipher.getAuthTag()]).toString(
    'base64',
  );
}

function decode(name: string, value: string, unlockKey: Uint8Array | undefined): DataKey {
  const bytes = Buffer.from(value, 'base64');
  if (bytes[0] === PLAIN && bytes.length === 1 + ID_BYTES + RAFT_DATA_KEY_BYTES) {
    return keyOf(bytes.subarray(1));
  }
  if (bytes[0] !== SEALED || bytes.length !== SEALED_BYTES) {
    throw new SkepError('data_loss', `the header ${name} of the node key is damaged`);
  }
  if (unlockKey === undefined) throw wrongKey(undefined);
  const sealed = bytes.subarray(1 + NONCE_BYTES, SEALED_BYTES - TAG_BYTES);
  const nonce = bytes.subarray(1, 1 + NONCE_BYTES);
  const options = { authTagLength: TAG_BYTES };
  const decipher = createDecipheriv('aes-256-gcm', sealingKey(unlockKey), nonce, options);
  decipher.setAAD(Buffer.from(name));
  decipher.setAuthTag(bytes.subarray(SEALED_BYTES - TAG_BYTES));
  try {
    return keyOf(Buffer.concat([decipher.update(sealed), decipher.final()]));
  } catch (error) {
    throw wrongKey(error);
  }
}

function keyOf(plain: Buffer): DataKey {
  return { keyId: plain.readUInt32LE(0), key: new Uint8Array(plain.subarray(ID_BYTES)) };
}

/** The unlock key encrypts the node key, too: each use gets a key of its own. */
function sealingKey(unlockKey: Uint8Array): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', unlockKey, '', 'skep raft-dek', 32));
}

function wrongKey(cause: unknown): SkepError {
  return new SkepError('permission_denied', 'the unlock key does not fit the node key', { cause });
}
