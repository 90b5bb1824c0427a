/**
 * A node's identity on disk, in SwarmKit's layout: `<state>/certificates/` with the root bundle, the
 * node certificate and the key file, which also carries the keys of the raft log. On managers that
 * lock the key file is encrypted with the unlock key, which is kept in memory only.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SkepError } from '../../model/errors.js';
import type { IdentitySource, TlsIdentity } from '../types.js';
import { renameDurably, replaceFile, writeDurably } from './atomic-file.js';
import { decodeKeyFile, encodeKeyFile, isLockedKeyFile, type KeyFile } from './key-file.js';
import { keyMatchesCertificate, newCertificateRequest } from './keys.js';
import { RAFT_DATA_KEY_BYTES, type RaftKeys } from './raft-keys.js';
import { type NodeCertificateFacts, readNodeCertificate } from './root-ca.js';
import { sameUnlockKey } from './unlock-key.js';

const ROOT_FILE = 'swarm-root-ca.crt';
const CERTIFICATE_FILE = 'swarm-node.crt';
const KEY_FILE = 'swarm-node.key';
/** The next key, while its certificate is not in place yet. */
const NEXT_KEY_FILE = '.swarm-node.key';

const PUBLIC_MODE = 0o644;
const PRIVATE_MODE = 0o600;

/** Key id of the first key of a log; each change counts up. */
const FIRST_KEY_ID = 1;

/** Identity and key file as stored. */
interface Stored {
  readonly identity: TlsIdentity;
  /** All of the key file but the private key, which is the identity's. */
  readonly keys: Omit<KeyFile, 'privateKeyPem'>;
}

const NO_KEYS: Stored['keys'] = {
  raftKeys: undefined,
  unlockKey: undefined,
  unlockKeyVersion: 0n,
};

/** What a change of the unlock key came to. */
export type UnlockKeyChange = 'none' | 'changed' | 'lockedFirst';

/** The identity of this node, in memory and on disk; the two change together. */
export class NodeIdentity implements IdentitySource {
  readonly #directory: string;
  readonly #listeners = new Set<(identity: TlsIdentity) => void>();
  readonly #renewalListeners = new Set<() => void>();
  #stored: Stored;
  #facts: NodeCertificateFacts;
  /** Writers take turns. */
  #lastWrite: Promise<void> = Promise.resolve();

  private constructor(directory: string, stored: Stored) {
    this.#directory = directory;
    this.#stored = stored;
    this.#facts = readNodeCertificate(stored.identity.certificatePem);
  }

  /** Whether the identity below `stateDirectory` can be loaded with an unlock key only. */
  static async isLocked(stateDirectory: string): Promise<boolean> {
    const key = await readIfThere(join(stateDirectory, 'certificates', KEY_FILE));
    return key !== undefined && isLockedKeyFile(key);
  }

  /**
   * Reads the identity below `stateDirectory`; undefined if there is none.
   * @throws SkepError data_loss when files are there but damaged; permission_denied when it is
   *   locked and `unlockKey` is missing or wrong
   */
  static async load(
    stateDirectory: string,
    unlockKey?: Uint8Array,
  ): Promise<NodeIdentity | undefined> {
    const directory = join(stateDirectory, 'certificates');
    const read = (name: string): Promise<string | undefined> => readIfThere(join(directory, name));
    const [root, certificate, key, nextKey] = await Promise.all([
      read(ROOT_FILE),
      read(CERTIFICATE_FILE),
      read(KEY_FILE),
      read(NEXT_KEY_FILE),
    ]);
    if (root === undefined || certificate === undefined) return undefined;
    let refusal: unknown;
    for (const [candidate, isNext] of [
      [key, false],
      [nextKey, true],
    ] as const) {
      if (candidate === undefined) continue;
      let file: KeyFile;
      try {
        file = decodeKeyFile(candidate, unlockKey);
      } catch (error) {
        // Left half-written by a crash, or locked with a key that never came to count.
        refusal ??= error;
        continue;
      }
      const { privateKeyPem, ...keys } = file;
      if (!keyMatchesCertificate(privateKeyPem, certificate)) continue;
      // A crash came between writing the new certificate and renaming its key.
      if (isNext) await renameDurably(join(directory, NEXT_KEY_FILE), join(directory, KEY_FILE));
      const identity = { rootCaPem: root, certificatePem: certificate, privateKeyPem };
      return new NodeIdentity(directory, { identity, keys });
    }
    if (refusal !== undefined) throw SkepError.from(refusal);
    throw new SkepError('data_loss', `no key in ${directory} fits the node certificate`);
  }

