/**
 * The stream on which this manager sends to one other: dialled when there is something to send,
 * greeted, pinged while it is open, and given up as soon as it does not answer. Nothing is kept for
 * a member that is away: raft sends again.
 */
import { connect, type TLSSocket } from 'node:tls';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import type { Clock, Timer } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import { type Hello, HelloSchema } from '../../model/gen/skep/manager/v1/raft_pb.js';
import type { Message } from '../../raft/types.js';
import { MANAGER_ROLE, managerTls, peerIdentity } from '../peer.js';
import type { TlsIdentity } from '../types.js';
import { FRAME, type Frame, frameHead, FrameReader } from './frames.js';
import * as limits from './limits.js';
import { encodeMessage } from './message-codec.js';

/** A manager as raft streams name it. */
export interface RaftPeer {
  readonly raftId: number;
  readonly nodeId: string;
  /** `host:port` */
  readonly address: string;
}

/** What a link needs. */
export interface RaftLinkOptions {
  readonly self: () => RaftPeer;
  /** An empty node id, or raft id 0, takes whoever answers there. */
  readonly peer: RaftPeer;
  readonly identity: () => TlsIdentity;
  readonly clock: Clock;
  /** Something of the member was heard. */
  readonly onHeard: () => void;
  /** The member cannot be reached, or a message to it was dropped. */
  readonly onUnreachable: (reason: string) => void;
  readonly onSnapshot: (arrived: boolean) => void;
}

/** See the file's head. */
export class RaftLink {
  readonly #options: RaftLinkOptions;
  #socket: TLSSocket | undefined;
  #isOpen = false;
  #isClosed = false;
  #early: Message[] = [];
  #pauseUntilMs = 0;
  #timers: Timer[] = [];
  #pongDue: Timer | undefined;
  #isSendingSnapshot = false;
  #opened: { resolve: () => void; reject: (error: SkepError) => void }[] = [];

  constructor(options: RaftLinkOptions) {
    this.#options = options;
  }

  /** Sends now, or as soon as the stream is open; dropped when that fails. */
  send(message: Message): void {
    if (this.#isClosed) return;
    if (this.#isOpen) {
      this.#write(message);
      return;
    }
    if (this.#early.length >= limits.EARLY_MESSAGES_MAX || !this.#dial()) {
      if (message.type === 'snapshot') this.#options.onSnapshot(false);
      this.#options.onUnreachable('not connected');
      return;
    }
    this.#early.push(message);
  }

  /** Resolves once the member has answered. @throws SkepError unavailable with the reason */
  open(): Promise<void> {
    if (this.#isOpen) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#opened.push({ resolve, reject });
      this.#pauseUntilMs = 0;
      this.#dial();
    });
  }

  /** Ends the stream for good. Idempotent. */
  close(): void {
    this.#isClosed = true;
    this.#end('closed');
  }

