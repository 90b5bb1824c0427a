/** What the main thread and the log's writer thread say to each other. */
import { RECORD_TYPES, type DataKey, type PlainRecord, type RecordType } from './record.js';
import type { LogPositionOnDisk } from './segment-writer.js';

/** What the writer thread is started with. */
export interface WriterThreadData {
  readonly directory: string;
  readonly keys: readonly DataKey[];
  readonly segmentBytes: number;
  readonly position: LogPositionOnDisk;
  readonly lastSegmentBytes: number;
}

/** Orders, done one after the other. Each is answered by `done` with its number, or by `failed`. */
export type WriterOrder =
  | {
      readonly kind: 'append';
      readonly id: number;
      readonly packed: Uint8Array;
      readonly sync: boolean;
    }
  | { readonly kind: 'removeThrough'; readonly id: number; readonly index: number }
  | { readonly kind: 'prepareSpare'; readonly id: number }
  | { readonly kind: 'useKey'; readonly id: number; readonly key: DataKey }
  | { readonly kind: 'close'; readonly id: number };

/** Answers; after `failed` the thread does nothing more. */
export type WriterAnswer =
  | { readonly kind: 'done'; readonly id: number }
  | { readonly kind: 'spare'; readonly ready: boolean; readonly reason: string }
  | { readonly kind: 'failed'; readonly reason: string; readonly code: string };

const TYPES = Object.entries(RECORD_TYPES) as [RecordType, number][];
const FRAME_BYTES = 5;

/** Records as one block of its own memory, to be handed over without a copy. */
export function packRecords(records: readonly PlainRecord[]): Uint8Array<ArrayBuffer> {
  const bytes = records.reduce((sum, record) => sum + FRAME_BYTES + record.plain.length, 0);
  const packed = new Uint8Array(bytes);
  const view = new DataView(packed.buffer);
  let at = 0;
  for (const { type, plain } of records) {
    view.setUint8(at, RECORD_TYPES[type]);
    view.setUint32(at + 1, plain.length);
    packed.set(plain, at + FRAME_BYTES);
    at += FRAME_BYTES + plain.length;
  }
  return packed;
}

/** The records of a block. */
export function unpackRecords(packed: Uint8Array): PlainRecord[] {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  const records: PlainRecord[] = [];
  for (let at = 0; at < packed.length; ) {
    const code = view.getUint8(at);
    const bytes = view.getUint32(at + 1);
    const type = TYPES.find(([, known]) => known === code)?.[0];
    if (type === undefined) throw new RangeError(`unknown record type ${code}`);
    records.push({ type, plain: packed.subarray(at + FRAME_BYTES, at + FRAME_BYTES + bytes) });
    at += FRAME_BYTES + bytes;
  }
  return records;
}
