/**
 * One look at whether a task may have traffic: all probes that its service's labels name, one after
 * the other. Nothing of what a probe says goes further than its code: it may hold secrets.
 */
import { request } from 'node:http';
import type { Socket } from 'node:net';
import type { Clock } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import type { HttpTarget, Readiness } from '../model/readiness.js';
import { connectIn } from '../native/namespace-socket.js';
import { childAbort, type Gate } from './async.js';
import type { ContainerState, EngineClient } from './engine-client.js';

/** What a look found. */
export type Look =
  | { readonly kind: 'ready' }
  /** `reason` is a part of a sentence. */
  | { readonly kind: 'unready'; readonly reason: string }
  /** Nobody can say: the engine is away. */
  | { readonly kind: 'unknown' };

/** What the looks of all tasks share. */
export interface ProbeParts {
  readonly client: Pick<EngineClient, 'runInContainer'>;
  readonly clock: Clock;
  readonly gate: Gate;
}

/** The container looked at. */
export interface ProbeTarget {
  readonly container: Pick<ContainerState, 'id' | 'pid' | 'sandbox' | 'shell'>;
  /** Where its ports are asked. */
  readonly address: string;
}

const READY: Look = { kind: 'ready' };

/** Looks once. @throws SkepError canceled by `signal` */
export async function lookAt(
  parts: ProbeParts,
  wanted: Readiness,
  target: ProbeTarget,
  signal: AbortSignal,
): Promise<Look> {
  const { command, http, tcpPort, timeoutMs } = wanted;
  const probes: { readonly name: string; readonly run: (limit: AbortSignal) => Promise<Look> }[] =
    [];
  if (tcpPort !== undefined)
    probes.push({ name: `port ${tcpPort}`, run: (limit) => tryTcp(target, tcpPort, limit) });
  if (http !== undefined)
    probes.push({ name: `HTTP port ${http.port}`, run: (limit) => tryHttp(target, http, limit) });
  if (command !== undefined)
    probes.push({ name: 'the command', run: (limit) => tryCommand(parts, command, target, limit) });
  for (const { name, run } of probes) {
    const found = await parts.gate.run(signal, () =>
      withLimit(parts.clock, timeoutMs, run, signal, name),
    );
    if (found.kind !== 'ready') return found;
  }
  return READY;
}

async function withLimit(
  clock: Clock,
  timeoutMs: number,
  run: (limit: AbortSignal) => Promise<Look>,
  signal: AbortSignal,
  name: string,
): Promise<Look> {
  const limit = childAbort(signal);
  const timer = clock.setTimer(timeoutMs, () => limit.controller.abort());
  try {
    return await run(limit.controller.signal);
  } catch (thrown) {
    const error = SkepError.from(thrown);
    if (signal.aborted) throw error;
    if (limit.controller.signal.aborted)
      return unready(`${name} has not answered within ${timeoutMs / 1000} s`);
    if (error.code === 'unavailable') return { kind: 'unknown' };
    return unready(`${name}: ${error.message}`);
  } finally {
    timer.cancel();
    limit.release();
  }
}

async function tryCommand(
  { client }: ProbeParts,
  command: string,
  { container }: ProbeTarget,
  limit: AbortSignal,
): Promise<Look> {
  const exitCode = await client.runInContainer(container, [...container.shell, command], limit);
  return exitCode === 0 ? READY : unready(`the command ended with ${exitCode}`);
}

async function tryTcp(target: ProbeTarget, port: number, limit: AbortSignal): Promise<Look> {
  const socket = connectIn(target.container.sandbox, target.address, port);
  try {
    return await settled(socket, limit, (resolve) => {
      socket.on('connect', () => resolve(READY));
      socket.on('error', (error: NodeJS.ErrnoException) =>
        resolve(unready(`port ${port} takes no connection (${error.code ?? 'failed'})`)),
      );
    });
  } finally {
    socket.destroy();
  }
}

async function tryHttp(target: ProbeTarget, http: HttpTarget, limit: AbortSignal): Promise<Look> {
  const { port, path } = http;
  const socket = connectIn(target.container.sandbox, target.address, port);
  const asked = request({
    ...{ host: target.address, port, path },
    headers: { 'User-Agent': 'skep-readiness', Connection: 'close' },
    createConnection: () => socket,
  });
  try {
    return await settled(socket, limit, (resolve) => {
      asked.on('response', ({ statusCode = 0 }) => {
        const good = statusCode >= 200 && statusCode < 400;
        resolve(good ? READY : unready(`HTTP port ${port} answers with ${statusCode}`));
      });
      asked.on('error', (error: NodeJS.ErrnoException) =>
        resolve(unready(`HTTP port ${port} gives no answer (${error.code ?? 'failed'})`)),
      );
      asked.end();
    });
  } finally {
    // What comes after the headers is not wanted.
    asked.on('error', () => undefined);
    asked.destroy();
    socket.destroy();
  }
}

/** What `listen` says; rejects when `limit` aborts first. */
function settled(
  socket: Socket,
  limit: AbortSignal,
  listen: (resolve: (look: Look) => void) => void,
): Promise<Look> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(new SkepError('canceled', 'context canceled'));
    if (limit.aborted) onAbort();
    limit.addEventListener('abort', onAbort, { once: true });
    socket.on('close', () => limit.removeEventListener('abort', onAbort));
    listen(resolve);
  });
}

function unready(reason: string): Look {
  return { kind: 'unready', reason };
}
