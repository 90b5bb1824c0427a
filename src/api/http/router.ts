/**
 * The route table: method and path pattern to handler. A request that no row matches is the
 * engine's.
 */
import type { ApiRequest, Reply } from './request.js';

/** Answers one request. */
export type Handler = (request: ApiRequest) => Promise<Reply> | Reply;

/** One row: `:name` stands for one path segment. */
export interface Route {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'DELETE' | 'PUT';
  readonly pattern: string;
  readonly handler: Handler;
}

/** A row that matched, with its parameters decoded. */
export interface Match {
  readonly handler: Handler;
  readonly params: Readonly<Record<string, string>>;
}

/** Splits `/v1.41/services` into version and path; no version without the prefix. */
export function splitVersion(path: string): { readonly version: string; readonly path: string } {
  const match = /^\/v([0-9.]+)(\/.*)$/.exec(path);
  if (match === null) return { version: '', path };
  return { version: match[1] ?? '', path: match[2] ?? '/' };
}

/** True if version `a` is lower than `b`; both dotted numbers. */
export function versionLess(a: string, b: string): boolean {
  const left = a.split('.').map(Number);
  const right = b.split('.').map(Number);
  for (let index = 0; index < Math.max(left.length, right.length); index += 1) {
    const difference = (left[index] ?? 0) - (right[index] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}

/** The table, indexed by number of segments. */
export class Router {
  private readonly rows = new Map<number, { route: Route; segments: readonly string[] }[]>();

  constructor(routes: readonly Route[]) {
    for (const route of routes) {
      const segments = route.pattern.split('/').slice(1);
      const rows = this.rows.get(segments.length) ?? [];
      rows.push({ route, segments });
      this.rows.set(segments.length, rows);
    }
  }

  /** The first row for this method and unversioned path. */
  match(method: string, path: string): Match | undefined {
    const given = path.split('/').slice(1);
    for (const { route, segments } of this.rows.get(given.length) ?? []) {
      if (route.method !== method) continue;
      const params = matchSegments(segments, given);
      if (params !== undefined) return { handler: route.handler, params };
    }
    return undefined;
  }
}

function matchSegments(
  segments: readonly string[],
  given: readonly string[],
): Record<string, string> | undefined {
  const params: Record<string, string> = {};
  for (const [index, segment] of segments.entries()) {
    const text = given[index] ?? '';
    if (!segment.startsWith(':')) {
      if (segment !== text) return undefined;
      continue;
    }
    if (text === '') return undefined;
    try {
      params[segment.slice(1)] = decodeURIComponent(text);
    } catch {
      // Malformed percent-encoding: not a path of ours; the engine says what it thinks of it.
      return undefined;
    }
  }
  return params;
}
