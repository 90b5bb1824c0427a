/** The built-in functions `html`, `js` and `urlquery`, on strings of bytes. */
import { isPrintable, runes } from './quote.js';

const HTML: Readonly<Record<string, string>> = {
  '\0': '\xef\xbf\xbd',
  '"': '&#34;',
  "'": '&#39;',
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
};
const JS: Readonly<Record<string, string>> = {
  '\\': '\\\\',
  "'": "\\'",
  '"': '\\"',
  '<': '\\u003C',
  '>': '\\u003E',
  '&': '\\u0026',
  '=': '\\u003D',
};

/** template.HTMLEscapeString */
export function escapeHtml(text: string): string {
  return text.replace(/[\0"'&<>]/g, (character) => HTML[character] ?? character);
}

/** template.JSEscapeString */
export function escapeJs(text: string): string {
  return runes(text)
    .map(({ bytes, code = 0xfffd }) => {
      const special = JS[bytes];
      if (special !== undefined) return special;
      if (code < 0x20) return `\\u${code.toString(16).toUpperCase().padStart(4, '0')}`;
      if (code < 0x80 || isPrintable(code)) return bytes;
      return `\\u${code.toString(16).toUpperCase().padStart(4, '0')}`;
    })
    .join('');
}

/** url.QueryEscape */
export function escapeQuery(text: string): string {
  return text.replace(/[^A-Za-z0-9\-_.~]/g, (byte) =>
    byte === ' ' ? '+' : `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  );
}
