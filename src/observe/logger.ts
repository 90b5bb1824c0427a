/**
 * Structured logs. One JSON object a line (pino); rooms take a {@link Logger} and never write to
 * the console themselves. Secrets, tokens and keys must not be passed in.
 */
import { type DestinationStream, pino } from 'pino';

/** The levels in use; `fatal` is followed by the end of the process. */
export type LogLevel = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace';

/** Fields first, then a short sentence, as pino has it. */
export interface Logger {
  fatal(fields: object, message: string): void;
  error(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  info(fields: object, message: string): void;
  debug(fields: object, message: string): void;
  trace(fields: object, message: string): void;
  /** A logger whose lines all carry `fields`. */
  child(fields: object): Logger;
}

/** A logger that writes JSON lines of `level` and above to `destination` (default: standard output). */
export function createLogger(options: {
  level: LogLevel;
  destination?: DestinationStream;
}): Logger {
  const settings = { level: options.level, base: {} };
  return options.destination === undefined ? pino(settings) : pino(settings, options.destination);
}

/** Drops everything. */
export const silentLogger: Logger = pino({ level: 'silent' });
