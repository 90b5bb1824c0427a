/**
 * Variables in compose files: `$VAR`, `${VAR}`, `${VAR:-default}`, `${VAR-default}`, `${VAR:?error}`,
 * `${VAR?error}`, `${VAR:+other}`, `${VAR+other}`, each within the other, and `$$` for a dollar.
 */
import { SUBSTITUTION_DEPTH_MAX } from './limits.js';
import { isMapping, type Mapping } from './decode.js';
import type { Place } from './place.js';

/** Value of a variable; undefined where it is not set. */
export type Lookup = (name: string) => string | undefined;

/** Sections whose values may hold variables; extensions are the writer's own. */
const SECTIONS = new Set([
  'name',
  'include',
  'services',
  'networks',
  'volumes',
  'secrets',
  'configs',
]);

/** A file with its variables filled in. @throws SkepError invalid_argument */
export function interpolateFile(file: Mapping, lookup: Lookup, place: Place): Mapping {
  return Object.fromEntries(
    Object.entries(file).map(([key, value]) => [
      key,
      SECTIONS.has(key) ? interpolateTree(value, lookup, place.key(key)) : value,
    ]),
  );
}

function interpolateTree(value: unknown, lookup: Lookup, place: Place): unknown {
  if (typeof value === 'string') return interpolate(value, lookup, place);
  if (Array.isArray(value))
    return value.map((item, index) => interpolateTree(item, lookup, place.index(index)));
  if (!isMapping(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      key,
      interpolateTree(item, lookup, place.key(key)),
    ]),
  );
}

/** A text with its variables filled in; unset ones are empty, with a warning. */
export function interpolate(text: string, lookup: Lookup, place: Place, depth = 0): string {
  if (depth > SUBSTITUTION_DEPTH_MAX) throw place.error('variables are nested too deeply');
  let result = '';
  let at = 0;
  while (at < text.length) {
    const dollar = text.indexOf('$', at);
    if (dollar === -1) return result + text.slice(at);
    result += text.slice(at, dollar);
    const rest = text.slice(dollar + 1);
    const name = /^[A-Za-z_][A-Za-z0-9_]*/.exec(rest)?.[0];
    if (rest.startsWith('$')) {
      result += '$';
      at = dollar + 2;
    } else if (rest.startsWith('{')) {
      const end = closingBrace(text, dollar + 2);
      if (end === undefined) throw invalid(text, place);
      result += braced(text.slice(dollar + 2, end), lookup, place, depth);
      at = end + 1;
    } else if (name === undefined) throw invalid(text, place);
    else {
      result += valueOf(name, lookup, place);
      at = dollar + 1 + name.length;
    }
  }
  return result;
}

function invalid(text: string, place: Place): Error {
  return place.error(
    `invalid interpolation format: ${JSON.stringify(text)}; write $$ for a dollar sign`,
  );
}

function valueOf(name: string, lookup: Lookup, place: Place): string {
  const value = lookup(name);
  if (value === undefined)
    place.warn(`The "${name}" variable is not set. Defaulting to a blank string.`);
  return value ?? '';
}

/** Index of the brace that ends an expression begun before `from`. */
function closingBrace(text: string, from: number): number | undefined {
  let depth = 1;
  for (let at = from; at < text.length; at++) {
    if (text[at] === '$' && text[at + 1] === '$') at++;
    else if (text[at] === '$' && text[at + 1] === '{') {
      depth++;
      at++;
    } else if (text[at] === '}' && --depth === 0) return at;
  }
  return undefined;
}

function braced(inner: string, lookup: Lookup, place: Place, depth: number): string {
  const match = /^([A-Za-z_][A-Za-z0-9_]*)(?:(:?[-?+])([^]*))?$/.exec(inner);
  if (match === null) throw invalid(`\${${inner}}`, place);
  const [, name = '', operator, word = ''] = match;
  const value = lookup(name);
  const isSet = value !== undefined && (operator?.startsWith(':') !== true || value !== '');
  const expand = () => interpolate(word, lookup, place, depth + 1);
  switch (operator?.at(-1)) {
    case '-':
      return isSet ? value : expand();
    case '+':
      return isSet ? expand() : '';
    case '?': {
      if (isSet) return value;
      const reason = expand();
      throw place.error(
        `required variable ${name} is missing a value${reason === '' ? '' : `: ${reason}`}`,
      );
    }
    default:
      return valueOf(name, lookup, place);
  }
}
