/** The content of log records: entries, hard state, snapshot markers and segment heads. */
import { SkepError } from '../../model/errors.js';
import type { Entry, EntryKind, HardState, NodeId } from '../../raft/types.js';

/** Version of the layout of the files; raised when older programs could not read them. */
export const FORMAT_VERSION = 1;

const ENTRY_KINDS: readonly EntryKind[] = ['normal', 'confChange'];
const ENTRY_DATA_OFFSET = 17;
const HARD_STATE_BYTES = 24;
const MARKER_BYTES = 16;
const HEAD_BYTES = 20 + HARD_STATE_BYTES + MARKER_BYTES;

/** Names the snapshot that the log goes on from. */
export interface SnapshotMarker {
  readonly index: number;
  readonly term: number;
}

/** What a segment begins with, so that earlier ones can be removed. */
export interface SegmentHead {
  readonly raftId: NodeId;
  /** Index of the last entry before this segment. */
  readonly lastIndex: number;
  readonly hardState: HardState;
  readonly marker: SnapshotMarker;
}

function view(plain: Uint8Array, bytesMin: number): Buffer {
  if (plain.length < bytesMin) {
    throw new SkepError('data_loss', 'a log record is shorter than its content');
  }
  return Buffer.from(plain.buffer, plain.byteOffset, plain.byteLength);
}

function writeNumbers(target: Buffer, offset: number, numbers: readonly number[]): void {
  numbers.forEach((value, at) => target.writeBigUInt64LE(BigInt(value), offset + 8 * at));
}

function readNumber(source: Buffer, offset: number): number {
  return Number(source.readBigUInt64LE(offset));
}

/** index (8), term (8), kind (1), data (rest). */
export function encodeEntry(entry: Entry): Buffer {
  const plain = Buffer.allocUnsafe(ENTRY_DATA_OFFSET + entry.data.length);
  writeNumbers(plain, 0, [entry.index, entry.term]);
  plain.writeUInt8(ENTRY_KINDS.indexOf(entry.kind), 16);
  plain.set(entry.data, ENTRY_DATA_OFFSET);
  return plain;
}

/** Index of an encoded entry. */
export function entryIndexOf(plain: Uint8Array): number {
  return readNumber(view(plain, ENTRY_DATA_OFFSET), 0);
}

/** @throws SkepError data_loss when the bytes are no entry. */
export function decodeEntry(plain: Uint8Array): Entry {
  const source = view(plain, ENTRY_DATA_OFFSET);
  const kind = ENTRY_KINDS[source.readUInt8(16)];
  if (kind === undefined) throw new SkepError('data_loss', 'a log entry has an unknown kind');
  return {
    index: readNumber(source, 0),
    term: readNumber(source, 8),
    kind,
    data: source.subarray(ENTRY_DATA_OFFSET),
  };
}

/** term (8), vote (8), commit (8). */
export function encodeHardState(state: HardState): Buffer {
  const plain = Buffer.alloc(HARD_STATE_BYTES);
  writeNumbers(plain, 0, [state.term, state.vote, state.commit]);
  return plain;
}

/** @throws SkepError data_loss when the bytes are too few. */
export function decodeHardState(plain: Uint8Array): HardState {
  const source = view(plain, HARD_STATE_BYTES);
  return {
    term: readNumber(source, 0),
    vote: readNumber(source, 8),
    commit: readNumber(source, 16),
  };
}

/** index (8), term (8). */
export function encodeMarker(marker: SnapshotMarker): Buffer {
  const plain = Buffer.alloc(MARKER_BYTES);
  writeNumbers(plain, 0, [marker.index, marker.term]);
  return plain;
}

/** @throws SkepError data_loss when the bytes are too few. */
export function decodeMarker(plain: Uint8Array): SnapshotMarker {
  const source = view(plain, MARKER_BYTES);
  return { index: readNumber(source, 0), term: readNumber(source, 8) };
}

/** format (4), raft id (8), last index (8), hard state, marker. */
export function encodeHead(head: SegmentHead): Buffer {
  const plain = Buffer.alloc(HEAD_BYTES);
  plain.writeUInt32LE(FORMAT_VERSION, 0);
  writeNumbers(plain, 4, [head.raftId, head.lastIndex]);
  plain.set(encodeHardState(head.hardState), 20);
  plain.set(encodeMarker(head.marker), 20 + HARD_STATE_BYTES);
  return plain;
}

/** @throws SkepError failed_precondition when a newer program wrote it. */
export function decodeHead(plain: Uint8Array): SegmentHead {
  const source = view(plain, 4);
  const version = source.readUInt32LE(0);
  if (version !== FORMAT_VERSION) {
    throw new SkepError(
      'failed_precondition',
      `the raft log has format ${version}, this program reads format ${FORMAT_VERSION}`,
    );
  }
  view(plain, HEAD_BYTES);
  return {
    raftId: readNumber(source, 4),
    lastIndex: readNumber(source, 12),
    hardState: decodeHardState(source.subarray(20)),
    marker: decodeMarker(source.subarray(20 + HARD_STATE_BYTES)),
  };
}
