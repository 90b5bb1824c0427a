/**
 * A container's log as lines. The engine multiplexes standard output and error in frames of an
 * 8-byte header (stream, 3 zeros, length big-endian) unless the container has a terminal; each
 * line starts with its timestamp and its attributes.
 */
import { SkepError } from '../model/errors.js';
import {
  LogStream,
  type LogSubscriptionOptions,
} from '../model/gen/docker/swarmkit/v1/logbroker_pb.js';
import { type EngineClient, engineError, type EngineLogOptions } from './engine-client.js';
import type { LogLine } from './executor.js';
import { LOG_MESSAGE_MAX_BYTES } from './limits.js';

const HEADER_BYTES = 8;
const NANO = 1_000_000_000n;

/** One piece of a stream. */
export interface LogFrame {
  readonly stream: 'stdout' | 'stderr';
  readonly payload: Buffer;
}

/** Splits the engine's multiplexed bytes into frames; bounded by the largest frame. */
export class FrameDecoder {
  private rest: Buffer = Buffer.alloc(0);

  /** Complete frames after `chunk`. @throws SkepError data_loss on a malformed header */
  push(chunk: Uint8Array): LogFrame[] {
    this.rest = Buffer.concat([this.rest, chunk]);
    const frames: LogFrame[] = [];
    while (this.rest.length >= HEADER_BYTES) {
      const kind = this.rest[0];
      const length = this.rest.readUInt32BE(4);
      if ((kind !== 1 && kind !== 2) || length > LOG_MESSAGE_MAX_BYTES) {
        throw new SkepError('data_loss', 'malformed frame in a container log');
      }
      if (this.rest.length < HEADER_BYTES + length) break;
      const payload = this.rest.subarray(HEADER_BYTES, HEADER_BYTES + length);
      frames.push({ stream: kind === 1 ? 'stdout' : 'stderr', payload });
      this.rest = this.rest.subarray(HEADER_BYTES + length);
    }
    return frames;
  }
}

/** `2026-01-02T03:04:05.678901234Z` in nanoseconds since the epoch. @throws SkepError data_loss */
export function parseTimestamp(text: string): bigint {
  const parts = /^(.*T\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/.exec(text);
  const seconds = parts === null ? Number.NaN : Date.parse(`${parts[1]}${parts[3]}`) / 1000;
  if (!Number.isFinite(seconds)) throw new SkepError('data_loss', 'log line without a timestamp');
  return BigInt(seconds) * NANO + BigInt((parts?.[2] ?? '').padEnd(9, '0'));
}

/** `timestamp attributes message` of one line. */
export function parseLine(stream: 'stdout' | 'stderr', line: Buffer): LogLine {
  const first = line.indexOf(0x20);
  const second = first < 0 ? -1 : line.indexOf(0x20, first + 1);
  if (second < 0) throw new SkepError('data_loss', 'log line without its details');
  const details = line.subarray(first + 1, second).toString('utf8');
  return {
    stream,
    timestampNs: parseTimestamp(line.subarray(0, first).toString('latin1')),
    attributes: details === '' ? [] : details.split(',').map(parseAttribute),
    data: line.subarray(second + 1),
  };
}

function parseAttribute(pair: string): readonly [string, string] {
  const [key = '', value = ''] = pair.split('=');
  return [unescapeQuery(key), unescapeQuery(value)];
}

function unescapeQuery(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    // Not escaped by the engine: the text itself is the best reading.
    return text;
  }
}

/** SwarmKit's options as the engine's. @throws SkepError invalid_argument */
export function engineLogOptions(options: LogSubscriptionOptions): EngineLogOptions {
  if (options.tail > 0n) {
    const text = 'tail relative to start of logs not supported via docker API';
    throw new SkepError('invalid_argument', text);
  }
  const wants = (stream: LogStream): boolean =>
    options.streams.length === 0 || options.streams.includes(stream);
  const { since } = options;
  return {
    stdout: wants(LogStream.STDOUT),
    stderr: wants(LogStream.STDERR),
    follow: options.follow,
    // -1 is no line, -2 the last one, and so on; 0 is all.
    tail: options.tail < 0n ? Number(-options.tail - 1n) : 'all',
    since: since === undefined ? '' : `${since.seconds}.${String(since.nanos).padStart(9, '0')}`,
  };
}

/** Lines of a container, until its log ends or `signal` aborts. */
export async function* containerLogs(
  client: EngineClient,
  container: string,
  options: LogSubscriptionOptions,
  signal: AbortSignal,
): AsyncIterable<LogLine> {
  const wanted = engineLogOptions(options);
  const state = await client.inspect(container);
  if (state === undefined) throw new SkepError('not_found', `No such container: ${container}`);
  const stream = await client.logs(state.id, wanted, signal);
  try {
    yield* state.tty ? terminalLines(stream) : framedLines(stream);
  } catch (error) {
    if (!signal.aborted) throw engineError(error);
  }
}

async function* framedLines(stream: NodeJS.ReadableStream): AsyncIterable<LogLine> {
  const decoder = new FrameDecoder();
  for await (const chunk of stream) {
    for (const frame of decoder.push(chunk as Buffer)) yield parseLine(frame.stream, frame.payload);
  }
}

/** A terminal's log has no frames: lines end in \n. */
async function* terminalLines(stream: NodeJS.ReadableStream): AsyncIterable<LogLine> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of stream) {
    rest = Buffer.concat([rest, chunk as Buffer]);
    for (let end = rest.indexOf(0x0a); end >= 0; end = rest.indexOf(0x0a)) {
      yield parseLine('stdout', rest.subarray(0, end + 1));
      rest = rest.subarray(end + 1);
    }
    if (rest.length > LOG_MESSAGE_MAX_BYTES) {
      throw new SkepError('data_loss', 'a terminal line is too long');
    }
  }
}
