/**
 * Durations, sizes, processors and command lines as compose files write them.
 */
import { type Decode, list, text } from './decode.js';

const UNIT_NANOSECONDS: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};

/** A duration such as `1m30s`, in nanoseconds. */
export const duration: Decode<number> = (value, place) => {
  const written = text(value, place);
  if (written === '0') return 0;
  const parts = [...written.matchAll(/(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)/g)];
  const isWhole = parts.map(([part]) => part).join('') === written && parts.length > 0;
  const sum = parts.reduce(
    (total, [, amount, unit]) => total + Number(amount) * (UNIT_NANOSECONDS[unit ?? ''] ?? 0),
    0,
  );
  if (!isWhole || !Number.isSafeInteger(Math.round(sum)))
    throw place.error(`invalid duration "${written}"; write it such as 1m30s`);
  return Math.round(sum);
};

const SIZE_UNITS = 'kmgtp';

/** A size such as `50M`, in bytes; units are powers of 1024. */
export const size: Decode<number> = (value, place) => {
  const written = text(value, place);
  const match = /^(\d+(?:\.\d+)?) ?(?:([kmgtp])?i?b?)$/i.exec(written);
  const power = SIZE_UNITS.indexOf(match?.[2]?.toLowerCase() ?? ' ') + 1;
  const bytes = Math.floor(Number(match?.[1]) * 1024 ** power);
  if (match === null || !Number.isSafeInteger(bytes))
    throw place.error(`invalid size "${written}"; write it such as 50M`);
  return bytes;
};

/** A number of processors such as `0.5`, in billionths. */
export const nanoCpus: Decode<number> = (value, place) => {
  const written = text(value, place);
  if (!/^\d+(\.\d+)?$/.test(written)) throw place.error(`invalid number of cpus "${written}"`);
  const [whole = '', fraction = ''] = written.split('.');
  const digits = fraction.replace(/0+$/, '');
  if (digits.length > 9) throw place.error('value is too precise');
  return Number(whole) * 1e9 + Number(digits.padEnd(9, '0'));
};

/** A command: a list of words, or a line that is split as a shell would. */
export const command: Decode<readonly string[]> = (value, place) => {
  if (Array.isArray(value)) return list(text)(value, place);
  const words = splitWords(text(value, place));
  if (words === undefined) throw place.error('a quote is not closed');
  return words;
};

/** The words of a command line: quotes and backslashes as in a shell; undefined if one is open. */
export function splitWords(line: string): readonly string[] | undefined {
  const words: string[] = [];
  let word: string | undefined;
  let quote = '';
  for (let at = 0; at < line.length; at++) {
    const character = line[at] ?? '';
    if (quote === "'" && character !== "'") word = `${word ?? ''}${character}`;
    else if (quote !== '' && character === quote) quote = '';
    else if (character === '\\') {
      const next = line[++at];
      if (next === undefined) return undefined;
      // Within double quotes a backslash stands before a quote or a backslash only.
      const isLiteral = quote === '"' && next !== '"' && next !== '\\';
      word = `${word ?? ''}${isLiteral ? '\\' : ''}${next}`;
    } else if (quote === '"') word = `${word ?? ''}${character}`;
    else if (character === '"' || character === "'") {
      quote = character;
      word ??= '';
    } else if (/\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (character === '#' && word === undefined) break;
    else word = `${word ?? ''}${character}`;
  }
  if (quote !== '') return undefined;
  if (word !== undefined) words.push(word);
  return words;
}
