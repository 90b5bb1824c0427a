/**
 * One HTTP/2 connection to a manager, as gRPC transports need it. Unlike connect-node's own session
 * manager it never reconnects by itself, pings also while it is idle or draining, and says when it
 * has died; a new certificate means a new session.
 */
import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2';
import type { SecureClientSessionOptions } from 'node:http2';
import type { OutgoingHttpHeaders } from 'node:http';
import { Code, ConnectError } from '@connectrpc/connect';
import type { Clock } from '../model/environment.js';
import { keepAlive } from './keepalive.js';
import * as limits from './limits.js';

/** How to reach the peer. */
export interface ClientSessionOptions {
  /** `host:port` */
  readonly addr: string;
  /** Trust, certificate and expected server name. */
  readonly tls: SecureClientSessionOptions;
  readonly clock: Clock;
  /** For how long the peer may be silent before it is asked, looked up each time; default 5 s. */
  readonly pingIntervalMs?: () => number;
  /** Default 5 s. */
  readonly pingTimeoutMs?: number;
}

/** A connection that opens with its first request and ends once. */
export class ClientSession {
  /** Origin of the peer, as gRPC transports compare it. */
  readonly authority: string;
  readonly #options: ClientSessionOptions;
  readonly #ended = new AbortController();
  readonly #streams = new Set<ClientHttp2Stream>();
  #session: ClientHttp2Session | undefined;
  #connecting: Promise<ClientHttp2Session> | undefined;

  constructor(options: ClientSessionOptions) {
    this.authority = new URL(`https://${options.addr}`).origin;
    this.#options = options;
  }

  /** Aborted once the connection is over; its reason is a ConnectError. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /** Opens the connection now. @throws ConnectError unavailable with Go's dial text */
  async open(): Promise<void> {
    await this.#connect();
  }

  /** Part of the transport's contract: starts a request. */
  async request(
    method: string,
    path: string,
    headers: OutgoingHttpHeaders,
    options: object,
  ): Promise<ClientHttp2Stream> {
    const session = await this.#connect();
    if (session.closed || session.destroyed) throw endReason(this.#ended.signal);
    const stream = session.request({ ...headers, ':method': method, ':path': path }, options);
    this.#streams.add(stream);
    stream.once('close', () => this.#streams.delete(stream));
    return stream;
  }

  /** Part of the transport's contract; pings here do not depend on traffic. */
  notifyResponseByteRead(): void {
    return;
  }

  /** No new requests; ends once the open ones have. */
  drain(): void {
    if (this.#session === undefined) this.destroy(new ConnectError('closed', Code.Canceled));
    else if (!this.#session.destroyed) this.#session.close();
  }

  /** Cuts the connection and its calls with `reason`. Idempotent. */
  destroy(reason: ConnectError): void {
    if (this.#ended.signal.aborted) return;
    this.#ended.abort(reason);
    for (const stream of this.#streams) stream.destroy(reason);
    if (this.#session !== undefined && !this.#session.destroyed) {
      this.#session.destroy(undefined, constants.NGHTTP2_CANCEL);
    }
  }

  #connect(): Promise<ClientHttp2Session> {
    if (this.#ended.signal.aborted) return Promise.reject(endReason(this.#ended.signal));
    this.#connecting ??= this.#dial();
    return this.#connecting;
  }

  #dial(): Promise<ClientHttp2Session> {
    const { addr, tls, clock } = this.#options;
    return new Promise((resolve, reject) => {
      const session = connect(this.authority, {
        ALPNProtocols: ['h2'],
        minVersion: 'TLSv1.2',
        ...tls,
        settings: { enablePush: false },
      });
      this.#session = session;
      const giveUp = (): void =>
        this.destroy(new ConnectError(`connecting to ${addr} timed out`, Code.DeadlineExceeded));
      let deadline = clock.setTimer(limits.CLIENT_CONNECT_TIMEOUT_MS, giveUp);
      // The socket's, not the session's: TCP is up, and TLS is not yet.
      session.socket.once('connect', () => {
        deadline.cancel();
        deadline = clock.setTimer(limits.CLIENT_HANDSHAKE_TIMEOUT_MS, giveUp);
      });
      session.on('error', (error) => this.destroy(dialError(addr, error)));
      session.once('close', () => {
        deadline.cancel();
        this.destroy(new ConnectError(`connection to ${addr} closed`, Code.Unavailable));
        reject(endReason(this.#ended.signal));
      });
      session.once('connect', () => {
        deadline.cancel();
        if (session.destroyed) return;
        keepAlive(session, clock, {
          intervalMs: this.#options.pingIntervalMs ?? (() => limits.PING_INTERVAL_MS),
          timeoutMs: this.#options.pingTimeoutMs ?? limits.PING_TIMEOUT_MS,
        });
        resolve(session);
      });
    });
  }
}

function endReason(signal: AbortSignal): ConnectError {
  return ConnectError.from(signal.reason ?? 'connection closed', Code.Unavailable);
}

/** Texts of Go's dialer for the errors a user meets (`docker swarm join` shows them). */
const DIAL_REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  EHOSTUNREACH: 'no route to host',
  ENETUNREACH: 'network is unreachable',
  ETIMEDOUT: 'connection timed out',
};

function dialError(addr: string, error: Error): ConnectError {
  if (error instanceof ConnectError) return error;
  const text = `connection error: desc = "transport: ${transportText(addr, error)}"`;
  return new ConnectError(text, Code.Unavailable, undefined, undefined, error);
}

function transportText(addr: string, error: NodeJS.ErrnoException): string {
  const code = error.code ?? '';
  const reason = DIAL_REASONS[code];
  if (reason !== undefined) return `Error while dialing dial tcp ${addr}: connect: ${reason}`;
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    const host = addr.slice(0, addr.lastIndexOf(':'));
    return `Error while dialing dial tcp: lookup ${host}: no such host`;
  }
  if (code.startsWith('ERR_SSL') || code.startsWith('ERR_TLS') || code === 'EPROTO') {
    return `authentication handshake failed: ${error.message.split('\n', 1)[0]?.trim()}`;
  }
  return error.message;
}
