/**
 * Service and task logs: lines from the manager's log source in the engine's framing (eight-byte
 * heads unless the container has a terminal), with details and timestamps in front as asked.
 */
import { create } from '@bufbuild/protobuf';
import type { Timestamp } from '@bufbuild/protobuf/wkt';
import { TimestampSchema } from '@bufbuild/protobuf/wkt';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import {
  type LogMessage,
  type LogSelector,
  LogSelectorSchema,
  LogStream,
  type LogSubscriptionOptions,
  LogSubscriptionOptionsSchema,
} from '../../model/gen/docker/swarmkit/v1/logbroker_pb.js';
import type { ServiceSpec, TaskSpec } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import { SkepError } from '../../model/errors.js';
import { timestampToFixedText } from '../convert/common.js';
import { ApiError, grpcCodeName } from '../http/api-error.js';
import { type ApiRequest, DONE, type Reply } from '../http/request.js';
import type { Route } from '../http/router.js';
import { control, findService, findTask, type RouteContext } from './context.js';

const DETAIL_PREFIX = 'com.docker.swarm';
const FRAME_HEAD_BYTES = 8;
/** Stream number of errors in the framing of logs. */
const STREAM_SYSTEM_ERROR = 3;

/** The routes. */
export function logRoutes(context: RouteContext): readonly Route[] {
  return [
    {
      method: 'GET',
      pattern: '/services/:id/logs',
      handler: (request) => {
        checkStreams(request);
        const manager = control(context);
        const service = findService(manager, request.param('id'));
        checkRuntime(service.spec);
        const selector = create(LogSelectorSchema, { serviceIds: [service.id] });
        return stream(context, request, selector, hasTerminal(service.spec?.task));
      },
    },
    {
      method: 'GET',
      pattern: '/tasks/:id/logs',
      handler: (request) => {
        checkStreams(request);
        const task = findTask(control(context), request.param('id'));
        const selector = create(LogSelectorSchema, { taskIds: [task.id] });
        return stream(context, request, selector, hasTerminal(task.spec));
      },
    },
  ];
}

function checkStreams(request: ApiRequest): void {
  if (request.flag('stdout') || request.flag('stderr')) return;
  throw new ApiError(500, 'Bad parameters: you must choose at least one stream');
}

function checkRuntime(spec: ServiceSpec | undefined): void {
  if (spec?.task?.runtime.case === 'container') return;
  throw new ApiError(500, 'logs only supported on container tasks');
}

function hasTerminal(spec: TaskSpec | undefined): boolean {
  return spec?.runtime.case === 'container' && spec.runtime.value.tty;
}

async function stream(
  context: RouteContext,
  request: ApiRequest,
  selector: LogSelector,
  tty: boolean,
): Promise<Reply> {
  const options = subscriptionOptions(request);
  const { logs } = context.membership.manager();
  const { response } = request;
  const writer = new LogWriter(response, request, tty);
  response.writeHead(200, { 'Content-Type': 'application/vnd.docker.raw-stream' });
  response.flushHeaders();
  try {
    for await (const message of logs.subscribe(selector, options, request.signal)) {
      if (request.signal.aborted) break;
      await writer.write(message);
    }
  } catch (thrown) {
    if (!request.signal.aborted) {
      const error = SkepError.from(thrown);
      const text = `rpc error: code = ${grpcCodeName(error.code)} desc = ${error.message}`;
      await writer.writeError(`Error grabbing logs: ${text}\n`);
    }
  }
  response.end();
  return DONE;
}

function subscriptionOptions(request: ApiRequest): LogSubscriptionOptions {
  const streams: LogStream[] = [];
  if (request.flag('stdout')) streams.push(LogStream.STDOUT);
  if (request.flag('stderr')) streams.push(LogStream.STDERR);
  const since = sinceOf(request.query.get('since') ?? '');
  return create(LogSubscriptionOptionsSchema, {
    follow: request.flag('follow'),
    streams,
    tail: tailOf(request.query.get('tail') ?? ''),
    ...(since === undefined ? {} : { since }),
  });
}

/** SwarmKit counts lines from the end as -(n+1); 0 means all. */
function tailOf(text: string): bigint {
  if (text === '' || text === 'all') return 0n;
  if (!/^[+-]?[0-9]{1,18}$/.test(text)) {
    throw new ApiError(500, 'tail value must be a positive integer or "all"');
  }
  const count = BigInt(text);
  if (count < 0n) throw new ApiError(500, 'negative tail values not supported');
  return -(count + 1n);
}

/** `seconds[.nanoseconds]`. */
function sinceOf(text: string): Timestamp | undefined {
  if (text === '') return undefined;
  const match = /^(-?[0-9]{1,18})(?:\.([0-9]{1,9})[0-9]*)?$/.exec(text);
  if (match === null) {
    const cause = `strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`;
    throw new ApiError(500, `could not parse since timestamp: ${cause}`);
  }
  return create(TimestampSchema, {
    seconds: BigInt(match[1] ?? '0'),
    nanos: Number((match[2] ?? '').padEnd(9, '0')),
  });
}

/** Writes lines to one client, waiting when it reads slowly. */
class LogWriter {
  private readonly response: ServerResponse;
  private readonly tty: boolean;
  private readonly details: boolean;
  private readonly timestamps: boolean;

  constructor(response: ServerResponse, request: ApiRequest, tty: boolean) {
    this.response = response;
    this.tty = tty;
    this.details = request.flag('details');
    this.timestamps = request.flag('timestamps');
  }

  async write(message: LogMessage): Promise<void> {
    const parts: Uint8Array[] = [];
    if (this.timestamps) parts.push(Buffer.from(`${timestampToFixedText(message.timestamp)} `));
    if (this.details) parts.push(Buffer.from(`${detailsOf(message)} `));
    parts.push(message.data);
    await this.frame(message.stream === LogStream.STDERR ? 2 : 1, Buffer.concat(parts));
  }

  async writeError(text: string): Promise<void> {
    await this.frame(STREAM_SYSTEM_ERROR, Buffer.from(text));
  }

  private async frame(streamNumber: number, line: Buffer): Promise<void> {
    let chunk = line;
    if (!this.tty) {
      const head = Buffer.alloc(FRAME_HEAD_BYTES);
      head[0] = streamNumber;
      head.writeUInt32BE(line.length, 4);
      chunk = Buffer.concat([head, line]);
    }
    if (this.response.destroyed || this.response.write(chunk)) return;
    await Promise.race([once(this.response, 'drain'), once(this.response, 'close')]);
  }
}

/** `key=value` pairs, query-escaped and sorted; where the line comes from always wins. */
function detailsOf(message: LogMessage): string {
  const details = new Map<string, string>();
  for (const { key, value } of message.attrs) details.set(key, value);
  details.set(`${DETAIL_PREFIX}.node.id`, message.context?.nodeId ?? '');
  details.set(`${DETAIL_PREFIX}.service.id`, message.context?.serviceId ?? '');
  details.set(`${DETAIL_PREFIX}.task.id`, message.context?.taskId ?? '');
  return [...details]
    .map(([key, value]) => `${queryEscape(key)}=${queryEscape(value)}`)
    .sort()
    .join(',');
}

/** Go's url.QueryEscape. */
function queryEscape(text: string): string {
  return encodeURIComponent(text.replaceAll(/\p{Surrogate}/gu, '\ufffd'))
    .replaceAll('%20', '+')
    .replaceAll(/[!'()*]/g, (mark) => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`);
}
