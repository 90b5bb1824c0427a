/** Go's quoting of strings of bytes: `%q` of fmt, and which characters are printable. */

/** A character of a string of bytes; `code` is undefined for a byte that is no UTF-8. */
export interface Rune {
  readonly bytes: string;
  readonly code: number | undefined;
}

const PRINTABLE = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u;
const SEQUENCE =
  /[^\x80-\xff]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}|[\s\S]/g;
const SHORT: Readonly<Record<string, string>> = {
  '\x07': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
  '\\': '\\\\',
};

/** The characters of a string of bytes. */
export function runes(bytes: string): readonly Rune[] {
  return (bytes.match(SEQUENCE) ?? []).map((sequence) => {
    if (sequence.length === 1 && sequence >= '\x80') return { bytes: sequence, code: undefined };
    const code = Buffer.from(sequence, 'latin1').toString('utf8').codePointAt(0);
    return { bytes: sequence, code };
  });
}

/** unicode.IsPrint: letters, marks, numbers, punctuation, symbols and the ASCII space. */
export function isPrintable(code: number): boolean {
  if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return false;
  return PRINTABLE.test(String.fromCodePoint(code));
}

/** strconv.Quote; with `ascii` strconv.QuoteToASCII. */
export function quote(bytes: string, ascii = false): string {
  const parts = runes(bytes).map((rune) => quotedRune(rune, '"', ascii));
  return `"${parts.join('')}"`;
}

/** strconv.QuoteRune of a code point. */
export function quoteRune(code: number, ascii = false): string {
  const valid = code >= 0 && code <= 0x10ffff && !(code >= 0xd800 && code < 0xe000);
  const used = valid ? code : 0xfffd;
  const bytes = Buffer.from(String.fromCodePoint(used), 'utf8').toString('latin1');
  return `'${quotedRune({ bytes, code: used }, "'", ascii)}'`;
}

function quotedRune({ bytes, code }: Rune, mark: string, ascii: boolean): string {
  if (code === undefined) return `\\x${hex(bytes.charCodeAt(0), 2)}`;
  if (bytes === mark) return `\\${mark}`;
  const short = SHORT[bytes];
  if (short !== undefined) return short;
  if (isPrintable(code) && (!ascii || code < 0x80)) return bytes;
  if (code < 0x20 || code === 0x7f) return `\\x${hex(code, 2)}`;
  return code < 0x10000 ? `\\u${hex(code, 4)}` : `\\U${hex(code, 8)}`;
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, '0');
}
