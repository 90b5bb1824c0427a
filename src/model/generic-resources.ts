/**
 * User-defined ("generic") resources as the daemon's flags name them and as tasks see them in their
 * environment: counted ones (`gpu=4`) and named ones (`gpu=UUID1`, `gpu=UUID2`). Rules and texts are
 * SwarmKit's (api/genericresource).
 */
import { create } from '@bufbuild/protobuf';
import { SkepError } from './errors.js';
import {
  DiscreteGenericResourceSchema,
  type GenericResource,
  GenericResourceSchema,
  NamedGenericResourceSchema,
} from './gen/docker/swarmkit/v1/types_pb.js';

/** Go's strconv.ParseInt in base 10. */
const INTEGER = /^[+-]?[0-9]+$/;
const INT64_MAX = 2n ** 63n - 1n;

/** `value` units of a counted kind. */
export function discreteResource(kind: string, value: bigint): GenericResource {
  const spec = create(DiscreteGenericResourceSchema, { kind, value });
  return create(GenericResourceSchema, { resource: { case: 'discreteResourceSpec', value: spec } });
}

/** One member of a named kind. */
export function namedResource(kind: string, value: string): GenericResource {
  const spec = create(NamedGenericResourceSchema, { kind, value });
  return create(GenericResourceSchema, { resource: { case: 'namedResourceSpec', value: spec } });
}

/** The kind of a resource; empty for none. */
export function resourceKind({ resource }: GenericResource): string {
  return resource.value?.kind ?? '';
}

/**
 * What a node has, from `KIND=VALUE` terms (`--node-generic-resource`); a kind with several values is
 * a named one. In order of kinds, so that a node describes itself alike each time.
 * @throws SkepError invalid_argument `could not parse GenericResource: …`
 */
export function parseGenericResources(terms: readonly string[]): readonly GenericResource[] {
  const kinds = new Map<string, string[]>();
  for (const term of terms) {
    const [kind, value, ...rest] = term.split('=').map((part) => part.trim());
    if (kind === undefined || value === undefined || rest.length > 0) {
      throw malformed(`incorrect term ${term}, missing '=' or malformed expression`);
    }
    kinds.set(kind, [...(kinds.get(kind) ?? []), value]);
  }
  return [...kinds]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([kind, values]) => resourcesOf(kind, values));
}

function resourcesOf(kind: string, values: readonly string[]): readonly GenericResource[] {
  const [first = ''] = values;
  if (values.length === 1 && isInt64(first)) {
    const count = BigInt(first);
    if (count < 0n) throw malformed(`cannot ask for negative resource ${kind}`);
    return [discreteResource(kind, count)];
  }
  if (values.some(isInt64)) {
    const text = `'${kind}=[${values.join(' ')}]'`;
    throw malformed(`mixed discrete and named resources in expression ${text}`);
  }
  // A member named twice is still one.
  return [...new Set(values)].sort().map((value) => namedResource(kind, value));
}

function isInt64(text: string): boolean {
  if (!INTEGER.test(text) || text.length > 20) return false;
  const value = BigInt(text);
  return value <= INT64_MAX && value >= -INT64_MAX - 1n;
}

function malformed(problem: string): SkepError {
  return new SkepError('invalid_argument', `could not parse GenericResource: ${problem}`);
}

/** What a task was given, for its environment: `DOCKER_RESOURCE_GPU=UUID1,UUID2`. */
export function resourceVariables(assigned: readonly GenericResource[]): readonly string[] {
  const kinds = new Map<string, string[]>();
  for (const { resource } of assigned) {
    if (resource.case === undefined) continue;
    const { kind, value } = resource.value;
    kinds.set(kind, [...(kinds.get(kind) ?? []), String(value)]);
  }
  return [...kinds].map(
    ([kind, values]) => `${`DOCKER_RESOURCE_${kind}`.toUpperCase()}=${values.join(',')}`,
  );
}

/** The members of a named kind among what a task was given. */
export function assignedMembers(
  assigned: readonly GenericResource[],
  kind: string,
): readonly string[] {
  return assigned.flatMap(({ resource }) =>
    resource.case === 'namedResourceSpec' && resource.value.kind === kind
      ? [resource.value.value]
      : [],
  );
}
