/**
 * Who is calling, and how managers are called. The identity is read once from the TLS connection and travels with every call in
 * its context values; each handler asks for the role it needs.
 */
import { checkServerIdentity, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { createContextKey, type HandlerContext } from '@connectrpc/connect';
import type { TlsIdentity } from './types.js';

/** OU of a worker's certificate. */
export const WORKER_ROLE = 'swarm-worker';
/** OU of a manager's certificate. */
export const MANAGER_ROLE = 'swarm-manager';

/** What a node shows a manager it dials, and whom it takes for one: a certificate of the cluster with that name. */
export function managerTls(identity: TlsIdentity): {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  readonly servername: string;
} {
  return {
    ca: identity.rootCaPem,
    cert: identity.certificatePem,
    key: identity.privateKeyPem,
    servername: MANAGER_ROLE,
  };
}

/** The same for one certain manager, by its node id. */
export function managerTlsOf(
  identity: TlsIdentity,
  nodeId: string,
): ReturnType<typeof managerTls> & Required<Pick<ConnectionOptions, 'checkServerIdentity'>> {
  return {
    ...managerTls(identity),
    checkServerIdentity(name, certificate) {
      const failure = checkServerIdentity(name, certificate);
      if (failure !== undefined) return failure;
      const found = attribute(certificate.subject, 'CN');
      return found === nodeId ? undefined : new Error(`the manager is ${found}, not ${nodeId}`);
    },
  };
}

/** The other end of a TLS connection. */
export interface PeerIdentity {
  /** Address the peer connects from, without port; IPv4 in dotted form. */
  readonly address: string;
  /** Whether the peer showed a certificate of our root CA that is valid now. */
  readonly authorized: boolean;
  /** CN of the certificate: the node id. Empty without a valid certificate. */
  readonly nodeId: string;
  /** OU: {@link WORKER_ROLE} or {@link MANAGER_ROLE}. Empty without a valid certificate. */
  readonly role: string;
  /** O: the cluster id. Empty without a valid certificate. */
  readonly clusterId: string;
}

/** What a handler may know of the connection of a call. */
export interface CallContext {
  readonly peer: PeerIdentity;
}

const NOBODY: PeerIdentity = {
  address: '',
  authorized: false,
  nodeId: '',
  role: '',
  clusterId: '',
};

/** Context key of {@link CallContext}; set by the server for every call. */
export const callContextKey = createContextKey<CallContext>(
  { peer: NOBODY },
  { description: 'call context' },
);

/** The call context of a handler. */
export function callContext(context: HandlerContext): CallContext {
  return context.values.get(callContextKey);
}

/** IPv4 addresses arrive as `::ffff:a.b.c.d` on a dual-stack socket. */
export function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address;
}

/** Reads the identity off a connected socket. A certificate that does not verify counts as none. */
export function peerIdentity(socket: TLSSocket): PeerIdentity {
  const address = plainAddress(socket.remoteAddress ?? '');
  if (!socket.authorized) return { ...NOBODY, address };
  // Null once the socket is destroyed, which the types do not say.
  const certificate = socket.getPeerCertificate() as { subject?: unknown } | null;
  const subject = certificate?.subject;
  if (typeof subject !== 'object' || subject === null) return { ...NOBODY, address };
  return {
    address,
    authorized: true,
    nodeId: attribute(subject, 'CN'),
    role: attribute(subject, 'OU'),
    clusterId: attribute(subject, 'O'),
  };
}

/** A subject attribute that occurs exactly once; a repeated one (Node gives an array) is refused. */
function attribute(subject: object, name: string): string {
  const value: unknown = (subject as Record<string, unknown>)[name];
  return typeof value === 'string' ? value : '';
}
