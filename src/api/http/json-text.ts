/**
 * JSON output in the form the engine writes: 64-bit integers as plain digits, fields that are
 * `undefined` left out, one line with a line feed at its end. Also the helpers that stand for
 * Go's `omitempty` and for its sorted maps.
 */
import { JsonNumber } from './go-json.js';

/** A value that has been written before, by {@link writeJson}. */
export class JsonText {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** A value that can be written. `undefined` fields are left out. */
export type JsonOut =
  | null
  | boolean
  | number
  | bigint
  | string
  | JsonNumber
  | JsonText
  | readonly JsonOut[]
  | ReadonlyMap<string, JsonOut>
  | { readonly [key: string]: JsonOut | undefined };

/** `value` as JSON text without a line feed. */
export function writeJson(value: JsonOut): string {
  if (typeof value === 'bigint') return value.toString();
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  if (value instanceof JsonNumber || value instanceof JsonText) return value.text;
  if (isArray(value)) return `[${value.map(writeJson).join(',')}]`;
  const parts: string[] = [];
  const entries = isMap(value) ? value : Object.entries(value);
  for (const [key, item] of entries) {
    if (item !== undefined) parts.push(`${JSON.stringify(key)}:${writeJson(item)}`);
  }
  return `{${parts.join(',')}}`;
}

function isArray(value: object): value is readonly JsonOut[] {
  return Array.isArray(value);
}

function isMap(value: object): value is ReadonlyMap<string, JsonOut> {
  return value instanceof Map;
}

/** Go's omitempty for scalars: undefined for zero, false and the empty string. */
export function unlessZero<V extends string | number | bigint | boolean>(value: V): V | undefined {
  return value ? value : undefined;
}

/** Go's omitempty for slices. */
export function unlessEmpty<V>(values: readonly V[]): readonly V[] | undefined {
  return values.length === 0 ? undefined : values;
}

/** A map with its keys sorted by code point, as Go writes it. */
export function sortedMap(map: Readonly<Record<string, string>>): Record<string, string> {
  const entries = Object.entries(map).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  const result = Object.create(null) as Record<string, string>;
  for (const [key, value] of entries) result[key] = value;
  return result;
}

/** Go's omitempty for maps. */
export function mapUnlessEmpty(
  map: Readonly<Record<string, string>>,
): Record<string, string> | undefined {
  return Object.keys(map).length === 0 ? undefined : sortedMap(map);
}

/** A float32 with as few digits as tell it from its neighbours, as Go prints it. */
export function float32Number(value: number): number {
  for (let digits = 1; digits <= 9; digits += 1) {
    const candidate = Number(value.toPrecision(digits));
    if (Math.fround(candidate) === Math.fround(value)) return candidate;
  }
  return value;
}
