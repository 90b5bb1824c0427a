/**
 * The Docker API server of a node: listens on a unix socket, answers the swarm routes, passes
 * everything else to the engine. Whatever a client sends, the worst it gets is a refused request.
 */
import { chmod, chown, lstat, readFile, unlink } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';
import { SocketBinds } from '../model/engine-socket.js';
import type { Environment } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import { DNS_ADDRESS } from '../network/limits.js';
import type { GenericResource } from '../model/gen/docker/swarmkit/v1/types_pb.js';
import type { Logger } from '../observe/logger.js';
import { Engine } from './engine.js';
import { ApiError, localError } from './http/api-error.js';
import { ApiRequest, writeError, writeReply } from './http/request.js';
import { Router, splitVersion, versionLess } from './http/router.js';
import {
  API_VERSION_MIN,
  CONNECTION_IDLE_TIMEOUT_MS,
  CONNECTIONS_MAX,
  REQUEST_HEAD_BYTES_MAX,
  REQUEST_HEAD_TIMEOUT_MS,
  SOCKET_GROUP,
  SOCKET_MODE,
} from './limits.js';
import { EngineProxy } from './proxy.js';
import { allRoutes } from './routes/index.js';
import type { SwarmMembership } from './types.js';

/** What {@link ApiServer} is made of. */
export interface ApiServerOptions {
  /** Where clients connect; `docker -H unix://…`. */
  readonly socketPath: string;
  /**
   * Descriptor of a socket that listens there already. Whoever made it keeps it: its file, owner and mode
   * stay as they are. Default: one is made.
   */
  readonly passedSocket?: number;
  /** The stock engine's socket. */
  readonly engineSocketPath: string;
  /** Which binds of the engine's socket become binds of skepd's. Default: of its usual paths. */
  readonly sockets?: SocketBinds;
  readonly membership: SwarmMembership;
  readonly logger: Logger;
  readonly environment: Environment;
  /**
   * Resolvers for containers that join an attachable swarm network and bring none of their own
   * (`HostConfig.Dns`). Default: the node's own resolver.
   */
  readonly attachableDnsServers?: readonly string[];
  /** User-defined resources of this node; default none. */
  readonly genericResources?: readonly GenericResource[];
}

/** The server; `start` and `stop` are idempotent. */
export class ApiServer {
  private readonly options: ApiServerOptions;
  private readonly logger: Logger;
  private readonly engine: Engine;
  private readonly proxy: EngineProxy;
  private readonly router: Router;
  private server: Server | undefined;

  constructor(options: ApiServerOptions) {
    this.options = options;
    this.logger = options.logger.child({ room: 'api' });
    this.engine = new Engine(options.engineSocketPath, options.environment.clock);
    this.proxy = new EngineProxy(options.engineSocketPath, this.logger);
    const context = {
      engine: this.engine,
      proxy: this.proxy,
      membership: options.membership,
      logger: this.logger,
      environment: options.environment,
      sockets: options.sockets ?? new SocketBinds(options.socketPath, options.engineSocketPath),
      attachableDnsServers: options.attachableDnsServers ?? [DNS_ADDRESS],
      genericResources: options.genericResources ?? [],
    };
    this.router = new Router(allRoutes(context));
  }

