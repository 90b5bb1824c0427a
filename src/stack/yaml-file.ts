/**
 * One YAML document as plain values. YAML 1.2 with what compose files are used to from 1.1: merge
 * keys (`<<`) and octal numbers (`0440`). The tags `!reset` and `!override` say how the value is
 * merged with an earlier file's; they are returned beside the values.
 */
import {
  isAlias,
  isCollection,
  isPair,
  isScalar,
  parseDocument,
  type ScalarTag,
  visit,
} from 'yaml';
import { isMapping, type Mapping } from './decode.js';
import { ALIASES_MAX } from './limits.js';
import type { Place } from './place.js';

/** How a value goes with that of an earlier file: away with it, or in its place. */
export type MergeTag = 'reset' | 'override';

/** A file's content. */
export interface YamlFile {
  readonly values: Mapping;
  /** By place: `services.web.ports`. */
  readonly tags: ReadonlyMap<string, MergeTag>;
}

const OCTAL: ScalarTag = {
  identify: () => false,
  default: true,
  tag: 'tag:yaml.org,2002:int',
  format: 'OCT',
  test: /^0[0-7]+$/,
  resolve: (text) => Number.parseInt(text, 8),
};

/** @throws SkepError invalid_argument with line and column */
export function parseYaml(content: string, place: Place): YamlFile {
  const document = parseDocument(content, {
    version: '1.2',
    merge: true,
    uniqueKeys: true,
    customTags: (tags) => [OCTAL, ...tags],
  });
  const [error] = document.errors;
  if (error !== undefined) throw place.error(error.message);
  const tags = new Map<string, MergeTag>();
  visit(document, {
    Node: (_key, node, ancestors) => {
      if (isAlias(node) || node.tag === undefined || node.tag.startsWith('tag:yaml.org'))
        return undefined;
      const { tag } = node;
      if (tag !== '!reset' && tag !== '!override') throw place.error(`unknown tag ${tag}`);
      tags.set(placeOf([...ancestors, node]), tag === '!reset' ? 'reset' : 'override');
      // What is reset needs no value; a plain one would be read as text because of the tag.
      return tag === '!reset' ? document.createNode(null) : undefined;
    },
  });
  let values: unknown;
  try {
    values = document.toJS({ maxAliasCount: ALIASES_MAX });
  } catch (cause) {
    throw place.error(cause instanceof Error ? cause.message : String(cause));
  }
  if (values === null) return { values: {}, tags };
  if (!isMapping(values)) throw place.error('Top-level object must be a mapping');
  return { values, tags };
}

/** The place that nodes from the root down lead to. */
function placeOf(nodes: readonly unknown[]): string {
  let path = '';
  nodes.forEach((node, index) => {
    const parent = nodes[index - 1];
    if (isPair(node)) {
      const key = isScalar(node.key) ? String(node.key.value) : '';
      path = path === '' ? key : `${path}.${key}`;
    } else if (isCollection(parent) && !isPair(node)) {
      path = `${path}[${(parent.items as readonly unknown[]).indexOf(node)}]`;
    }
  });
  return path;
}
