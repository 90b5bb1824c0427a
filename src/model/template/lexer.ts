/**
 * Tokens of a Go template, as text/template/parse has them. Texts are strings of bytes (a character
 * a byte), since Go's strings are bytes and payloads may be any.
 */

/** What a token is; keywords are tokens of their own. */
export type TokenType =
  | 'assign'
  | 'bool'
  | 'char'
  | 'charConstant'
  | 'declare'
  | 'eof'
  | 'error'
  | 'field'
  | 'identifier'
  | 'leftDelim'
  | 'leftParen'
  | 'number'
  | 'pipe'
  | 'rawString'
  | 'rightDelim'
  | 'rightParen'
  | 'space'
  | 'string'
  | 'text'
  | 'variable'
  | Keyword;

/** Words with a meaning of their own; `dot` is `.`. */
export type Keyword = keyof typeof KEYWORDS | 'dot';

const KEYWORDS = {
  block: true,
  break: true,
  continue: true,
  define: true,
  else: true,
  end: true,
  if: true,
  nil: true,
  range: true,
  template: true,
  with: true,
} as const;

/** One token; for an `error`, `text` is the message. */
export interface Token {
  readonly type: TokenType;
  readonly text: string;
  /** Offset of its first byte. */
  readonly position: number;
  /** Line of its start, from 1. */
  readonly line: number;
}

const SPACES = ' \t\r\n';
const WORD = /[A-Za-z0-9_\x80-\xff]*/y;
const NUMBER =
  /[+-]?(?:0[xX][0-9a-fA-F_]*|0[bB][01_]*|0[oO][0-7_]*|[0-9_]*)(?:\.[0-9a-fA-F_]*)?(?:[eEpP][+-]?[0-9_]*)?i?/y;

/** Whether a token is a keyword, which is shown in angle brackets. */
export function isKeyword(type: TokenType): boolean {
  return type === 'dot' || Object.hasOwn(KEYWORDS, type);
}

/** Cuts a template into tokens, one at a time. After an error or the end there are no more. */
export class Lexer {
  private position = 0;
  private line = 1;
  private inAction = false;
  private parentheses = 0;
  private over: Token | undefined;
  /** Tokens found together with one that was asked for. */
  private readonly ready: Token[] = [];

  constructor(private readonly input: string) {}

  /** The next token. */
  next(): Token {
    const early = this.ready.shift();
    if (early !== undefined) return early;
    if (this.over !== undefined) return this.over;
    const token = this.inAction ? this.insideAction() : this.outside();
    if (token.type === 'error' || token.type === 'eof') this.over = token;
    return token;
  }

  /** Text up to the next action, comments left out. */
  private outside(): Token {
    for (;;) {
      const open = this.input.indexOf('{{', this.position);
      const end = open === -1 ? this.input.length : open;
      const trims = open !== -1 && this.hasLeftTrim(open + 2);
      const text = this.input.slice(this.position, end);
      const kept = trims ? withoutTrailingSpace(text) : text;
      const token = kept === '' ? undefined : this.token('text', kept, this.position);
      this.advance(end);
      if (open === -1) return token ?? this.token('eof', '', end);
      const after = this.openAction(open, trims);
      if (after !== undefined) {
        if (token === undefined) return after;
        this.ready.push(after);
        if (after.type === 'error') this.over = after;
      }
      if (token !== undefined) return token;
    }
  }

  /** Passes `{{`, and a whole comment; the token for an action, or for a broken comment. */
  private openAction(open: number, trims: boolean): Token | undefined {
    const inner = open + 2 + (trims ? 2 : 0);
    if (!this.input.startsWith('/*', inner)) {
      const token = this.token('leftDelim', '{{', open);
      this.advance(inner);
      this.inAction = true;
      this.parentheses = 0;
      return token;
    }
    const close = this.input.indexOf('*/', inner + 2);
    if (close === -1) return this.error('unclosed comment');
    const { length, trims: trimsAfter } = this.rightDelim(close + 2);
    if (length === 0) return this.error('comment ends before closing delimiter');
    this.advance(close + 2 + length);
    if (trimsAfter) this.skipSpace();
    return undefined;
  }

  private insideAction(): Token {
    const { input } = this;
    const start = this.position;
    const { length, trims } = this.rightDelim(start);
    if (length > 0) {
      if (this.parentheses > 0) return this.error('unclosed left paren');
      const token = this.token('rightDelim', '}}', start + length - 2);
      this.advance(start + length);
      if (trims) this.skipSpace();
      this.inAction = false;
      return token;
    }
    const character = input[start];
    if (character === undefined) return this.error('unclosed action');
    if (SPACES.includes(character)) return this.space();
    switch (character) {
      case '=':
        return this.take('assign', 1);
      case ':':
        if (input[start + 1] !== '=') return this.error('expected :=');
        return this.take('declare', 2);
      case '|':
        return this.take('pipe', 1);
      case '"':
        return this.quoted('string', '"', 'unterminated quoted string');
      case "'":
        return this.quoted('charConstant', "'", 'unterminated character constant');
      case '`':
        return this.rawString();
      case '$':
        return this.named('variable');
      case '(':
        this.parentheses += 1;
        return this.take('leftParen', 1);
      case ')':
        this.parentheses -= 1;
        if (this.parentheses < 0) return this.error('unexpected right paren');
        return this.take('rightParen', 1);
      default:
        return this.wordOrNumber(character);
    }
  }

