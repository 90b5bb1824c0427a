/**
 * Appends records to the log's segments with blocking calls; runs in the log's own thread. Files
 * are zero-filled before use, since growing a file costs a metadata commit with every flush. One
 * spare segment is always prepared ahead, so that a full disk is noticed while there is still room
 * to finish what was begun.
 */
import { closeSync, fdatasyncSync, openSync, renameSync, rmSync } from 'node:fs';
import type { NodeId } from '../../raft/types.js';
import {
  createZeroed,
  pathIn,
  segmentName,
  SPARE_SEGMENT,
  syncDirectory,
  writeFully,
} from './files.js';
import {
  decodeHardState,
  decodeMarker,
  encodeHead,
  entryIndexOf,
  type SegmentHead,
} from './log-records.js';
import { type PlainRecord, RECORD_ALIGNMENT, recordBytes, type RecordCipher } from './record.js';

/** A segment on disk and what lies before it. */
export interface SegmentInfo {
  readonly sequence: number;
  /** Index of the last entry in earlier segments. */
  readonly lastIndexBefore: number;
}

/** Where the log stands, as found at opening. */
export interface LogPositionOnDisk {
  readonly raftId: NodeId;
  readonly segments: readonly SegmentInfo[];
  /** Where the next record goes in the last segment; undefined when a new one must be begun. */
  readonly endOffset: number | undefined;
  readonly head: SegmentHead;
}

/** Room kept for the record that closes a segment. */
const END_BYTES = recordBytes(0);

/** Sealed records written in one go, if they are smaller. */
const BUFFER_BYTES = 256 * 1024;

/** See the file's head. */
export class SegmentWriter {
  readonly #directory: string;
  readonly #cipher: RecordCipher;
  readonly #segmentBytes: number;
  readonly #raftId: NodeId;
  #segments: SegmentInfo[];
  #head: SegmentHead;
  #descriptor: number | undefined;
  #sequence: number;
  #sizeBytes = 0;
  #offset = 0;
  #durableOffset = 0;
  #hasSpare = false;
  /** Sealed records on their way to the file; as large as the largest of them was. */
  #buffer = Buffer.allocUnsafe(BUFFER_BYTES);

  constructor(options: {
    readonly directory: string;
    readonly cipher: RecordCipher;
    readonly segmentBytes: number;
    readonly position: LogPositionOnDisk;
    readonly lastSegmentBytes: number;
  }) {
    const { position } = options;
    this.#directory = options.directory;
    this.#cipher = options.cipher;
    this.#segmentBytes = Math.ceil(options.segmentBytes / RECORD_ALIGNMENT) * RECORD_ALIGNMENT;
    this.#raftId = position.raftId;
    this.#segments = [...position.segments];
    this.#head = position.head;
    this.#sequence = this.#segments.at(-1)?.sequence ?? 0;
    if (position.endOffset !== undefined) {
      this.#descriptor = openSync(pathIn(this.#directory, segmentName(this.#sequence)), 'r+');
      this.#sizeBytes = options.lastSegmentBytes;
      this.#offset = position.endOffset;
      this.#durableOffset = position.endOffset;
    }
  }

  /** Whether the next segment is there already. */
  get hasSpare(): boolean {
    return this.#hasSpare;
  }

