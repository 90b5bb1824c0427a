/**
 * Errors as the Docker API shows them: an HTTP status and a message in the envelope
 * `{"message": …}`. Errors of the manager's control calls keep the `rpc error: code = … desc = …`
 * prefix, because users and tools match that text; errors of this host do not have it.
 */
import { type ErrorCode, SkepError } from '../../model/errors.js';

/** What a handler throws to answer with a status other than its own. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: number;

  constructor(status: number, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.status = status;
  }
}

/** 400: the request itself is wrong. */
export function badRequest(message: string): ApiError {
  return new ApiError(400, message);
}

/** 404: no such object. */
export function notFound(message: string): ApiError {
  return new ApiError(404, message);
}

const HTTP_STATUS: Record<ErrorCode, number> = {
  canceled: 500,
  unknown: 500,
  invalid_argument: 400,
  deadline_exceeded: 500,
  not_found: 404,
  already_exists: 409,
  permission_denied: 403,
  resource_exhausted: 500,
  failed_precondition: 400,
  aborted: 500,
  out_of_range: 400,
  unimplemented: 501,
  internal: 500,
  unavailable: 503,
  data_loss: 500,
  unauthenticated: 401,
};

/** The HTTP status for an error code. */
export function httpStatusOf(code: ErrorCode): number {
  return HTTP_STATUS[code];
}

/** A code's name in Go's grpc package, as it stands in messages: `InvalidArgument`. */
export function grpcCodeName(code: ErrorCode): string {
  return code
    .split('_')
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
    .join('');
}

/** An error of a control call: status by its code, text with gRPC's prefix. */
export function controlError(thrown: unknown): ApiError {
  if (thrown instanceof ApiError) return thrown;
  const error = SkepError.from(thrown);
  const message = `rpc error: code = ${grpcCodeName(error.code)} desc = ${error.message}`;
  return new ApiError(httpStatusOf(error.code), message, { cause: thrown });
}

/** Any other error: status by its code, text as it is. A late join is 503, as Docker has it. */
export function localError(thrown: unknown): ApiError {
  if (thrown instanceof ApiError) return thrown;
  const error = SkepError.from(thrown);
  const status = error.code === 'deadline_exceeded' ? 503 : httpStatusOf(error.code);
  return new ApiError(status, error.message, { cause: thrown });
}

/** Runs a control call and turns what it throws into {@link controlError}. */
export async function throughControl<R>(call: () => R | Promise<R>): Promise<R> {
  try {
    return await call();
  } catch (error) {
    throw controlError(error);
  }
}
