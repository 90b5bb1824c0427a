/**
 * The reverse proxy: requests that are not ours go to the engine as they came and its answers come
 * back as they are, streaming both ways, nothing buffered. Requests that upgrade (attach, exec,
 * sessions) become a pair of sockets joined byte for byte, with half-close kept, so that the end
 * of standard input reaches the container while its output still flows.
 */
import { type IncomingMessage, request as httpRequest, type ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream';
import type { Logger } from '../observe/logger.js';
import { engineUnreachable } from './engine.js';
import { localError } from './http/api-error.js';
import { writeJson } from './http/json-text.js';
import { writeError } from './http/request.js';

/** Headers that belong to one connection only and are not passed on. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Passes requests on to one engine. */
export class EngineProxy {
  private readonly socketPath: string;
  private readonly logger: Logger;
  /** Joined sockets of upgraded connections; destroyed by {@link destroy}. */
  private readonly sockets = new Set<Duplex>();

  constructor(socketPath: string, logger: Logger) {
    this.socketPath = socketPath;
    this.logger = logger;
  }

  /**
   * Passes a request on and its answer back.
   * @param body replaces the request's own body, which must then have been read
   * @param onHeaders may change the answer's raw headers
   */
  pass(
    message: IncomingMessage,
    response: ServerResponse,
    options: {
      readonly body?: Buffer;
      readonly path?: string;
      readonly onHeaders?: (headers: string[]) => void;
    } = {},
  ): Promise<void> {
    return new Promise((resolve) => {
      const headers = requestHeaders(message, options.body);
      const upstream = httpRequest({
        agent: false,
        socketPath: this.socketPath,
        method: message.method ?? 'GET',
        path: options.path ?? message.url ?? '/',
        headers,
        setHost: false,
      });
      const abort = () => {
        if (!response.writableFinished) upstream.destroy();
        resolve();
      };
      response.once('close', abort);
      let answered = false;
      upstream.on('error', (error) => {
        // Once it has answered, the engine may stop reading; what it sent is still valid.
        if (answered) return;
        if (response.headersSent || response.destroyed) response.destroy();
        else writeError(response, engineUnreachable(this.socketPath, error), '');
      });
      upstream.once('response', (answer) => {
        answered = true;
        this.answer(answer, response, options.onHeaders);
      });
      // An engine that answers 101 to a request without Upgrade breaks HTTP; there is no way on.
      upstream.once('upgrade', (_answer, socket) => {
        socket.destroy();
        response.destroy();
      });
      if (options.body !== undefined) upstream.end(options.body);
      else if (hasBody(message)) message.pipe(upstream);
      else upstream.end();
      message.once('error', () => upstream.destroy());
    });
  }

  private answer(
    answer: IncomingMessage,
    response: ServerResponse,
    onHeaders: ((headers: string[]) => void) | undefined,
  ): void {
    const headers = answerHeaders(answer.rawHeaders);
    onHeaders?.(headers);
    // The default Date would stand beside the engine's own.
    response.sendDate = false;
    response.writeHead(answer.statusCode ?? 502, answer.statusMessage ?? '', headers);
    // Streams such as `logs -f` may be silent for long; the client must see the head at once.
    response.flushHeaders();
    pipeline(answer, response, (error) => {
      if (error) this.logger.debug({ error: error.message }, 'a passed-on answer was cut off');
    });
  }

  /**
   * Joins a client's socket with a new one to the engine after writing the request's head.
   * If the engine refuses to upgrade, its answer still passes, and the connection ends with it.
   */
  upgrade(message: IncomingMessage, client: Socket, head: Buffer): void {
    const engine = connect({ path: this.socketPath, allowHalfOpen: true });
    this.sockets.add(client).add(engine);
    const forget = () => {
      this.sockets.delete(client);
      this.sockets.delete(engine);
    };
    let connected = false;
    engine.once('connect', () => {
      connected = true;
      engine.write(upgradeHead(message));
      if (head.length > 0) engine.write(head);
      client.pipe(engine);
      engine.pipe(client);
    });
    engine.once('error', (error) => {
      if (!connected && client.writable) {
        client.end(rawError(localError(engineUnreachable(this.socketPath, error)).message));
      } else {
        client.destroy();
      }
    });
    client.once('error', () => engine.destroy());
    engine.once('close', () => {
      forget();
      // The engine closed both ways: what it sent has been written, the client hears the end.
      client.end();
      if (client.readableEnded) return;
      client.resume();
      client.destroySoon();
    });
    client.once('close', () => {
      forget();
      engine.destroy();
    });
  }

  /** Ends all upgraded connections. */
  destroy(): void {
    for (const socket of this.sockets) socket.destroy();
    this.sockets.clear();
  }
}

function hasBody(message: IncomingMessage): boolean {
  const length = message.headers['content-length'];
  return message.headers['transfer-encoding'] !== undefined || (length ?? '0') !== '0';
}

/** The request's headers, in their own spelling, without those of the connection. */
function requestHeaders(message: IncomingMessage, body: Buffer | undefined): string[] {
  const result: string[] = [];
  for (let index = 0; index < message.rawHeaders.length; index += 2) {
    const name = message.rawHeaders[index] ?? '';
    const folded = name.toLowerCase();
    if (HOP_BY_HOP.has(folded) || folded === 'expect') continue;
    if (folded === 'content-length' && body !== undefined) continue;
    result.push(name, message.rawHeaders[index + 1] ?? '');
  }
  if (!message.headers.host) result.push('Host', 'docker');
  // With `close` the engine would hang up after its answer even while the end of the body is on
  // its way, and that write's failure would cost us the answer.
  result.push('Connection', 'keep-alive');
  if (body !== undefined) result.push('Content-Length', String(body.length));
  else if (message.headers['transfer-encoding'] !== undefined) {
    result.push('Transfer-Encoding', 'chunked');
  }
  return result;
}

function answerHeaders(raw: readonly string[]): string[] {
  const result: string[] = [];
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] ?? '';
    if (!HOP_BY_HOP.has(name.toLowerCase())) result.push(name, raw[index + 1] ?? '');
  }
  return result;
}

/**
 * The head of an upgrade request. `close` is added to Connection: should the engine answer without
 * upgrading, no second request may follow on a connection that we no longer read.
 */
function upgradeHead(message: IncomingMessage): string {
  const lines = [`${message.method} ${message.url} HTTP/1.1`];
  for (let index = 0; index < message.rawHeaders.length; index += 2) {
    const name = message.rawHeaders[index] ?? '';
    const value = message.rawHeaders[index + 1] ?? '';
    lines.push(`${name}: ${name.toLowerCase() === 'connection' ? `${value}, close` : value}`);
  }
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/** A whole 503 answer for a socket that has no response object. */
function rawError(message: string): string {
  const body = `${writeJson({ message })}\n`;
  return [
    'HTTP/1.1 503 Service Unavailable',
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
    '',
    body,
  ].join('\r\n');
}
