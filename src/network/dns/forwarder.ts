/**
 * Passes questions on to the host's own name servers, byte for byte except for the id. Bounded in
 * number and time; an answer must repeat id and question to be believed.
 */
import { createSocket } from 'node:dgram';
import { readFile } from 'node:fs/promises';
import { connect, isIP, isIPv6, Socket } from 'node:net';
import type { RandomSource } from '../../model/environment.js';
import {
  DNS_FORWARDS_MAX,
  DNS_PORT,
  DNS_UPSTREAM_TIMEOUT_MS,
  DNS_UPSTREAMS_MAX,
} from '../limits.js';
import { questionEnd } from './message.js';

/** A name server to ask. */
export interface Upstream {
  readonly address: string;
  readonly port: number;
}

/**
 * Makes the sockets the questions go out by, where that is not the host's own network: descriptors,
 * unconnected for UDP, connecting for TCP. May throw.
 */
export type OpenForwardSocket = (transport: 'udp' | 'tcp') => number;

/** Who to ask at this moment. */
export type UpstreamSource = () => Promise<readonly Upstream[]>;

/** How one forwarded question ended. */
export type ForwardResult =
  | { readonly kind: 'answer'; readonly message: Buffer }
  /** Too many questions are under way. */
  | { readonly kind: 'busy' }
  /** No server, or none answered. */
  | { readonly kind: 'silence' };

/**
 * Name servers of a resolv.conf, read anew for each question: the file is small, cached by the
 * kernel, and changes when a host moves between networks. `skip` breaks loops.
 */
export function resolvConfUpstreams(file: string, skip: ReadonlySet<string>): UpstreamSource {
  return async () => {
    let content: string;
    try {
      content = await readFile(file, 'utf8');
    } catch {
      // A host without resolv.conf has no name servers.
      return [];
    }
    return parseResolvConf(content)
      .filter((address) => !skip.has(address))
      .map((address) => ({ address, port: DNS_PORT }));
  };
}

/** Addresses on `nameserver` lines. */
export function parseResolvConf(content: string): readonly string[] {
  return content
    .split('\n')
    .map((line) => /^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? '')
    .filter((address) => isIP(address.split('%')[0] ?? '') !== 0);
}

/** Questions under way in several forwarders together: each has a descriptor. */
export class ForwardBudget {
  private underWay = 0;

  constructor(private readonly max: number) {}

  /** Whether there is room for one more, which then counts until {@link release}. */
  take(): boolean {
    if (this.underWay >= this.max) return false;
    this.underWay += 1;
    return true;
  }

  release(): void {
    this.underWay -= 1;
  }
}

/** Asks upstream servers in turn. */
export class DnsForwarder {
  private readonly upstreams: UpstreamSource;
  private readonly random: RandomSource;
  private readonly timeoutMs: number;
  private readonly budgets: readonly ForwardBudget[];
  private readonly openSocket: OpenForwardSocket | undefined;

  constructor(options: {
    readonly upstreams: UpstreamSource;
    readonly random: RandomSource;
    /** Per server; default {@link DNS_UPSTREAM_TIMEOUT_MS}. */
    readonly timeoutMs?: number;
    /** Questions at once; default {@link DNS_FORWARDS_MAX}. */
    readonly underWayMax?: number;
    /** What several forwarders may have under way together. */
    readonly shared?: ForwardBudget;
    /** Default: sockets of the host. */
    readonly openSocket?: OpenForwardSocket;
  }) {
    this.upstreams = options.upstreams;
    this.random = options.random;
    this.timeoutMs = options.timeoutMs ?? DNS_UPSTREAM_TIMEOUT_MS;
    const own = new ForwardBudget(options.underWayMax ?? DNS_FORWARDS_MAX);
    this.budgets = options.shared === undefined ? [own] : [own, options.shared];
    this.openSocket = options.openSocket;
  }

