/**
 * The one error family of Skep. Codes are gRPC's, because both edges speak them: the node-to-node
 * calls carry them as they are, and the Docker API maps them to HTTP statuses (src/api).
 */

/** Closed set of error codes, named and numbered as in gRPC. */
export const ERROR_CODES = {
  canceled: 1,
  unknown: 2,
  invalid_argument: 3,
  deadline_exceeded: 4,
  not_found: 5,
  already_exists: 6,
  permission_denied: 7,
  resource_exhausted: 8,
  failed_precondition: 9,
  aborted: 10,
  out_of_range: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  data_loss: 15,
  unauthenticated: 16,
} as const;

/** One of {@link ERROR_CODES}. */
export type ErrorCode = keyof typeof ERROR_CODES;

/** Structured context of an error; must never carry secrets, it reaches logs. */
export type ErrorDetails = Readonly<Record<string, string | number | boolean>>;

/** An operating error: something a caller can meet and must handle. `message` is Docker's own text where one exists. */
export class SkepError extends Error {
  override readonly name = 'SkepError';
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; details?: ErrorDetails } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details ?? {};
  }

  /** Any thrown value as a SkepError: itself, or wrapped with code `unknown`. */
  static from(value: unknown, code: ErrorCode = 'unknown'): SkepError {
    if (value instanceof SkepError) return value;
    if (value instanceof Error) return new SkepError(code, value.message, { cause: value });
    return new SkepError(code, String(value));
  }
}

/** Thrown by {@link invariant}: a bug of ours. The process must end rather than go on with a broken state. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

/** Throws {@link InvariantError} unless `condition` holds. Stays on in production. */
export function invariant(condition: unknown, why: string): asserts condition {
  if (!condition) throw new InvariantError(`invariant violated: ${why}`);
}

/** Marks the impossible branch of an exhaustive switch. */
export function unreachable(value: never): never {
  throw new InvariantError(`unreachable value: ${JSON.stringify(value)}`);
}