  /** Listens. @throws SkepError failed_precondition when someone else listens at the path */
  async start(): Promise<void> {
    if (this.server !== undefined) return;
    const { socketPath, passedSocket } = this.options;
    if (passedSocket === undefined) await removeStaleSocket(socketPath);
    const server = createServer({
      maxHeaderSize: REQUEST_HEAD_BYTES_MAX,
      headersTimeout: REQUEST_HEAD_TIMEOUT_MS,
      // Bodies may take as long as they like: `docker build` and `docker load` stream for minutes.
      requestTimeout: 0,
      keepAliveTimeout: CONNECTION_IDLE_TIMEOUT_MS,
    });
    server.maxConnections = CONNECTIONS_MAX;
    server.on('request', (message, response) => {
      this.serve(message, response).catch((error: unknown) => {
        this.logger.error({ error: String(error) }, 'an API request failed unexpectedly');
        response.destroy();
      });
    });
    server.on('upgrade', (message: IncomingMessage, socket: Socket, head: Buffer) =>
      this.serveUpgrade(message, socket, head),
    );
    server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
      if (!socket.writable || error.code === 'ECONNRESET') socket.destroy();
      else socket.end(refusal(error.code));
    });
    this.server = server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      const where = passedSocket === undefined ? { path: socketPath } : { fd: passedSocket };
      server.listen(where, () => {
        server.off('error', reject);
        resolve();
      });
    });
    // Failed accepts (no file descriptors left) come here; the server goes on listening.
    server.on('error', (error) =>
      this.logger.error({ error: error.message }, 'API server trouble'),
    );
    if (passedSocket === undefined) await openToGroup(socketPath);
    this.logger.info({ socketPath, passed: passedSocket !== undefined }, 'serving the Docker API');
  }

  /** Stops listening and ends all connections. */
  async stop(): Promise<void> {
    const { server } = this;
    if (server === undefined) return;
    this.server = undefined;
    const closed = new Promise<void>((resolve) => {
      server.close(() => resolve());
    });
    this.proxy.destroy();
    server.closeAllConnections();
    await closed;
  }

  private async serve(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const { rawPath, search } = splitTarget(message.url ?? '/');
    const { version, path } = splitVersion(rawPath);
    const match = this.router.match(message.method ?? '', path);
    if (match === undefined) {
      await this.proxy.pass(message, response);
      return;
    }
    try {
      await this.addEngineHeaders(response, version);
      const query = new URLSearchParams(search);
      const request = new ApiRequest({
        message,
        response,
        path,
        version,
        query,
        params: match.params,
      });
      writeReply(response, await match.handler(request));
    } catch (thrown) {
      const error = thrown instanceof ApiError ? thrown : localError(thrown);
      if (error.status >= 500) this.logger.warn({ path, error: error.message }, 'request failed');
      writeError(response, error, version);
    }
  }

  private async addEngineHeaders(response: ServerResponse, version: string): Promise<void> {
    const facts = await this.engine.describe();
    response.setHeader('Api-Version', facts.apiVersion);
    response.setHeader('Docker-Experimental', facts.experimental);
    response.setHeader('Ostype', facts.osType);
    response.setHeader('Server', facts.server);
    if (version === '') return;
    if (versionLess(version, API_VERSION_MIN)) {
      throw new ApiError(
        400,
        `client version ${version} is too old. Minimum supported API version is ` +
          `${API_VERSION_MIN}, please upgrade your client to a newer version`,
      );
    }
    if (versionLess(facts.apiVersion, version)) {
      throw new ApiError(
        400,
        `client version ${version} is too new. Maximum supported API version is ${facts.apiVersion}`,
      );
    }
  }

  /**
   * A request with `Connection: Upgrade`. Only the engine's routes upgrade; on ours the wish is
   * ignored, as HTTP allows, when the request can be answered without reading a body.
   */
  private serveUpgrade(message: IncomingMessage, socket: Socket, head: Buffer): void {
    socket.on('error', () => socket.destroy());
    const { path } = splitVersion(splitTarget(message.url ?? '/').rawPath);
    if (this.router.match(message.method ?? '', path) === undefined) {
      this.proxy.upgrade(message, socket, head);
      return;
    }
    if (message.method === 'POST' || message.method === 'PUT') {
      socket.end(refusal(undefined));
      return;
    }
    const response = new ServerResponse(message);
    response.shouldKeepAlive = false;
    response.assignSocket(socket);
    response.once('finish', () => socket.end());
    this.serve(message, response).catch(() => socket.destroy());
  }
}

/** Splits a request target; absolute forms (`http://host/path`) are cut to their path. */
function splitTarget(target: string): { readonly rawPath: string; readonly search: string } {
  const local = target.startsWith('/') ? target : target.replace(/^[a-z]+:\/\/[^/?#]*/i, '');
  const mark = local.indexOf('?');
  if (mark < 0) return { rawPath: local, search: '' };
  return { rawPath: local.slice(0, mark), search: local.slice(mark + 1) };
}

/** The answer to bytes that are not HTTP, in the words of Go's server. */
function refusal(code: string | undefined): string {
  const status =
    code === 'HPE_HEADER_OVERFLOW' ? '431 Request Header Fields Too Large' : '400 Bad Request';
  return (
    `HTTP/1.1 ${status}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n` +
    status
  );
}

/** Removes the socket of a process that is gone. Anything else at the path is left alone. */
async function removeStaleSocket(path: string): Promise<void> {
  const entry = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (entry === undefined) return;
  if (!entry.isSocket()) {
    throw new SkepError('failed_precondition', `${path} exists and is not a socket`);
  }
  const alive = await new Promise<boolean>((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
  if (alive) {
    throw new SkepError('failed_precondition', `another process already serves ${path}`);
  }
  await unlink(path);
}

/** Root and the docker group, where there is one, may use the socket; nobody else. */
async function openToGroup(path: string): Promise<void> {
  const groups = await readFile('/etc/group', 'utf8').catch(() => '');
  const line = groups.split('\n').find((entry) => entry.startsWith(`${SOCKET_GROUP}:`));
  const gid = Number(line?.split(':')[2]);
  if (process.getuid?.() === 0 && Number.isInteger(gid)) await chown(path, 0, gid);
  await chmod(path, SOCKET_MODE);
}
