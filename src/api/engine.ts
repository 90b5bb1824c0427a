/**
 * Questions of our own to the Docker Engine: small JSON requests over its unix socket, and the
 * facts about it (versions, names) that our answers must repeat. Requests of clients do not come
 * through here but through the proxy, which does not read them.
 */
import { type IncomingHttpHeaders, request as httpRequest } from 'node:http';
import { ApiError } from './http/api-error.js';
import { JsonSyntaxError, type JsonValue, parseJsonString } from './http/go-json.js';
import { readBody } from './http/request.js';
import {
  API_VERSION_DEFAULT,
  ENGINE_BODY_BYTES_MAX,
  ENGINE_DESCRIBE_TIMEOUT_MS,
  ENGINE_REQUEST_TIMEOUT_MS,
  ENGINE_VERSION_TTL_MS,
} from './limits.js';
import type { Clock } from '../model/environment.js';

/** An answer of the engine, read whole. */
export interface EngineAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** What the engine says of itself in response headers. */
export interface EngineFacts {
  readonly apiVersion: string;
  readonly experimental: string;
  readonly osType: string;
  readonly server: string;
}

const UNKNOWN_FACTS: EngineFacts = {
  apiVersion: API_VERSION_DEFAULT,
  experimental: 'false',
  osType: 'linux',
  server: 'Docker',
};

/** The error for an engine that cannot be reached. */
export function engineUnreachable(socketPath: string, cause: Error): ApiError {
  const code = 'code' in cause && typeof cause.code === 'string' ? ` (${cause.code})` : '';
  const message = `Cannot connect to the Docker Engine at unix://${socketPath}${code}. Is it running?`;
  return new ApiError(503, message, { cause });
}

/** A client of one engine. */
export class Engine {
  readonly socketPath: string;
  private readonly clock: Clock;
  private facts: { readonly value: EngineFacts; readonly untilMs: number } | undefined;

  constructor(socketPath: string, clock: Clock) {
    this.socketPath = socketPath;
    this.clock = clock;
  }

  /** One request with its answer read whole. @throws ApiError 503 when the engine is unreachable */
  request(
    method: string,
    path: string,
    options: {
      readonly body?: string;
      readonly signal?: AbortSignal;
      readonly timeoutMs?: number;
    } = {},
  ): Promise<EngineAnswer> {
    return new Promise((resolve, reject) => {
      const timeout = AbortSignal.timeout(options.timeoutMs ?? ENGINE_REQUEST_TIMEOUT_MS);
      const signal =
        options.signal === undefined ? timeout : AbortSignal.any([timeout, options.signal]);
      const request = httpRequest({
        agent: false,
        socketPath: this.socketPath,
        method,
        path,
        headers: {
          Host: 'docker',
          ...(options.body === undefined ? {} : { 'Content-Type': 'application/json' }),
        },
        signal,
      });
      request.once('error', (error) => reject(engineUnreachable(this.socketPath, error)));
      request.once('response', (response) => {
        readBody(response, ENGINE_BODY_BYTES_MAX).then(
          (body) =>
            resolve({ status: response.statusCode ?? 502, headers: response.headers, body }),
          reject,
        );
      });
      request.end(options.body);
    });
  }

  /** GET of a JSON document; undefined for 404. @throws ApiError with the engine's own error */
  async get(path: string, signal?: AbortSignal): Promise<JsonValue | undefined> {
    const answer = await this.request('GET', path, signal === undefined ? {} : { signal });
    if (answer.status === 404) return undefined;
    if (answer.status !== 200) throw engineError(answer);
    return parseEngineJson(answer.body);
  }

  /** Version, operating system and name, asked at most every half minute. Defaults if unreachable. */
  async describe(): Promise<EngineFacts> {
    const now = this.clock.monotonicMs();
    if (this.facts !== undefined && now < this.facts.untilMs) return this.facts.value;
    try {
      const timeoutMs = ENGINE_DESCRIBE_TIMEOUT_MS;
      const { headers } = await this.request('GET', '/_ping', { timeoutMs });
      const value = {
        apiVersion: text(headers['api-version'], UNKNOWN_FACTS.apiVersion),
        experimental: text(headers['docker-experimental'], UNKNOWN_FACTS.experimental),
        osType: text(headers['ostype'], UNKNOWN_FACTS.osType),
        server: text(headers.server, UNKNOWN_FACTS.server),
      };
      this.facts = { value, untilMs: now + ENGINE_VERSION_TTL_MS };
      return value;
    } catch (error) {
      if (error instanceof ApiError) return this.facts?.value ?? UNKNOWN_FACTS;
      throw error;
    }
  }
}

function text(header: string | string[] | undefined, otherwise: string): string {
  return typeof header === 'string' && header !== '' ? header : otherwise;
}

/** The engine's error as one of ours. */
export function engineError(answer: EngineAnswer): ApiError {
  let message = answer.body.toString('utf8').trim();
  try {
    const value = parseJsonString(message);
    const inner = value instanceof Map ? value.get('message') : undefined;
    if (typeof inner === 'string') message = inner;
  } catch (error) {
    // Plain text, as old API versions answer: shown as it is.
    if (!(error instanceof JsonSyntaxError)) throw error;
  }
  return new ApiError(answer.status, message);
}

function parseEngineJson(body: Buffer): JsonValue {
  try {
    return parseJsonString(body.toString('utf8'));
  } catch (error) {
    throw new ApiError(502, 'the Docker Engine answered with something that is not JSON', {
      cause: error,
    });
  }
}
