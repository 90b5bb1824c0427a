/**
 * Carries raft messages between managers: one stream to each member it sends to, and the streams
 * on which others send to it. Whoever is no manager of this cluster is cut off.
 */
import type { TLSSocket } from 'node:tls';
import type { Environment } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import type { Logger } from '../../observe/logger.js';
import type { Message } from '../../raft/types.js';
import type { RaftMember } from '../../store/members.js';
import type { RaftTransport } from '../../store/raft-node.js';
import type { PeerIdentity } from '../peer.js';
import type { ProtocolHandler } from '../server.js';
import type { IdentitySource } from '../types.js';
import { FRAME, type Frame, frameHead, FrameReader } from './frames.js';
import * as limits from './limits.js';
import { decodeMessage } from './message-codec.js';
import { helloBytes, RaftLink, type RaftPeer, readHello } from './raft-link.js';

/** What receives; a RaftNode. */
export interface RaftReceiver {
  step(message: Message): void;
  reportUnreachable(raftId: number): void;
  reportSnapshot(raftId: number, arrived: boolean): void;
  members(): readonly RaftMember[];
}

/** What a transport needs. */
export interface ManagerTransportOptions {
  readonly identity: IdentitySource;
  readonly environment: Environment;
  readonly logger: Logger;
  /** This manager; its raft id must be known before the first message. */
  readonly self: RaftPeer;
}

/** See the file's head. */
export class ManagerTransport implements RaftTransport {
  readonly #options: ManagerTransportOptions;
  readonly #logger: Logger;
  /** By raft id, with the address it goes to. */
  readonly #links = new Map<number, { readonly address: string; readonly link: RaftLink }>();
  /** Who greeted us, for members that are not known by the log yet. */
  readonly #greeted = new Map<number, RaftPeer>();
  readonly #heardMs = new Map<number, number>();
  readonly #incoming = new Set<TLSSocket>();
  #receiver: RaftReceiver | undefined;
  #isManager: (peer: PeerIdentity) => boolean = () => false;
  #isStopped = false;

  constructor(options: ManagerTransportOptions) {
    this.#options = options;
    this.#logger = options.logger.child({ room: 'raft-transport' });
  }

  /** Says whom to hand messages to, and who may send any; before, nobody may. */
  bind(receiver: RaftReceiver, isManager: (peer: PeerIdentity) => boolean): void {
    this.#receiver = receiver;
    this.#isManager = isManager;
  }

  /** For `RpcServerOptions.protocols`. */
  readonly accept: ProtocolHandler = (socket, peer) => {
    if (!this.#isManager(peer)) {
      const { nodeId, address } = peer;
      this.#logger.warn({ nodeId, address }, 'raft stream of a node that is no manager refused');
      socket.destroy();
      return;
    }
    if (this.#isStopped || this.#incoming.size >= limits.INCOMING_MAX) {
      socket.destroy();
      return;
    }
    this.#incoming.add(socket);
    socket.once('close', () => this.#incoming.delete(socket));
    const stream = new IncomingStream(socket, peer, {
      self: () => this.#options.self,
      onHello: (hello) => this.#onHello(hello, peer),
      onMessage: (message) => this.#onMessage(message),
      onBroken: (reason) =>
        this.#logger.warn({ peer: peer.nodeId, reason }, 'raft stream broken off'),
    });
    socket.on('data', (chunk: Buffer) => stream.take(chunk));
  };

  send(message: Message, to: RaftMember | undefined): void {
    if (this.#isStopped) return;
    const target = to ?? this.#greeted.get(message.to);
    if (target === undefined) {
      if (message.type === 'snapshot') {
        this.#report((receiver) => receiver.reportSnapshot(message.to, false));
      }
      return;
    }
    this.#linkTo(target).send(message);
  }

  /** Whether the member was heard of lately. */
  isActive(raftId: number): boolean {
    const heardMs = this.#heardMs.get(raftId);
    if (heardMs === undefined) return false;
    return this.#options.environment.clock.monotonicMs() - heardMs < limits.REACHABLE_MS;
  }

  /** Members, perhaps this one, that have another address than the log knows, as they are now. */
  moved(): readonly RaftPeer[] {
    const { self } = this.#options;
    const members = this.#receiver?.members() ?? [];
    return members.flatMap(({ raftId, address }) => {
      const known = raftId === self.raftId ? self : this.#greeted.get(raftId);
      return known === undefined || known.address === address ? [] : [known];
    });
  }

  /**
   * Dials `peer` and waits for its greeting.
   * @throws SkepError unavailable when it does not answer, or is another one than it should be
   */
  async verify(peer: RaftPeer): Promise<void> {
    const link = this.#newLink(peer);
    try {
      await link.open();
    } finally {
      link.close();
    }
  }

  /** Ends all streams. Idempotent. */
  stop(): void {
    this.#isStopped = true;
    for (const { link } of this.#links.values()) link.close();
    this.#links.clear();
    for (const socket of this.#incoming) socket.destroy();
  }

  #linkTo(peer: RaftPeer): RaftLink {
    // A member knows its own address best, and says it when it dials.
    const greeted = this.#greeted.get(peer.raftId);
    const address = greeted?.nodeId === peer.nodeId ? greeted.address : peer.address;
    const known = this.#links.get(peer.raftId);
    if (known?.address === address) return known.link;
    known?.link.close();
    const link = this.#newLink({ ...peer, address });
    this.#links.set(peer.raftId, { address, link });
    return link;
  }

  #newLink(peer: RaftPeer): RaftLink {
    const { identity, environment } = this.#options;
    return new RaftLink({
      peer,
      self: () => this.#options.self,
      identity: () => identity.current(),
      clock: environment.clock,
      onHeard: () => this.#heard(peer.raftId),
      onUnreachable: (reason) => {
        this.#logger.debug({ to: peer.nodeId, reason }, 'manager not reached');
        this.#report((receiver) => receiver.reportUnreachable(peer.raftId));
      },
      onSnapshot: (arrived) =>
        this.#report((receiver) => receiver.reportSnapshot(peer.raftId, arrived)),
    });
  }

  /** Tells raft after whatever it does now: it may be in the middle of sending. */
  #report(tell: (receiver: RaftReceiver) => void): void {
    queueMicrotask(() => {
      if (this.#receiver !== undefined && !this.#isStopped) tell(this.#receiver);
    });
  }

  #onHello(hello: RaftPeer, peer: PeerIdentity): void {
    if (hello.nodeId !== peer.nodeId) {
      throw new SkepError('permission_denied', 'the greeting names another node');
    }
    const known = this.#receiver?.members().find(({ raftId }) => raftId === hello.raftId);
    if (known !== undefined && known.nodeId !== peer.nodeId) {
      throw new SkepError('permission_denied', 'the raft id belongs to another node');
    }
    this.#greeted.set(hello.raftId, hello);
    // Greetings of nodes that are long gone would pile up otherwise.
    if (this.#greeted.size > limits.INCOMING_MAX) {
      const [oldest] = this.#greeted.keys();
      if (oldest !== undefined) this.#greeted.delete(oldest);
    }
  }

  #onMessage(message: Message): void {
    this.#heard(message.from);
    this.#receiver?.step(message);
  }

