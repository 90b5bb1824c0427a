/**
 * The service name server of this node: answers containers by where they ask from, over UDP and
 * TCP, and forwards what is no name of theirs.
 */
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { createServer, type Server, type Socket } from 'node:net';
import type { RandomSource } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import type { Logger } from '../../observe/logger.js';
import {
  DNS_ANSWERS_MAX,
  DNS_TCP_CONNECTIONS_MAX,
  DNS_TCP_IDLE_MS,
  DNS_UDP_BYTES_MAX,
  DNS_UDP_PLAIN_BYTES_MAX,
} from '../limits.js';
import { type Forwarding, framed } from './forwarder.js';
import {
  addressAnswer,
  type DnsQuestion,
  emptyAnswer,
  parseQuestion,
  pointerAnswer,
  RESPONSE_CODES,
  responseCodeOf,
} from './message.js';
import { lookUp, lookUpPointer, type NameTable } from './names.js';

const TCP_BYTES_MAX = 65_535;
const DRAIN_POLL_MS = 20;

/** Names a container may see, by the address it asks from; undefined for strangers. */
export type NamesFor = (sourceAddress: string) => readonly NameTable[] | undefined;

/** Descriptors of a bound UDP and a listening TCP socket; the server closes them when it stops. */
export interface DnsSockets {
  readonly udp: number;
  readonly tcp: number;
}

/** Settings of the server. */
export interface DnsServerOptions {
  readonly sockets: DnsSockets;
  readonly namesFor: NamesFor;
  /** Whether what is no name of these networks may be passed on. */
  readonly mayForward: (tables: readonly NameTable[]) => boolean;
  readonly forwarder: Forwarding;
  /**
   * Whether names of tasks may still be missing here, after a start. A name that only a task could
   * have is then not denied: the client asks again.
   */
  readonly isFilling: () => boolean;
  /** Time to live of own answers, seconds. */
  readonly ttlSeconds: () => number;
  /** Connections at once; default {@link DNS_TCP_CONNECTIONS_MAX}. */
  readonly connectionsMax?: number;
  readonly random: RandomSource;
  readonly logger: Logger;
}

/** Nothing of a container that is only on internal networks leaves the host, questions included. */
export function reachesOutside(tables: readonly NameTable[]): boolean {
  return tables.length === 0 || tables.some(({ internal }) => !internal);
}

/** Runs between `start` and `stop`. */
export class DnsServer {
  private readonly options: DnsServerOptions;
  private udp: UdpSocket | undefined;
  private tcp: Server | undefined;
  private readonly connections = new Set<Socket>();
  /** Questions that are being answered. */
  private pending = 0;

  constructor(options: DnsServerOptions) {
    this.options = options;
  }

  /** Port in use, for tests that bind to 0. */
  get port(): number {
    return this.udp?.address().port ?? 0;
  }

  /** Ports clients hold TCP connections from. */
  get tcpClientPorts(): readonly number[] {
    return [...this.connections].flatMap(({ remotePort }) => remotePort ?? []);
  }

  /** Begins to answer; questions may have waited in the sockets. */
  async start(): Promise<void> {
    if (this.udp !== undefined) return;
    const { sockets, logger, connectionsMax } = this.options;
    const udp = createSocket({ type: 'udp4' });
    this.udp = udp;
    const tcp = createServer((socket) => this.serveTcp(socket));
    this.tcp = tcp;
    tcp.maxConnections = connectionsMax ?? DNS_TCP_CONNECTIONS_MAX;
    udp.on('message', (message, from) => void this.serveUdp(udp, message, from));
    await new Promise<void>((resolve, reject) => {
      udp.once('error', reject);
      udp.bind({ fd: sockets.udp }, resolve);
    });
    await new Promise<void>((resolve, reject) => {
      tcp.once('error', reject);
      tcp.listen({ fd: sockets.tcp }, resolve);
    });
    for (const server of [udp, tcp]) {
      server.removeAllListeners('error');
      server.on('error', (error) => logger.warn({ err: error.message }, 'name server socket'));
    }
  }

