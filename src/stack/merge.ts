/**
 * Merging compose files in the long form: mappings key by key, later values over earlier ones, lists
 * one behind the other without doubles. Commands are replaced as a whole.
 */
import { isMapping, type Mapping } from './decode.js';
import type { MergeTag } from './yaml-file.js';

/** Lists that are replaced, by the last key of their place. */
const REPLACED = new Set(['command', 'entrypoint', 'test']);

/** What makes two entries of a list the same one, by the last key of its place. */
const IDENTITIES: Readonly<Record<string, (entry: Mapping) => string>> = {
  ports: (port) =>
    [
      port['published'] === 0 ? `to ${String(port['target'])}` : port['published'],
      port['protocol'],
      port['host_ip'],
    ].join(' '),
  volumes: (volume) => String(volume['target']),
  tmpfs: (volume) => String(volume['target']),
  secrets: (reference) => String(reference['target'] ?? reference['source']),
  configs: (reference) => String(reference['target'] ?? reference['source']),
  env_file: (file) => String(file['path']),
};

/** `over` merged onto `base`; neither is changed. @param tags of `over`, by place */
export function merge<T extends object>(
  base: T,
  over: T,
  tags: ReadonlyMap<string, MergeTag> = new Map(),
  path = '',
): T {
  const result = new Map(Object.entries(base));
  for (const [key, value] of Object.entries(over)) {
    const here = path === '' ? key : `${path}.${key}`;
    const isWhole = tags.has(here) || !result.has(key);
    result.set(key, isWhole ? value : mergeValue(result.get(key), value, tags, here, key));
  }
  for (const [place, tag] of tags) {
    const at = place.lastIndexOf('.');
    if (tag === 'reset' && place.slice(0, Math.max(at, 0)) === path)
      result.delete(place.slice(at + 1));
  }
  return Object.fromEntries(result) as T;
}

function mergeValue(
  base: unknown,
  over: unknown,
  tags: ReadonlyMap<string, MergeTag>,
  path: string,
  key: string,
): unknown {
  if (isMapping(base) && isMapping(over)) return merge(base, over, tags, path);
  if (Array.isArray(base) && Array.isArray(over) && !REPLACED.has(key))
    return mergeLists(base, over, key);
  // An attachment to a network without settings leaves those of the earlier file.
  return over === null && isMapping(base) ? base : over;
}

function mergeLists(base: readonly unknown[], over: readonly unknown[], key: string): unknown[] {
  const identity = (entry: unknown): string =>
    (isMapping(entry) ? IDENTITIES[key]?.(entry) : undefined) ?? JSON.stringify(entry);
  const result = new Map(base.map((entry) => [identity(entry), entry]));
  for (const entry of over) result.set(identity(entry), entry);
  return [...result.values()];
}
