/** Parsed JSON of the Docker API as parts that are wanted, and as plain values to compare. */
import {
  JsonNumber,
  type JsonObject,
  type JsonValue,
  parseJsonString,
} from '../api/http/go-json.js';
import { type JsonOut, writeJson } from '../api/http/json-text.js';
import { SkepError } from '../model/errors.js';

/** A list, empty when it is null. @throws SkepError invalid_argument if it is something else */
export function listOf(value: JsonValue | undefined, what: string): readonly JsonValue[] {
  if (value === null || value === undefined) return [];
  if (!Array.isArray(value)) throw malformed(`${what} is no list`);
  return value;
}

/** An object. @throws SkepError invalid_argument if it is something else */
export function objectOf(value: JsonValue | undefined, what: string): JsonObject {
  if (!(value instanceof Map)) throw malformed(`${what} is no object`);
  return value;
}

/** An object with these keys only; those that are missing stay so. */
export function pick(value: JsonValue | undefined, keys: readonly string[]): JsonObject {
  const result: JsonObject = new Map();
  if (!(value instanceof Map)) return result;
  for (const key of keys) {
    const item = value.get(key);
    if (item !== undefined) result.set(key, item);
  }
  return result;
}

/** As JSON.parse would have it; integers that no number holds are text. */
export function plain(value: JsonValue): unknown {
  if (value instanceof JsonNumber) {
    const number = Number(value.text);
    return Number.isInteger(number) && !Number.isSafeInteger(number) ? value.text : number;
  }
  if (value instanceof Map)
    return Object.fromEntries([...value].map(([key, item]) => [key, plain(item)]));
  return Array.isArray(value) ? value.map(plain) : value;
}

/** What the API would show, as a plain value. */
export function plainFields(fields: JsonOut): unknown {
  return plain(parseJsonString(writeJson(fields)));
}

/** What the other side sent is not what the Docker API sends. */
export function malformed(why: string): SkepError {
  return new SkepError('invalid_argument', `this is not a swarm: ${why}`);
}
