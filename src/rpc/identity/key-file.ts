/**
 * The text of `swarm-node.key`: the node's private key, encrypted with the unlock key where there
 * is one (PKCS#8, PBES2 with AES-256-CBC, as SwarmKit's), and the keys of the raft log in its
 * headers.
 */
import { createPrivateKey } from 'node:crypto';
import { SkepError } from '../../model/errors.js';
import { type PemHeaders, splitPemHeaders, withPemHeaders } from './pem-headers.js';
import { type RaftKeys, raftKeyHeaders, raftKeysFrom } from './raft-keys.js';

/** Version of the cluster object that the unlock key is from. */
const KEK_VERSION_HEADER = 'kek-version';

/** What the file holds. */
export interface KeyFile {
  /** PKCS#8, not encrypted. */
  readonly privateKeyPem: string;
  /** Only managers have them. */
  readonly raftKeys: RaftKeys | undefined;
  /** Undefined when the manager does not lock. */
  readonly unlockKey: Uint8Array | undefined;
  /** 0 before the cluster told any. */
  readonly unlockKeyVersion: bigint;
}

/** Whether the file can be read with an unlock key only. */
export function isLockedKeyFile(text: string): boolean {
  return text.startsWith('-----BEGIN ENCRYPTED PRIVATE KEY-----');
}

/** The file's text. */
export function encodeKeyFile(file: KeyFile): string {
  const { privateKeyPem, raftKeys, unlockKey, unlockKeyVersion } = file;
  const headers: PemHeaders = {
    ...(raftKeys === undefined ? {} : raftKeyHeaders(raftKeys, unlockKey)),
    ...(unlockKeyVersion === 0n ? {} : { [KEK_VERSION_HEADER]: String(unlockKeyVersion) }),
  };
  return withPemHeaders(unlockKey ? encrypted(privateKeyPem, unlockKey) : privateKeyPem, headers);
}

/**
 * Reads the file's text.
 * @throws SkepError data_loss when it is damaged; permission_denied when it is locked and the
 *   unlock key is missing or wrong
 */
export function decodeKeyFile(text: string, unlockKey: Uint8Array | undefined): KeyFile {
  const { pem, headers } = splitPemHeaders(text);
  const key = isLockedKeyFile(pem) ? unlockKey : undefined;
  const version = headers[KEK_VERSION_HEADER] ?? '0';
  if (!/^\d{1,20}$/.test(version)) {
    throw new SkepError('data_loss', `the header ${KEK_VERSION_HEADER} is damaged`);
  }
  return {
    privateKeyPem: isLockedKeyFile(pem) ? decrypted(pem, unlockKey) : pem,
    raftKeys: raftKeysFrom(headers, key),
    unlockKey: key,
    unlockKeyVersion: BigInt(version),
  };
}

function encrypted(privateKeyPem: string, unlockKey: Uint8Array): string {
  return createPrivateKey(privateKeyPem)
    .export({
      type: 'pkcs8',
      format: 'pem',
      cipher: 'aes-256-cbc',
      passphrase: Buffer.from(unlockKey),
    })
    .toString();
}

function decrypted(pem: string, unlockKey: Uint8Array | undefined): string {
  if (unlockKey === undefined) throw locked(undefined);
  try {
    return createPrivateKey({ key: pem, format: 'pem', passphrase: Buffer.from(unlockKey) })
      .export({ type: 'pkcs8', format: 'pem' })
      .toString();
  } catch {
    // OpenSSL's reasons ("bad decrypt", a key that does not parse) all mean this one.
    throw locked('wrong');
  }
}

function locked(kind: 'wrong' | undefined): SkepError {
  const what = kind === undefined ? 'is locked' : 'is locked with another unlock key';
  return new SkepError('permission_denied', `the node key ${what}`);
}
