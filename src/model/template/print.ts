/**
 * Values as text: fmt's verbs for one value, and Sprint and Sprintln. The format string is taken
 * apart in printf.ts.
 */
import { formatFloat, formatInteger, isIntegerVerb } from './format-number.js';
import { quote, quoteRune, runes } from './quote.js';
import { type StringMap, Struct, sortedEntries, typeOf, type Value } from './values.js';
import { utf8 } from './literals.js';

/** Flags, width and precision of a directive. */
export interface Format {
  readonly plus: boolean;
  readonly minus: boolean;
  readonly sharp: boolean;
  readonly space: boolean;
  readonly zero: boolean;
  readonly width: number | undefined;
  readonly precision: number | undefined;
}

/** A directive without flags. */
export const PLAIN: Format = {
  plus: false,
  minus: false,
  sharp: false,
  space: false,
  zero: false,
  width: undefined,
  precision: undefined,
};

/** A value in the default format: what an action writes. */
export function printed(value: Value): string {
  return formatted(value, 'v', PLAIN);
}

/** fmt.Sprint: blanks between operands of which neither is a string. */
export function sprint(values: readonly Value[]): string {
  let text = '';
  for (const [index, value] of values.entries()) {
    const before = values[index - 1];
    if (index > 0 && typeof value !== 'string' && typeof before !== 'string') text += ' ';
    text += printed(value);
  }
  return text;
}

/** fmt.Sprintln: blanks between all, a line feed at the end. */
export function sprintln(values: readonly Value[]): string {
  return `${values.map(printed).join(' ')}\n`;
}

/** A value under a verb, padded. */
export function formatted(value: Value, verb: string, format: Format): string {
  if (verb === 'T') return padded(typeOf(value), { ...format, zero: false });
  if (value === null) return verb === 'v' ? padded('<nil>', format) : badVerb(value, verb);
  if (typeof value === 'object') return composite(value, verb, format);
  return scalar(value, verb, format) ?? badVerb(value, verb);
}

function scalar(
  value: string | boolean | bigint | number,
  verb: string,
  format: Format,
): string | undefined {
  if (typeof value === 'bigint') return integer(value, verb, format);
  if (typeof value === 'number') return float(value, verb, format);
  if (typeof value === 'string') return string(value, verb, format);
  return verb === 'v' || verb === 't' ? padded(String(value), format) : undefined;
}

/** `%!d(string=hi)`: the verb does not fit the value. */
function badVerb(value: Value, verb: string): string {
  if (value === null) return `%!${verb}(<nil>)`;
  return `%!${verb}(${typeOf(value)}=${printed(value)})`;
}

function string(value: string, verb: string, format: Format): string | undefined {
  const cut =
    format.precision === undefined
      ? value
      : runes(value)
          .slice(0, format.precision)
          .map(({ bytes }) => bytes)
          .join('');
  switch (verb) {
    case 'v':
      return padded(format.sharp ? quote(value) : cut, format);
    case 's':
      return padded(cut, format);
    case 'q':
      if (format.sharp && canBackquote(cut)) return padded(`\`${cut}\``, format);
      return padded(quote(cut, format.plus), format);
    case 'x':
    case 'X':
      return padded(hexBytes(value, verb, format), format);
    default:
      return undefined;
  }
}

/** strconv.CanBackquote */
function canBackquote(text: string): boolean {
  return runes(text).every(
    ({ bytes, code }) =>
      bytes === '\t' || (code !== undefined && code >= 0x20 && code !== 0x7f && bytes !== '`'),
  );
}

function hexBytes(value: string, verb: 'x' | 'X', { sharp, space, precision }: Format): string {
  const bytes = Buffer.from(value.slice(0, precision), 'latin1');
  const pairs = [...bytes].map((byte) => byte.toString(16).padStart(2, '0'));
  const prefix = sharp && pairs.length > 0 ? '0x' : '';
  const text = space ? pairs.map((pair) => prefix + pair).join(' ') : prefix + pairs.join('');
  return verb === 'X' ? text.toUpperCase() : text;
}