  /**
   * Who this node is by its files in clear, with a key that proves nothing in place of its own: for one
   * that leaves and whose own is locked. Undefined if there is none.
   */
  static async loadWithoutKey(stateDirectory: string): Promise<NodeIdentity | undefined> {
    const directory = join(stateDirectory, 'certificates');
    const rootCaPem = await readIfThere(join(directory, ROOT_FILE));
    const certificatePem = await readIfThere(join(directory, CERTIFICATE_FILE));
    if (rootCaPem === undefined || certificatePem === undefined) return undefined;
    const { privateKeyPem } = await newCertificateRequest();
    const identity = { rootCaPem, certificatePem, privateKeyPem };
    return new NodeIdentity(directory, { identity, keys: NO_KEYS });
  }

  /**
   * Stores a first identity below `stateDirectory`, over whatever is there; of a manager with the
   * key of its raft log, and the unlock key if it is to lock: nothing is ever on disk in clear then.
   */
  static async create(
    stateDirectory: string,
    identity: TlsIdentity,
    options: {
      readonly raftDataKey?: Uint8Array;
      readonly unlockKey?: Uint8Array | undefined;
    } = {},
  ): Promise<NodeIdentity> {
    const directory = join(stateDirectory, 'certificates');
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const raftKeys =
      options.raftDataKey === undefined ? undefined : firstRaftKeys(options.raftDataKey);
    const keys = { ...NO_KEYS, raftKeys, unlockKey: options.unlockKey };
    const created = new NodeIdentity(directory, { identity, keys });
    await created.#write({ identity, keys });
    return created;
  }

  current(): TlsIdentity {
    return this.#stored.identity;
  }

  /** What the certificate says. */
  facts(): NodeCertificateFacts {
    return this.#facts;
  }

  subscribe(listener: (identity: TlsIdentity) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Asks whoever renews this identity to do so at once. */
  requestRenewal(): void {
    for (const listener of [...this.#renewalListeners]) listener();
  }

  /** Calls `listener` when a renewal is asked for; returns the unsubscriber. */
  onRenewalRequest(listener: () => void): () => void {
    this.#renewalListeners.add(listener);
    return () => this.#renewalListeners.delete(listener);
  }

  /** The files of this identity, as they are on disk. */
  files(): readonly { readonly name: string; readonly text: string; readonly mode: number }[] {
    const { identity, keys } = this.#stored;
    const key = encodeKeyFile({ ...keys, privateKeyPem: identity.privateKeyPem });
    return [
      { name: ROOT_FILE, text: identity.rootCaPem, mode: PUBLIC_MODE },
      { name: CERTIFICATE_FILE, text: identity.certificatePem, mode: PUBLIC_MODE },
      { name: KEY_FILE, text: key, mode: PRIVATE_MODE },
    ];
  }

  /** Keys of the raft log and snapshots; undefined if there are none yet. */
  raftKeys(): RaftKeys | undefined {
    return this.#stored.keys.raftKeys;
  }

  /** Stores the first key of a raft log that is about to be made; the certificate stays. */
  async setRaftDataKey(key: Uint8Array): Promise<void> {
    await this.#replace((stored) => ({
      ...stored,
      keys: { ...stored.keys, raftKeys: firstRaftKeys(key) },
    }));
  }

