/**
 * Files of variables: `.env` beside a compose file, and `env_file` of services. Lines `NAME=value`,
 * `NAME: value` or bare `NAME`, with an optional `export`; `'...'` is taken literally, `"..."` knows
 * escapes, quoted values may span lines, and ` #` begins a comment behind an unquoted value.
 */
import { interpolate, type Lookup } from './interpolation.js';
import type { Place } from './place.js';

/** Variables in the order of the file; null for those without a value. */
export type Variables = Readonly<Record<string, string | null>>;

const NAME = /^(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*(?:([=:])[ \t]*)?/;
const ESCAPES: Readonly<Record<string, string>> = {
  n: '\n',
  r: '\r',
  t: '\t',
  '"': '"',
  '\\': '\\',
};

/**
 * Reads a file. Variables in unquoted and double-quoted values are those of `lookup`, then those
 * above in the file. @throws SkepError invalid_argument
 */
export function parseDotenv(content: string, lookup: Lookup, place: Place): Variables {
  const found: Record<string, string | null> = {};
  const known: Lookup = (name) => lookup(name) ?? found[name] ?? undefined;
  let rest = content.replace(/^\uFEFF/, '').replaceAll('\r\n', '\n');
  let line = 1;
  const advance = (characters: number) => {
    line += rest.slice(0, characters).split('\n').length - 1;
    rest = rest.slice(characters);
  };
  for (;;) {
    advance(/^\s*/.exec(rest)?.[0].length ?? 0);
    if (rest === '') return found;
    if (rest.startsWith('#')) {
      advance(lineLength(rest));
      continue;
    }
    const match = NAME.exec(rest);
    const here = place.index(line);
    if (match?.[1] === undefined) throw here.error('expected NAME=value');
    advance(match[0].length);
    if (match[2] === undefined) {
      if (rest !== '' && !/^(\n|#)/.test(rest)) throw here.error('expected NAME=value');
      found[match[1]] = null;
      continue;
    }
    const value = takeValue(rest, here);
    found[match[1]] = value.isLiteral ? value.text : interpolate(value.text, known, here);
    advance(value.length);
  }
}

/** Lines `NAME=value` taken as they are, for `format: raw`. */
export function parseRaw(content: string): Variables {
  const lines = content.split(/\r?\n/).filter((line) => line !== '' && !line.startsWith('#'));
  return Object.fromEntries(
    lines.map((line) => {
      const at = line.indexOf('=');
      return at === -1 ? [line, null] : [line.slice(0, at), line.slice(at + 1)];
    }),
  );
}

function lineLength(text: string): number {
  const end = text.indexOf('\n');
  return end === -1 ? text.length : end;
}

interface Value {
  readonly text: string;
  readonly isLiteral: boolean;
  /** Characters it took of the file. */
  readonly length: number;
}

function takeValue(rest: string, place: Place): Value {
  const single = /^'([^']*)'/.exec(rest);
  if (single !== null) return ended(rest, single[0].length, single[1] ?? '', true, place);
  const double = /^"((?:[^"\\]|\\[^])*)"/.exec(rest);
  if (double !== null) {
    const text = (double[1] ?? '').replaceAll(/\\([^])/g, (whole, next: string) =>
      // An escaped dollar is no variable.
      next === '$' ? '$$' : (ESCAPES[next] ?? whole),
    );
    return ended(rest, double[0].length, text, false, place);
  }
  if (/^['"]/.test(rest)) throw place.error('a quote is not closed');
  const line = rest.slice(0, lineLength(rest));
  const text = line.replace(/(^|[ \t])#.*$/, '').trim();
  return { text, isLiteral: false, length: line.length };
}

function ended(
  rest: string,
  length: number,
  text: string,
  isLiteral: boolean,
  place: Place,
): Value {
  const tail = rest.slice(length, length + lineLength(rest.slice(length)));
  if (!/^[ \t]*(#.*)?$/.test(tail)) throw place.error('unexpected characters behind a quote');
  return { text, isLiteral, length: length + tail.length };
}