  /** False while it is too early for another attempt. */
  #dial(): boolean {
    if (this.#socket !== undefined) return true;
    const { clock, peer } = this.#options;
    if (clock.monotonicMs() < this.#pauseUntilMs) return false;
    const identity = this.#options.identity();
    const colon = peer.address.lastIndexOf(':');
    const socket = connect({
      host: peer.address.slice(0, colon).replace(/^\[(.*)\]$/, '$1'),
      port: Number(peer.address.slice(colon + 1)),
      ...managerTls(identity),
      ALPNProtocols: [limits.RAFT_PROTOCOL],
      minVersion: 'TLSv1.2',
    });
    this.#socket = socket;
    socket.setNoDelay(true);
    const reader = new FrameReader();
    this.#timers.push(
      clock.setTimer(limits.DIAL_TIMEOUT_MS, () => {
        if (socket === this.#socket && !this.#isOpen) this.#end('connecting timed out');
      }),
    );
    socket.on('secureConnect', () => {
      if (socket === this.#socket) this.#greet(socket);
    });
    socket.on('data', (chunk: Buffer) => {
      if (socket !== this.#socket) return;
      try {
        for (const frame of reader.push(chunk)) this.#take(frame);
      } catch (error) {
        this.#end(SkepError.from(error).message);
      }
    });
    socket.on('error', (error) => {
      if (socket === this.#socket) this.#end(error.message);
    });
    socket.on('close', () => {
      if (socket === this.#socket) this.#end('closed by the member');
    });
    return true;
  }

  #greet(socket: TLSSocket): void {
    const { nodeId } = this.#options.peer;
    const found = peerIdentity(socket);
    if (socket.alpnProtocol !== limits.RAFT_PROTOCOL || found.role !== MANAGER_ROLE) {
      this.#end('whoever answers there is no manager of this kind');
    } else if (nodeId !== '' && found.nodeId !== nodeId) {
      this.#end(`node ${found.nodeId} answers there instead of ${nodeId}`);
    } else {
      this.#frame(FRAME.hello, helloBytes(this.#options.self()));
    }
  }

  #take(frame: Frame): void {
    this.#options.onHeard();
    switch (frame.kind) {
      case FRAME.hello:
        this.#welcome(readHello(frame.payload));
        return;
      case FRAME.pong:
        this.#pongDue?.cancel();
        this.#pongDue = undefined;
        return;
      case FRAME.snapshotTaken:
        this.#endSnapshot(true);
        return;
      default:
    }
  }

  #welcome(hello: Hello): void {
    const { raftId } = this.#options.peer;
    // A member that lost its disk must not be taken for the one that promised something.
    if (raftId !== 0 && Number(hello.raftId) !== raftId) {
      this.#end(`raft member ${hello.raftId} answers there instead of ${raftId}`);
      return;
    }
    if (this.#isOpen) return;
    this.#isOpen = true;
    this.#armPing();
    for (const { resolve } of this.#opened.splice(0)) resolve();
    for (const message of this.#early.splice(0)) this.#write(message);
  }

  #armPing(): void {
    const { clock } = this.#options;
    const timer = clock.setTimer(limits.LINK_PING_INTERVAL_MS, () => {
      this.#timers = this.#timers.filter((one) => one !== timer);
      this.#pongDue ??= clock.setTimer(limits.LINK_PING_TIMEOUT_MS, () =>
        this.#end('no answer to pings'),
      );
      this.#frame(FRAME.ping, new Uint8Array(0));
      this.#armPing();
    });
    this.#timers.push(timer);
  }

  #write(message: Message): void {
    const socket = this.#socket;
    if (socket === undefined || socket.writableLength > limits.OUTBOX_BYTES_MAX) {
      if (message.type === 'snapshot') this.#options.onSnapshot(false);
      this.#options.onUnreachable('too much waits to be sent');
      return;
    }
    if (message.type !== 'snapshot') {
      this.#frame(FRAME.message, encodeMessage(message));
      return;
    }
    if (this.#isSendingSnapshot) {
      this.#options.onSnapshot(false);
      return;
    }
    this.#isSendingSnapshot = true;
    this.#frame(FRAME.message, encodeMessage(message));
    this.#sendPieces(socket, message.snapshot.data ?? new Uint8Array(0)).catch((error: unknown) => {
      if (socket === this.#socket) this.#end(SkepError.from(error).message);
    });
  }

  async #sendPieces(socket: TLSSocket, data: Uint8Array): Promise<void> {
    for (let at = 0; at < data.length; at += limits.SNAPSHOT_PIECE_BYTES) {
      if (socket !== this.#socket) return;
      this.#frame(FRAME.snapshotPiece, data.subarray(at, at + limits.SNAPSHOT_PIECE_BYTES));
      if (!socket.writableNeedDrain) continue;
      await new Promise<void>((resolve) => {
        const go = (): void => {
          socket.off('drain', go);
          socket.off('close', go);
          resolve();
        };
        socket.on('drain', go);
        socket.on('close', go);
      });
    }
  }

  #endSnapshot(arrived: boolean): void {
    if (!this.#isSendingSnapshot) return;
    this.#isSendingSnapshot = false;
    this.#options.onSnapshot(arrived);
  }

  #frame(kind: number, payload: Uint8Array): void {
    const socket = this.#socket;
    if (socket === undefined || socket.destroyed) return;
    socket.cork();
    socket.write(frameHead(kind, payload.length));
    if (payload.length > 0) socket.write(payload);
    process.nextTick(() => socket.uncork());
  }

  #end(reason: string): void {
    const socket = this.#socket;
    this.#socket = undefined;
    this.#isOpen = false;
    for (const timer of this.#timers.splice(0)) timer.cancel();
    this.#pongDue?.cancel();
    this.#pongDue = undefined;
    this.#pauseUntilMs = this.#options.clock.monotonicMs() + limits.DIAL_PAUSE_MS;
    socket?.destroy();
    const dropped = this.#early.splice(0);
    const { address } = this.#options.peer;
    const error = new SkepError('unavailable', `manager at ${address}: ${reason}`);
    for (const { reject } of this.#opened.splice(0)) reject(error);
    if (dropped.some(({ type }) => type === 'snapshot')) this.#options.onSnapshot(false);
    this.#endSnapshot(false);
    if (!this.#isClosed) this.#options.onUnreachable(reason);
  }
}

/** The greeting of a manager. */
export function helloBytes(peer: RaftPeer): Uint8Array {
  const { nodeId, raftId, address } = peer;
  const hello = create(HelloSchema, { nodeId, raftId: BigInt(raftId), address });
  return toBinary(HelloSchema, hello);
}

/** @throws SkepError invalid_argument */
export function readHello(payload: Uint8Array): Hello {
  let hello: Hello;
  try {
    hello = fromBinary(HelloSchema, payload);
  } catch (error) {
    throw new SkepError('invalid_argument', 'raft greeting cannot be decoded', { cause: error });
  }
  const isSane =
    hello.raftId > 0n &&
    hello.raftId <= BigInt(Number.MAX_SAFE_INTEGER) &&
    hello.address.length <= limits.ADDRESS_CHARS_MAX;
  if (!isSane) throw new SkepError('invalid_argument', 'raft greeting makes no sense');
  return hello;
}