  /** Appends records in order; with `sync` they are on disk at return. */
  append(records: readonly PlainRecord[], sync: boolean): void {
    let pendingBytes = 0;
    const flush = (): void => {
      if (pendingBytes === 0) return;
      writeFully(this.#open(), this.#buffer.subarray(0, pendingBytes), this.#offset);
      this.#offset += pendingBytes;
      pendingBytes = 0;
    };
    for (const record of records) {
      const bytes = recordBytes(record.plain.length);
      if (this.#offset + pendingBytes + bytes + END_BYTES > this.#sizeBytes) {
        flush();
        this.#cut(bytes);
      }
      if (pendingBytes + bytes > this.#buffer.length) flush();
      if (bytes > this.#buffer.length) this.#buffer = Buffer.allocUnsafe(bytes);
      const place = { sequence: this.#sequence, offset: this.#offset + pendingBytes };
      const framed = this.#buffer.subarray(pendingBytes, pendingBytes + bytes);
      this.#cipher.sealInto(framed, record, place, this.#durableOffset);
      pendingBytes += bytes;
      this.#note(record);
    }
    flush();
    if (sync) this.sync();
  }

  /** Makes everything appended durable. */
  sync(): void {
    if (this.#descriptor === undefined) return;
    fdatasyncSync(this.#descriptor);
    this.#durableOffset = this.#offset;
  }

  /** Prepares the spare segment if there is none. Throws ENOSPC when the disk is full. */
  prepareSpare(): void {
    if (this.#hasSpare) return;
    const path = pathIn(this.#directory, SPARE_SEGMENT);
    try {
      createZeroed(path, this.#segmentBytes);
    } catch (error) {
      rmSync(path, { force: true });
      throw error;
    }
    this.#hasSpare = true;
  }

  /** Closes the present segment and begins the next, whether there is room or not. */
  beginSegment(): void {
    this.#cut(0);
  }

  /** Removes segments with nothing but entries up to `index`. */
  removeThrough(index: number): void {
    let removed = false;
    for (;;) {
      const [first, second] = this.#segments;
      if (first === undefined || second === undefined || second.lastIndexBefore > index) break;
      rmSync(pathIn(this.#directory, segmentName(first.sequence)), { force: true });
      this.#segments.shift();
      removed = true;
    }
    if (removed) syncDirectory(this.#directory);
  }

  close(): void {
    if (this.#descriptor === undefined) return;
    this.sync();
    closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  #open(): number {
    if (this.#descriptor === undefined) this.#cut(0);
    return this.#descriptor as number;
  }

  /** Closes the present segment and begins the next, with room for a record of `bytes`. */
  #cut(bytes: number): void {
    if (this.#descriptor !== undefined) {
      const place = { sequence: this.#sequence, offset: this.#offset };
      const end: PlainRecord = { type: 'segmentEnd', plain: new Uint8Array(0) };
      writeFully(
        this.#descriptor,
        this.#cipher.seal(end, place, this.#durableOffset),
        place.offset,
      );
      fdatasyncSync(this.#descriptor);
      closeSync(this.#descriptor);
      this.#descriptor = undefined;
    }
    const head = encodeHead(this.#head);
    const needed = recordBytes(head.length) + bytes + END_BYTES;
    const sequence = this.#sequence + 1;
    this.#sizeBytes = Math.max(this.#segmentBytes, needed);
    this.#placeSegment(sequence, this.#sizeBytes);
    this.#sequence = sequence;
    this.#offset = 0;
    this.#durableOffset = 0;
    this.#segments.push({ sequence, lastIndexBefore: this.#head.lastIndex });
    this.#descriptor = openSync(pathIn(this.#directory, segmentName(sequence)), 'r+');
    const record: PlainRecord = { type: 'segmentHeader', plain: head };
    const framed = this.#cipher.seal(record, { sequence, offset: 0 }, 0);
    writeFully(this.#descriptor, framed, 0);
    // Without its head a segment is no log; nothing may follow before it is durable.
    fdatasyncSync(this.#descriptor);
    this.#offset = framed.length;
    this.#durableOffset = framed.length;
  }

  #placeSegment(sequence: number, bytes: number): void {
    const path = pathIn(this.#directory, SPARE_SEGMENT);
    if (bytes > this.#segmentBytes) {
      // A record larger than a segment gets one of its own size; the spare stays.
      const own = `${path}.large`;
      createZeroed(own, bytes);
      renameSync(own, pathIn(this.#directory, segmentName(sequence)));
    } else {
      this.prepareSpare();
      renameSync(path, pathIn(this.#directory, segmentName(sequence)));
      this.#hasSpare = false;
    }
    syncDirectory(this.#directory);
  }

  /** Keeps what the head of the next segment has to say. */
  #note(record: PlainRecord): void {
    const { plain } = record;
    switch (record.type) {
      case 'entry':
        this.#head = { ...this.#head, raftId: this.#raftId, lastIndex: entryIndexOf(plain) };
        return;
      case 'hardState':
        this.#head = { ...this.#head, hardState: decodeHardState(plain) };
        return;
      case 'snapshotMarker': {
        const marker = decodeMarker(plain);
        const lastIndex = Math.max(this.#head.lastIndex, marker.index);
        this.#head = { ...this.#head, marker, lastIndex };
        return;
      }
      default:
    }
  }
}
