/**
 * A JSON reader with the behaviour and the error texts of Go's encoding/json, because those texts
 * are part of the Docker API. Numbers keep their digits ({@link JsonNumber}), so that 64-bit
 * values survive; objects are Maps, so that no key of a client can meet a prototype.
 */
import { JSON_DEPTH_MAX } from '../limits.js';

/** A number as it was written. */
export class JsonNumber {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** A parsed object. */
export type JsonObject = Map<string, JsonValue>;

/** Any parsed value. */
export type JsonValue = null | boolean | string | JsonNumber | JsonValue[] | JsonObject;

/** Text that is not JSON; the message is Go's. */
export class JsonSyntaxError extends Error {
  override readonly name = 'JsonSyntaxError';
}

/** How an input may end; the texts of Go's Decoder (streams) and Unmarshal (strings) differ. */
export type JsonEnd = 'stream' | 'string';

/** The first value of a stream; what follows it is ignored, as Go's Decoder does. */
export function parseJsonStream(text: string): JsonValue {
  const parser = new Parser(text, 'unexpected EOF');
  parser.skipSpace();
  if (parser.atEnd()) throw new JsonSyntaxError('EOF');
  return parser.value(0);
}

/** A whole string that must be one value, as Go's Unmarshal. */
export function parseJsonString(text: string): JsonValue {
  const parser = new Parser(text, 'unexpected end of JSON input');
  const value = parser.value(0);
  parser.skipSpace();
  if (!parser.atEnd()) parser.fail('after top-level value');
  return value;
}

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};

/** Go's quoteChar. */
function quoted(character: string): string {
  if (character === "'") return `'\\''`;
  if (character === '"') return `'"'`;
  const inner = JSON.stringify(character).slice(1, -1);
  return `'${inner.replace(/^\\u00([0-9a-f]{2})$/, '\\x$1')}'`;
}

class Parser {
  private position = 0;
  private readonly text: string;
  private readonly endMessage: string;

  constructor(text: string, endMessage: string) {
    this.text = text;
    this.endMessage = endMessage;
  }

  atEnd(): boolean {
    return this.position >= this.text.length;
  }

  skipSpace(): void {
    while (' \t\r\n'.includes(this.text[this.position] ?? 'x')) this.position += 1;
  }

  /** Throws Go's text for the character at the current position. */
  fail(context: string): never {
    if (this.atEnd()) throw new JsonSyntaxError(this.endMessage);
    const character = String.fromCodePoint(this.text.codePointAt(this.position) ?? 0);
    throw new JsonSyntaxError(`invalid character ${quoted(character)} ${context}`);
  }

  value(depth: number): JsonValue {
    if (depth > JSON_DEPTH_MAX) throw new JsonSyntaxError('exceeded max depth');
    this.skipSpace();
    switch (this.text[this.position]) {
      case '{':
        return this.object(depth);
      case '[':
        return this.array(depth);
      case '"':
        return this.string();
      case 't':
        return this.literal('true', true);
      case 'f':
        return this.literal('false', false);
      case 'n':
        return this.literal('null', null);
      default:
        return this.number();
    }
  }

  private literal<V extends JsonValue>(word: string, value: V): V {
    for (let index = 0; index < word.length; index += 1, this.position += 1) {
      if (this.text[this.position] !== word[index]) {
        this.fail(`in literal ${word} (expecting ${quoted(word[index] ?? '')})`);
      }
    }
    return value;
  }

  private number(): JsonNumber {
    NUMBER.lastIndex = this.position;
    const match = NUMBER.exec(this.text);
    if (match === null) {
      if (this.text[this.position] !== '-') this.fail('looking for beginning of value');
      this.position += 1;
      this.fail('in numeric literal');
    }
    this.position += match[0].length;
    const next = this.text[this.position];
    if (next === '.' && !/[.eE]/.test(match[0])) {
      this.position += 1;
      this.fail('after decimal point in numeric literal');
    }
    if ((next === 'e' || next === 'E') && !/[eE]/.test(match[0])) {
      this.position += 1;
      if ('+-'.includes(this.text[this.position] ?? 'x')) this.position += 1;
      this.fail('in exponent of numeric literal');
    }
    return new JsonNumber(match[0]);
  }

  private string(): string {
    let result = '';
    this.position += 1;
    for (;;) {
      const start = this.position;
      while (isPlain(this.text.charCodeAt(this.position))) this.position += 1;
      result += this.text.slice(start, this.position);
      const character = this.text[this.position];
      if (character === '"') {
        this.position += 1;
        return result.replaceAll(/\p{Surrogate}/gu, '\ufffd');
      }
      if (character !== '\\') this.fail('in string literal');
      this.position += 1;
      result += this.escape();
    }
  }

  private escape(): string {
    const character = this.text[this.position] ?? '';
    if (character === 'u') {
      this.position += 1;
      let code = 0;
      for (let digit = 0; digit < 4; digit += 1, this.position += 1) {
        const value = Number.parseInt(this.text[this.position] ?? '', 16);
        if (Number.isNaN(value)) this.fail('in \\u hexadecimal character escape');
        code = code * 16 + value;
      }
      return String.fromCharCode(code);
    }
    const plain = ESCAPES[character];
    if (character === '' || plain === undefined) this.fail('in string escape code');
    this.position += 1;
    return plain;
  }

  private array(depth: number): JsonValue[] {
    const result: JsonValue[] = [];
    this.position += 1;
    this.skipSpace();
    if (this.text[this.position] === ']') {
      this.position += 1;
      return result;
    }
    for (;;) {
      result.push(this.value(depth + 1));
      this.skipSpace();
      const character = this.text[this.position];
      if (character !== ',' && character !== ']') this.fail('after array element');
      this.position += 1;
      if (character === ']') return result;
    }
  }

  private object(depth: number): JsonObject {
    const result: JsonObject = new Map();
    this.position += 1;
    this.skipSpace();
    if (this.text[this.position] === '}') {
      this.position += 1;
      return result;
    }
    for (;;) {
      this.skipSpace();
      if (this.text[this.position] !== '"') this.fail('looking for beginning of object key string');
      const key = this.string();
      this.skipSpace();
      if (this.text[this.position] !== ':') this.fail('after object key');
      this.position += 1;
      result.set(key, this.value(depth + 1));
      this.skipSpace();
      const character = this.text[this.position];
      if (character !== ',' && character !== '}') this.fail('after object key:value pair');
      this.position += 1;
      if (character === '}') return result;
    }
  }
}

/** Neither quote, backslash, control character nor the end. */
function isPlain(code: number): boolean {
  return code >= 0x20 && code !== 0x22 && code !== 0x5c;
}
