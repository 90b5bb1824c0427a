/**
 * Errors on the wire. gRPC statuses become {@link SkepError} and back; whatever else a handler
 * throws reaches the peer as `internal error` only, so that nothing of ours leaks.
 */
import { Code, ConnectError, type Interceptor } from '@connectrpc/connect';
import type { Logger } from '../observe/logger.js';
import { type ErrorCode, SkepError } from '../model/errors.js';

const CONNECT_CODES: Readonly<Record<ErrorCode, Code>> = {
  canceled: Code.Canceled,
  unknown: Code.Unknown,
  invalid_argument: Code.InvalidArgument,
  deadline_exceeded: Code.DeadlineExceeded,
  not_found: Code.NotFound,
  already_exists: Code.AlreadyExists,
  permission_denied: Code.PermissionDenied,
  resource_exhausted: Code.ResourceExhausted,
  failed_precondition: Code.FailedPrecondition,
  aborted: Code.Aborted,
  out_of_range: Code.OutOfRange,
  unimplemented: Code.Unimplemented,
  internal: Code.Internal,
  unavailable: Code.Unavailable,
  data_loss: Code.DataLoss,
  unauthenticated: Code.Unauthenticated,
};

const CODE_NAMES = new Map<Code, ErrorCode>(
  Object.entries(CONNECT_CODES).map(([name, code]) => [code, name as ErrorCode]),
);

/** gRPC's names of the codes, as Go prints them. */
const GO_CODE_NAMES: Readonly<Record<ErrorCode, string>> = {
  canceled: 'Canceled',
  unknown: 'Unknown',
  invalid_argument: 'InvalidArgument',
  deadline_exceeded: 'DeadlineExceeded',
  not_found: 'NotFound',
  already_exists: 'AlreadyExists',
  permission_denied: 'PermissionDenied',
  resource_exhausted: 'ResourceExhausted',
  failed_precondition: 'FailedPrecondition',
  aborted: 'Aborted',
  out_of_range: 'OutOfRange',
  unimplemented: 'Unimplemented',
  internal: 'Internal',
  unavailable: 'Unavailable',
  data_loss: 'DataLoss',
  unauthenticated: 'Unauthenticated',
};

/** `rpc error: code = … desc = …`, the text that Docker shows for errors of remote calls. */
export function goErrorText(error: SkepError): string {
  return `rpc error: code = ${GO_CODE_NAMES[error.code]} desc = ${error.message}`;
}

/** Anything a client call threw, as a SkepError with the peer's own message. */
export function fromRpcError(reason: unknown): SkepError {
  if (reason instanceof SkepError) return reason;
  const error = ConnectError.from(reason);
  const code = CODE_NAMES.get(error.code) ?? 'unknown';
  return new SkepError(code, error.rawMessage, { cause: reason });
}

/** A handler's error as the status to send. Texts of unknown errors stay here, in the log. */
export function toRpcError(reason: unknown, logger: Logger): ConnectError {
  if (reason instanceof SkepError) {
    return new ConnectError(reason.message, CONNECT_CODES[reason.code]);
  }
  if (reason instanceof ConnectError) return reason;
  logger.error({ error: reason }, 'call handler failed');
  return new ConnectError('internal error', Code.Internal);
}

/** Server interceptor that applies {@link toRpcError} to unary calls and streams. */
export function errorInterceptor(logger: Logger): Interceptor {
  return (next) => async (request) => {
    try {
      const response = await next(request);
      if (!response.stream) return response;
      return { ...response, message: translateErrors(response.message, logger) };
    } catch (error) {
      throw toRpcError(error, logger);
    }
  };
}

async function* translateErrors<T>(source: AsyncIterable<T>, logger: Logger): AsyncGenerator<T> {
  try {
    yield* source;
  } catch (error) {
    throw toRpcError(error, logger);
  }
}
