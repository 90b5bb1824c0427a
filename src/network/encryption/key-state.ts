/**
 * What must survive a restart for encrypted networks: own private keys and the last sequence number
 * given out, and the last record of each other node, so that an old one is recognised. One file,
 * mode 0600, in the room's state directory; the private keys in it are sealed.
 */
import { mkdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { SkepError } from '../../model/errors.js';
import { replaceFile } from '../../rpc/identity/atomic-file.js';
import { KEY_RECORDS_MAX } from '../limits.js';
import type { KeySeal } from './key-seal.js';
import { KEY_BYTES } from './keys.js';

const PRIVATE_MODE = 0o600;
const FILE_BYTES_MAX = 64 * 1024 * 1024;

/** An own key. */
export interface OwnGeneration {
  readonly number: bigint;
  readonly privateKey: Uint8Array;
  readonly port: number;
  /** Wall clock. */
  readonly createdMs: number;
}

/** The file's content. */
export interface KeyState {
  /** Of the record last given out. */
  readonly sequence: bigint;
  /** How often the pair of tunnel addresses had to be chosen anew. */
  readonly attempt: number;
  /** Oldest first; none before the first encrypted network. */
  readonly generations: readonly OwnGeneration[];
  /** Records of other nodes as received, by node id. */
  readonly records: ReadonlyMap<string, Uint8Array>;
}

/** Nothing yet. */
export const NO_KEYS: KeyState = { sequence: 0n, attempt: 0, generations: [], records: new Map() };

/** As JSON: numbers above 2^53 and bytes are text. */
interface Stored {
  readonly version: 2;
  readonly sequence: string;
  readonly attempt: number;
  readonly generations: readonly {
    readonly number: string;
    readonly sealedKey: string;
    readonly port: number;
    readonly createdMs: number;
  }[];
  readonly records: Readonly<Record<string, string>>;
}

/** The file in one directory. */
export class KeyStateFile {
  private readonly file: string;
  private lastWrite: Promise<void> = Promise.resolve();

  /** `seal`: under the node's key as it is now. */
  constructor(
    directory: string,
    private readonly seal: () => KeySeal,
  ) {
    this.file = path.join(directory, 'encryption.json');
  }

  /**
   * The stored state, without keys that were sealed under a node key of before: a crash came between
   * a new certificate and the next {@link save}.
   * @throws SkepError data_loss when the file is there but damaged
   */
  async load(): Promise<KeyState> {
    let text: string;
    try {
      text = await readFile(this.file, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return NO_KEYS;
      throw error;
    }
    const state = text.length > FILE_BYTES_MAX ? undefined : decode(text, this.seal());
    if (state === undefined) throw new SkepError('data_loss', `${this.file} is damaged`);
    return state;
  }

  /** Replaces the file; writers take turns. */
  async save(state: KeyState): Promise<void> {
    const write = this.lastWrite.then(async () => {
      await mkdir(path.dirname(this.file), { recursive: true, mode: 0o700 });
      await replaceFile(this.file, encode(state, this.seal()), PRIVATE_MODE);
    });
    this.lastWrite = write.catch(() => undefined);
    await write;
  }

  async clear(): Promise<void> {
    await this.lastWrite;
    await rm(this.file, { force: true });
  }
}

function encode(state: KeyState, seal: KeySeal): string {
  const stored: Stored = {
    version: 2,
    sequence: String(state.sequence),
    attempt: state.attempt,
    generations: state.generations.map(({ number, privateKey, port, createdMs }) => ({
      number: String(number),
      sealedKey: Buffer.from(seal.seal(privateKey)).toString('base64'),
      port,
      createdMs,
    })),
    records: Object.fromEntries(
      [...state.records].map(([id, record]) => [id, Buffer.from(record).toString('base64')]),
    ),
  };
  return `${JSON.stringify(stored)}\n`;
}

function decode(text: string, seal: KeySeal): KeyState | undefined {
  try {
    const stored = JSON.parse(text) as Stored;
    if (stored.version !== 2) return undefined;
    const generations = stored.generations.flatMap(({ number, sealedKey, port, createdMs }) => {
      const privateKey = seal.open(Buffer.from(sealedKey, 'base64'));
      return privateKey === undefined
        ? []
        : [{ number: BigInt(number), privateKey, port, createdMs }];
    });
    const isWhole = ({ privateKey, port, createdMs }: OwnGeneration) =>
      privateKey.length === KEY_BYTES && Number.isInteger(port) && Number.isFinite(createdMs);
    if (!generations.every(isWhole) || !Number.isInteger(stored.attempt)) return undefined;
    const records = Object.entries(stored.records).slice(0, KEY_RECORDS_MAX);
    return {
      sequence: BigInt(stored.sequence),
      attempt: stored.attempt,
      generations,
      records: new Map(records.map(([id, bytes]) => [id, Buffer.from(bytes, 'base64')])),
    };
  } catch {
    // A file cut off or edited.
    return undefined;
  }
}
