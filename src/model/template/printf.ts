/** fmt.Sprintf over the values of templates: takes the format string apart. */
import { PRINTF_WIDTH_MAX } from './limits.js';
import { type Format, formatted, PLAIN, printed } from './print.js';
import { runes } from './quote.js';
import { typeOf, type Value } from './values.js';

type Flag = 'plus' | 'minus' | 'sharp' | 'space' | 'zero';
const FLAGS: Readonly<Record<string, Flag>> = {
  '+': 'plus',
  '-': 'minus',
  '#': 'sharp',
  ' ': 'space',
  '0': 'zero',
};

/**
 * The text of `format` with `values`. What does not fit shows as in Go, such as `%!d(string=hi)`.
 * @param spend is told the length of each piece as it is made; may throw to stop
 */
export function sprintf(
  format: string,
  values: readonly Value[],
  spend: (bytes: number) => void,
): string {
  return new Printer(format, values, spend).print();
}

class Printer {
  private at = 0;
  private argument = 0;
  private reordered = false;
  private goodIndex = true;

  constructor(
    private readonly format: string,
    private readonly values: readonly Value[],
    private readonly spend: (bytes: number) => void,
  ) {}

  print(): string {
    const parts: string[] = [];
    const push = (text: string): void => {
      this.spend(text.length);
      parts.push(text);
    };
    while (this.at < this.format.length) {
      const percent = this.format.indexOf('%', this.at);
      const end = percent === -1 ? this.format.length : percent;
      push(this.format.slice(this.at, end));
      this.at = end + 1;
      if (percent !== -1) push(this.directive());
    }
    if (!this.reordered && this.argument < this.values.length) push(this.extra());
    return parts.join('');
  }

  private directive(): string {
    this.goodIndex = true;
    this.reordered = false;
    const { flags, problems } = this.modifiers();
    const [rune] = runes(this.format.slice(this.at, this.at + 4));
    if (rune === undefined) return `${problems}%!(NOVERB)`;
    this.at += rune.bytes.length;
    const verb = rune.bytes;
    if (verb === '%') return `${problems}%`;
    if (!this.goodIndex) return `${problems}%!${verb}(BADINDEX)`;
    const value = this.values[this.argument];
    if (value === undefined) return `${problems}%!${verb}(MISSING)`;
    this.argument += 1;
    return problems + formatted(value, verb, flags);
  }

  private modifiers(): { flags: Format; problems: string } {
    const flags: { -readonly [K in keyof Format]: Format[K] } = { ...PLAIN };
    let problems = '';
    for (;;) {
      const flag = FLAGS[this.format[this.at] ?? ''];
      if (flag === undefined) break;
      flags[flag] = true;
      this.at += 1;
    }
    this.index();
    const width = this.size();
    if (width === 'bad') problems += '%!(BADWIDTH)';
    else if (width !== undefined) {
      flags.width = Math.abs(width);
      if (width < 0) flags.minus = true;
    }
    if (this.format[this.at] === '.') {
      this.at += 1;
      this.index();
      const precision = this.size();
      if (precision === 'bad' || (precision ?? 0) < 0) problems += '%!(BADPREC)';
      else flags.precision = precision ?? 0;
    }
    this.index();
    if (flags.minus) flags.zero = false;
    return { flags, problems };
  }

  /** A number, or `*` for an argument that is one. */
  private size(): number | 'bad' | undefined {
    if (this.format[this.at] === '*') {
      this.at += 1;
      const value = this.values[this.argument];
      this.argument += 1;
      if (typeof value !== 'bigint') return 'bad';
      const isSound = value <= BigInt(PRINTF_WIDTH_MAX) && value >= BigInt(-PRINTF_WIDTH_MAX);
      return isSound ? Number(value) : 'bad';
    }
    const digits = /^\d+/.exec(this.format.slice(this.at, this.at + 8))?.[0];
    if (digits === undefined) return undefined;
    // As Go beyond 9,999,999: what follows such a number is not read.
    const isSound = Number(digits) <= PRINTF_WIDTH_MAX;
    this.at = isSound ? this.at + digits.length : this.format.length;
    if (!isSound) return undefined;
    return Number(digits);
  }

  /** `[n]`: the next argument is the n-th. */
  private index(): void {
    if (this.format[this.at] !== '[') return;
    this.reordered = true;
    const close = this.format.indexOf(']', this.at);
    const text = close === -1 ? '' : this.format.slice(this.at + 1, close);
    const number = /^\d{1,7}$/.test(text) ? Number(text) : 0;
    this.goodIndex &&= number >= 1 && number <= this.values.length;
    if (number >= 1 && number <= this.values.length) this.argument = number - 1;
    this.at = close === -1 ? this.at + 1 : close + 1;
  }

  /** Arguments that no verb used. */
  private extra(): string {
    const rest = this.values
      .slice(this.argument)
      .map((value) => (value === null ? '<nil>' : `${typeOf(value)}=${printed(value)}`));
    return `%!(EXTRA ${rest.join(', ')})`;
  }
}
