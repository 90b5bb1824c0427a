/**
 * Calls that only the leader can answer and that reach another manager: passed on as they are, with
 * the caller's identity in headers (names of SwarmKit's ca/forward.go). The leader believes these
 * headers of managers only, and refuses calls with them from others. Each connection of a caller gets a connection of its own to the leader,
 * which ends with it.
 */
import type { OutgoingHttpHeaders } from 'node:http';
import {
  type ClientHttp2Stream,
  constants,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import { Code, ConnectError } from '@connectrpc/connect';
import type { Environment } from '../model/environment.js';
import { ClientSession } from './client-session.js';
import { managerTls, type PeerIdentity } from './peer.js';
import type { IdentitySource, ManagerPeer } from './types.js';

const NODE_HEADER = 'forwarded_cert_cn';
const ROLE_HEADER = 'forwarded_cert_ou';
const CLUSTER_HEADER = 'forwarded_cert_org';
const ADDRESS_HEADER = 'remote_addr';

/** Headers of a call that the leader needs; everything else is between the two ends. */
const PASSED_HEADERS = ['content-type', 'te', 'grpc-timeout', 'grpc-encoding', 'user-agent'];

/** Who leads, for calls that arrive here. */
export interface Leadership {
  /** `here`; or the leader to pass calls on to; undefined while there is none. */
  leader(): 'here' | ManagerPeer | undefined;
  /** Whether calls to this path are the leader's business. */
  isLeadersCall(path: string): boolean;
  /** Whether the peer is a manager whose word on callers counts. */
  isManager(peer: PeerIdentity): boolean;
}

/** Who a call is from, and whether another manager passed it on. */
export interface Caller {
  readonly peer: PeerIdentity;
  readonly isForwarded: boolean;
}

/**
 * The caller by its connection or by the headers of forwarding. Undefined if these come from a node that is
 * no manager: one that has just been demoted goes on passing calls for a moment, and they are not its own.
 */
export function callerOf(
  peer: PeerIdentity,
  headers: IncomingHttpHeaders,
  leadership: Leadership,
): Caller | undefined {
  const address = headers[ADDRESS_HEADER];
  if (address === undefined) return { peer, isForwarded: false };
  if (typeof address !== 'string' || !leadership.isManager(peer)) return undefined;
  const text = (name: string): string => {
    const value = headers[name];
    return typeof value === 'string' ? value : '';
  };
  const nodeId = text(NODE_HEADER);
  return {
    isForwarded: true,
    peer: {
      address,
      authorized: nodeId !== '',
      nodeId,
      role: text(ROLE_HEADER),
      clusterId: text(CLUSTER_HEADER),
    },
  };
}

/** Passes calls on; one for a server. */
export class CallForwarder {
  readonly #identity: IdentitySource;
  readonly #env: Environment;
  readonly #sessions = new Map<ServerHttp2Session, { addr: string; session: ClientSession }>();

  constructor(options: { identity: IdentitySource; env: Environment }) {
    this.#identity = options.identity;
    this.#env = options.env;
  }

  /** Passes one call on to `leader`; what goes wrong is the call's gRPC status. */
  async forward(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    peer: PeerIdentity,
    leader: ManagerPeer,
  ): Promise<void> {
    let upstream: ClientHttp2Stream;
    try {
      const { session } = stream;
      if (session === undefined || stream.destroyed) return;
      const link = this.#sessionFor(session as ServerHttp2Session, leader);
      const path = headers[':path'] ?? '';
      upstream = await link.request('POST', path, forwardedHeaders(headers, peer), {});
    } catch (error) {
      refuseCall(stream, Code.Unavailable, ConnectError.from(error).rawMessage);
      return;
    }
    if (stream.destroyed) {
      upstream.close(constants.NGHTTP2_CANCEL);
      return;
    }
    joinStreams(stream, upstream);
  }

  /**
   * Another manager leads: calls that were passed on to the one before end, so that their callers begin
   * anew. A leader that died would not say so itself.
   */
  leaderIs(leader: 'here' | ManagerPeer): void {
    for (const { addr, session } of this.#sessions.values()) {
      if (leader !== 'here' && addr === leader.addr) continue;
      session.destroy(new ConnectError('another manager leads', Code.Unavailable));
    }
  }

  #sessionFor(downstream: ServerHttp2Session, leader: ManagerPeer): ClientSession {
    const known = this.#sessions.get(downstream);
    if (known?.addr === leader.addr && !known.session.ended.aborted) return known.session;
    const gone = new ConnectError('the caller has gone', Code.Canceled);
    known?.session.destroy(gone);
    const identity = this.#identity.current();
    const session = new ClientSession({
      addr: leader.addr,
      clock: this.#env.clock,
      tls: managerTls(identity),
    });
    const isNew = !this.#sessions.has(downstream);
    this.#sessions.set(downstream, { addr: leader.addr, session });
    if (isNew)
      downstream.once('close', () => {
        this.#sessions.get(downstream)?.session.destroy(gone);
        this.#sessions.delete(downstream);
      });
    return session;
  }
}

function forwardedHeaders(headers: IncomingHttpHeaders, peer: PeerIdentity): OutgoingHttpHeaders {
  const passed: OutgoingHttpHeaders = { [ADDRESS_HEADER]: peer.address };
  for (const name of PASSED_HEADERS) {
    if (headers[name] !== undefined) passed[name] = headers[name];
  }
  if (peer.authorized) {
    passed[NODE_HEADER] = peer.nodeId;
    passed[ROLE_HEADER] = peer.role;
    passed[CLUSTER_HEADER] = peer.clusterId;
  }
  return passed;
}

/** Copies requests up, answers and trailers down; either end takes the other with it. */
function joinStreams(stream: ServerHttp2Stream, upstream: ClientHttp2Stream): void {
  let trailers: IncomingHttpHeaders = {};
  stream.pipe(upstream);
  upstream.on('response', (headers, flags) => {
    if (stream.destroyed || stream.headersSent) return;
    const answer = withoutHopByHop(headers);
    if ((flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0) {
      stream.respond(answer, { endStream: true });
      return;
    }
    // Node's own response object, which nobody uses here, would send trailers of its own.
    stream.removeAllListeners('wantTrailers');
    stream.respond(answer, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers(withoutHopByHop(trailers)));
    upstream.pipe(stream);
  });
  upstream.on('trailers', (received) => {
    trailers = received;
  });
  upstream.on('error', () => undefined);
  upstream.on('close', () => {
    if (upstream.readableEnded || stream.destroyed) return;
    if (stream.headersSent) stream.close(constants.NGHTTP2_CANCEL);
    else refuseCall(stream, Code.Unavailable, 'connection to the leader is closing');
  });
  stream.on('close', () => {
    if (!upstream.destroyed) upstream.close(constants.NGHTTP2_CANCEL);
  });
}

function withoutHopByHop(headers: IncomingHttpHeaders): OutgoingHttpHeaders {
  return Object.fromEntries(
    Object.entries(headers).filter(([name, value]) => name !== 'date' && value !== undefined),
  );
}

/** Answers a call with a gRPC status and nothing else. */
export function refuseCall(stream: ServerHttp2Stream, code: Code, message: string): void {
  if (stream.destroyed || stream.headersSent) return;
  stream.respond(
    {
      ':status': 200,
      'content-type': 'application/grpc',
      'grpc-status': String(code),
      'grpc-message': encodeURIComponent(message).slice(0, 1000),
    },
    { endStream: true },
  );
}
