/**
 * The `skep.readiness.…` labels of a service: how a node finds out whether a task may have traffic.
 * They are labels because Swarm only knows health, and ends tasks that lack it.
 */
import { parseDurationMs } from './duration.js';

const PREFIX = 'skep.readiness.';

/** A shell command run in the container. */
export const READINESS_CMD_LABEL = `${PREFIX}cmd`;
/** `:PORT/PATH` asked by HTTP. */
export const READINESS_HTTP_LABEL = `${PREFIX}http`;
/** A port that takes TCP connections. */
export const READINESS_TCP_LABEL = `${PREFIX}tcp`;
/** From the end of one look to the next. */
export const READINESS_INTERVAL_LABEL = `${PREFIX}interval`;
/** Longest time of one look. */
export const READINESS_TIMEOUT_LABEL = `${PREFIX}timeout`;
/** Looks in a row that must fail. */
export const READINESS_RETRIES_LABEL = `${PREFIX}retries`;
/** How long a new task has for its first success. */
export const READINESS_START_PERIOD_LABEL = `${PREFIX}start-period`;

/** Bounds and default of a setting. */
interface Bounds {
  readonly min: number;
  readonly max: number;
  readonly default: number;
}

/** Milliseconds. */
export const READINESS_INTERVAL_MS: Bounds = { min: 500, max: 3_600_000, default: 5_000 };
/** Milliseconds. */
export const READINESS_TIMEOUT_MS: Bounds = { min: 100, max: 600_000, default: 3_000 };
/** Number of failures. */
export const READINESS_RETRIES: Bounds = { min: 1, max: 100, default: 3 };
/** Milliseconds; without the label there is no such period. */
export const READINESS_START_PERIOD_MS = { min: 1_000, max: 86_400_000 } as const;

/** Longest command, characters: it travels in the service's spec only, but is kept by each task. */
const COMMAND_MAX = 4096;
/** Longest path of an HTTP probe, characters. */
const PATH_MAX = 1024;

/** An HTTP probe's target at the task's own address. */
export interface HttpTarget {
  readonly port: number;
  /** With its query; begins with a slash. */
  readonly path: string;
}

/** What the labels of a service ask for. At least one of the probes is there; all must succeed. */
export interface Readiness {
  readonly command: string | undefined;
  readonly http: HttpTarget | undefined;
  readonly tcpPort: number | undefined;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly retries: number;
  /** Undefined: a new task may take as long as it likes. */
  readonly startPeriodMs: number | undefined;
}

/** The command of a label's value; undefined when empty or too long. */
export function parseReadinessCommand(text: string): string | undefined {
  return text.trim() === '' || text.length > COMMAND_MAX || text.includes('\0') ? undefined : text;
}

/** `:8080/ready?deep=1` in parts, `:8080` meaning `:8080/`; undefined when malformed. */
export function parseHttpTarget(text: string): HttpTarget | undefined {
  const match = /^:([1-9]\d{0,4})(\/[\x21-\x7e]*)?$/.exec(text);
  const port = Number(match?.[1]);
  const path = match?.[2] ?? '/';
  if (match === null || port > 65_535 || path.length > PATH_MAX || path.includes('#'))
    return undefined;
  return { port, path };
}

/** Whether any of the labels is there, for settings without a probe. */
export function namesReadiness(labels: Readonly<Record<string, string>> | undefined): boolean {
  return Object.keys(labels ?? {}).some((key) => key.startsWith(PREFIX));
}

/**
 * What the labels of a service ask for; undefined when they name no probe. What is malformed, which
 * only other software can have stored, counts as not set.
 */
export function readiness(
  labels: Readonly<Record<string, string>> | undefined,
): Readiness | undefined {
  const text = (key: string): string => labels?.[key] ?? '';
  const command = parseReadinessCommand(text(READINESS_CMD_LABEL));
  const http = parseHttpTarget(text(READINESS_HTTP_LABEL));
  const tcpPort = wholeWithin(text(READINESS_TCP_LABEL), { min: 1, max: 65_535 });
  if (command === undefined && http === undefined && tcpPort === undefined) return undefined;
  const timeMs = (key: string, bounds: { readonly min: number; readonly max: number }) =>
    within(parseDurationMs(text(key)), bounds);
  return {
    ...{ command, http, tcpPort },
    intervalMs:
      timeMs(READINESS_INTERVAL_LABEL, READINESS_INTERVAL_MS) ?? READINESS_INTERVAL_MS.default,
    timeoutMs:
      timeMs(READINESS_TIMEOUT_LABEL, READINESS_TIMEOUT_MS) ?? READINESS_TIMEOUT_MS.default,
    retries:
      wholeWithin(text(READINESS_RETRIES_LABEL), READINESS_RETRIES) ?? READINESS_RETRIES.default,
    startPeriodMs: timeMs(READINESS_START_PERIOD_LABEL, READINESS_START_PERIOD_MS),
  };
}

/** All of it as one text, to see whether anything changed. */
export function readinessText(wanted: Readiness | undefined): string {
  return wanted === undefined ? '' : JSON.stringify(wanted);
}

function wholeWithin(
  text: string,
  bounds: { readonly min: number; readonly max: number },
): number | undefined {
  return within(/^\d{1,9}$/.test(text) ? Number(text) : undefined, bounds);
}

function within(
  value: number | undefined,
  { min, max }: { readonly min: number; readonly max: number },
): number | undefined {
  return value !== undefined && value >= min && value <= max ? value : undefined;
}
