/**
 * Values of templates. Go's `int` is a bigint, `float64` a number, a string a string of bytes, an
 * untyped nil is null. Maps hold strings (labels), structures have a fixed set of fields.
 */

/** A `map[string]string`. */
export type StringMap = ReadonlyMap<string, string>;

/** A structure, or a pointer to one. */
export class Struct {
  constructor(
    /** As Go names its type in errors. */
    readonly type: string,
    readonly fields: ReadonlyMap<string, Value>,
  ) {}

  /** Pointers print with `&` and have a type that begins with `*`. */
  get isPointer(): boolean {
    return this.type.startsWith('*');
  }
}

/** Everything a template can compute with. */
export type Value = string | boolean | bigint | number | null | StringMap | Struct;

/** Kinds of values that matter to functions. */
export type Kind = 'nil' | 'string' | 'bool' | 'int' | 'float' | 'map' | 'struct';

/** The kind of a value. */
export function kindOf(value: Value): Kind {
  if (value === null) return 'nil';
  switch (typeof value) {
    case 'string':
      return 'string';
    case 'boolean':
      return 'bool';
    case 'bigint':
      return 'int';
    case 'number':
      return 'float';
    default:
      return value instanceof Struct ? 'struct' : 'map';
  }
}

/** Go's name of a value's type. */
export function typeOf(value: Value): string {
  const kind = kindOf(value);
  if (value instanceof Struct) return value.type;
  const names = { nil: '<nil>', float: 'float64', map: 'map[string]string', struct: '' };
  return kind === 'string' || kind === 'bool' || kind === 'int' ? kind : names[kind];
}

/** What `if` takes for true: everything but the zero of its type and empty maps. */
export function isTrue(value: Value): boolean {
  if (value instanceof Struct) return true;
  if (value instanceof Map) return value.size > 0;
  return Boolean(value);
}

/** A map as a list, in the order of `range` and of printing: by the bytes of the keys. */
export function sortedEntries(map: StringMap): readonly (readonly [string, string])[] {
  return [...map].sort(([left], [right]) => (left < right ? -1 : left > right ? 1 : 0));
}

/** Text as a string of bytes. */
export function toBytes(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

/** A string of bytes as text; what is no UTF-8 becomes U+FFFD. */
export function fromBytes(bytes: string): string {
  return Buffer.from(bytes, 'latin1').toString('utf8');
}