  private wordOrNumber(character: string): Token {
    const start = this.position;
    if (character === '.' && !/[0-9]/.test(this.input[start + 1] ?? '')) return this.named('field');
    if (/[+\-.0-9]/.test(character)) return this.number();
    if (/[A-Za-z_\x80-\xff]/.test(character)) return this.identifier();
    if (/[!-~]/.test(character)) return this.take('char', 1);
    return this.error(`unrecognized character in action: ${unicodeName(character)}`);
  }

  private space(): Token {
    let end = this.position;
    // A space before a trim marker belongs to the delimiter.
    while (SPACES.includes(this.input[end] ?? 'x') && this.rightDelim(end).length === 0) end += 1;
    return this.take('space', end - this.position);
  }

  private identifier(): Token {
    const word = this.match(WORD, this.position);
    const after = this.position + word.length;
    if (!this.atTerminator(after)) return this.badCharacter(after);
    if (word === 'true' || word === 'false') return this.take('bool', word.length);
    return this.take(isWord(word) ? word : 'identifier', word.length);
  }

  /** `.name` or `$name`; alone `.` is the dot and `$` a variable. */
  private named(type: 'field' | 'variable'): Token {
    const first = this.position + 1;
    if (this.atTerminator(first)) return this.take(type === 'field' ? 'dot' : 'variable', 1);
    const word = this.match(WORD, first);
    const after = first + word.length;
    if (!this.atTerminator(after)) return this.badCharacter(after);
    return this.take(type, word.length + 1);
  }

  private number(): Token {
    const text = this.match(NUMBER, this.position);
    const following = this.match(WORD, this.position + text.length);
    if (following !== '' || text === '') {
      const shown = this.input.slice(this.position, this.position + text.length + 1);
      return this.error(`bad number syntax: ${JSON.stringify(shown)}`);
    }
    return this.take('number', text.length);
  }

  private quoted(type: 'string' | 'charConstant', quote: string, unterminated: string): Token {
    let end = this.position + 1;
    for (;;) {
      const character = this.input[end];
      if (character === undefined || character === '\n') return this.error(unterminated);
      if (character === quote) return this.take(type, end + 1 - this.position);
      if (character === '\\') {
        end += 1;
        if ((this.input[end] ?? '\n') === '\n') return this.error(unterminated);
      }
      end += 1;
    }
  }

  private rawString(): Token {
    const end = this.input.indexOf('`', this.position + 1);
    if (end === -1) return this.error('unterminated raw quoted string');
    return this.take('rawString', end + 1 - this.position);
  }

  /** Length of `}}` or ` -}}` at an offset, 0 if there is neither. */
  private rightDelim(at: number): { readonly length: number; readonly trims: boolean } {
    if (this.input.startsWith('}}', at)) return { length: 2, trims: false };
    const marked = SPACES.includes(this.input[at] ?? 'x') && this.input.startsWith('-}}', at + 1);
    return { length: marked ? 4 : 0, trims: marked };
  }

  private hasLeftTrim(at: number): boolean {
    return this.input[at] === '-' && SPACES.includes(this.input[at + 1] ?? 'x');
  }

  private atTerminator(at: number): boolean {
    const character = this.input[at];
    if (character === undefined) return true;
    return `${SPACES}.,|:()`.includes(character) || this.input.startsWith('}}', at);
  }

  private match(pattern: RegExp, at: number): string {
    pattern.lastIndex = at;
    return pattern.exec(this.input)?.[0] ?? '';
  }

  private skipSpace(): void {
    let end = this.position;
    while (SPACES.includes(this.input[end] ?? 'x')) end += 1;
    this.advance(end);
  }

  private take(type: TokenType, length: number): Token {
    const start = this.position;
    const token = this.token(type, this.input.slice(start, start + length), start);
    this.advance(start + length);
    return token;
  }

  private token(type: TokenType, text: string, position: number): Token {
    return { type, text, position, line: this.line };
  }

  private error(message: string): Token {
    return this.token('error', message, this.position);
  }

  private badCharacter(at: number): Token {
    return this.error(`bad character ${unicodeName(this.input[at] ?? '')}`);
  }

  private advance(to: number): void {
    for (let at = this.position; at < to; at += 1) if (this.input[at] === '\n') this.line += 1;
    this.position = to;
  }
}

function isWord(word: string): word is keyof typeof KEYWORDS {
  return Object.hasOwn(KEYWORDS, word);
}

/** A regular expression would try each run of blanks from each of its places. */
function withoutTrailingSpace(text: string): string {
  let end = text.length;
  while (end > 0 && SPACES.includes(text[end - 1] ?? 'x')) end -= 1;
  return text.slice(0, end);
}

/** Go's `%#U`. */
function unicodeName(character: string): string {
  const code = character.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0');
  return /[ -~]/.test(character) ? `U+${code} '${character}'` : `U+${code}`;
}
