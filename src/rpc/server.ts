/**
 * The managers' server on port 2377: TLS with a client certificate if the peer has one, HTTP/2 with
 * gRPC on ALPN `h2`, other protocols of ours on other ALPN names. A wrong or missing certificate is
 * no error here (joining nodes have none); each call checks its caller.
 */
import { setMaxListeners } from 'node:events';
import { constants as cryptoConstants } from 'node:crypto';
import {
  createSecureServer,
  type Http2SecureServer,
  type IncomingHttpHeaders,
  type SecureServerOptions,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { Code, ConnectError } from '@connectrpc/connect';
import type { Environment } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import type { Logger } from '../observe/logger.js';
import { CallForwarder, type Leadership } from './forwarding.js';
import { HandshakeGate } from './handshake-gate.js';
import { keepAlive, silenceAllowedMs } from './keepalive.js';
import * as limits from './limits.js';
import { type PeerIdentity, peerIdentity } from './peer.js';
import { createRequestListener, type RequestListener } from './request-listener.js';
import type { IdentitySource, RpcRoutes, TlsIdentity } from './types.js';

/** Takes over a connection whose client asked for another protocol than `h2`. */
export type ProtocolHandler = (socket: TLSSocket, peer: PeerIdentity) => void;

/** What a server needs; the limits are there for tests. */
export interface RpcServerOptions {
  readonly identity: IdentitySource;
  readonly routes: RpcRoutes;
  readonly env: Environment;
  readonly logger: Logger;
  /** Who answers the leader's calls; absent: this manager answers all. */
  readonly leadership?: Leadership;
  /** By ALPN name, for instance `skep-raft/1`. */
  readonly protocols?: ReadonlyMap<string, ProtocolHandler>;
  /** Default 5 s. */
  readonly pingIntervalMs?: number;
  /** Default 5 s. */
  readonly pingTimeoutMs?: number;
  /** Life of a connection without a certificate; default 60 s. */
  readonly guestLifetimeMs?: number;
  /** Connections without a certificate at one time; default 512. */
  readonly guestConnectionsMax?: number;
}

/** Arguments of a server's stream event. */
type StreamEvent = [
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  flags: number,
  rawHeaders: string[],
];

interface Connection {
  readonly socket: TLSSocket;
  readonly peer: PeerIdentity;
  /** Undefined for other protocols than `h2`. */
  session?: ServerHttp2Session;
}

/** One listening socket; restartable by making a new one. */
export class RpcServer {
  readonly #options: RpcServerOptions;
  readonly #server: Http2SecureServer;
  readonly #connections = new Map<TLSSocket, Connection>();
  readonly #shutdown = new AbortController();
  readonly #unsubscribeIdentity: () => void;
  readonly #listener: RequestListener;
  /** Peers by session: the socket a session shows is a proxy that dies with it. */
  readonly #sessionPeers = new WeakMap<object, PeerIdentity>();
  /** The connection whose session is being made; the session event comes synchronously. */
  #accepting: Connection | undefined;
  #guests = 0;
  readonly #gate: HandshakeGate;
  readonly #forwarder: CallForwarder;
  #state: 'new' | 'listening' | 'stopped' = 'new';

  constructor(options: RpcServerOptions) {
    this.#options = options;
    this.#forwarder = new CallForwarder(options);
    // Every open stream listens to it; their number is bounded by the connections.
    setMaxListeners(0, this.#shutdown.signal);
    this.#listener = createRequestListener({
      routes: options.routes,
      clock: options.env.clock,
      logger: options.logger,
      shutdown: this.#shutdown.signal,
      ...(options.leadership === undefined
        ? {}
        : {
            leading: { leadership: options.leadership, forwarder: this.#forwarder },
          }),
    });
    const protocols = ['h2', ...(options.protocols?.keys() ?? [])];
    this.#server = createSecureServer(serverOptions(options.identity.current(), protocols));
    this.#unsubscribeIdentity = options.identity.subscribe((identity) => {
      this.#server.setSecureContext(tlsOptions(identity));
    });
    // Node would begin each handshake at once.
    const [begin] = this.#server.listeners('connection') as [(socket: Socket) => void];
    this.#server.removeAllListeners('connection');
    this.#gate = new HandshakeGate(options.env.clock, (socket) => {
      begin.call(this.#server, socket);
    });
    this.#server.on('connection', (socket) => this.#gate.enter(socket));
    this.#wire();
  }

  /**
   * Starts to accept; resolves with the bound address (port 0 takes a free one).
   * @throws SkepError unavailable `failed to listen on remote API address: …`
   */
  async listen(host: string, port: number): Promise<{ address: string; port: number }> {
    await new Promise<void>((resolve, reject) => {
      const onError = (error: NodeJS.ErrnoException): void =>
        reject(listenError(error, host, port));
      this.#server.once('error', onError);
      this.#server.listen({ host, port }, () => {
        this.#server.off('error', onError);
        resolve();
      });
    });
    this.#state = 'listening';
    this.#server.on('error', (error) => {
      this.#options.logger.error({ error: error.message }, 'rpc server failed');
    });
    const bound = this.#server.address() as AddressInfo;
    return { address: bound.address, port: bound.port };
  }

  /** The peers connected now. */
  peers(): readonly PeerIdentity[] {
    return [...this.#connections.values()].map((connection) => connection.peer);
  }

  /** Cuts all connections of a node, for instance because it was removed; returns how many. */
  disconnectNode(nodeId: string): number {
    const doomed = [...this.#connections.values()].filter((c) => c.peer.nodeId === nodeId);
    for (const connection of doomed) destroyConnection(connection);
    return doomed.length;
  }

  /** To be called when another manager may lead than before. */
  leaderChanged(): void {
    const leader = this.#options.leadership?.leader();
    if (leader !== undefined) this.#forwarder.leaderIs(leader);
  }

  /** Ends calls, lets answers drain for two seconds, then cuts what is left. Idempotent. */
  async stop(): Promise<void> {
    if (this.#state === 'stopped') return;
    const wasListening = this.#state === 'listening';
    this.#state = 'stopped';
    this.#unsubscribeIdentity();
    this.#gate.stop();
    this.#shutdown.abort(new ConnectError('manager is stopping', Code.Unavailable));
    for (const connection of this.#connections.values()) {
      if (connection.session === undefined) connection.socket.destroy();
      else connection.session.close();
    }
    const cut = this.#options.env.clock.setTimer(limits.DRAIN_TIMEOUT_MS, () => {
      for (const connection of this.#connections.values()) destroyConnection(connection);
    });
    if (wasListening) await new Promise<void>((resolve) => this.#server.close(() => resolve()));
    cut.cancel();
  }

  #wire(): void {
    const server = this.#server;
    server.maxConnections = limits.MEMBER_CONNECTIONS_MAX + limits.GUEST_CONNECTIONS_MAX;
    // Node would speak HTTP/2 with every client whatever the negotiated protocol.
    const [serveHttp2] = server.listeners('secureConnection') as [(socket: TLSSocket) => void];
    server.removeAllListeners('secureConnection');
    server.on('secureConnection', (socket) => this.#accept(socket, serveHttp2));
    server.on('session', (session) => this.#onSession(session));
    server.on('request', (request, response) => {
      const peer = this.#peerOf(request.stream);
      if (peer === undefined) request.stream.close();
      else this.#listener.answer(peer, request, response);
    });
    // Node's own listener makes request and response objects, which most calls can do without.
    const [makeRequest] = server.listeners('stream') as [(...stream: StreamEvent) => void];
    server.removeAllListeners('stream');
    server.on('stream', (...event: StreamEvent) => {
      const [stream, headers] = event;
      const peer = this.#peerOf(stream);
      if (peer !== undefined && this.#listener.answerPlain(peer, stream, headers)) return;
      makeRequest.apply(server, event);
    });
    server.on('sessionError', (error) => this.#debug(error, 'connection failed'));
    server.on('tlsClientError', (error, socket) => {
      this.#gate.leave(socket);
      this.#debug(error, 'TLS handshake failed');
    });
  }

  #accept(socket: TLSSocket, serveHttp2: (socket: TLSSocket) => void): void {
    this.#gate.leave(socket);
    socket.on('error', (error) => this.#debug(error, 'socket failed'));
    if (socket.destroyed) return;
    const connection: Connection = { socket, peer: peerIdentity(socket) };
    const isGuest = !connection.peer.authorized;
    const guestsMax = this.#options.guestConnectionsMax ?? limits.GUEST_CONNECTIONS_MAX;
    if (this.#state === 'stopped' || (isGuest && this.#guests >= guestsMax)) {
      socket.destroy();
      return;
    }
    this.#connections.set(socket, connection);
    if (isGuest) this.#guests++;
    socket.once('close', () => {
      this.#connections.delete(socket);
      if (isGuest) this.#guests--;
    });
    const handler = this.#options.protocols?.get(socket.alpnProtocol || '');
    if (handler !== undefined) {
      handler(socket, connection.peer);
      return;
    }
    // Stock engines name no protocol once they have renewed their certificate, and speak HTTP/2.
    if (socket.alpnProtocol === false) socket.alpnProtocol = 'h2';
    if (socket.alpnProtocol !== 'h2') {
      socket.destroy();
      return;
    }
    this.#accepting = connection;
    serveHttp2.call(this.#server, socket);
    this.#accepting = undefined;
  }

  #onSession(session: ServerHttp2Session): void {
    const connection = this.#accepting;
    if (connection === undefined) {
      session.destroy();
      return;
    }
    connection.session = session;
    this.#sessionPeers.set(session, connection.peer);
    const { clock } = this.#options.env;
    session.on('error', (error) => this.#debug(error, 'connection failed'));
    keepAlive(session, clock, {
      intervalMs: () => this.#options.pingIntervalMs ?? silenceAllowedMs(this.#connections.size),
      timeoutMs: this.#options.pingTimeoutMs ?? limits.PING_TIMEOUT_MS,
    });
    if (connection.peer.authorized) return;
    const lifetimeMs = this.#options.guestLifetimeMs ?? limits.GUEST_CONNECTION_LIFETIME_MS;
    const end = clock.setTimer(lifetimeMs, () => session.destroy());
    session.once('close', () => end.cancel());
  }

  #peerOf({ session }: ServerHttp2Stream): PeerIdentity | undefined {
    return session === undefined ? undefined : this.#sessionPeers.get(session);
  }

  #debug(error: Error, message: string): void {
    this.#options.logger.debug({ error: error.message }, message);
  }
}

function destroyConnection(connection: Connection): void {
  connection.session?.destroy();
  // A session that is closing would wait for the peer to take its last words, also where none is left.
  connection.socket.destroy();
}

/** The part of the options that a certificate swap replaces. */
function tlsOptions(identity: TlsIdentity): SecureServerOptions {
  return {
    key: identity.privateKeyPem,
    cert: identity.certificatePem,
    ca: identity.rootCaPem,
    minVersion: 'TLSv1.2',
    // No resumption: a resumed session would not show a changed or revoked certificate.
    secureOptions: cryptoConstants.SSL_OP_NO_TICKET,
  };
}

function serverOptions(identity: TlsIdentity, protocols: string[]): SecureServerOptions {
  return {
    ...tlsOptions(identity),
    requestCert: true,
    rejectUnauthorized: false,
    // Node would replace a plain list by its own.
    ALPNCallback: ({ protocols: offered }) => protocols.find((name) => offered.includes(name)),
    allowHTTP1: false,
    handshakeTimeout: limits.TLS_HANDSHAKE_TIMEOUT_MS,
    maxSessionMemory: limits.SESSION_MEMORY_MIB_MAX,
    settings: {
      maxConcurrentStreams: limits.CONCURRENT_STREAMS_MAX,
      maxHeaderListSize: limits.HEADER_LIST_BYTES_MAX,
      enablePush: false,
    },
  };
}

function listenError(error: NodeJS.ErrnoException, host: string, port: number): SkepError {
  const address = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  const reason =
    error.code === 'EADDRINUSE'
      ? 'address already in use'
      : error.code === 'EADDRNOTAVAIL'
        ? 'cannot assign requested address'
        : error.message;
  return new SkepError(
    'unavailable',
    `failed to listen on remote API address: listen tcp ${address}: bind: ${reason}`,
    { cause: error },
  );
}