  /** Forwards a whole question message. Never throws. */
  async forward(message: Buffer, transport: 'udp' | 'tcp'): Promise<ForwardResult> {
    const taken: ForwardBudget[] = [];
    try {
      for (const budget of this.budgets) {
        if (!budget.take()) return { kind: 'busy' };
        taken.push(budget);
      }
      const servers = (await this.upstreams()).slice(0, DNS_UPSTREAMS_MAX);
      for (const server of servers) {
        const answer = await this.ask(server, message, transport);
        if (answer === undefined) continue;
        answer.writeUInt16BE(message.readUInt16BE(0), 0);
        return { kind: 'answer', message: answer };
      }
      return { kind: 'silence' };
    } finally {
      for (const budget of taken) budget.release();
    }
  }

  private ask(
    server: Upstream,
    message: Buffer,
    transport: 'udp' | 'tcp',
  ): Promise<Buffer | undefined> {
    const question = Buffer.from(message);
    // An id of our own: the client's may be guessable by whoever answers in the server's name.
    Buffer.from(this.random.bytes(2)).copy(question, 0);
    let descriptor: number | undefined;
    try {
      descriptor = this.openSocket?.(transport);
    } catch {
      // The container is going, or the process has no descriptors left: as good as silence.
      return Promise.resolve(undefined);
    }
    return transport === 'udp'
      ? askUdp(server, question, this.timeoutMs, descriptor)
      : askTcp(server, question, this.timeoutMs, descriptor);
  }
}

function askUdp(
  server: Upstream,
  question: Buffer,
  timeoutMs: number,
  descriptor: number | undefined,
): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket(isIPv6(server.address) ? 'udp6' : 'udp4');
    let timer: NodeJS.Timeout | undefined;
    const finish = (answer: Buffer | undefined) => {
      clearTimeout(timer);
      socket.removeAllListeners('message');
      socket.close();
      resolve(answer);
    };
    timer = setTimeout(() => finish(undefined), timeoutMs);
    // Once connected, refusals (ICMP) arrive as errors; late ones after `finish` are of no interest.
    socket.once('error', () => finish(undefined));
    socket.on('error', () => undefined);
    socket.on('message', (answer) => {
      if (repeats(answer, question)) finish(Buffer.from(answer));
    });
    if (descriptor !== undefined) socket.bind({ fd: descriptor });
    socket.connect(server.port, server.address, () => socket.send(question));
  });
}

function askTcp(
  server: Upstream,
  question: Buffer,
  timeoutMs: number,
  descriptor: number | undefined,
): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket =
      descriptor === undefined
        ? connect({ host: server.address, port: server.port, timeout: timeoutMs })
        : new Socket({ fd: descriptor });
    let received = Buffer.alloc(0);
    const timer = setTimeout(() => finish(undefined), timeoutMs);
    const finish = (answer: Buffer | undefined) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    socket.on('error', () => finish(undefined));
    socket.on('close', () => finish(undefined));
    // A given socket is connecting already; what is written waits for it in the kernel.
    if (descriptor !== undefined) socket.write(framed(question));
    else socket.on('connect', () => socket.write(framed(question)));
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      const length = received.length >= 2 ? received.readUInt16BE(0) : undefined;
      if (length === undefined || received.length < length + 2) return;
      const answer = received.subarray(2, length + 2);
      finish(repeats(answer, question) ? Buffer.from(answer) : undefined);
    });
  });
}

/** A message with the length prefix of DNS over TCP. */
export function framed(message: Buffer): Buffer {
  const frame = Buffer.alloc(message.length + 2);
  frame.writeUInt16BE(message.length, 0);
  message.copy(frame, 2);
  return frame;
}

/** Same id, a response, and the same question (some servers leave it out of failures). */
function repeats(answer: Buffer, question: Buffer): boolean {
  if (answer.length < 12 || answer.readUInt16BE(0) !== question.readUInt16BE(0)) return false;
  if ((answer.readUInt16BE(2) & 0x8000) === 0) return false;
  if (answer.readUInt16BE(4) === 0) return true;
  const end = questionEnd(answer);
  const asked = questionEnd(question);
  if (end === undefined || end !== asked) return false;
  const text = (message: Buffer) => message.toString('latin1', 12, end).toLowerCase();
  return text(answer) === text(question);
}
