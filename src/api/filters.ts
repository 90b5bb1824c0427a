/**
 * The `filters` query of lists: parsing (`{"key":{"value":true}}` and the old
 * `{"key":["value"]}`), Docker's check of keys, and its ways of matching.
 */
import { ApiError, badRequest } from './http/api-error.js';
import { JsonSyntaxError, type JsonValue, parseJsonString } from './http/go-json.js';
import { kindOf } from './http/go-struct.js';
import { FILTER_VALUES_MAX } from './limits.js';

/** Patterns longer than this match as plain text. */
const PATTERN_LENGTH_MAX = 256;

/** Parsed filters. Several values of one key are alternatives, except for labels. */
export class Filters {
  private readonly values: ReadonlyMap<string, readonly string[]>;

  private constructor(values: ReadonlyMap<string, readonly string[]>) {
    this.values = values;
  }

  /** Reads the query text. @throws ApiError with Go's text for bad JSON; all lists but that of services answer 500 */
  static parse(text: string | null, status = 500): Filters {
    if (text === null || text === '') return new Filters(new Map());
    let parsed: JsonValue;
    try {
      parsed = parseJsonString(text);
    } catch (error) {
      if (error instanceof JsonSyntaxError) throw new ApiError(status, error.message);
      throw error;
    }
    if (parsed === null) return new Filters(new Map());
    if (!(parsed instanceof Map)) throw badShape(status, parsed, 'map[string]map[string]bool');
    const values = new Map<string, readonly string[]>();
    let count = 0;
    for (const [key, value] of parsed) {
      const list = valuesOf(status, value);
      count += list.length;
      if (count > FILTER_VALUES_MAX) throw badRequest('too many filter values');
      values.set(key, list);
    }
    return new Filters(values);
  }

  /** @throws ApiError 400 for a key that is not in `accepted` */
  checkKeys(accepted: readonly string[]): void {
    for (const key of this.values.keys()) {
      if (!accepted.includes(key)) throw badRequest(`Invalid filter '${key}'`);
    }
  }

  get(key: string): readonly string[] {
    return this.values.get(key) ?? [];
  }

  has(key: string): boolean {
    return this.get(key).length > 0;
  }

  /** No values, or `text` is one of them. */
  exact(key: string, text: string): boolean {
    return !this.has(key) || this.get(key).includes(text);
  }

  /** No values, or `text` starts with one of them. */
  prefix(key: string, text: string): boolean {
    return !this.has(key) || this.get(key).some((value) => text.startsWith(value));
  }

  /** No values, or one of them matches a part of `text`, as a pattern. */
  pattern(key: string, text: string): boolean {
    return !this.has(key) || this.get(key).some((value) => matchesPattern(value, text));
  }

  /** All values hold: `k` asks for the key, `k=v` for the value too. An empty value asks for the key only. */
  labels(key: string, labels: Readonly<Record<string, string>>): boolean {
    return this.get(key).every((value) => {
      const mark = value.indexOf('=');
      const name = mark < 0 ? value : value.slice(0, mark);
      const wanted = mark < 0 ? '' : value.slice(mark + 1);
      if (!Object.hasOwn(labels, name)) return false;
      return wanted === '' || labels[name] === wanted;
    });
  }
}

function badShape(status: number, value: JsonValue, goType = 'map[string]bool'): Error {
  const text = `json: cannot unmarshal ${kindOf(value)} into Go value of type ${goType}`;
  return new ApiError(status, text);
}

function valuesOf(status: number, value: JsonValue): readonly string[] {
  if (value === null) return [];
  if (value instanceof Map) return [...value].filter(([, on]) => on === true).map(([name]) => name);
  if (!Array.isArray(value)) throw badShape(status, value);
  return value.map((item) => {
    // Go tells what is wrong with the present form, not with the old one.
    if (typeof item !== 'string') throw badShape(status, value);
    return item;
  });
}

/**
 * Go matches these as regular expressions in linear time; JavaScript's backtrack. Groups, which
 * could take exponential time, match as plain text.
 */
function matchesPattern(pattern: string, text: string): boolean {
  if (pattern === text) return true;
  if (pattern.length > PATTERN_LENGTH_MAX || /[()\\]/.test(pattern)) return text.includes(pattern);
  try {
    return new RegExp(pattern).test(text);
  } catch {
    // Not a pattern: plain text.
    return text.includes(pattern);
  }
}
