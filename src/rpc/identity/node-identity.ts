/**
 * A node's identity on disk, in SwarmKit's layout: `<state>/certificates/` with the root bundle, the
 * node certificate and the key, whose PEM headers carry the raft data encryption key.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SkepError } from '../../model/errors.js';
import type { IdentitySource, TlsIdentity } from '../types.js';
import { renameDurably, replaceFile, writeDurably } from './atomic-file.js';
import { keyMatchesCertificate } from './keys.js';
import {
  type PemHeaders,
  RAFT_DEK_HEADER,
  splitPemHeaders,
  withPemHeaders,
} from './pem-headers.js';
import { type NodeCertificateFacts, readNodeCertificate } from './root-ca.js';

const ROOT_FILE = 'swarm-root-ca.crt';
const CERTIFICATE_FILE = 'swarm-node.crt';
const KEY_FILE = 'swarm-node.key';
/** The next key, while its certificate is not in place yet. */
const NEXT_KEY_FILE = '.swarm-node.key';

const PUBLIC_MODE = 0o644;
const PRIVATE_MODE = 0o600;

/** Identity and key headers as stored. */
interface Stored {
  readonly identity: TlsIdentity;
  readonly headers: PemHeaders;
}

/** The identity of this node, in memory and on disk; the two change together. */
export class NodeIdentity implements IdentitySource {
  readonly #directory: string;
  readonly #listeners = new Set<(identity: TlsIdentity) => void>();
  #stored: Stored;
  #facts: NodeCertificateFacts;
  /** Writers take turns. */
  #lastWrite: Promise<void> = Promise.resolve();

  private constructor(directory: string, stored: Stored) {
    this.#directory = directory;
    this.#stored = stored;
    this.#facts = readNodeCertificate(stored.identity.certificatePem);
  }

  /**
   * Reads the identity below `stateDirectory`; undefined if there is none.
   * @throws SkepError data_loss when files are there but damaged
   */
  static async load(stateDirectory: string): Promise<NodeIdentity | undefined> {
    const directory = join(stateDirectory, 'certificates');
    const read = (name: string): Promise<string | undefined> => readIfThere(join(directory, name));
    const [root, certificate, key, nextKey] = await Promise.all([
      read(ROOT_FILE),
      read(CERTIFICATE_FILE),
      read(KEY_FILE),
      read(NEXT_KEY_FILE),
    ]);
    if (root === undefined || certificate === undefined) return undefined;
    for (const [candidate, isNext] of [
      [key, false],
      [nextKey, true],
    ] as const) {
      if (candidate === undefined) continue;
      const { pem, headers } = splitPemHeaders(candidate);
      if (!keyMatchesCertificate(pem, certificate)) continue;
      // A crash came between writing the new certificate and renaming its key.
      if (isNext) await renameDurably(join(directory, NEXT_KEY_FILE), join(directory, KEY_FILE));
      const identity = { rootCaPem: root, certificatePem: certificate, privateKeyPem: pem };
      return new NodeIdentity(directory, { identity, headers });
    }
    throw new SkepError('data_loss', `no key in ${directory} fits the node certificate`);
  }

  /** Stores a first identity below `stateDirectory`, over whatever is there. */
  static async create(
    stateDirectory: string,
    identity: TlsIdentity,
    headers: PemHeaders = {},
  ): Promise<NodeIdentity> {
    const directory = join(stateDirectory, 'certificates');
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const created = new NodeIdentity(directory, { identity, headers });
    await created.#write({ identity, headers });
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

  /** Key of the raft log and snapshots; undefined if there is none yet. */
  raftDataKey(): Uint8Array | undefined {
    const value = this.#stored.headers[RAFT_DEK_HEADER];
    return value === undefined ? undefined : Buffer.from(value, 'base64');
  }

  /** Stores the key of the raft log and snapshots; the certificate stays. */
  async setRaftDataKey(key: Uint8Array): Promise<void> {
    const value = Buffer.from(key).toString('base64');
    await this.#replace((stored) => ({
      ...stored,
      headers: { ...stored.headers, [RAFT_DEK_HEADER]: value },
    }));
  }

  /** Takes a renewed certificate (and root) into use; the key headers stay. */
  async replace(identity: TlsIdentity): Promise<void> {
    readNodeCertificate(identity.certificatePem);
    await this.#replace((stored) => ({ ...stored, identity }));
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
      await this.#write(next);
      this.#stored = next;
      this.#facts = readNodeCertificate(next.identity.certificatePem);
    });
    // The next writer waits also after a failure, which is this caller's to handle.
    this.#lastWrite = write.catch(() => undefined);
    await write;
  }

  async #write({ identity, headers }: Stored): Promise<void> {
    const path = (name: string): string => join(this.#directory, name);
    const key = withPemHeaders(identity.privateKeyPem, headers);
    await replaceFile(path(ROOT_FILE), identity.rootCaPem, PUBLIC_MODE);
    await writeDurably(path(NEXT_KEY_FILE), key, PRIVATE_MODE);
    await replaceFile(path(CERTIFICATE_FILE), identity.certificatePem, PUBLIC_MODE);
    await renameDurably(path(NEXT_KEY_FILE), path(KEY_FILE));
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
