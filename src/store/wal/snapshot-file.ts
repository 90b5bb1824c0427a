/**
 * Snapshot files: a head, the data in encrypted pieces, and an end that says how much there was.
 * A file has its name only once all of it is on disk.
 */
import { type FileHandle, open, readFile, rename, rm } from 'node:fs/promises';
import { SkepError } from '../../model/errors.js';
import type { ConfState, Snapshot } from '../../raft/types.js';
import { SNAPSHOT_CHUNK_BYTES } from '../limits.js';
import { pathIn, snapshotName, syncDirectory } from './files.js';
import {
  framedBytes,
  isBodyIntact,
  parseHeader,
  type PlainRecord,
  type RecordCipher,
} from './record.js';
import { damaged } from './segment-reader.js';

/** Files besides the log's segments have sequence 0. */
const SEQUENCE = 0;

interface SnapshotHead {
  readonly index: number;
  readonly term: number;
  readonly conf: ConfState;
  readonly bytes: number;
}

/** A snapshot together with its data. */
export interface StoredSnapshot extends Snapshot {
  readonly data: Uint8Array;
}

/** The file's records in order. */
function* recordsOf(snapshot: StoredSnapshot): Generator<PlainRecord> {
  const { index, term, conf, data } = snapshot;
  const head: SnapshotHead = { index, term, conf, bytes: data.length };
  const plainHead = Buffer.from(JSON.stringify(head));
  yield { type: 'snapshotHead', plain: plainHead };
  for (let at = 0; at < data.length; at += SNAPSHOT_CHUNK_BYTES) {
    yield { type: 'snapshotChunk', plain: data.subarray(at, at + SNAPSHOT_CHUNK_BYTES) };
  }
  yield { type: 'snapshotEnd', plain: plainHead };
}

/**
 * Writes a snapshot so that it is either there completely or not at all.
 * @throws SkepError resource_exhausted when the disk is full, which harms nothing; data_loss when
 *   a write or flush failed otherwise.
 */
export async function writeSnapshotFile(
  directory: string,
  snapshot: StoredSnapshot,
  cipher: RecordCipher,
): Promise<void> {
  const name = snapshotName(snapshot.index);
  const temporary = pathIn(directory, `${name}.tmp`);
  let handle: FileHandle | undefined;
  try {
    handle = await open(temporary, 'w', 0o600);
    let offset = 0;
    for (const record of recordsOf(snapshot)) {
      const framed = cipher.seal(record, { sequence: SEQUENCE, offset }, 0);
      await handle.write(framed, 0, framed.length, offset);
      offset += framed.length;
    }
    await handle.sync();
    await handle.close();
    handle = undefined;
    await rename(temporary, pathIn(directory, name));
    syncDirectory(directory);
  } catch (error) {
    await handle?.close();
    await rm(temporary, { force: true });
    const { code } = error as NodeJS.ErrnoException;
    const isFull = code === 'ENOSPC' || code === 'EDQUOT';
    throw new SkepError(
      isFull ? 'resource_exhausted' : 'data_loss',
      `raft snapshot: writing failed: ${String(error)}`,
      { cause: error, details: { errno: code ?? '' } },
    );
  }
}

/**
 * Reads and checks the snapshot at `index`.
 * @throws SkepError data_loss when it is missing or damaged; permission_denied with a wrong key.
 */
export async function readSnapshotFile(
  directory: string,
  index: number,
  cipher: RecordCipher,
): Promise<StoredSnapshot> {
  const name = snapshotName(index);
  let file: Buffer;
  try {
    file = await readFile(pathIn(directory, name));
  } catch (error) {
    throw damaged(name, `it cannot be read: ${String(error)}`);
  }
  const chunks: Uint8Array[] = [];
  let head: SnapshotHead | undefined;
  let isComplete = false;
  for (let offset = 0; offset < file.length && !isComplete; ) {
    const header = parseHeader(file, { sequence: SEQUENCE, offset });
    if (header === undefined || !isBodyIntact(file, offset, header)) {
      throw damaged(name, `checksum mismatch at byte ${offset}`);
    }
    const { type, plain } = cipher.open(file, offset, header);
    if (type === 'snapshotHead') head = JSON.parse(plain.toString()) as SnapshotHead;
    else if (type === 'snapshotChunk') chunks.push(plain);
    else isComplete = type === 'snapshotEnd';
    offset += framedBytes(header.bodyBytes);
  }
  const data = Buffer.concat(chunks);
  if (!isComplete || head?.index !== index || head.bytes !== data.length) {
    throw damaged(name, 'it is not complete');
  }
  const { term, conf } = head;
  return { index, term, conf, data };
}
