/**
 * Passes questions on to the host's own name servers, byte for byte except for the id. Bounded in
 * number and time; an answer must repeat id and question to be believed.
 */
import { createSocket } from 'node:dgram';
import { readFile } from 'node:fs/promises';
import { connect, isIP, isIPv6, Socket } from 'node:net';
import type { RandomSource } from '../../model/environment.js';
import {
  DNS_FORWARD_TIMEOUT_MS,
  DNS_FORWARDS_MAX,
  DNS_PORT,
  DNS_SILENT_MS,
  DNS_SILENT_SERVERS_MAX,
  DNS_STAGGER_MS,
  DNS_UPSTREAMS_MAX,
} from '../limits.js';
import { questionEnd, RESPONSE_CODES, responseCodeOf } from './message.js';

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

/** Whoever answers what is not known here. */
export interface Forwarding {
  /** Forwards a whole question message. Never throws. */
  forward(message: Buffer, transport: 'udp' | 'tcp'): Promise<ForwardResult>;
}

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

/**
 * Asks upstream servers in turn, each some time after the one before or as soon as that has failed; the
 * first answer counts. Those that said nothing lately come last.
 */
export class DnsForwarder implements Forwarding {
  private readonly upstreams: UpstreamSource;
  private readonly random: RandomSource;
  private readonly timeoutMs: number;
  private readonly staggerMs: number;
  private readonly budgets: readonly ForwardBudget[];
  private readonly openSocket: OpenForwardSocket | undefined;
  /** Servers that did not answer in time, and until when they come last; ms of the monotonic clock. */
  private readonly silentUntilMs = new Map<string, number>();

  constructor(options: {
    readonly upstreams: UpstreamSource;
    readonly random: RandomSource;
    /** For all servers together; default {@link DNS_FORWARD_TIMEOUT_MS}. */
    readonly timeoutMs?: number;
    /** From one server to the next; default {@link DNS_STAGGER_MS}. */
    readonly staggerMs?: number;
    /** Descriptors at once; default {@link DNS_FORWARDS_MAX}. */
    readonly underWayMax?: number;
    /** What several forwarders may have under way together. */
    readonly shared?: ForwardBudget;
    /** Default: sockets of the host. */
    readonly openSocket?: OpenForwardSocket;
  }) {
    this.upstreams = options.upstreams;
    this.random = options.random;
    this.timeoutMs = options.timeoutMs ?? DNS_FORWARD_TIMEOUT_MS;
    this.staggerMs = options.staggerMs ?? DNS_STAGGER_MS;
    const own = new ForwardBudget(options.underWayMax ?? DNS_FORWARDS_MAX);
    this.budgets = options.shared === undefined ? [own] : [own, options.shared];
    this.openSocket = options.openSocket;
  }

  async forward(message: Buffer, transport: 'udp' | 'tcp'): Promise<ForwardResult> {
    const release = this.takeRoom();
    if (release === undefined) return { kind: 'busy' };
    // What is held from here on is the first server's room; each further one takes its own.
    const servers = this.inOrder((await this.upstreams()).slice(0, DNS_UPSTREAMS_MAX));
    const answer = await this.firstAnswer(servers, message, transport, release);
    if (answer === undefined) return { kind: 'silence' };
    answer.writeUInt16BE(message.readUInt16BE(0), 0);
    return { kind: 'answer', message: answer };
  }

  /** Room for one descriptor, to be given back; undefined: there is none. */
  private takeRoom(): (() => void) | undefined {
    const taken: ForwardBudget[] = [];
    const release = () => {
      for (const budget of taken) budget.release();
    };
    for (const budget of this.budgets) {
      if (!budget.take()) {
        release();
        return undefined;
      }
      taken.push(budget);
    }
    return release;
  }

  private inOrder(servers: readonly Upstream[]): readonly Upstream[] {
    const nowMs = performance.now();
    const isSilent = (server: Upstream) => (this.silentUntilMs.get(keyOf(server)) ?? 0) > nowMs;
    return [
      ...servers.filter((server) => !isSilent(server)),
      ...servers.filter((server) => isSilent(server)),
    ];
  }

