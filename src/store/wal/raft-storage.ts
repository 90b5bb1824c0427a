/**
 * The durable side of one raft member: `<directory>/wal/*.wal` and `<directory>/snap/*.snap`,
 * encrypted at rest. Creating one is atomic: the directory appears complete or not at all.
 */
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { rm } from 'node:fs/promises';
import { SkepError } from '../../model/errors.js';
import type { StoredState } from '../../raft/config.js';
import type { Entry, HardState, NodeId } from '../../raft/types.js';
import { KEPT_ENTRIES, SEGMENT_BYTES } from '../limits.js';
import { pathIn, SNAPSHOT_DIRECTORY, snapshotName, syncDirectory, WAL_DIRECTORY } from './files.js';
import { lockDirectory } from './lock-file.js';
import { type LogOnDisk, readLog } from './log-reader.js';
import { encodeEntry, encodeHardState, encodeMarker } from './log-records.js';
import { LogWriter } from './log-writer.js';
import { type DataKey, type PlainRecord, RecordCipher } from './record.js';
import { SegmentWriter } from './segment-writer.js';
import { readSnapshotFile, type StoredSnapshot, writeSnapshotFile } from './snapshot-file.js';

/** Where the storage is and how it is encrypted. */
export interface StorageOptions {
  /** The raft directory, `<state>/raft`. */
  readonly directory: string;
  /** The first key encrypts what is written; all of them decrypt. */
  readonly keys: readonly DataKey[];
  readonly segmentBytes?: number;
}

/** What has to be made durable in one step. */
export interface StorageBatch {
  readonly entries: readonly Entry[];
  readonly hardState: HardState | undefined;
  /** False when losing it in a power cut would harm nothing. */
  readonly sync: boolean;
}

/** The durable state a raft runner works on. */
export interface RaftStorage {
  readonly raftId: NodeId;
  /** What was found at opening. */
  readonly stored: StoredState;
  /** Data of the snapshot found at opening; undefined when there is none. */
  readonly snapshotData: Uint8Array | undefined;
  /** Bytes of a torn write that were cut off at opening. */
  readonly tornBytes: number;
  /** Why no new entries should be taken, or undefined while there is room on the disk. */
  readonly noSpace: string | undefined;
  append(batch: StorageBatch): Promise<void>;
  /**
   * Makes a snapshot durable, then removes what it replaces, but for the last `keptEntries`
   * (default {@link KEPT_ENTRIES}).
   */
  saveSnapshot(snapshot: StoredSnapshot, keptEntries?: number): Promise<void>;
  /** The newest saved snapshot with its data; undefined when there is none. */
  loadSnapshot(): Promise<StoredSnapshot | undefined>;
  /** Encrypts with `key` whatever is written from now on. */
  useKey(key: DataKey): Promise<void>;
  /** Looks again whether there is room on the disk. */
  checkSpace(): Promise<void>;
  close(): Promise<void>;
}

/** Whether a raft directory exists here. */
export function storageExists(directory: string): boolean {
  return existsSync(directory);
}

/**
 * Creates the storage of a new member, with its first snapshot, or with nothing when it is to get
 * everything from a leader.
 * @throws SkepError already_exists when there is one.
 */
export async function createStorage(
  options: StorageOptions,
  raftId: NodeId,
  snapshot: StoredSnapshot | undefined,
): Promise<void> {
  const { directory } = options;
  if (storageExists(directory)) {
    throw new SkepError('already_exists', `raft state exists already in ${directory}`);
  }
  const temporary = `${directory}.new`;
  rmSync(temporary, { recursive: true, force: true });
  const walDirectory = pathIn(temporary, WAL_DIRECTORY);
  const snapshotDirectory = pathIn(temporary, SNAPSHOT_DIRECTORY);
  mkdirSync(walDirectory, { recursive: true, mode: 0o700 });
  mkdirSync(snapshotDirectory, { mode: 0o700 });
  const cipher = new RecordCipher(options.keys);
  if (snapshot !== undefined) await writeSnapshotFile(snapshotDirectory, snapshot, cipher);
  const { index, term } = snapshot ?? { index: 0, term: 0 };
  const hardState: HardState = { term, vote: 0, commit: index };
  const marker = { index, term };
  const head = { raftId, lastIndex: index, hardState, marker };
  const writer = new SegmentWriter({
    directory: walDirectory,
    cipher,
    segmentBytes: options.segmentBytes ?? SEGMENT_BYTES,
    position: { raftId, segments: [], endOffset: undefined, head },
    lastSegmentBytes: 0,
  });
  writer.append([{ type: 'hardState', plain: encodeHardState(hardState) }], true);
  writer.close();
  syncDirectory(temporary);
  renameSync(temporary, directory);
  syncDirectory(dirname(directory));
}

