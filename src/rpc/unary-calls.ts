/**
 * Unary gRPC calls of nodes, answered on the HTTP/2 stream itself. Heartbeats and task states are most
 * of what a manager of a large swarm does, and the general way (request and response objects,
 * iterables, a set of signals a call) costs several times what they need. Whatever is unusual about a
 * call is left to that way.
 */
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import {
  create,
  type DescMessage,
  type DescMethodUnary,
  fromBinary,
  type Message,
  type MessageInitShape,
  toBinary,
} from '@bufbuild/protobuf';
import {
  Code,
  ConnectError,
  type ContextValues,
  createContextValues,
  type HandlerContext,
  type ServiceImplSpec,
} from '@connectrpc/connect';
import type { Logger } from '../observe/logger.js';
import { toRpcError } from './errors.js';
import { refuseCall } from './forwarding.js';
import { REQUEST_BYTES_MAX } from './limits.js';
import { callContextKey, type PeerIdentity } from './peer.js';

/** Compressed flag and length before a message. */
const ENVELOPE_BYTES = 5;
const PLAIN_TYPES: ReadonlySet<unknown> = new Set(['application/grpc', 'application/grpc+proto']);

/** The caller keeps its deadline itself, and ends the call. */
const TIMEOUT = /^\d{1,8}[HMSmun]$/;

/** A method and what answers it. */
export interface UnaryMethod {
  readonly service: ServiceImplSpec['service'];
  readonly method: DescMethodUnary;
  readonly answer: (request: Message, context: HandlerContext) => unknown;
}

/** The unary methods of a service, by path. */
export function unaryMethods({ service, methods }: ServiceImplSpec): Map<string, UnaryMethod> {
  const found = new Map<string, UnaryMethod>();
  for (const { kind, method, impl } of Object.values(methods)) {
    if (kind !== 'unary') continue;
    const answer = (request: Message, context: HandlerContext): unknown => impl(request, context);
    found.set(`/${service.typeName}/${method.name}`, { service, method, answer });
  }
  return found;
}

/** Whether a call is of the plain kind. */
export function isPlainCall(headers: IncomingHttpHeaders): boolean {
  const encoding = headers['grpc-encoding'];
  const timeout = headers['grpc-timeout'];
  if (timeout !== undefined && !TIMEOUT.test(String(timeout))) return false;
  return (
    headers[':method'] === 'POST' &&
    PLAIN_TYPES.has(headers['content-type']) &&
    (encoding === undefined || encoding === 'identity')
  );
}

/** Answers one call of `peer`; never throws. A caller that has gone gets nothing. */
export function answerUnary(
  unary: UnaryMethod,
  stream: ServerHttp2Stream,
  peer: PeerIdentity,
  logger: Logger,
): void {
  const parts: Buffer[] = [];
  let bytes = 0;
  stream.on('data', (part: Buffer) => {
    bytes += part.length;
    if (bytes <= ENVELOPE_BYTES + REQUEST_BYTES_MAX) {
      parts.push(part);
      return;
    }
    parts.length = 0;
    refuse(stream, tooLarge());
  });
  stream.once('end', () => {
    if (stream.destroyed || stream.headersSent) return;
    answer(unary, stream, peer, Buffer.concat(parts))
      .then((message) => respond(stream, message))
      .catch((reason: unknown) => refuse(stream, toRpcError(reason, logger)));
  });
}

function tooLarge(): ConnectError {
  const text = `message size is larger than configured readMaxBytes ${REQUEST_BYTES_MAX}`;
  return new ConnectError(text, Code.ResourceExhausted);
}

function refuse(stream: ServerHttp2Stream, { code, rawMessage }: ConnectError): void {
  refuseCall(stream, code, rawMessage);
}

async function answer(
  unary: UnaryMethod,
  stream: ServerHttp2Stream,
  peer: PeerIdentity,
  body: Buffer,
): Promise<Uint8Array> {
  const { method } = unary;
  const request = decode(method.input, body);
  const context = new UnaryContext(unary, stream, peer);
  const answered = await unary.answer(request, context);
  return toBinary(method.output, create(method.output, answered as MessageInitShape<DescMessage>));
}

function decode(schema: DescMessage, body: Buffer): Message {
  if (body.length === 0) {
    throw new ConnectError('protocol error: missing input message', Code.Unimplemented);
  }
  if (body.length < ENVELOPE_BYTES) {
    throw new ConnectError('protocol error: incomplete envelope', Code.InvalidArgument);
  }
  if (body[0] !== 0) throw new ConnectError('received compressed envelope', Code.Internal);
  const length = body.readUInt32BE(1);
  if (length > REQUEST_BYTES_MAX) throw tooLarge();
  if (body.length > ENVELOPE_BYTES + length) {
    throw new ConnectError('protocol error: extra input message', Code.Unimplemented);
  }
  if (body.length < ENVELOPE_BYTES + length) {
    throw new ConnectError('protocol error: incomplete envelope', Code.InvalidArgument);
  }
  try {
    return fromBinary(schema, body.subarray(ENVELOPE_BYTES));
  } catch (error) {
    throw new ConnectError('message cannot be parsed', Code.Internal, undefined, [], error);
  }
}

function respond(stream: ServerHttp2Stream, message: Uint8Array): void {
  if (stream.destroyed || stream.headersSent) return;
  const envelope = Buffer.allocUnsafe(ENVELOPE_BYTES + message.length);
  envelope[0] = 0;
  envelope.writeUInt32BE(message.length, 1);
  envelope.set(message, ENVELOPE_BYTES);
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.once('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.end(envelope);
}

/** What handlers may ask of a call; most ask for nothing but the peer. */
class UnaryContext implements HandlerContext {
  readonly protocolName = 'grpc';
  readonly requestMethod = 'POST';
  readonly service;
  readonly method;
  readonly values: ContextValues;
  readonly #stream: ServerHttp2Stream;
  #gone: AbortController | undefined;

  constructor({ service, method }: UnaryMethod, stream: ServerHttp2Stream, peer: PeerIdentity) {
    this.service = service;
    this.method = method;
    this.values = createContextValues().set(callContextKey, { peer });
    this.#stream = stream;
  }

  get url(): string {
    return `/${this.service.typeName}/${this.method.name}`;
  }

  /** Aborted when the caller has gone or given up. */
  get signal(): AbortSignal {
    if (this.#gone !== undefined) return this.#gone.signal;
    const gone = new AbortController();
    this.#gone = gone;
    const abort = (): void => gone.abort(new ConnectError('operation was aborted', Code.Canceled));
    if (this.#stream.destroyed) abort();
    else this.#stream.once('close', abort);
    return gone.signal;
  }

  get requestHeader(): Headers {
    return new Headers();
  }

  get responseHeader(): Headers {
    return new Headers();
  }

  get responseTrailer(): Headers {
    return new Headers();
  }

  /** The caller ends its call itself when its time is over. */
  timeoutMs(): undefined {
    return undefined;
  }
}
