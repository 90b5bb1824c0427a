/** What the main thread and the log's writer thread say to each other. */
import type { MessagePort } from 'node:worker_threads';
import type { SharedLine } from './order-line.js';
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

/** What the thread is given besides: how it is ordered and answers. */
export interface WriterThreadLine {
  readonly line: SharedLine;
  readonly port: MessagePort;
}

/** Orders, done one after the other, that are messages: see order-line.ts. */
export type WriterOrder =
  | { readonly kind: 'append'; readonly packed: Uint8Array; readonly sync: boolean }
  | { readonly kind: 'removeThrough'; readonly index: number }
  | { readonly kind: 'prepareSpare' }
  | { readonly kind: 'useKey'; readonly key: DataKey }
  | { readonly kind: 'close' };

/** What the thread says by itself; after `failed` it ends, with that order not done. */
export type WriterAnswer =
  | { readonly kind: 'spare'; readonly ready: boolean; readonly reason: string }
  | { readonly kind: 'failed'; readonly reason: string; readonly code: string };

const TYPES = Object.entries(RECORD_TYPES) as [RecordType, number][];
const FRAME_BYTES = 5;

/** Bytes of records as one block. */
export function packedBytes(records: readonly PlainRecord[]): number {
  return records.reduce((sum, record) => sum + FRAME_BYTES + record.plain.length, 0);
}

/** Writes records as one block to the beginning of `target`, which has room for them. */
export function packRecords(records: readonly PlainRecord[], target: Uint8Array): void {
  const view = new DataView(target.buffer, target.byteOffset, target.byteLength);
  let at = 0;
  for (const { type, plain } of records) {
    view.setUint8(at, RECORD_TYPES[type]);
    view.setUint32(at + 1, plain.length);
    target.set(plain, at + FRAME_BYTES);
    at += FRAME_BYTES + plain.length;
  }
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
