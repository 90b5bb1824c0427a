/**
 * The guard layer between Node's http2 server and the gRPC handlers. Each call gets its peer's
 * identity; whatever is wrong with a request before gRPC sees it resets that one stream, and
 * nothing a peer sends can throw out of the listener.
 */
import {
  constants,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import {
  Code,
  ConnectError,
  type ConnectRouter,
  createConnectRouter,
  createContextValues,
  createServiceImplSpec,
  type ContextValues,
} from '@connectrpc/connect';
import type { UniversalHandler } from '@connectrpc/connect/protocol';
import {
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from '@connectrpc/connect-node';
import type { Clock } from '../model/environment.js';
import type { Logger } from '../observe/logger.js';
import { errorInterceptor } from './errors.js';
import {
  CALL_TIMEOUT_MS_MAX,
  DISCARD_TIMEOUT_MS,
  LEADER_POLL_MS,
  LEADER_WAIT_MS,
  REQUEST_BYTES_MAX,
  RESPONSE_BYTES_MAX,
} from './limits.js';
import { type CallForwarder, callerOf, type Leadership, refuseCall } from './forwarding.js';
import { callContextKey, type PeerIdentity } from './peer.js';
import type { RpcRoutes } from './types.js';
import { answerUnary, isPlainCall, type UnaryMethod, unaryMethods } from './unary-calls.js';

const TIMEOUT_HEADER = 'grpc-timeout';

/** Answers the calls of connections whose peers are known. */
export interface RequestListener {
  /** Answers a call at once if it is of the plainest kind; else returns false and leaves it alone. */
  readonly answerPlain: (
    peer: PeerIdentity,
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
  ) => boolean;
  readonly answer: (
    peer: PeerIdentity,
    request: Http2ServerRequest,
    response: Http2ServerResponse,
  ) => void;
}

/** Makes the listener that serves `routes` as gRPC. `shutdown` ends calls with its reason. */
export function createRequestListener(options: {
  routes: RpcRoutes;
  clock: Clock;
  logger: Logger;
  shutdown: AbortSignal;
  /** Absent: every call is answered here. */
  leading?: { readonly leadership: Leadership; readonly forwarder: CallForwarder };
}): RequestListener {
  const { routes, clock, logger, shutdown, leading } = options;
  const { handlers, unary } = collectHandlers(routes, logger);
  const open = new OpenCalls(shutdown);
  const guard = (stream: ServerHttp2Stream): void => {
    stream.on('error', (error) => logger.debug({ error: error.message }, 'call stream failed'));
    stream.once('finish', () => discardRest(stream, clock));
  };
  const answerPlain: RequestListener['answerPlain'] = (peer, stream, headers) => {
    const path = headers[':path'] ?? '';
    const method = unary.get(path);
    if (method === undefined || !isPlainCall(headers) || shutdown.aborted) return false;
    const leadership = leading?.leadership;
    if (leadership?.isLeadersCall(path) === true && leadership.leader() !== 'here') return false;
    const caller = leadership === undefined ? peer : callerOf(peer, headers, leadership)?.peer;
    if (caller === undefined) return false;
    guard(stream);
    answerUnary(method, stream, caller, logger);
    return true;
  };
  const answer: RequestListener['answer'] = (peer, request, response) => {
    const { stream } = request;
    guard(stream);
    const path = request.url.split('?', 1)[0] ?? '';
    const handler = handlers.get(path);
    if (handler === undefined) {
      refuseUnknownMethod(stream, request.url);
      return;
    }
    limitTimeout(request.headers);
    const answerHere = (caller: PeerIdentity): void => {
      try {
        serve({ handler, request, response, values: contextValues(caller), logger, open });
      } catch (error) {
        // An `:authority` that is no URL host ends here.
        logger.debug({ error: String(error), peer: peer.address }, 'malformed request refused');
        stream.close(constants.NGHTTP2_PROTOCOL_ERROR);
      }
    };
    if (leading === undefined) answerHere(peer);
    else passOn({ ...leading, clock, path, peer, request, answer: answerHere });
  };
  return { answerPlain, answer };
}

interface LeadersCall {
  readonly leadership: Leadership;
  readonly forwarder: CallForwarder;
  readonly clock: Clock;
  readonly path: string;
  readonly peer: PeerIdentity;
  readonly request: Http2ServerRequest;
  /** Answers the call here. */
  readonly answer: (caller: PeerIdentity) => void;
}

/** Has a call answered by whoever leads; a call that comes during an election waits a little. */
function passOn(call: LeadersCall, waitedMs = 0): void {
  const { leadership, forwarder, clock, path, peer, request, answer } = call;
  const { stream, headers } = request;
  const caller = callerOf(peer, headers, leadership);
  if (caller === undefined) {
    // Not for good: whoever is behind it finds a manager.
    refuseCall(stream, Code.Unavailable, 'the call was passed on by a node that is no manager');
    return;
  }
  const leader = leadership.isLeadersCall(path) ? leadership.leader() : 'here';
  if (leader === 'here') {
    answer(caller.peer);
  } else if (leader !== undefined && !caller.isForwarded) {
    void forwarder.forward(stream, headers, peer, leader);
  } else if (waitedMs >= LEADER_WAIT_MS || stream.destroyed) {
    // Passed on once and wrong here as well: leadership has just changed.
    refuseCall(stream, Code.Unavailable, 'raft: no elected cluster leader');
  } else {
    clock.setTimer(LEADER_POLL_MS, () => passOn(call, waitedMs + LEADER_POLL_MS));
  }
}

function collectHandlers(
  routes: RpcRoutes,
  logger: Logger,
): {
  readonly handlers: ReadonlyMap<string, UniversalHandler>;
  readonly unary: ReadonlyMap<string, UnaryMethod>;
} {
  const router = createConnectRouter({
    grpc: true,
    grpcWeb: false,
    connect: false,
    acceptCompression: [],
    readMaxBytes: REQUEST_BYTES_MAX,
    writeMaxBytes: RESPONSE_BYTES_MAX,
    maxTimeoutMs: CALL_TIMEOUT_MS_MAX,
    interceptors: [errorInterceptor(logger)],
  });
  const unary = new Map<string, UnaryMethod>();
  const recorder: ConnectRouter = {
    handlers: router.handlers,
    service(service, implementation, settings) {
      const spec = createServiceImplSpec(service, implementation);
      for (const [path, method] of unaryMethods(spec)) unary.set(path, method);
      router.service(service, implementation, settings);
      return recorder;
    },
    rpc(method, implementation, settings) {
      router.rpc(method, implementation, settings);
      return recorder;
    },
  };
  routes(recorder);
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
  return { handlers, unary };
}

function contextValues(peer: PeerIdentity): ContextValues {
  return createContextValues().set(callContextKey, { peer });
}

/**
 * The calls under way, which the end of the server ends. A listener each on one signal, as the library has it, costs
 * every new call a walk past all others: two of each node of a large swarm are always open.
 */
class OpenCalls {
  readonly #calls = new Set<AbortController>();
  readonly #shutdown: AbortSignal;

  constructor(shutdown: AbortSignal) {
    this.#shutdown = shutdown;
    shutdown.addEventListener('abort', () => {
      for (const call of this.#calls) call.abort(shutdown.reason);
    });
  }

  /** The signal of a call: aborts with `caller`, or when the server ends. Forgotten when `stream` closes, as every one does. */
  begin(stream: ServerHttp2Stream, caller: AbortSignal): AbortSignal {
    const call = new AbortController();
    if (this.#shutdown.aborted) call.abort(this.#shutdown.reason);
    this.#calls.add(call);
    caller.addEventListener('abort', () => call.abort(caller.reason), { once: true });
    stream.once('close', () => this.#calls.delete(call));
    return call.signal;
  }
}

function serve(call: {
  readonly handler: UniversalHandler;
  readonly request: Http2ServerRequest;
  readonly response: Http2ServerResponse;
  readonly values: ContextValues;
  readonly logger: Logger;
  readonly open: OpenCalls;
}): void {
  const { handler, request, response, values, logger, open } = call;
  const universal = universalRequestFromNodeRequest(request, response, undefined, values);
  const signal = open.begin(request.stream, universal.signal);
  handler({ ...universal, signal })
    .then((answer) => universalResponseToNodeResponse(answer, response))
    .catch((reason: unknown) => {
      const error = ConnectError.from(reason);
      // Aborted: the peer hung up, which is its right.
      if (error.code !== Code.Aborted && error.code !== Code.Canceled) {
        logger.debug({ error: error.message, method: handler.requestPath }, 'call failed');
      }
      if (!request.stream.destroyed) request.stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    });
}

const TIMEOUT_UNITS_MS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};

/** A deadline too far for a timer is none; the library would warn and fire at once. */
function limitTimeout(headers: IncomingHttpHeaders): void {
  const [, number, unit] = /^(\d{1,8})([HMSmun])$/.exec(String(headers[TIMEOUT_HEADER])) ?? [];
  if (number === undefined || unit === undefined) return;
  const timeoutMs = Number(number) * (TIMEOUT_UNITS_MS[unit] ?? 1);
  if (timeoutMs > CALL_TIMEOUT_MS_MAX) delete headers[TIMEOUT_HEADER];
}

/** An answered call whose client still sends: the rest is read away for a while, then refused. */
function discardRest(stream: ServerHttp2Stream, clock: Clock): void {
  if (stream.readableEnded || stream.destroyed) return;
  stream.resume();
  const refuse = clock.setTimer(DISCARD_TIMEOUT_MS, () => {
    stream.close(constants.NGHTTP2_NO_ERROR);
  });
  stream.once('close', () => refuse.cancel());
}

/** gRPC's answer to a method that is not served; a plain 404 confuses Go's client. */
function refuseUnknownMethod(stream: ServerHttp2Stream, url: string): void {
  if (stream.destroyed || stream.headersSent) return;
  const name = url.replaceAll(/[^A-Za-z0-9_./]/g, '').slice(0, 200);
  stream.respond(
    {
      ':status': 200,
      'content-type': 'application/grpc',
      'grpc-status': '12',
      'grpc-message': `unknown method ${name}`,
    },
    { endStream: true },
  );
}
