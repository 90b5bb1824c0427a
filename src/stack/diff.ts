/**
 * Differences between what a swarm has and what a file asks for, as lines to read. What the API fills
 * in by itself and what is empty counts as the same.
 */
import { isMapping } from './decode.js';

/** Zeros that say something, beside those that are what a missing number is. */
const SPEAKING_ZEROS = new Set(['Replicas', 'Parallelism', 'MaxConcurrent', 'TotalCompletions']);

/** Counts that are one where none is given. */
const ONE_BY_DEFAULT = new Set(['Replicas', 'MaxConcurrent', 'TotalCompletions']);

/** What the API fills in. */
const FILLED_IN: Readonly<Record<string, unknown>> = {
  Isolation: 'default',
  FailureAction: 'pause',
  Mode: 'vip',
  Order: 'stop-first',
  Runtime: 'container',
};

/** Ids of what is named beside them. */
const SKIPPED = new Set(['SecretID', 'ConfigID', 'ForceUpdate', 'Platforms']);

/** Lines `place: old -> new`, sorted; none if both are the same. */
export function differences(current: unknown, wanted: unknown): readonly string[] {
  return changes(current, wanted).map(({ place, before, after }) => {
    return `${place}: ${before ?? '(none)'} -> ${after ?? '(none)'}`;
  });
}

/** The same without the values, which may be nobody's business. */
export function changedPlaces(current: unknown, wanted: unknown): readonly string[] {
  return changes(current, wanted).map(({ place }) => place);
}

interface Change {
  readonly place: string;
  readonly before: string | undefined;
  readonly after: string | undefined;
}

function changes(current: unknown, wanted: unknown): readonly Change[] {
  const [before, after] = [flatten(current), flatten(wanted)];
  const places = [...new Set([...before.keys(), ...after.keys()])].sort();
  return places
    .map((place) => ({ place, before: before.get(place), after: after.get(place) }))
    .filter((change) => change.before !== change.after);
}

function flatten(value: unknown): ReadonlyMap<string, string> {
  const result = new Map<string, string>();
  const visit = (each: unknown, place: string, key: string): void => {
    if (each === null || each === undefined || each === '' || each === false) return;
    if (each === 0 && !SPEAKING_ZEROS.has(key)) return;
    if (SKIPPED.has(key) || FILLED_IN[key] === each) return;
    if (each === 1 && ONE_BY_DEFAULT.has(key)) return;
    if (Array.isArray(each)) {
      const isPlain = each.every((item) => typeof item !== 'object');
      if (isPlain && each.length > 0 && key !== 'Env') result.set(place, JSON.stringify(each));
      else each.forEach((item, at) => visitItem(item, place, at));
    } else if (isMapping(each)) {
      for (const [name, item] of Object.entries(each))
        visit(item, place === '' ? name : `${place}.${name}`, name);
    } else result.set(place, JSON.stringify(each));
  };
  const visitItem = (item: unknown, place: string, at: number): void => {
    // Entries that have a name are compared by it, so that one more shows as one more.
    const name = nameOf(item);
    if (typeof item === 'string') {
      const cut = item.indexOf('=');
      const variable = cut === -1 ? item : item.slice(0, cut);
      result.set(`${place}[${variable}]`, JSON.stringify(cut === -1 ? null : item.slice(cut + 1)));
    } else visit(item, `${place}[${name ?? at}]`, '');
  };
  visit(value, '', '');
  return result;
}

function nameOf(item: unknown): string | undefined {
  if (!isMapping(item)) return undefined;
  const { File: file, Target: target, TargetPort: port, Protocol: protocol, Name: name } = item;
  if (isMapping(file)) return String(file['Name']);
  if (typeof port === 'number') return `${port}/${String(protocol)}`;
  if (typeof target === 'string') return target;
  return typeof name === 'string' ? name : undefined;
}

const SHOWN_LINES_MAX = 40;

/** The lines that differ between two texts, without what they have in common at both ends. */
export function textDifferences(before: Uint8Array, after: Uint8Array): readonly string[] {
  const [old, now] = [linesOf(before), linesOf(after)];
  if (old === undefined || now === undefined)
    return [`${before.length} bytes -> ${after.length} bytes`];
  let start = 0;
  while (start < old.length && start < now.length && old[start] === now[start]) start++;
  let end = 0;
  while (
    end < old.length - start &&
    end < now.length - start &&
    old.at(-1 - end) === now.at(-1 - end)
  )
    end++;
  const lines = [
    ...old.slice(start, old.length - end).map((line) => `- ${line}`),
    ...now.slice(start, now.length - end).map((line) => `+ ${line}`),
  ];
  const rest = lines.length - SHOWN_LINES_MAX;
  return rest > 0 ? [...lines.slice(0, SHOWN_LINES_MAX), `(${rest} more lines)`] : lines;
}

function linesOf(bytes: Uint8Array): readonly string[] | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes).split('\n');
  } catch {
    return undefined; // Not text.
  }
}
