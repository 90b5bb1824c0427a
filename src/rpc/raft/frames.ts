/** Frames of the raft stream: length of the rest (4 bytes, little endian), kind (1), payload. */
import { SkepError } from '../../model/errors.js';
import { FRAME_BYTES_MAX } from './limits.js';

/** What a frame carries. Numbers are never used again for something else. */
export const FRAME = {
  /** Who speaks; the first frame of either side. */
  hello: 1,
  /** A raft message; the head of a snapshot if it is one. */
  message: 2,
  /** The next bytes of the snapshot whose head came last. */
  snapshotPiece: 3,
  /** Answer: the snapshot is complete. */
  snapshotTaken: 4,
  ping: 5,
  /** Answer to a ping. */
  pong: 6,
} as const;

const LENGTH_BYTES = 4;
const HEAD_BYTES = LENGTH_BYTES + 1;

/** A received frame. */
export interface Frame {
  readonly kind: number;
  /** Shares memory with what was received. */
  readonly payload: Uint8Array;
}

/** The head of a frame, to be written in front of its payload. */
export function frameHead(kind: number, payloadBytes: number): Uint8Array {
  const head = Buffer.allocUnsafe(HEAD_BYTES);
  head.writeUInt32LE(payloadBytes + 1, 0);
  head.writeUInt8(kind, LENGTH_BYTES);
  return head;
}

/** Cuts a byte stream into frames. */
export class FrameReader {
  #chunks: Buffer[] = [];
  #bytes = 0;

  /**
   * Takes the next bytes; returns the frames that are complete now.
   * @throws SkepError resource_exhausted for a frame beyond the limit, invalid_argument for an empty one
   */
  push(chunk: Buffer): readonly Frame[] {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    const frames: Frame[] = [];
    for (;;) {
      if (this.#bytes < LENGTH_BYTES) return frames;
      const length = this.#head(LENGTH_BYTES).readUInt32LE(0);
      if (length === 0) throw new SkepError('invalid_argument', 'raft stream: empty frame');
      if (length > FRAME_BYTES_MAX) {
        throw new SkepError('resource_exhausted', `raft stream: frame of ${length} bytes`);
      }
      if (this.#bytes < LENGTH_BYTES + length) return frames;
      const frame = this.#take(LENGTH_BYTES + length);
      frames.push({ kind: frame.readUInt8(LENGTH_BYTES), payload: frame.subarray(HEAD_BYTES) });
    }
  }

  /** At least `bytes` in one piece, without taking them. */
  #head(bytes: number): Buffer {
    const [first] = this.#chunks;
    if (first !== undefined && first.length >= bytes) return first;
    const joined = Buffer.concat(this.#chunks);
    this.#chunks = [joined];
    return joined;
  }

  #take(bytes: number): Buffer {
    const joined = this.#head(bytes);
    this.#chunks[0] = joined.subarray(bytes);
    if (joined.length === bytes) this.#chunks.shift();
    this.#bytes -= bytes;
    return joined.subarray(0, bytes);
  }
}
