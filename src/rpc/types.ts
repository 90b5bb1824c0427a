/**
 * Seams of this room: what the server needs of whoever mounts services on it, and what an agent
 * gets to talk to a manager with.
 */
import type { Client, ConnectRouter } from '@connectrpc/connect';
import type { NodeCA } from '../model/gen/docker/swarmkit/v1/ca_pb.js';
import type { Membership } from '../model/gen/skep/manager/v1/manager_pb.js';
import type { Statistics } from '../model/gen/skep/manager/v1/statistics_pb.js';
import type { Dispatcher } from '../model/gen/docker/swarmkit/v1/dispatcher_pb.js';
import type { LogBroker } from '../model/gen/docker/swarmkit/v1/logbroker_pb.js';
import type { ResourceAllocator } from '../model/gen/docker/swarmkit/v1/resource_pb.js';

/** Key, certificate and root of one node, all PEM, as TLS needs them. */
export interface TlsIdentity {
  readonly rootCaPem: string;
  readonly certificatePem: string;
  /** PKCS#8 without PEM headers. */
  readonly privateKeyPem: string;
}

/** The identity in force, and notice of the next one (renewal, other role, other root). */
export interface IdentitySource {
  current(): TlsIdentity;
  /** Calls `listener` after each change; returns the unsubscriber. */
  subscribe(listener: (identity: TlsIdentity) => void): () => void;
}

/** Registers services on a router; see `createManagerRoutes` in src/manager. */
export type RpcRoutes = (router: ConnectRouter) => void;

/** A manager as agents know it. */
export interface ManagerPeer {
  readonly nodeId: string;
  /** `host:port` */
  readonly addr: string;
}

/**
 * Calls to one manager. Errors are ConnectErrors; `fromRpcError` (errors.ts) makes SkepErrors of
 * them. A renewed certificate is used for new calls at once; streams that are open go on.
 */
export interface ManagerConnection {
  readonly peer: ManagerPeer;
  readonly dispatcher: Client<typeof Dispatcher>;
  readonly logBroker: Client<typeof LogBroker>;
  readonly resourceAllocator: Client<typeof ResourceAllocator>;
  readonly statistics: Client<typeof Statistics>;
  readonly membership: Client<typeof Membership>;
  readonly nodeCa: Client<typeof NodeCA>;
  /** Aborted once the connection is closed, by either side or by a dead peer. */
  readonly closed: AbortSignal;
  /** The manager may be silent for so long before it is asked for a sign of life, but no less than 5 s. */
  allowSilence(silenceMs: number): void;
  /** Ends all calls; idempotent. */
  close(): void;
}
