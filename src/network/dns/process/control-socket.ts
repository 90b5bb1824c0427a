/**
 * Where skepd talks to the process of the name server: a unix socket only root reaches. The skepd that
 * came last is listened to.
 */
import { chmodSync, rmSync, statSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { SkepError } from '../../../model/errors.js';
import { NAME_QUEUE_BYTES_MAX } from '../../limits.js';
import { encodeFrame, FrameReader } from '../frames.js';
import {
  type FeedMessage,
  type LogMessage,
  NAME_PROTOCOL,
  parseFeed,
  type ReportMessage,
} from '../protocol.js';
import { isTableMessage, type NameService } from './name-service.js';

/** Connections at once: one that is listened to, and one that follows it. */
const CONNECTIONS_MAX = 4;

/** What the socket serves. */
export interface ControlSocketParts {
  /** Where it is; short, as paths of sockets are. */
  readonly path: string;
  readonly build: string;
  readonly service: Pick<NameService, 'apply' | 'dump'>;
  /** skepd has asked for the end. */
  readonly onRetire: () => void;
}

/** Between `start` and `stop`. */
export class ControlSocket {
  private readonly parts: ControlSocketParts;
  private readonly server: Server;
  private current: Socket | undefined;
  private inode = 0;
  private isDumping = false;

  constructor(parts: ControlSocketParts) {
    this.parts = parts;
    this.server = createServer((socket) => this.accept(socket));
    this.server.maxConnections = CONNECTIONS_MAX;
  }

  /** A skepd is there. */
  get isHeard(): boolean {
    return this.current !== undefined;
  }

  /** Whether the socket is still where it was made: otherwise nobody will ever find it again. */
  get isThere(): boolean {
    try {
      return statSync(this.parts.path).ino === this.inode;
    } catch {
      return false;
    }
  }

  /** @throws when it cannot be made */
  async start(): Promise<void> {
    const { path } = this.parts;
    // Of a process that had the same number: it is gone.
    rmSync(path, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(path, resolve);
    });
    chmodSync(path, 0o600);
    this.inode = statSync(path).ino;
  }

  /** Takes no more connections; those there are close with the process. */
  stop(): void {
    if (this.isThere) rmSync(this.parts.path, { force: true });
    this.server.close();
  }

  /** Passes a line on to skepd's log; without one, or with one that does not read, it is dropped. */
  log(line: LogMessage): void {
    const { current } = this;
    if (current === undefined || current.writableLength > NAME_QUEUE_BYTES_MAX) return;
    current.write(encodeFrame(line));
  }

  private accept(socket: Socket): void {
    this.current?.destroy();
    this.current = socket;
    const reader = new FrameReader();
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      if (this.current === socket) this.current = undefined;
    });
    const { build } = this.parts;
    send(socket, { kind: 'hello', protocol: NAME_PROTOCOL, build });
    socket.on('data', (chunk: Buffer) => {
      try {
        for (const value of reader.push(chunk)) {
          const message = parseFeed(value);
          if (message === undefined) throw new SkepError('invalid_argument', 'a bad message');
          if (this.current === socket) this.obey(socket, message);
        }
      } catch (error) {
        const fields = { err: SkepError.from(error).message };
        send(socket, { kind: 'log', level: 'error', fields, message: 'skepd is not understood' });
        socket.destroySoon();
      }
    });
  }

  private obey(socket: Socket, message: FeedMessage): void {
    const { service, onRetire } = this.parts;
    if (isTableMessage(message)) {
      service.apply(message);
      return;
    }
    switch (message.kind) {
      case 'mark':
        send(socket, { kind: 'applied', number: message.number });
        // Whoever asks and does not read gets no more.
        if (socket.writableLength > NAME_QUEUE_BYTES_MAX) socket.destroy();
        break;
      case 'dump':
        if (!this.isDumping) void this.dump(socket);
        break;
      case 'retire':
        onRetire();
        break;
    }
  }

  private async dump(socket: Socket): Promise<void> {
    this.isDumping = true;
    try {
      await this.dumpTo(socket);
    } finally {
      this.isDumping = false;
    }
  }

  private async dumpTo(socket: Socket): Promise<void> {
    for (const message of this.parts.service.dump()) {
      if (socket.destroyed) return;
      if (send(socket, message)) continue;
      await new Promise<void>((resolve) => {
        socket.once('drain', resolve);
        socket.once('close', resolve);
      });
    }
    send(socket, { kind: 'dumped' });
  }
}

function send(socket: Socket, message: ReportMessage): boolean {
  return socket.writable && socket.write(encodeFrame(message));
}
