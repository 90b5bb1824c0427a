/**
 * Calls from a node to one manager over mutual TLS. The connection follows certificate renewal: new
 * calls go out under the new certificate while open streams end in peace on the old connection.
 */
import { Code, ConnectError, createClient, type Transport } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import type { Environment } from '../model/environment.js';
import { NodeCA } from '../model/gen/docker/swarmkit/v1/ca_pb.js';
import { Dispatcher } from '../model/gen/docker/swarmkit/v1/dispatcher_pb.js';
import { LogBroker } from '../model/gen/docker/swarmkit/v1/logbroker_pb.js';
import { ResourceAllocator } from '../model/gen/docker/swarmkit/v1/resource_pb.js';
import { Membership } from '../model/gen/skep/manager/v1/manager_pb.js';
import { Statistics } from '../model/gen/skep/manager/v1/statistics_pb.js';
import { ClientSession } from './client-session.js';
import { PING_INTERVAL_MS, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX } from './limits.js';
import { publishLogs } from './publish-logs.js';
import type { IdentitySource, ManagerConnection, ManagerPeer, TlsIdentity } from './types.js';
import { managerTls, managerTlsOf } from './peer.js';

/** What a connection needs; the ping times are there for tests. */
export interface ManagerConnectionOptions {
  readonly peer: ManagerPeer;
  /** `host:port` to dial in place of the peer's, where it is told another from outside. */
  readonly dialAddr?: string | undefined;
  /** Only the peer's very node will do, as where its address is hearsay; any manager otherwise. */
  readonly mustBePeer?: boolean;
  readonly identity: IdentitySource;
  readonly env: Environment;
  readonly pingIntervalMs?: number;
  readonly pingTimeoutMs?: number;
}

/**
 * Opens a connection; resolves once TLS is up and the peer is a manager of our cluster.
 * @throws ConnectError unavailable | deadline_exceeded
 */
export async function connectManager(
  options: ManagerConnectionOptions,
): Promise<ManagerConnection> {
  const link = new RenewingLink(options);
  await link.open();
  return link;
}

class RenewingLink implements ManagerConnection {
  readonly peer: ManagerPeer;
  readonly dispatcher;
  readonly logBroker;
  readonly resourceAllocator;
  readonly statistics;
  readonly membership;
  readonly nodeCa;
  readonly #options: ManagerConnectionOptions;
  readonly #closed = new AbortController();
  readonly #unsubscribe: () => void;
  readonly #draining = new Set<ClientSession>();
  #silenceMs = 0;
  #session: ClientSession;
  #transport: Transport;

  constructor(options: ManagerConnectionOptions) {
    this.#options = options;
    this.peer = options.peer;
    this.#session = this.#newSession(options.identity.current());
    this.#transport = grpcTransport(this.#session);
    this.#unsubscribe = options.identity.subscribe((identity) => this.#renew(identity));
    const transport: Transport = {
      unary: (...call) => this.#transport.unary(...call),
      stream: (...call) => this.#transport.stream(...call),
    };
    this.dispatcher = createClient(Dispatcher, transport);
    const logBroker = createClient(LogBroker, transport);
    this.logBroker = { ...logBroker, publishLogs: publishLogs(logBroker) };
    this.resourceAllocator = createClient(ResourceAllocator, transport);
    this.statistics = createClient(Statistics, transport);
    this.membership = createClient(Membership, transport);
    this.nodeCa = createClient(NodeCA, transport);
  }

  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  allowSilence(silenceMs: number): void {
    this.#silenceMs = silenceMs;
  }

  async open(): Promise<void> {
    try {
      await this.#session.open();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  close(): void {
    this.#end(new ConnectError('connection closed', Code.Canceled));
  }

  #end(reason: ConnectError): void {
    if (this.#closed.signal.aborted) return;
    this.#closed.abort(reason);
    this.#unsubscribe();
    for (const session of [this.#session, ...this.#draining]) session.destroy(reason);
  }

  #renew(identity: TlsIdentity): void {
    const old = this.#session;
    this.#session = this.#newSession(identity);
    this.#transport = grpcTransport(this.#session);
    if (old.ended.aborted) return;
    this.#draining.add(old);
    old.ended.addEventListener('abort', () => this.#draining.delete(old), { once: true });
    old.drain();
  }

  #newSession(identity: TlsIdentity): ClientSession {
    const { peer, dialAddr, mustBePeer, env, pingIntervalMs, pingTimeoutMs } = this.#options;
    const session = new ClientSession({
      addr: dialAddr ?? peer.addr,
      clock: env.clock,
      tls: mustBePeer === true ? managerTlsOf(identity, peer.nodeId) : managerTls(identity),
      pingIntervalMs: () => Math.max(pingIntervalMs ?? PING_INTERVAL_MS, this.#silenceMs),
      ...(pingTimeoutMs === undefined ? {} : { pingTimeoutMs }),
    });
    session.ended.addEventListener(
      'abort',
      () => {
        // The old session of a renewal ends by design; the one in use means the peer is gone.
        if (session === this.#session) this.#end(ConnectError.from(session.ended.reason));
      },
      { once: true },
    );
    return session;
  }
}

/** A gRPC transport on one session, with our limits and no compression. */
export function grpcTransport(session: ClientSession): Transport {
  return createGrpcTransport({
    baseUrl: session.authority,
    sessionManager: session,
    acceptCompression: [],
    readMaxBytes: RESPONSE_BYTES_MAX,
    writeMaxBytes: REQUEST_BYTES_MAX,
  });
}
