/**
 * A connection of skepd to a process of the name server: found by its socket, known by its first words.
 */
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { connect, type Socket } from 'node:net';
import path from 'node:path';
import { SkepError } from '../../model/errors.js';
import { startDetached } from '../detached-process.js';
import {
  NAME_DUMP_TIMEOUT_MS,
  NAME_HELLO_TIMEOUT_MS,
  NAME_QUEUE_BYTES_MAX,
  NAME_ROWS_MAX,
  NAME_START_POLL_MS,
  NAME_START_TIMEOUT_MS,
} from '../limits.js';
import { encodeFrame, FrameReader } from './frames.js';
import type { NamedNetwork, NameRow } from './names.js';
import { type FeedMessage, type Hello, parseReport, type ReportMessage } from './protocol.js';

/** A network as a process had it. */
export interface DumpedNetwork {
  readonly network: NamedNetwork;
  readonly rows: readonly NameRow[];
}

/** What a connection tells its owner. */
export interface ConnectionEvents {
  readonly onReport: (report: Exclude<ReportMessage, Hello>) => void;
  /** More may be written. */
  readonly onDrain: () => void;
  readonly onClose: () => void;
}

const NOTHING: ConnectionEvents = {
  onReport: () => undefined,
  onDrain: () => undefined,
  onClose: () => undefined,
};

/** Open from `connectTo` until either side closes. */
export class NameConnection {
  private events = NOTHING;

  private constructor(
    /** Process id, as its socket is named. */
    readonly pid: number,
    readonly hello: Hello,
    private readonly socket: Socket,
    reader: FrameReader,
  ) {
    socket.removeAllListeners();
    socket.setTimeout(0);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.events.onClose());
    socket.on('drain', () => this.events.onDrain());
    socket.on('data', (chunk: Buffer) => {
      try {
        for (const value of reader.push(chunk)) {
          const report = parseReport(value);
          if (report === undefined || report.kind === 'hello')
            throw new SkepError('invalid_argument', 'a bad message of the name server');
          this.events.onReport(report);
        }
      } catch {
        // Nothing it says counts any more.
        socket.destroy();
      }
    });
  }

  /** @throws SkepError unavailable: nobody there, or nobody who says who he is in time */
  static async connectTo(directory: string, pid: number): Promise<NameConnection> {
    const { socket, hello, reader } = await greeted(directory, pid);
    return new NameConnection(pid, hello, socket, reader);
  }

  get isOpen(): boolean {
    return !this.socket.destroyed;
  }

  /** Whether what was written last still waits to be sent: writing more would pile up. */
  get isFull(): boolean {
    return this.socket.writableLength > NAME_QUEUE_BYTES_MAX;
  }

  /** From now on these are told. */
  listen(events: ConnectionEvents): void {
    this.events = events;
    if (!this.isOpen) events.onClose();
  }

  write(message: FeedMessage): void {
    if (this.isOpen) this.socket.write(encodeFrame(message));
  }

  /** Everything the process has. @throws SkepError unavailable when it does not tell it all in time */
  async dump(): Promise<readonly DumpedNetwork[]> {
    const networks = new Map<string, { network: NamedNetwork; rows: NameRow[] }>();
    let count = 0;
    try {
      await new Promise<void>((resolve, reject) => {
        const fail = () => reject(new SkepError('unavailable', 'the name server tells nothing'));
        const timer = setTimeout(fail, NAME_DUMP_TIMEOUT_MS);
        const settle = (done: () => void) => {
          clearTimeout(timer);
          done();
        };
        this.listen({
          onDrain: () => undefined,
          onClose: () => settle(fail),
          onReport: (report) => {
            if (report.kind === 'network')
              networks.set(report.network.id, { network: report.network, rows: [] });
            else if (report.kind === 'rows') {
              count += report.put.length;
              if (count > NAME_ROWS_MAX) settle(fail);
              else networks.get(report.networkId)?.rows.push(...report.put);
            } else if (report.kind === 'dumped') settle(resolve);
          },
        });
        this.write({ kind: 'dump' });
      });
    } finally {
      this.events = NOTHING;
    }
    return [...networks.values()];
  }

  /** The process goes on. */
  close(): void {
    this.events = NOTHING;
    this.socket.destroy();
  }
}

/** Process ids by the sockets in the directory, made if need be; only root may look into it. */
export function socketsIn(directory: string): readonly number[] {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  return readdirSync(directory).flatMap((name) => {
    const pid = /^([1-9]\d{0,9})\.sock$/.exec(name)?.[1];
    return pid === undefined ? [] : [Number(pid)];
  });
}

/** A socket nobody listens on. */
export function removeSocket(directory: string, pid: number): void {
  rmSync(path.join(directory, `${pid}.sock`), { force: true });
}

/** Whether the process of that number is a name server of this directory; numbers are used again. */
export function isNameServer(directory: string, pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(directory);
  } catch {
    return false; // No such process.
  }
}

/** Ends a process of this directory that does not end by itself. */
export function killNameServer(directory: string, pid: number): void {
  try {
    if (isNameServer(directory, pid)) process.kill(pid, 'SIGKILL');
  } catch {
    // It has just ended.
  }
  removeSocket(directory, pid);
}

/** Starts a process and connects to it. @throws SkepError unavailable */
export async function startNameServer(
  directory: string,
  command: readonly [string, ...string[]],
): Promise<NameConnection> {
  const [program, ...args] = command;
  const child = startDetached(program, [...args, directory]);
  const { pid } = child;
  for (let waitedMs = 0; waitedMs < NAME_START_TIMEOUT_MS; waitedMs += NAME_START_POLL_MS) {
    if (child.ended() !== undefined || pid === undefined) break;
    if (socketsIn(directory).includes(pid)) {
      try {
        return await NameConnection.connectTo(directory, pid);
      } catch {
        // Not quite there yet.
      }
    }
    await new Promise((resolve) => setTimeout(resolve, NAME_START_POLL_MS));
  }
  const why = child.ended() ?? 'no answer';
  child.kill();
  throw new SkepError('unavailable', `the name server did not start: ${why}`);
}

interface Greeted {
  readonly socket: Socket;
  readonly hello: Hello;
  readonly reader: FrameReader;
}

async function greeted(directory: string, pid: number): Promise<Greeted> {
  // Paths of sockets are short; a descriptor of the directory makes any path short.
  const opened = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  const socket = connect(`/proc/self/fd/${opened}/${pid}.sock`);
  const reader = new FrameReader();
  try {
    return await new Promise((resolve, reject) => {
      const fail = (why: string) =>
        reject(new SkepError('unavailable', `name server ${pid}: ${why}`));
      socket.setTimeout(NAME_HELLO_TIMEOUT_MS, () => fail('no answer'));
      socket.on('error', (error) => fail(error.message));
      socket.on('close', () => fail('closed'));
      socket.on('data', (chunk: Buffer) => {
        try {
          const [first] = reader.push(chunk).map(parseReport);
          if (first?.kind === 'hello') resolve({ socket, hello: first, reader });
          else if (first !== undefined) fail('it is something else');
        } catch (error) {
          fail(SkepError.from(error).message);
        }
      });
    });
  } catch (error) {
    socket.on('error', () => undefined);
    socket.destroy();
    throw error;
  } finally {
    closeSync(opened);
  }
}