/**
 * Opens existing storage, cutting off a torn end.
 * @param onFatal called when a write or flush failed: the process must end, for nothing more can
 *   be acknowledged, and nobody knows what is on disk.
 * @throws SkepError not_found without storage; data_loss when it is damaged; permission_denied
 *   when the keys do not fit; failed_precondition when it is from a newer program, or in use.
 */
export async function openStorage(
  options: StorageOptions,
  onFatal: (error: SkepError) => void,
): Promise<RaftStorage> {
  const { directory } = options;
  if (!storageExists(directory)) {
    throw new SkepError('not_found', `no raft state in ${directory}`);
  }
  const cipher = new RecordCipher(options.keys);
  const unlock = lockDirectory(directory);
  let log: LogOnDisk;
  try {
    log = await readLog(directory, cipher);
  } catch (error) {
    unlock();
    throw error;
  }
  const writer = new LogWriter(
    {
      directory: pathIn(directory, WAL_DIRECTORY),
      keys: options.keys,
      segmentBytes: options.segmentBytes ?? SEGMENT_BYTES,
      position: log.position,
      lastSegmentBytes: log.lastSegmentBytes,
    },
    onFatal,
  );
  const { raftId, hardState, entries, snapshot, tornBytes } = log;
  const nothing = { index: 0, term: 0, conf: { voters: [], learners: [] } };
  const meta =
    snapshot === undefined
      ? nothing
      : { index: snapshot.index, term: snapshot.term, conf: snapshot.conf };
  const snapshots = new SnapshotStore(pathIn(directory, SNAPSHOT_DIRECTORY), cipher, meta.index);
  await writer.prepareSpare();
  return {
    raftId,
    stored: { hardState, snapshot: meta, entries },
    snapshotData: snapshot?.data,
    tornBytes,
    get noSpace() {
      return writer.noSpace;
    },
    append: (batch) => writer.append(recordsOf(batch), batch.sync),
    saveSnapshot: (saved, keptEntries = KEPT_ENTRIES) => snapshots.save(saved, writer, keptEntries),
    async useKey(key) {
      cipher.use(key);
      await writer.useKey(key);
    },
    loadSnapshot: () => snapshots.load(),
    checkSpace: () => writer.prepareSpare(),
    async close() {
      try {
        await writer.close();
      } finally {
        unlock();
      }
    },
  };
}

/** Entries before the hard state: its commit index must never lead the log on disk. */
function recordsOf(batch: StorageBatch): PlainRecord[] {
  const records: PlainRecord[] = batch.entries.map((entry) => ({
    type: 'entry',
    plain: encodeEntry(entry),
  }));
  if (batch.hardState !== undefined) {
    records.push({ type: 'hardState', plain: encodeHardState(batch.hardState) });
  }
  return records;
}

/** The snapshot files; one is kept. */
class SnapshotStore {
  readonly #directory: string;
  readonly #cipher: RecordCipher;
  #index: number;

  constructor(directory: string, cipher: RecordCipher, index: number) {
    this.#directory = directory;
    this.#cipher = cipher;
    this.#index = index;
  }

  async save(snapshot: StoredSnapshot, writer: LogWriter, keptEntries: number): Promise<void> {
    await writeSnapshotFile(this.#directory, snapshot, this.#cipher);
    const marker = encodeMarker({ index: snapshot.index, term: snapshot.term });
    await writer.append([{ type: 'snapshotMarker', plain: marker }], true);
    // Only now nothing needs the older one any more.
    const previous = this.#index;
    this.#index = snapshot.index;
    if (previous !== snapshot.index && previous !== 0) {
      await rm(pathIn(this.#directory, snapshotName(previous)), { force: true });
    }
    await writer.removeThrough(snapshot.index - keptEntries);
  }

  async load(): Promise<StoredSnapshot | undefined> {
    if (this.#index === 0) return undefined;
    return readSnapshotFile(this.#directory, this.#index, this.#cipher);
  }
}
