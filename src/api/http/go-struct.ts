/**
 * Typed reading of parsed JSON with the rules of Go's encoding/json: keys match without regard to
 * case, a missing key or null is the zero value, a wrong type is an error that names Go's struct,
 * path and type.
 */
import { badRequest } from './api-error.js';
import { JsonNumber, type JsonObject, type JsonValue } from './go-json.js';

const EMPTY: JsonObject = new Map();

/** Go's name for the kind of a JSON value. */
export function kindOf(value: JsonValue): string {
  if (typeof value === 'string') return 'string';
  if (typeof value === 'boolean') return 'bool';
  if (value instanceof JsonNumber) return 'number';
  return Array.isArray(value) ? 'array' : 'object';
}

const INTEGER_RANGES = {
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
  uint64: [0n, 2n ** 64n - 1n],
  uint32: [0n, 2n ** 32n - 1n],
  int: [-(2n ** 63n), 2n ** 63n - 1n],
} as const;

/** One JSON object read as a Go struct. */
export class GoStruct {
  private readonly fields: JsonObject;
  private readonly struct: string;
  private readonly path: string;

  private constructor(fields: JsonObject, struct: string, path: string) {
    this.fields = fields;
    this.struct = struct;
    this.path = path;
  }

  /** The top value of a body; `goType` is Go's name of it, such as `swarm.ServiceSpec`. */
  static root(value: JsonValue, goType: string): GoStruct {
    if (value !== null && !(value instanceof Map)) {
      throw badRequest(`json: cannot unmarshal ${kindOf(value)} into Go value of type ${goType}`);
    }
    return new GoStruct(value ?? EMPTY, goType.slice(goType.indexOf('.') + 1), '');
  }

  /** True if the key is there and not null. */
  has(key: string): boolean {
    return this.get(key) !== null;
  }

  string(key: string, goType = 'string'): string {
    return this.optionalString(key, goType) ?? '';
  }

  optionalString(key: string, goType = 'string'): string | undefined {
    const value = this.get(key);
    if (value === null) return undefined;
    if (typeof value !== 'string') throw this.mismatch(value, key, goType);
    return value;
  }

  bool(key: string): boolean {
    return this.optionalBool(key) ?? false;
  }

  optionalBool(key: string): boolean | undefined {
    const value = this.get(key);
    if (value === null) return undefined;
    if (typeof value !== 'boolean') throw this.mismatch(value, key, 'bool');
    return value;
  }

  /** An int64; durations pass `time.Duration` as Go type. */
  int64(key: string, goType = 'int64'): bigint {
    return this.optionalInteger(key, 'int64', goType) ?? 0n;
  }

  optionalInt64(key: string, goType = 'int64'): bigint | undefined {
    return this.optionalInteger(key, 'int64', goType);
  }

  uint64(key: string): bigint {
    return this.optionalInteger(key, 'uint64', 'uint64') ?? 0n;
  }

  optionalUint64(key: string): bigint | undefined {
    return this.optionalInteger(key, 'uint64', 'uint64');
  }

  uint32(key: string, goType = 'uint32'): number {
    return Number(this.optionalInteger(key, 'uint32', goType) ?? 0n);
  }

  /** A Go int that must also fit a JavaScript number's safe range once stored. */
  int(key: string): number {
    return Number(this.optionalInteger(key, 'int', 'int') ?? 0n);
  }

  float32(key: string): number {
    const value = this.get(key);
    if (value === null) return 0;
    if (!(value instanceof JsonNumber)) throw this.mismatch(value, key, 'float32');
    const number = Math.fround(Number(value.text));
    if (!Number.isFinite(number)) throw this.mismatch(value, key, 'float32', true);
    return number;
  }

