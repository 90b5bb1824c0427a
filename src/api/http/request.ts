/**
 * One request that this room answers itself: its version, parameters, query and bounded body, and
 * the ways to answer it.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { REQUEST_BODY_BYTES_MAX } from '../limits.js';
import { ApiError, badRequest } from './api-error.js';
import { JsonSyntaxError, type JsonValue, parseJsonStream } from './go-json.js';
import { GoStruct } from './go-struct.js';
import { type JsonOut, writeJson } from './json-text.js';

/** What a handler answers with. */
export type Reply =
  | { readonly kind: 'json'; readonly status: number; readonly body: JsonOut }
  | { readonly kind: 'raw'; readonly status: number; readonly body: Buffer; readonly type: string }
  | { readonly kind: 'empty'; readonly status: number }
  /** The handler wrote (or passed on) the answer itself. */
  | { readonly kind: 'done' };

/** A JSON answer. */
export function json(body: JsonOut, status = 200): Reply {
  return { kind: 'json', status, body };
}

/** An answer without a body. */
export function empty(status = 200): Reply {
  return { kind: 'empty', status };
}

/** The handler answered by itself. */
export const DONE: Reply = { kind: 'done' };

/** A request under way. */
export class ApiRequest {
  readonly message: IncomingMessage;
  readonly response: ServerResponse;
  /** Path without version prefix and query, still percent-encoded. */
  readonly path: string;
  /** API version of the path; empty without prefix. */
  readonly version: string;
  readonly query: URLSearchParams;
  /** Decoded path parameters. */
  readonly params: Readonly<Record<string, string>>;
  /** Aborts when the client went away. */
  readonly signal: AbortSignal;
  private bodyPromise: Promise<Buffer> | undefined;

  constructor(parts: {
    message: IncomingMessage;
    response: ServerResponse;
    path: string;
    version: string;
    query: URLSearchParams;
    params: Readonly<Record<string, string>>;
  }) {
    this.message = parts.message;
    this.response = parts.response;
    this.path = parts.path;
    this.version = parts.version;
    this.query = parts.query;
    this.params = parts.params;
    const controller = new AbortController();
    this.signal = controller.signal;
    parts.response.once('close', () => controller.abort());
  }

  /** A path parameter of the matched pattern. */
  param(name: string): string {
    return this.params[name] ?? '';
  }

  header(name: string): string {
    const value = this.message.headers[name.toLowerCase()];
    return Array.isArray(value) ? value.join(', ') : (value ?? '');
  }

  /** Docker's BoolValue: everything but a few words for "no" is true. */
  flag(key: string): boolean {
    const value = (this.query.get(key) ?? '').trim().toLowerCase();
    return !['', '0', 'no', 'false', 'none'].includes(value);
  }

  /**
   * Go's ParseBool for query values that must be well-formed; undefined when absent.
   * @param withCause routes that read say why, as Go does; routes that write do not
   */
  strictBool(key: string, withCause: boolean): boolean | undefined {
    const value = this.query.get(key) ?? '';
    if (value === '') return undefined;
    if (['1', 't', 'T', 'TRUE', 'true', 'True'].includes(value)) return true;
    if (['0', 'f', 'F', 'FALSE', 'false', 'False'].includes(value)) return false;
    const cause = `: strconv.ParseBool: parsing ${JSON.stringify(value)}: invalid syntax`;
    throw badRequest(`invalid value for ${key}: ${value}${withCause ? cause : ''}`);
  }

  /** The `version` query of updates. `what` is the object's kind as messages name it. */
  objectVersion(what: string, withCause: boolean): bigint {
    const text = this.query.get('version') ?? '';
    if (/^[0-9]{1,20}$/.test(text) && BigInt(text) < 2n ** 64n) return BigInt(text);
    if (!withCause) throw badRequest(`invalid ${what} version`);
    const reason = /^[0-9]+$/.test(text) ? 'value out of range' : 'invalid syntax';
    const cause = `strconv.ParseUint: parsing ${JSON.stringify(text)}: ${reason}`;
    throw badRequest(`invalid ${what} version '${text}': ${cause}`);
  }

  /** The whole body. @throws ApiError 413 above the limit */
  body(): Promise<Buffer> {
    this.bodyPromise ??= readBody(this.message, REQUEST_BODY_BYTES_MAX);
    return this.bodyPromise;
  }

  /** The body as JSON. @throws ApiError 400 with Go's texts */
  async jsonValue(): Promise<JsonValue> {
    const text = (await this.body()).toString('utf8');
    try {
      return parseJsonStream(text);
    } catch (error) {
      if (!(error instanceof JsonSyntaxError)) throw error;
      throw badRequest(
        error.message === 'EOF' ? 'got EOF while reading request body' : error.message,
      );
    }
  }

  /** The body as a Go struct of type `goType`. */
  async struct(goType: string): Promise<GoStruct> {
    return GoStruct.root(await this.jsonValue(), goType);
  }
}

/** Reads a bounded body. */
export function readBody(message: IncomingMessage, bytesMax: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const fail = (error: Error) => {
      message.removeAllListeners('data');
      reject(error);
    };
    message.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > bytesMax) {
        fail(new ApiError(413, `request body is larger than ${bytesMax} bytes`));
        return;
      }
      chunks.push(chunk);
    });
    message.once('end', () => resolve(Buffer.concat(chunks)));
    message.once('error', (error) => fail(new ApiError(400, 'unexpected EOF', { cause: error })));
    message.once('close', () => fail(new ApiError(400, 'unexpected EOF')));
  });
}

/** Writes a reply. Nothing happens if the answer already began. */
export function writeReply(response: ServerResponse, reply: Reply): void {
  switch (reply.kind) {
    case 'done':
      return;
    case 'empty':
      response.statusCode = reply.status;
      if (reply.status !== 204) response.setHeader('Content-Length', 0);
      response.end();
      return;
    case 'json':
      writeBody(response, reply.status, 'application/json', `${writeJson(reply.body)}\n`);
      return;
    case 'raw':
      writeBody(response, reply.status, reply.type, reply.body);
      return;
  }
}

/** Writes an error: the JSON envelope, or plain text to clients older than API 1.24. */
export function writeError(response: ServerResponse, error: ApiError, version: string): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  // What remains of the request's body is not read; the connection ends with this answer.
  if (!response.req.complete) response.setHeader('Connection', 'close');
  const minor = /^1\.([0-9]+)$/.exec(version)?.[1];
  if (minor !== undefined && Number(minor) < 24) {
    writeBody(response, error.status, 'text/plain; charset=utf-8', `${error.message}\n`);
    return;
  }
  const body = `${writeJson({ message: error.message })}\n`;
  writeBody(response, error.status, 'application/json', body);
}

function writeBody(
  response: ServerResponse,
  status: number,
  type: string,
  body: string | Buffer,
): void {
  response.statusCode = status;
  response.setHeader('Content-Type', type);
  response.setHeader('Content-Length', Buffer.byteLength(body));
  response.end(body);
}
