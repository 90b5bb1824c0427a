/**
 * `/events`: the engine's stream with the swarm's events woven in, line by line. Swarm events are
 * seen on managers only and from the time of the request on.
 */
import { type IncomingMessage, request as httpRequest, type ServerResponse } from 'node:http';
import type { Timer } from '../../model/environment.js';
import { engineUnreachable } from '../engine.js';
import { Filters } from '../filters.js';
import { localError } from '../http/api-error.js';
import { writeJson } from '../http/json-text.js';
import { type ApiRequest, DONE, type Reply, writeError } from '../http/request.js';
import type { Route } from '../http/router.js';
import type { ManagerAccess } from '../types.js';
import { EVENT_LINE_BYTES_MAX, EVENT_QUEUE_BYTES_MAX, STORE_POLL_MS } from '../limits.js';
import { eventFields, eventMatches, type SwarmEvent, swarmEventOf } from '../swarm-events.js';
import type { RouteContext } from './context.js';

/** The route. */
export function eventRoutes(context: RouteContext): readonly Route[] {
  return [{ method: 'GET', pattern: '/events', handler: (request) => events(context, request) }];
}

function events(context: RouteContext, request: ApiRequest): Promise<Reply> {
  const filters = Filters.parse(request.query.get('filters'));
  const { response } = request;
  return new Promise((resolve) => {
    const upstream = httpRequest({
      agent: false,
      socketPath: context.engine.socketPath,
      path: request.message.url ?? '/events',
      headers: { Host: 'docker' },
    });
    response.once('close', () => {
      upstream.destroy();
      resolve(DONE);
    });
    upstream.once('error', (error) => {
      const reason = localError(engineUnreachable(context.engine.socketPath, error));
      writeError(response, reason, request.version);
    });
    upstream.once('response', (answer) => {
      const type = answer.headers['content-type'] ?? 'application/json';
      response.writeHead(answer.statusCode ?? 502, { 'Content-Type': type });
      response.flushHeaders();
      if (answer.statusCode !== 200) {
        answer.pipe(response);
        return;
      }
      forwardLines(answer, response);
      watchStore(context, filters, response);
    });
    upstream.end();
  });
}

/** Passes whole lines on, so that a line of ours never falls into one of the engine's. */
function forwardLines(answer: IncomingMessage, response: ServerResponse): void {
  let rest: Buffer = Buffer.alloc(0);
  answer.on('data', (chunk: Buffer) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    const end = rest.lastIndexOf(0x0a) + 1;
    if (end === 0 && rest.length > EVENT_LINE_BYTES_MAX) {
      response.destroy();
      return;
    }
    if (end === 0) return;
    const open = response.write(rest.subarray(0, end));
    rest = rest.subarray(end);
    if (open) return;
    answer.pause();
    response.once('drain', () => answer.resume());
  });
  answer.once('end', () => response.end());
  answer.once('error', () => response.destroy());
}

/** Writes swarm events while this host is a manager; it may become one, or cease, meanwhile. */
function watchStore(context: RouteContext, filters: Filters, response: ServerResponse): void {
  const { clock } = context.environment;
  let watched: ManagerAccess | undefined;
  let unsubscribe = (): void => undefined;
  let timer: Timer | undefined;
  const write = (shown: SwarmEvent | undefined): void => {
    if (shown === undefined || !eventMatches(shown, filters)) return;
    response.write(`${writeJson(eventFields(shown))}\n`);
    // A reader that does not keep up is cut off rather than remembered without bound.
    if (response.writableLength > EVENT_QUEUE_BYTES_MAX) response.destroy();
  };
  const follow = (manager: ManagerAccess | undefined): void => {
    if (manager?.store === watched?.store) return;
    unsubscribe();
    watched = manager;
    unsubscribe =
      manager?.store.subscribe((changes) => {
        for (const change of changes) write(swarmEventOf(change, clock.nowMs()));
      }) ?? (() => undefined);
  };
  const look = () => {
    follow(managerOf(context));
    timer = clock.setTimer(STORE_POLL_MS, look);
  };
  look();
  response.once('close', () => {
    timer?.cancel();
    unsubscribe();
  });
}

function managerOf(context: RouteContext): ManagerAccess | undefined {
  const { membership } = context;
  return membership.status().controlAvailable ? membership.manager() : undefined;
}
