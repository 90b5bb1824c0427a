/** Bodies of requests to the engine, read as the engine reads them. */
import {
  type JsonObject,
  JsonSyntaxError,
  type JsonValue,
  parseJsonStream,
} from '../http/go-json.js';

/** The body as an object; undefined leaves the complaint about it to the engine. */
export function parseBody(raw: Buffer): JsonObject | undefined {
  try {
    const value = parseJsonStream(raw.toString('utf8'));
    return value instanceof Map ? value : undefined;
  } catch (error) {
    if (error instanceof JsonSyntaxError) return undefined;
    throw error;
  }
}

/** The entry for `key` without regard to case, as Go reads it. */
export function entryOf(
  object: JsonObject,
  key: string,
): { key: string; value: JsonValue } | undefined {
  const exact = object.get(key);
  if (exact !== undefined) return { key, value: exact };
  for (const [name, value] of object) {
    if (name.toLowerCase() === key.toLowerCase()) return { key: name, value };
  }
  return undefined;
}

/** The object at `key`, or undefined. */
export function objectAt(object: JsonObject, key: string): JsonObject | undefined {
  const value = entryOf(object, key)?.value;
  return value instanceof Map ? value : undefined;
}