  /** @param firstRoom gives back what the first server's descriptor takes */
  private firstAnswer(
    servers: readonly Upstream[],
    message: Buffer,
    transport: 'udp' | 'tcp',
    firstRoom: () => void,
  ): Promise<Buffer | undefined> {
    const over = new AbortController();
    return new Promise((resolve) => {
      let asked = 0;
      let underWay = 0;
      /** What a server said that cannot answer: told if no other one can. */
      let failure: Buffer | undefined;
      let stagger: NodeJS.Timeout | undefined;
      const finish = (answer: Buffer | undefined) => {
        clearTimeout(stagger);
        clearTimeout(deadline);
        over.abort();
        resolve(answer);
      };
      const deadline = setTimeout(() => finish(failure), this.timeoutMs);
      const askNext = () => {
        clearTimeout(stagger);
        const server = servers[asked];
        const release = asked === 0 ? firstRoom : server && this.takeRoom();
        if (server === undefined || release === undefined) {
          if (asked === 0) firstRoom();
          if (underWay === 0) finish(failure);
          return;
        }
        asked += 1;
        underWay += 1;
        if (asked < servers.length) stagger = setTimeout(askNext, this.staggerMs);
        void this.ask(server, message, transport, over.signal).then((answer) => {
          release();
          underWay -= 1;
          if (over.signal.aborted) return;
          if (answer !== undefined && !isFailure(answer)) return finish(answer);
          failure ??= answer;
          askNext();
        });
      };
      askNext();
    });
  }

  private async ask(
    server: Upstream,
    message: Buffer,
    transport: 'udp' | 'tcp',
    signal: AbortSignal,
  ): Promise<Buffer | undefined> {
    const question = Buffer.from(message);
    // An id of our own: the client's may be guessable by whoever answers in the server's name.
    Buffer.from(this.random.bytes(2)).copy(question, 0);
    let descriptor: number | undefined;
    try {
      descriptor = this.openSocket?.(transport);
    } catch {
      // The container is going, or the process has no descriptors left: as good as silence.
      return undefined;
    }
    const beganMs = performance.now();
    const ask = transport === 'udp' ? askUdp : askTcp;
    const answer = await ask(server, question, signal, descriptor).catch(() => undefined);
    this.judge(server, answer !== undefined, performance.now() - beganMs);
    return answer;
  }

  private judge(server: Upstream, hasAnswered: boolean, tookMs: number): void {
    const key = keyOf(server);
    if (hasAnswered) this.silentUntilMs.delete(key);
    // A question that another server answered first says nothing yet.
    else if (tookMs >= this.staggerMs)
      this.silentUntilMs.set(key, performance.now() + DNS_SILENT_MS);
    if (this.silentUntilMs.size > DNS_SILENT_SERVERS_MAX) this.silentUntilMs.clear();
  }
}

function keyOf({ address, port }: Upstream): string {
  return `${address} ${port}`;
}

/** The server cannot answer: another one may (RFC 1035, section 4.1.1; the engine's resolver goes on, too). */
function isFailure(answer: Buffer): boolean {
  const code = responseCodeOf(answer);
  return code === RESPONSE_CODES.serverFailure || code === RESPONSE_CODES.refused;
}

/** Resolves with undefined where nobody listens, and when `signal` aborts. */
function askUdp(
  server: Upstream,
  question: Buffer,
  signal: AbortSignal,
  descriptor: number | undefined,
): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket(isIPv6(server.address) ? 'udp6' : 'udp4');
    const giveUp = () => finish(undefined);
    const finish = (answer: Buffer | undefined) => {
      signal.removeEventListener('abort', giveUp);
      socket.removeAllListeners('message');
      socket.close();
      resolve(answer);
    };
    signal.addEventListener('abort', giveUp);
    // Once connected, refusals (ICMP) arrive as errors; late ones after `finish` are of no interest.
    socket.once('error', giveUp);
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
  signal: AbortSignal,
  descriptor: number | undefined,
): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket =
      descriptor === undefined
        ? connect({ host: server.address, port: server.port })
        : new Socket({ fd: descriptor });
    let received = Buffer.alloc(0);
    const giveUp = () => finish(undefined);
    const finish = (answer: Buffer | undefined) => {
      signal.removeEventListener('abort', giveUp);
      socket.destroy();
      resolve(answer);
    };
    signal.addEventListener('abort', giveUp);
    socket.on('error', giveUp);
    socket.on('close', giveUp);
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