  /**
   * Answers what has come, once nothing more comes; resolves when that is done, or when `isOver` or the
   * time says so.
   */
  async drain(timeoutMs: number, isOver: () => boolean = () => false): Promise<void> {
    let idle = 0;
    for (let waitedMs = 0; waitedMs < timeoutMs; waitedMs += DRAIN_POLL_MS) {
      await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS));
      idle = this.pending === 0 && this.connections.size === 0 ? idle + 1 : 0;
      // The second time what waited in the sockets has been read, too.
      if (idle === 2 || isOver()) return;
    }
  }

  /** Lets go of the sockets. Idempotent. */
  async stop(): Promise<void> {
    const { udp, tcp } = this;
    this.udp = undefined;
    this.tcp = undefined;
    for (const socket of this.connections) socket.destroy();
    if (udp !== undefined) await new Promise<void>((resolve) => udp.close(() => resolve()));
    if (tcp !== undefined) await new Promise<void>((resolve) => tcp.close(() => resolve()));
  }

  private async serveUdp(udp: UdpSocket, message: Buffer, from: RemoteInfo): Promise<void> {
    this.pending += 1;
    const answer = await this.answer(message, from.address, 'udp');
    this.pending -= 1;
    if (answer === undefined || this.udp !== udp) return;
    // A container that left meanwhile cannot be reached; nobody waits for this answer.
    udp.send(answer, from.port, from.address, () => undefined);
  }

  private serveTcp(socket: Socket): void {
    this.connections.add(socket);
    const source = socket.remoteAddress ?? '';
    let received = Buffer.alloc(0);
    let busy = false;
    socket.setTimeout(DNS_TCP_IDLE_MS, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.connections.delete(socket));
    const next = async (): Promise<void> => {
      while (!socket.destroyed && received.length >= 2) {
        const length = received.readUInt16BE(0);
        if (received.length < length + 2) return;
        const message = Buffer.from(received.subarray(2, length + 2));
        received = received.subarray(length + 2);
        const answer = await this.answer(message, source, 'tcp');
        if (answer === undefined) socket.destroy();
        else if (!socket.write(framed(answer))) await taken(socket);
      }
    };
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      // One question at a time: the client waits, its data stays in the kernel.
      if (busy) {
        socket.pause();
        return;
      }
      busy = true;
      void next().finally(() => {
        busy = false;
        socket.resume();
      });
    });
  }

  /** Never throws: the message may be anything. */
  private async answer(
    message: Buffer,
    source: string,
    transport: 'udp' | 'tcp',
  ): Promise<Buffer | undefined> {
    try {
      const parsed = parseQuestion(message, DNS_UDP_PLAIN_BYTES_MAX, DNS_UDP_BYTES_MAX);
      if (parsed === undefined) return undefined;
      if (!parsed.ok) return parsed.answer;
      const { question } = parsed;
      const tables = this.options.namesFor(source);
      if (tables === undefined) return emptyAnswer(question, RESPONSE_CODES.refused);
      const bytesMax = transport === 'udp' ? question.udpBytesMax : TCP_BYTES_MAX;
      const own = this.ownAnswer(question, tables, bytesMax);
      if (own !== undefined) return own;
      return await this.forward(message, question, tables, transport);
    } catch (error) {
      this.options.logger.warn({ err: SkepError.from(error).message }, 'name server question');
      return undefined;
    }
  }

  private ownAnswer(
    question: DnsQuestion,
    tables: readonly NameTable[],
    bytesMax: number,
  ): Buffer | undefined {
    if (question.type === 'PTR') {
      const target = lookUpPointer(tables, question.name);
      if (target === undefined) return undefined;
      return pointerAnswer(question, target, this.options.ttlSeconds());
    }
    const { type } = question;
    const addresses = lookUp(tables, question.name, type === 'AAAA' ? 6 : 4);
    if (addresses === undefined) return undefined;
    // Known here, so never asked outside, whatever the type.
    if ((type !== 'A' && type !== 'AAAA') || addresses.length === 0)
      return emptyAnswer(question, RESPONSE_CODES.noError);
    const shuffled = shuffle([...addresses], this.options.random).slice(0, DNS_ANSWERS_MAX);
    return addressAnswer(question, type, shuffled, this.options.ttlSeconds(), bytesMax);
  }

  private async forward(
    message: Buffer,
    question: DnsQuestion,
    tables: readonly NameTable[],
    transport: 'udp' | 'tcp',
  ): Promise<Buffer> {
    if (!this.options.mayForward(tables)) {
      return emptyAnswer(question, RESPONSE_CODES.serverFailure);
    }
    const result = await this.options.forwarder.forward(message, transport);
    switch (result.kind) {
      case 'answer':
        if (
          responseCodeOf(result.message) === RESPONSE_CODES.nameError &&
          couldBeTask(question) &&
          this.options.isFilling()
        ) {
          return emptyAnswer(question, RESPONSE_CODES.serverFailure);
        }
        return result.message;
      case 'busy':
        return emptyAnswer(question, RESPONSE_CODES.refused);
      case 'silence':
        return emptyAnswer(question, RESPONSE_CODES.serverFailure);
    }
  }
}

/** Resolves once a slow reader has taken what waits for it, or has gone: answers do not pile up here. */
async function taken(socket: Socket): Promise<void> {
  if (socket.destroyed) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      socket.off('drain', done).off('close', done);
      resolve();
    };
    socket.on('drain', done).on('close', done);
  });
}

/** Services and containers seldom have a dot in their names; the world outside has one always. */
function couldBeTask({ type, name }: DnsQuestion): boolean {
  const wanted = name.toLowerCase().replace(/\.$/, '');
  return type !== 'PTR' && (!wanted.includes('.') || wanted.startsWith('tasks.'));
}

/** Fisher-Yates over a copy the caller owns. */
function shuffle(items: string[], random: RandomSource): string[] {
  for (let last = items.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random.next() * (last + 1));
    const [a, b] = [items[last], items[other]];
    if (a === undefined || b === undefined) continue;
    items[last] = b;
    items[other] = a;
  }
  return items;
}