  #heard(raftId: number): void {
    this.#heardMs.set(raftId, this.#options.environment.clock.monotonicMs());
  }
}

interface IncomingOptions {
  readonly self: () => RaftPeer;
  readonly onHello: (hello: RaftPeer) => void;
  readonly onMessage: (message: Message) => void;
  readonly onBroken: (reason: string) => void;
}

/** A snapshot of which pieces are still to come. */
interface Assembly {
  readonly message: Extract<Message, { type: 'snapshot' }>;
  readonly bytes: number;
  readonly pieces: Uint8Array[];
  received: number;
}

/** A stream on which another manager sends. */
class IncomingStream {
  readonly #socket: TLSSocket;
  readonly #peer: PeerIdentity;
  readonly #options: IncomingOptions;
  readonly #reader = new FrameReader();
  #raftId: number | undefined;
  #assembly: Assembly | undefined;

  constructor(socket: TLSSocket, peer: PeerIdentity, options: IncomingOptions) {
    this.#socket = socket;
    this.#peer = peer;
    this.#options = options;
    socket.setNoDelay(true);
  }

  /** Takes the next bytes; a peer that sends nonsense is cut off. */
  take(chunk: Buffer): void {
    try {
      for (const frame of this.#reader.push(chunk)) this.#takeFrame(frame);
    } catch (error) {
      if (!(error instanceof SkepError)) throw error;
      this.#options.onBroken(error.message);
      this.#socket.destroy();
    }
  }

  #takeFrame(frame: Frame): void {
    if (this.#raftId === undefined) {
      if (frame.kind !== FRAME.hello) throw refused('no greeting');
      const { raftId, address } = readHello(frame.payload);
      this.#options.onHello({ raftId: Number(raftId), nodeId: this.#peer.nodeId, address });
      this.#raftId = Number(raftId);
      this.#answer(FRAME.hello, helloBytes(this.#options.self()));
      return;
    }
    switch (frame.kind) {
      case FRAME.message:
        this.#takeMessage(frame.payload);
        return;
      case FRAME.snapshotPiece:
        this.#takePiece(frame.payload);
        return;
      case FRAME.ping:
        this.#answer(FRAME.pong, new Uint8Array(0));
        return;
      default:
        throw refused('a frame of an unknown kind');
    }
  }

  #takeMessage(payload: Uint8Array): void {
    const { message, snapshotBytes } = decodeMessage(payload);
    if (message.from !== this.#raftId) throw refused('a message in the name of another member');
    if (message.type !== 'snapshot') {
      this.#options.onMessage(message);
      return;
    }
    if (snapshotBytes > limits.SNAPSHOT_BYTES_MAX) throw refused('a snapshot beyond the limit');
    this.#assembly = { message, bytes: snapshotBytes, pieces: [], received: 0 };
    this.#maybeComplete(this.#assembly);
  }

  #takePiece(payload: Uint8Array): void {
    const assembly = this.#assembly;
    if (assembly === undefined) throw refused('a piece of no snapshot');
    assembly.received += payload.length;
    if (assembly.received > assembly.bytes) throw refused('more than the whole snapshot');
    assembly.pieces.push(payload);
    this.#maybeComplete(assembly);
  }

  #maybeComplete(assembly: Assembly): void {
    if (assembly.received < assembly.bytes) return;
    this.#assembly = undefined;
    const { message } = assembly;
    const data = Buffer.concat(assembly.pieces);
    this.#options.onMessage({ ...message, snapshot: { ...message.snapshot, data } });
    this.#answer(FRAME.snapshotTaken, new Uint8Array(0));
  }

  #answer(kind: number, payload: Uint8Array): void {
    // Answers are few and small; a peer that does not read them ends by its missing pongs.
    if (this.#socket.destroyed || this.#socket.writableLength > limits.FRAME_BYTES_MAX) return;
    this.#socket.write(Buffer.concat([frameHead(kind, payload.length), payload]));
  }
}

function refused(what: string): SkepError {
  return new SkepError('invalid_argument', `raft stream: ${what}`);
}
