/**
 * The plugin socket: HTTP over a unix socket, POST of a JSON object to `/Driver.Method`. Sizes,
 * times and connections are bounded; a bad request gets an error and hurts nobody else.
 */
import { chmod, mkdir, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import path from 'node:path';
import { SkepError } from '../../model/errors.js';
import type { Logger } from '../../observe/logger.js';
import {
  PLUGIN_BODY_BYTES_MAX,
  PLUGIN_CONNECTIONS_MAX,
  PLUGIN_REQUEST_TIMEOUT_MS,
} from '../limits.js';
import type { PluginHandler, PluginReply, PluginRequest } from './messages.js';

const CONTENT_TYPE = 'application/vnd.docker.plugins.v1+json';

/** Serves handlers by path. */
export class PluginServer {
  private readonly socketPath: string;
  private readonly handlers: ReadonlyMap<string, PluginHandler>;
  private readonly logger: Logger;
  private server: Server | undefined;

  constructor(socketPath: string, handlers: ReadonlyMap<string, PluginHandler>, logger: Logger) {
    this.socketPath = socketPath;
    this.handlers = handlers;
    this.logger = logger;
  }

  /** Takes the socket path, replacing what a killed process left there. Idempotent. */
  async start(): Promise<void> {
    if (this.server !== undefined) return;
    await mkdir(path.dirname(this.socketPath), { recursive: true });
    await rm(this.socketPath, { force: true });
    const server = createServer(
      { requestTimeout: PLUGIN_REQUEST_TIMEOUT_MS, headersTimeout: PLUGIN_REQUEST_TIMEOUT_MS },
      (request, response) => void this.serve(request, response),
    );
    server.maxConnections = PLUGIN_CONNECTIONS_MAX;
    server.on('clientError', (_error, socket) => socket.destroy());
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.socketPath, resolve);
    });
    // The engine is root; nobody else has business here.
    await chmod(this.socketPath, 0o600);
    this.server = server;
  }

  /** Stops serving and removes the socket. Idempotent. */
  async stop(): Promise<void> {
    const { server } = this;
    this.server = undefined;
    if (server === undefined) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
    await rm(this.socketPath, { force: true });
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const method = request.url ?? '';
      const handler = this.handlers.get(method);
      if (request.method !== 'POST' || handler === undefined) {
        request.resume();
        respond(response, 404, { Err: `unknown plugin method ${method.slice(0, 100)}` });
        return;
      }
      const body = await readBody(request);
      respond(response, 200, await this.call(method, handler, body));
    } catch (error) {
      const failure = SkepError.from(error);
      this.logger.warn({ err: failure.message }, 'plugin request refused');
      const oversized = failure.code === 'resource_exhausted';
      // The rest of an oversized body is never read.
      if (oversized) response.once('finish', () => request.destroy());
      respond(response, oversized ? 413 : 400, { Err: failure.message });
    }
  }

  /** Errors of a handler are answers: the engine shows their text to the user. */
  private async call(
    method: string,
    handler: PluginHandler,
    body: PluginRequest,
  ): Promise<PluginReply> {
    try {
      const reply = await handler(body);
      this.logger.debug({ method, request: body, reply }, 'plugin call');
      return reply;
    } catch (error) {
      const { message } = SkepError.from(error);
      this.logger.warn({ method, err: message }, 'plugin call failed');
      return { Err: message };
    }
  }
}

function respond(response: ServerResponse, status: number, reply: PluginReply): void {
  if (response.headersSent || response.destroyed) return;
  const body = JSON.stringify(reply);
  response.writeHead(status, {
    'content-type': CONTENT_TYPE,
    'content-length': Buffer.byteLength(body),
  });
  response.end(body);
}

async function readBody(request: IncomingMessage): Promise<PluginRequest> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > PLUGIN_BODY_BYTES_MAX) {
      throw new SkepError('resource_exhausted', 'plugin request is too large');
    }
    chunks.push(chunk);
  }
  if (length === 0) return {};
  let value: unknown;
  try {
    value = JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (cause) {
    throw new SkepError('invalid_argument', 'plugin request is not JSON', { cause });
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return value as PluginRequest;
  }
  // The engine sends `null` for calls without parameters.
  if (value === null) return {};
  throw new SkepError('invalid_argument', 'plugin request is not a JSON object');
}
