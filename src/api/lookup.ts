/**
 * From what a user wrote to one object: full id, then exact name, then prefix of an id, with
 * Docker's errors for none and for several.
 */
import { badRequest, notFound } from './http/api-error.js';

/** How to find objects of one kind. */
export interface Lookup<T> {
  /** The kind as messages name it: `service`. */
  readonly kind: string;
  readonly items: readonly T[];
  readonly idOf: (item: T) => string;
  readonly nameOf: (item: T) => string;
  /** Whether `abc` finds `Abc` (secrets and configs, as in SwarmKit). */
  readonly ignoresCase?: boolean;
}

/** The matches in order of precedence; empty, one or several. */
export function findMatches<T>(lookup: Lookup<T>, input: string): readonly T[] {
  const { items, idOf, nameOf } = lookup;
  const same = (name: string) =>
    lookup.ignoresCase === true ? name.toLowerCase() === input.toLowerCase() : name === input;
  const byId = items.filter((item) => idOf(item) === input);
  if (byId.length > 0) return byId;
  const byName = items.filter((item) => same(nameOf(item)));
  if (byName.length > 0) return byName;
  return items.filter((item) => idOf(item).startsWith(input));
}

/** The one object. @throws ApiError 404 `service x not found` | 400 `service x is ambiguous (2 matches found)` */
export function findOne<T>(lookup: Lookup<T>, input: string): T {
  const [first, ...others] = findMatches(lookup, input);
  if (first === undefined) throw notFound(`${lookup.kind} ${input} not found`);
  if (others.length > 0) {
    throw badRequest(`${lookup.kind} ${input} is ambiguous (${others.length + 1} matches found)`);
  }
  return first;
}