  /** Base64 text, or an array of numbers, as bytes. */
  bytes(key: string): Uint8Array {
    const value = this.get(key);
    if (value === null) return new Uint8Array();
    if (Array.isArray(value)) return Uint8Array.from(value, (item) => this.byte(item, key));
    if (typeof value !== 'string') throw this.mismatch(value, key, '[]uint8');
    const compact = value.replaceAll(/[\r\n]/g, '');
    if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(compact)) {
      const wrong = compact.search(/[^A-Za-z0-9+/]|=(?!=?$)/);
      throw badRequest(`illegal base64 data at input byte ${wrong < 0 ? compact.length : wrong}`);
    }
    return new Uint8Array(Buffer.from(compact, 'base64'));
  }

  private byte(value: JsonValue, key: string): number {
    if (value === null) return 0;
    const isNumber = value instanceof JsonNumber;
    if (!isNumber || !/^[0-9]{1,3}$/.test(value.text) || Number(value.text) > 255)
      throw this.mismatch(value, key, 'uint8', isNumber);
    return Number(value.text);
  }

  strings(key: string): string[] {
    return this.array(key, '[]string').map((value) => {
      if (value === null) return '';
      if (typeof value !== 'string') throw this.mismatch(value, key, 'string');
      return value;
    });
  }

  /** A map of strings; `Object.create(null)` keeps hostile keys apart from prototypes. */
  stringMap(key: string): Record<string, string> {
    const value = this.get(key);
    const result = Object.create(null) as Record<string, string>;
    if (value === null) return result;
    if (!(value instanceof Map)) throw this.mismatch(value, key, 'map[string]string');
    for (const [name, item] of value) {
      if (item !== null && typeof item !== 'string') throw this.mismatch(item, key, 'string');
      result[name] = item ?? '';
    }
    return result;
  }

  /** A nested struct; empty when missing. */
  nested(key: string, goType: string): GoStruct {
    return this.optionalStruct(key, goType) ?? new GoStruct(EMPTY, afterDot(goType), this.at(key));
  }

  /** A pointer to a nested struct. */
  optionalStruct(key: string, goType: string): GoStruct | undefined {
    const value = this.get(key);
    if (value === null) return undefined;
    if (!(value instanceof Map)) throw this.mismatch(value, key, goType);
    return new GoStruct(value, afterDot(goType), this.at(key));
  }

  /** A slice of structs; null elements read as empty ones. */
  structs(key: string, goType: string): GoStruct[] {
    return this.array(key, `[]${goType}`).map((value) => {
      if (value !== null && !(value instanceof Map)) throw this.mismatch(value, key, goType);
      return new GoStruct(value ?? EMPTY, afterDot(goType), this.at(key));
    });
  }

  private array(key: string, goType: string): JsonValue[] {
    const value = this.get(key);
    if (value === null) return [];
    if (!Array.isArray(value)) throw this.mismatch(value, key, goType);
    return value;
  }

  private optionalInteger(
    key: string,
    kind: keyof typeof INTEGER_RANGES,
    goType: string,
  ): bigint | undefined {
    const value = this.get(key);
    if (value === null) return undefined;
    if (!(value instanceof JsonNumber)) throw this.mismatch(value, key, goType);
    if (!/^-?[0-9]{1,20}$/.test(value.text)) throw this.mismatch(value, key, goType, true);
    const number = BigInt(value.text);
    const [low, high] = INTEGER_RANGES[kind];
    if (number < low || number > high) throw this.mismatch(value, key, goType, true);
    return number;
  }

  private get(key: string): JsonValue {
    const exact = this.fields.get(key);
    if (exact !== undefined) return exact;
    const folded = key.toLowerCase();
    for (const [name, value] of this.fields) {
      if (name.toLowerCase() === folded) return value;
    }
    return null;
  }

  private at(key: string): string {
    return this.path === '' ? key : `${this.path}.${key}`;
  }

  private mismatch(value: JsonValue, key: string, goType: string, withDigits = false): Error {
    const digits = withDigits && value instanceof JsonNumber ? ` ${value.text}` : '';
    const field = `${this.struct}.${this.at(key)}`;
    return badRequest(
      `json: cannot unmarshal ${kindOf(value)}${digits} into Go struct field ${field} of type ${goType}`,
    );
  }
}

function afterDot(goType: string): string {
  return goType.slice(goType.indexOf('.') + 1);
}
