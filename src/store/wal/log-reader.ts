/**
 * Reading the whole log when a manager starts: segments in order, a torn end cut off, the newest
 * snapshot, and the entries after it.
 */
import { closeSync, fsyncSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { SkepError } from '../../model/errors.js';
import type { Entry, HardState, NodeId } from '../../raft/types.js';
import {
  isSnapshotName,
  pathIn,
  segmentName,
  segmentSequence,
  SNAPSHOT_DIRECTORY,
  snapshotName,
  syncDirectory,
  WAL_DIRECTORY,
  writeFully,
} from './files.js';
import {
  decodeEntry,
  decodeHardState,
  decodeHead,
  decodeMarker,
  type SegmentHead,
  type SnapshotMarker,
} from './log-records.js';
import type { PlainRecord, RecordCipher } from './record.js';
import { damaged, readSegment, type SegmentContent } from './segment-reader.js';
import type { LogPositionOnDisk, SegmentInfo } from './segment-writer.js';
import { readSnapshotFile, type StoredSnapshot } from './snapshot-file.js';

/** Everything on disk. */
export interface LogOnDisk {
  readonly raftId: NodeId;
  readonly hardState: HardState;
  /** Undefined in a member that was never given any state. */
  readonly snapshot: StoredSnapshot | undefined;
  readonly entries: readonly Entry[];
  readonly position: LogPositionOnDisk;
  readonly lastSegmentBytes: number;
  /** Bytes of a torn write that were cut off. */
  readonly tornBytes: number;
}

/** The log's content as its records are gone through. */
class Replay {
  raftId: NodeId | undefined;
  hardState: HardState = { term: 0, vote: 0, commit: 0 };
  marker: SnapshotMarker = { index: 0, term: 0 };
  entries: Entry[] = [];

  take(record: PlainRecord, file: string): void {
    switch (record.type) {
      case 'segmentHeader':
        this.#takeHead(decodeHead(record.plain), file);
        return;
      case 'entry':
        this.#takeEntry(decodeEntry(record.plain), file);
        return;
      case 'hardState':
        this.hardState = decodeHardState(record.plain);
        return;
      case 'snapshotMarker':
        this.#takeMarker(decodeMarker(record.plain));
        return;
      default:
        throw damaged(file, `a record of type ${record.type} does not belong here`);
    }
  }

  get head(): SegmentHead {
    const { raftId, hardState, marker } = this;
    const lastIndex = Math.max(this.entries.at(-1)?.index ?? 0, marker.index);
    return { raftId: raftId ?? 0, lastIndex, hardState, marker };
  }

  #takeHead(head: SegmentHead, file: string): void {
    if (this.raftId !== undefined && this.raftId !== head.raftId) {
      throw damaged(file, 'it belongs to another raft member');
    }
    if (this.raftId === undefined) {
      this.hardState = head.hardState;
      this.marker = head.marker;
    }
    this.raftId = head.raftId;
  }

  /** An entry replaces what is stored from its index on. */
  #takeEntry(entry: Entry, file: string): void {
    const last = this.entries.at(-1);
    if (last !== undefined && entry.index > last.index + 1) {
      throw damaged(file, `entries ${last.index + 1} to ${entry.index - 1} are missing`);
    }
    const first = this.entries[0];
    if (first !== undefined && entry.index <= (last?.index ?? 0)) {
      this.entries.length = Math.max(0, entry.index - first.index);
    }
    this.entries.push(entry);
  }

  /** A snapshot of the leader that does not fit the entries replaces them. */
  #takeMarker(marker: SnapshotMarker): void {
    // The same snapshot once more, written with another key.
    if (marker.index === this.marker.index && marker.term === this.marker.term) return;
    this.marker = marker;
    // An own snapshot may stand behind entries that follow it, with those before it removed already.
    const fits =
      this.entries[0]?.index === marker.index + 1 ||
      this.entries.some(({ index, term }) => index === marker.index && term === marker.term);
    if (!fits) this.entries = [];
  }
}

interface OpenSegments {
  readonly replay: Replay;
  readonly segments: SegmentInfo[];
  readonly endOffset: number | undefined;
  readonly lastSegmentBytes: number;
  readonly tornBytes: number;
}

/**
 * Reads the log below `directory`.
 * @throws SkepError data_loss when it is damaged; permission_denied when the keys do not fit;
 *   failed_precondition when a newer program wrote it.
 */
