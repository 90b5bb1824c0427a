/**
 * Messages on a stream: four bytes of length, big-endian, then JSON. Reading bounds what is kept.
 */
import { SkepError } from '../../model/errors.js';
import { NAME_FRAME_BYTES_MAX } from '../limits.js';

const LENGTH_BYTES = 4;

/** One message with its length. */
export function encodeFrame(message: object): Buffer {
  const body = Buffer.from(JSON.stringify(message));
  const frame = Buffer.allocUnsafe(LENGTH_BYTES + body.length);
  frame.writeUInt32BE(body.length, 0);
  body.copy(frame, LENGTH_BYTES);
  return frame;
}

/** Puts what arrives together again. */
export class FrameReader {
  private chunks: Buffer[] = [];
  private bytes = 0;
  /** Of the frame that is being received. */
  private length: number | undefined;

  /** The messages that are whole now, as JSON has them. @throws SkepError invalid_argument */
  push(chunk: Buffer): readonly unknown[] {
    this.chunks.push(chunk);
    this.bytes += chunk.length;
    const messages: unknown[] = [];
    for (;;) {
      if (this.length === undefined) {
        if (this.bytes < LENGTH_BYTES) return messages;
        this.length = this.take(LENGTH_BYTES).readUInt32BE(0);
        if (this.length > NAME_FRAME_BYTES_MAX)
          throw new SkepError('invalid_argument', `a frame of ${this.length} bytes is too long`);
      }
      if (this.bytes < this.length) return messages;
      messages.push(parse(this.take(this.length)));
      this.length = undefined;
    }
  }

  private take(count: number): Buffer {
    const all = this.chunks.length === 1 ? this.chunks[0] : undefined;
    const joined = all ?? Buffer.concat(this.chunks);
    const rest = joined.subarray(count);
    this.chunks = rest.length === 0 ? [] : [rest];
    this.bytes = rest.length;
    return joined.subarray(0, count);
  }
}

function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8')) as unknown;
  } catch (cause) {
    throw new SkepError('invalid_argument', 'a frame is no JSON', { cause });
  }
}