  /**
   * Takes the cluster's unlock key (undefined: managers do not lock) of this version of the cluster
   * object into use, with `nextDataKey` as the pending key of the raft log: the present one was
   * readable with the old unlock key. Older versions than the last change nothing.
   */
  async setUnlockKey(
    unlockKey: Uint8Array | undefined,
    version: bigint,
    nextDataKey: Uint8Array,
  ): Promise<UnlockKeyChange> {
    let change: UnlockKeyChange = 'none';
    await this.#replace((stored) => {
      const { keys } = stored;
      const isOld = version <= keys.unlockKeyVersion;
      if (isOld || sameUnlockKey(unlockKey, keys.unlockKey)) return stored;
      change = keys.unlockKey === undefined ? 'lockedFirst' : 'changed';
      const raftKeys = withNextKey(keys.raftKeys, nextDataKey);
      return { ...stored, keys: { raftKeys, unlockKey, unlockKeyVersion: version } };
    });
    return change;
  }

  /**
   * The log needs nothing but the pending key any more: it becomes the current one. If another
   * change is wanted, `nextDataKey` becomes the pending one.
   */
  async finishRaftKeyChange(nextDataKey: Uint8Array): Promise<void> {
    await this.#replace((stored) => {
      const { raftKeys } = stored.keys;
      if (raftKeys?.pending === undefined) return stored;
      const finished = { current: raftKeys.pending, needsRotation: false };
      const next = raftKeys.needsRotation ? withNextKey(finished, nextDataKey) : finished;
      return { ...stored, keys: { ...stored.keys, raftKeys: next } };
    });
  }

  /** Takes a renewed certificate (and root) into use. Workers are never locked. */
  async replace(identity: TlsIdentity): Promise<void> {
    const { role } = readNodeCertificate(identity.certificatePem);
    await this.#replace((stored) => ({
      identity,
      keys: role === 'manager' ? stored.keys : { ...NO_KEYS, raftKeys: stored.keys.raftKeys },
    }));
    for (const listener of [...this.#listeners]) listener(identity);
  }

  /** Takes another root bundle into use, as told by a session message. */
  async replaceRoot(rootCaPem: string): Promise<void> {
    if (rootCaPem === this.#stored.identity.rootCaPem) return;
    await this.replace({ ...this.#stored.identity, rootCaPem });
  }

  async #replace(change: (stored: Stored) => Stored): Promise<void> {
    const write = this.#lastWrite.then(async () => {
      const next = change(this.#stored);
      if (next === this.#stored) return;
      await this.#write(next);
      this.#stored = next;
      this.#facts = readNodeCertificate(next.identity.certificatePem);
    });
    // The next writer waits also after a failure, which is this caller's to handle.
    this.#lastWrite = write.catch(() => undefined);
    await write;
  }

  async #write({ identity, keys }: Stored): Promise<void> {
    const path = (name: string): string => join(this.#directory, name);
    const key = encodeKeyFile({ ...keys, privateKeyPem: identity.privateKeyPem });
    await replaceFile(path(ROOT_FILE), identity.rootCaPem, PUBLIC_MODE);
    await writeDurably(path(NEXT_KEY_FILE), key, PRIVATE_MODE);
    await replaceFile(path(CERTIFICATE_FILE), identity.certificatePem, PUBLIC_MODE);
    await renameDurably(path(NEXT_KEY_FILE), path(KEY_FILE));
  }
}

function firstRaftKeys(key: Uint8Array): RaftKeys {
  if (key.length !== RAFT_DATA_KEY_BYTES) {
    throw new SkepError(
      'invalid_argument',
      `a key of the raft log has ${RAFT_DATA_KEY_BYTES} bytes`,
    );
  }
  return { current: { keyId: FIRST_KEY_ID, key }, needsRotation: false };
}

/** Makes `key` the next key of the log, or asks for one after the change that is under way. */
function withNextKey(keys: RaftKeys | undefined, key: Uint8Array): RaftKeys | undefined {
  if (keys === undefined) return undefined;
  if (keys.pending !== undefined) return { ...keys, needsRotation: true };
  return { ...keys, pending: { keyId: keys.current.keyId + 1, key } };
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