export async function readLog(directory: string, cipher: RecordCipher): Promise<LogOnDisk> {
  const walDirectory = pathIn(directory, WAL_DIRECTORY);
  const snapshotDirectory = pathIn(directory, SNAPSHOT_DIRECTORY);
  removeTemporaries(walDirectory);
  removeTemporaries(snapshotDirectory);
  const read = readSegments(walDirectory, cipher);
  const { replay } = read;
  const { raftId, marker, hardState } = replay;
  if (raftId === undefined) throw damaged(walDirectory, 'it does not say whose log it is');
  let snapshot: StoredSnapshot | undefined;
  if (marker.index > 0) {
    snapshot = await readSnapshotFile(snapshotDirectory, marker.index, cipher);
    if (snapshot.term !== marker.term) {
      throw damaged(snapshotName(marker.index), 'the log expects another term');
    }
  }
  removeOtherSnapshots(snapshotDirectory, marker.index);
  const entries = replay.entries.filter((entry) => entry.index > marker.index);
  const first = entries[0];
  if (first !== undefined && first.index !== marker.index + 1) {
    throw damaged(walDirectory, `entries ${marker.index + 1} to ${first.index - 1} are missing`);
  }
  const lastIndex = entries.at(-1)?.index ?? marker.index;
  if (hardState.commit > lastIndex) {
    throw damaged(walDirectory, `entries ${lastIndex + 1} to ${hardState.commit} are missing`);
  }
  const position = {
    raftId,
    segments: read.segments,
    endOffset: read.endOffset,
    head: replay.head,
  };
  const { lastSegmentBytes, tornBytes } = read;
  return { raftId, hardState, snapshot, entries, position, lastSegmentBytes, tornBytes };
}

function readSegments(directory: string, cipher: RecordCipher): OpenSegments {
  const sequences = readdirSync(directory)
    .map(segmentSequence)
    .filter((sequence) => sequence !== undefined)
    .sort((a, b) => a - b);
  if (sequences.length === 0) throw damaged(directory, 'it has no segment');
  const replay = new Replay();
  const segments: SegmentInfo[] = [];
  let endOffset: number | undefined;
  let lastSegmentBytes = 0;
  let tornBytes = 0;
  for (const [at, sequence] of sequences.entries()) {
    const name = segmentName(sequence);
    const previous = sequences[at - 1];
    if (previous !== undefined && sequence !== previous + 1) {
      throw damaged(directory, `segment ${segmentName(previous + 1)} is missing`);
    }
    const path = pathIn(directory, name);
    const file = readFileSync(path);
    const isLast = at === sequences.length - 1;
    if (isLast && at > 0 && file.every((byte) => byte === 0)) {
      // Placed and not begun when the process ended: the one before it is closed already.
      rmSync(path);
      syncDirectory(directory);
      break;
    }
    const content = readSegment(file, name, sequence, cipher, isLast);
    if (content.records[0]?.type !== 'segmentHeader') throw damaged(name, 'it has no head');
    for (const record of content.records) replay.take(record, name);
    segments.push({ sequence, lastIndexBefore: decodeHead(content.records[0].plain).lastIndex });
    endOffset = content.isClosed ? undefined : content.endOffset;
    lastSegmentBytes = file.length;
    if (content.isTorn) tornBytes += clearTail(path, file, content);
  }
  return { replay, segments, endOffset, lastSegmentBytes, tornBytes };
}

/** Overwrites what a torn write left, so that it is never taken for a record. */
function clearTail(path: string, file: Buffer, content: SegmentContent): number {
  let end = file.length;
  while (end > content.endOffset && file[end - 1] === 0) end -= 1;
  const descriptor = openSync(path, 'r+');
  try {
    writeFully(descriptor, Buffer.alloc(end - content.endOffset), content.endOffset);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  return end - content.endOffset;
}

function removeTemporaries(directory: string): void {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch (error) {
    throw new SkepError('data_loss', `raft log: ${directory} cannot be read: ${String(error)}`, {
      cause: error,
    });
  }
  for (const name of names) {
    if (name.includes('.tmp')) rmSync(pathIn(directory, name), { force: true });
  }
}

function removeOtherSnapshots(directory: string, index: number): void {
  for (const name of readdirSync(directory)) {
    if (isSnapshotName(name) && name !== snapshotName(index)) {
      rmSync(pathIn(directory, name), { force: true });
    }
  }
}
