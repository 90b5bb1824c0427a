/** Go's formatting of numbers: strconv.FormatFloat and the integer verbs of fmt. */
import { PRINTF_DIGITS_MAX } from './limits.js';

/**
 * A float as strconv.FormatFloat writes it.
 * @param precision undefined: as many digits as needed to read the same number back
 */
export function formatFloat(
  value: number,
  verb: 'e' | 'f' | 'g',
  precision: number | undefined,
): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf';
  const digits = precision === undefined ? undefined : Math.min(precision, PRINTF_DIGITS_MAX);
  const negative = value < 0 || Object.is(value, -0);
  const sign = negative ? '-' : '';
  return sign + unsignedFloat(Math.abs(value), verb, digits);
}

/** A decimal number: `0.DIGITS * 10^point`, without zeros in front; zero has no digits. */
interface Decimal {
  readonly digits: string;
  readonly point: number;
}

function unsignedFloat(
  value: number,
  verb: 'e' | 'f' | 'g',
  precision: number | undefined,
): string {
  if (verb === 'g') return general(value, precision);
  if (precision === undefined) {
    const shortest = shortestDecimal(value);
    return verb === 'e' ? scientific(shortest, shortest.digits.length - 1) : plain(shortest, 0);
  }
  const exact = exactDecimal(value);
  if (verb === 'e') return scientific(rounded(exact, precision + 1), precision);
  return plain(rounded(exact, exact.point + precision), precision);
}

/** `%e` for large and small exponents, else `%f`, by the rule of strconv. */
function general(value: number, precision: number | undefined): string {
  const wanted = precision === undefined ? undefined : Math.max(precision, 1);
  const decimal =
    wanted === undefined ? shortestDecimal(value) : rounded(exactDecimal(value), wanted);
  const digits = decimal.digits.replace(/0+$/, '');
  const trimmed = { digits, point: decimal.point };
  const count = digits.length;
  const limit = wanted !== undefined && wanted > count && count >= trimmed.point ? count : wanted;
  const exponent = count === 0 ? 0 : trimmed.point - 1;
  if (exponent < -4 || exponent >= (limit ?? 6)) return scientific(trimmed, count - 1);
  return plain(trimmed, Math.max(count - trimmed.point, 0));
}

/** The fewest digits that read back as the same number. */
function shortestDecimal(value: number): Decimal {
  if (value === 0) return { digits: '', point: 0 };
  const [mantissa = '', exponent = '0'] = value.toExponential().split('e');
  return { digits: mantissa.replace('.', ''), point: Number(exponent) + 1 };
}

/** All digits of a float: it is a whole number times a power of two. */
function exactDecimal(value: number): Decimal {
  if (value === 0) return { digits: '', point: 0 };
  let scaled = value;
  let halvings = 0;
  while (!Number.isInteger(scaled)) {
    scaled *= 2;
    halvings += 1;
  }
  const digits = (BigInt(scaled) * 5n ** BigInt(halvings)).toString();
  return { digits, point: digits.length - halvings };
}

/** The first `count` digits, rounded to the even one half way. */
function rounded({ digits, point }: Decimal, count: number): Decimal {
  if (count < 0 || digits === '') return { digits: '', point: 0 };
  if (count >= digits.length) return { digits, point };
  const kept = BigInt(digits.slice(0, count) || '0');
  const rest = digits.slice(count);
  const half = `5${'0'.repeat(rest.length - 1)}`;
  const up = rest > half || (rest === half && kept % 2n === 1n);
  const text = (up ? kept + 1n : kept).toString();
  if (text === '0') return { digits: '', point: 0 };
  return { digits: text, point: point + text.length - count };
}

function scientific({ digits, point }: Decimal, decimals: number): string {
  const padded = (digits === '' ? '0' : digits).padEnd(decimals + 1, '0');
  const mantissa = decimals > 0 ? `${padded[0] ?? ''}.${padded.slice(1, decimals + 1)}` : padded[0];
  const exponent = digits === '' ? 0 : point - 1;
  const magnitude = String(Math.abs(exponent)).padStart(2, '0');
  return `${mantissa ?? ''}e${exponent < 0 ? '-' : '+'}${magnitude}`;
}

/** Without an exponent, with so many decimals at least. */
function plain({ digits, point }: Decimal, decimals: number): string {
  const whole = point > 0 ? digits.slice(0, point).padEnd(point, '0') : '0';
  const rest = point > 0 ? digits.slice(point) : '0'.repeat(-point) + digits;
  const fraction = rest.padEnd(decimals, '0');
  return fraction === '' ? whole : `${whole}.${fraction}`;
}

const BASES = { b: 2, d: 10, o: 8, O: 8, x: 16, X: 16 } as const;
/** Verbs that write an integer in digits. */
export type IntegerVerb = keyof typeof BASES;

/** How an integer is written. */
export interface IntegerFormat {
  /** `#`: with the prefix of its base. */
  readonly sharp: boolean;
  readonly plus: boolean;
  readonly space: boolean;
  /** At least so many digits. */
  readonly digitsMin: number;
}

/** Whether a verb is one of integers. */
export function isIntegerVerb(verb: string): verb is IntegerVerb {
  return Object.hasOwn(BASES, verb);
}

/** An integer under an integer verb. */
export function formatInteger(value: bigint, verb: IntegerVerb, format: IntegerFormat): string {
  const magnitude = (value < 0n ? -value : value).toString(BASES[verb]);
  const digits = magnitude.padStart(format.digitsMin, '0');
  const sign = value < 0n ? '-' : format.plus ? '+' : format.space ? ' ' : '';
  const cased = verb === 'X' ? digits.toUpperCase() : digits;
  return sign + basePrefix(verb, format.sharp, digits) + cased;
}

function basePrefix(verb: IntegerVerb, sharp: boolean, digits: string): string {
  if (verb === 'O') return '0o';
  if (!sharp || verb === 'd') return '';
  if (verb === 'o') return digits.startsWith('0') ? '' : '0';
  return `0${verb}`;
}