function integer(value: bigint, verb: string, format: Format): string | undefined {
  const { plus, minus, sharp, space, zero, width, precision } = format;
  if (verb === 'v' || isIntegerVerb(verb)) {
    if (precision === 0 && value === 0n) return padded('', { ...format, zero: false });
    const base = verb === 'v' ? 'd' : verb;
    const flags = { plus: plus && verb !== 'v' ? true : plus, space, sharp: sharp && verb !== 'v' };
    const fill = zero && !minus && precision === undefined ? (width ?? 0) : 0;
    const signed = value < 0n || plus || space ? 1 : 0;
    const digitsMin = precision ?? Math.max(fill - signed, 0);
    return padded(formatInteger(value, base, { ...flags, digitsMin }), { ...format, zero: false });
  }
  const code = value >= 0n && value <= 0x10ffffn ? Number(value) : 0xfffd;
  switch (verb) {
    case 'c':
      return padded(utf8(code >= 0xd800 && code < 0xe000 ? 0xfffd : code), format);
    case 'q':
      return padded(quoteRune(code, plus), format);
    case 'U':
      return padded(unicode(value, sharp, precision), { ...format, zero: false });
    default:
      return undefined;
  }
}

function unicode(value: bigint, sharp: boolean, precision: number | undefined): string {
  const digits = BigInt.asUintN(64, value).toString(16).toUpperCase();
  const text = `U+${digits.padStart(Math.max(precision ?? 4, 4), '0')}`;
  const shows = sharp && value >= 0n && value <= 0x10ffffn;
  return shows ? `${text} '${utf8(Number(value))}'` : text;
}

function float(value: number, verb: string, format: Format): string | undefined {
  const lower = verb === 'v' ? 'g' : verb.toLowerCase();
  if (lower !== 'e' && lower !== 'f' && lower !== 'g') return undefined;
  const precision = format.precision ?? (lower === 'g' ? undefined : 6);
  const text = formatFloat(value, lower, precision);
  const sign = /^[+-]/.test(text) ? '' : format.plus ? '+' : format.space ? ' ' : '';
  const cased = verb === 'E' || verb === 'G' ? text.replace('e', 'E') : text;
  if (Number.isFinite(value)) return padded(sign + cased, format);
  const shown = format.plus ? sign + cased : (sign + cased).replace(/^\+/, '');
  return padded(shown, { ...format, zero: false });
}

function composite(value: StringMap | Struct, verb: string, format: Format): string {
  if (format.sharp && verb === 'v') return goSyntax(value);
  const inner = (part: Value): string => formatted(part, verb, format);
  if (!(value instanceof Struct)) {
    const entries = sortedEntries(value).map(([key, item]) => `${inner(key)}:${inner(item)}`);
    return `map[${entries.join(' ')}]`;
  }
  const named = format.plus && verb === 'v';
  const fields = [...value.fields].map(([name, field]) =>
    named ? `${name}:${inner(field)}` : inner(field),
  );
  return `${value.isPointer ? '&' : ''}{${fields.join(' ')}}`;
}

function goSyntax(value: StringMap | Struct): string {
  const inner = (part: Value): string => formatted(part, 'v', { ...PLAIN, sharp: true });
  const isStruct = value instanceof Struct;
  const parts = isStruct
    ? [...value.fields].map(([name, field]) => `${name}:${inner(field)}`)
    : sortedEntries(value).map(([key, item]) => `${inner(key)}:${inner(item)}`);
  const type = isStruct && value.isPointer ? `&${value.type.slice(1)}` : typeOf(value);
  return `${type}{${parts.join(', ')}}`;
}

/** Fills up to the width, counted in characters. */
function padded(text: string, { width, minus, zero }: Format): string {
  if (width === undefined) return text;
  const missing = width - runes(text).length;
  if (missing <= 0) return text;
  if (minus) return text + ' '.repeat(missing);
  if (!zero) return ' '.repeat(missing) + text;
  const sign = /^[+-](?=\d)/.exec(text)?.[0] ?? '';
  return sign + '0'.repeat(missing) + text.slice(sign.length);
}
