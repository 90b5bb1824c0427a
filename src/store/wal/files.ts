/** Names in the state directory, and the few file operations whose order durability depends on. */
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/** Segments of the log, below the raft directory. */
export const WAL_DIRECTORY = 'wal';
/** Snapshots, below the raft directory. */
export const SNAPSHOT_DIRECTORY = 'snap';
/** The segment prepared for when the present one is full. */
export const SPARE_SEGMENT = 'spare.tmp';

const SEGMENT_PATTERN = /^([0-9a-f]{8})\.wal$/;
const SNAPSHOT_PATTERN = /^([0-9a-f]{16})\.snap$/;

/** File name of a segment; sequences begin at 1. */
export function segmentName(sequence: number): string {
  return `${sequence.toString(16).padStart(8, '0')}.wal`;
}

/** Sequence of a segment's file name, or undefined for other files. */
export function segmentSequence(name: string): number | undefined {
  const digits = SEGMENT_PATTERN.exec(name)?.[1];
  return digits === undefined ? undefined : Number.parseInt(digits, 16);
}

/** File name of the snapshot at `index`. */
export function snapshotName(index: number): string {
  return `${index.toString(16).padStart(16, '0')}.snap`;
}

/** Whether this is a snapshot's file name. */
export function isSnapshotName(name: string): boolean {
  return SNAPSHOT_PATTERN.test(name);
}

/** Makes creations, renames and removals in a directory durable. */
export function syncDirectory(path: string): void {
  const descriptor = openSync(path, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Writes all of `bytes` at `position`. */
export function writeFully(descriptor: number, bytes: Uint8Array, position: number): void {
  let written = 0;
  while (written < bytes.length) {
    written += writeSync(descriptor, bytes, written, bytes.length - written, position + written);
  }
}

/** Creates a zero-filled, durable file of this size; its name is durable with the directory. */
export function createZeroed(path: string, bytes: number): void {
  const chunk = Buffer.alloc(Math.min(bytes, 1024 * 1024));
  const descriptor = openSync(path, 'w', 0o600);
  try {
    for (let at = 0; at < bytes; at += chunk.length) {
      writeFully(descriptor, chunk.subarray(0, Math.min(chunk.length, bytes - at)), at);
    }
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Path of a file in a directory of the log. */
export function pathIn(directory: string, name: string): string {
  return join(directory, name);
}
