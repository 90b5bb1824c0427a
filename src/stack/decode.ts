/**
 * Readers of values of compose files: each takes a value as YAML gave it and returns it in the long
 * form, or refuses it with its place. Numbers and booleans may come as text, since they may come
 * from variables.
 */
import type { Place } from './place.js';

/** Reads one value. @throws SkepError invalid_argument */
export type Decode<T> = (value: unknown, place: Place) => T;

/** What a reader returns. */
export type Decoded<D> = D extends Decode<infer T> ? T : never;

/** What a mapping of optional keys reads as. */
export type Fields<S extends Shape> = { readonly [K in keyof S]?: Decoded<S[K]> };

type Shape = Readonly<Record<string, Decode<unknown>>>;

/** A mapping as YAML gives it. */
export type Mapping = Readonly<Record<string, unknown>>;

/** Whether a value is a mapping. */
export function isMapping(value: unknown): value is Mapping {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Text; numbers and booleans as they print. */
export const text: Decode<string> = (value, place) => {
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint')
    return String(value);
  throw place.error('must be a string');
};

/** A whole number of zero or more. */
export const count: Decode<number> = (value, place) => {
  const number = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isSafeInteger(number) || number < 0)
    throw place.error('must be a whole number, zero or more');
  return number;
};

/** Any whole number. */
export const integer: Decode<number> = (value, place) => {
  const number = typeof value === 'string' && /^-?\d+$/.test(value) ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isSafeInteger(number))
    throw place.error('must be a whole number');
  return number;
};

/** A number of zero or more. */
export const ratio: Decode<number> = (value, place) => {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isFinite(number) || number < 0)
    throw place.error('must be a number, zero or more');
  return number;
};

const TRUE = new Set(['true', 'yes', 'y', 'on', '1', 't']);
const FALSE = new Set(['false', 'no', 'n', 'off', '0', 'f']);

/** A boolean, also in the words of older YAML. */
export const flag: Decode<boolean> = (value, place) => {
  if (typeof value === 'boolean') return value;
  if (typeof value === 'string') {
    const word = value.toLowerCase();
    if (TRUE.has(word)) return true;
    if (FALSE.has(word)) return false;
  }
  throw place.error('must be true or false');
};

/** File permissions: an octal number (`0440`), or the same as text. */
export const mode: Decode<number> = (value, place) => {
  if (typeof value === 'string' && /^(0o?)?[0-7]{1,5}$/.test(value))
    return Number.parseInt(value.replace('o', ''), 8);
  const number = count(value, place);
  if (number > 0o7777) throw place.error('must be a mode such as 0440');
  return number;
};

/** One of some words. */
export function oneOf<T extends string>(...words: readonly T[]): Decode<T> {
  return (value, place) => {
    const found = words.find((word) => word === value);
    if (found === undefined) throw place.error(`must be one of ${words.join(', ')}`);
    return found;
  };
}

/** A list. */
export function list<T>(item: Decode<T>): Decode<readonly T[]> {
  return (value, place) => {
    if (!Array.isArray(value)) throw place.error('must be a list');
    return value.map((each, index) => item(each, place.index(index)));
  };
}

/** A list, or its only item. */
export function listOrOne<T>(item: Decode<T>): Decode<readonly T[]> {
  return (value, place) => (Array.isArray(value) ? list(item)(value, place) : [item(value, place)]);
}

/** A mapping with keys of the writer's choice. */
export function mapOf<T>(item: Decode<T>): Decode<Readonly<Record<string, T>>> {
  return (value, place) => {
    if (!isMapping(value)) throw place.error('must be a mapping');
    return Object.fromEntries(
      Object.entries(value).map(([key, each]) => [key, item(each, place.key(key))] as const),
    );
  };
}

/** A value that may be left empty. */
export function orNull<T>(item: Decode<T>): Decode<T | null> {
  return (value, place) => (value === null || value === undefined ? null : item(value, place));
}

/** A mapping, or a list of `key=value`. @param bare what a key without a value gets */
export function pairs<T>(
  bare: T,
  separators: readonly string[] = ['='],
): Decode<Readonly<Record<string, string | T>>> {
  return (value, place) => {
    if (Array.isArray(value)) {
      return Object.fromEntries(
        value.map((entry, index) => split(text(entry, place.index(index)), separators, bare)),
      );
    }
    if (!isMapping(value)) throw place.error('must be a mapping or a list');
    return Object.fromEntries(
      Object.entries(value).map(([key, each]) => {
        const isEmpty = each === null || each === undefined;
        return [key, isEmpty ? bare : text(each, place.key(key))] as const;
      }),
    );
  };
}

function split<T>(
  entry: string,
  separators: readonly string[],
  bare: T,
): readonly [string, string | T] {
  for (const separator of separators) {
    const at = entry.indexOf(separator);
    if (at !== -1) return [entry.slice(0, at), entry.slice(at + 1)];
  }
  return [entry, bare];
}

/** Keys that are known and come to nothing: what to tell about each. */
export type Ignored = Readonly<Record<string, string>>;

/**
 * A mapping of known keys, all optional; an empty one counts as not there. Others are refused,
 * except extensions (`x-...`), and those in `ignored`, which are warned about.
 */
export function record<S extends Shape>(shape: S, ignored: Ignored = {}): Decode<Fields<S>> {
  return (value, place) => {
    if (!isMapping(value)) throw place.error('must be a mapping');
    const fields: [string, unknown][] = [];
    for (const [key, each] of Object.entries(value)) {
      if (key.startsWith('x-')) continue;
      const decode = Object.hasOwn(shape, key) ? shape[key] : undefined;
      if (decode !== undefined) {
        // An empty value still counts where emptiness says something.
        const result =
          each === null ? emptyOf(decode, place.key(key)) : decode(each, place.key(key));
        if (result !== undefined) fields.push([key, result]);
      } else if (Object.hasOwn(ignored, key)) {
        if (each !== null && each !== false) place.key(key).warn(ignored[key] ?? '');
      } else {
        throw place.error(`Additional property ${key} is not allowed`);
      }
    }
    return Object.fromEntries(fields) as Fields<S>;
  };
}

/** What a key without a value reads as: null where the reader takes that, else nothing. */
function emptyOf(decode: Decode<unknown>, place: Place): unknown {
  try {
    return decode(null, place);
  } catch {
    return undefined; // The key is as good as not there.
  }
}
