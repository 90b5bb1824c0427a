/** Go's literals in templates: quoted strings, characters and numbers, in strings of bytes. */
import { TemplateError } from './template-error.js';

const ESCAPES: Readonly<Record<string, string>> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
  '\\': '\\',
};
const INT_MAX = (1n << 63n) - 1n;
const UINT_MAX = (1n << 64n) - 1n;

/** UTF-8 of a code point as a string of bytes. */
export function utf8(codePoint: number): string {
  return Buffer.from(String.fromCodePoint(codePoint), 'utf8').toString('latin1');
}

/** The text of a quoted or raw string. @throws TemplateError */
export function unquote(quoted: string): string {
  const inner = quoted.slice(1, -1);
  if (quoted.startsWith('`')) return inner.replaceAll('\r', '');
  let text = '';
  for (let at = 0; at < inner.length; ) {
    const part = unescape(inner, at, '"');
    text += part.text;
    at += part.length;
  }
  return text;
}

/** One character or escape at `at`. @throws TemplateError */
function unescape(
  inner: string,
  at: number,
  quote: string,
): { readonly text: string; readonly length: number; readonly code?: number } {
  if (inner[at] !== '\\') return { text: inner[at] ?? '', length: 1 };
  const letter = inner[at + 1] ?? '';
  const simple = letter === quote ? quote : ESCAPES[letter];
  if (simple !== undefined) return { text: simple, length: 2 };
  const octal = /^[0-7]{3}/.exec(inner.slice(at + 1, at + 4))?.[0];
  if (octal !== undefined && Number.parseInt(octal, 8) < 256) {
    const code = Number.parseInt(octal, 8);
    return { text: String.fromCharCode(code), length: 4, code };
  }
  const digits = { x: 2, u: 4, U: 8 }[letter] ?? 0;
  const hex = inner.slice(at + 2, at + 2 + digits);
  const code = digits > 0 && /^[0-9a-fA-F]+$/.test(hex) ? Number.parseInt(hex, 16) : -1;
  const isSurrogate = code >= 0xd800 && code < 0xe000 && digits > 2;
  if (hex.length !== digits || code < 0 || code > 0x10ffff || isSurrogate)
    throw new TemplateError('invalid syntax');
  const text = digits === 2 ? String.fromCharCode(code) : utf8(code);
  return { text, length: 2 + digits, code };
}

/** The code point of a character constant such as `'a'`. @throws TemplateError */
export function characterConstant(quoted: string): bigint {
  const malformed = new TemplateError(`malformed character constant: ${quoted}`);
  const inner = quoted.slice(1, -1);
  if (inner === '') throw new TemplateError('invalid syntax');
  if (inner.startsWith('\\')) {
    const { text, length, code } = unescape(inner, 0, "'");
    if (length !== inner.length) throw malformed;
    return BigInt(code ?? text.charCodeAt(0));
  }
  const decoded = Buffer.from(inner, 'latin1').toString('utf8');
  const code = decoded.codePointAt(0) ?? 0;
  if (String.fromCodePoint(code) !== decoded) throw malformed;
  return BigInt(code);
}

/**
 * A number: an int (bigint) if it looks like one, else a float64.
 * @throws TemplateError for what Go cannot read either, and for complex numbers
 */
export function numberConstant(text: string): bigint | number {
  if (text.endsWith('i')) throw new TemplateError(`complex numbers are not supported: ${text}`);
  const integer = parseInteger(text);
  if (integer !== undefined) {
    if (integer > UINT_MAX || integer < -INT_MAX - 1n)
      throw new TemplateError(`integer overflow: "${text}"`);
    return integer;
  }
  const plain = text.replaceAll('_', '');
  if (!/^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(plain) || !/[.eE]/.test(plain))
    throw new TemplateError(`bad number syntax: "${text}"`);
  return Number(plain);
}

/** Whether an int constant fits into Go's int, which templates have nothing larger than. */
export function fitsInt(value: bigint): boolean {
  return value <= INT_MAX;
}

function parseInteger(text: string): bigint | undefined {
  const [, sign = '', digits = ''] = /^([+-]?)(.*)$/.exec(text) ?? [];
  if (/__|_$|^_/.test(digits)) return undefined;
  const plain = digits.replaceAll('_', '').toLowerCase();
  const octal = /^0[0-7]+$/.test(plain) ? `0o${plain.slice(1)}` : plain;
  if (!/^(0|[1-9]\d*|0x[0-9a-f]+|0b[01]+|0o[0-7]+)$/.test(octal)) return undefined;
  const value = BigInt(octal);
  return sign === '-' ? -value : value;
}
