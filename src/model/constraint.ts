/**
 * Placement constraints: `node.role==manager` and their kin. Matching is by whole value without
 * regard to case, never by pattern (SwarmKit manager/constraint).
 */
import { SkepError } from './errors.js';
import type { Node } from './gen/docker/swarmkit/v1/objects_pb.js';
import { NodeRole } from './gen/docker/swarmkit/v1/types_pb.js';
import { containsAddress, parseIpPrefix } from './ip-prefix.js';

/** One parsed constraint. */
export interface Constraint {
  readonly key: string;
  readonly operator: '==' | '!=';
  readonly value: string;
}

const KEY_PATTERN = /^[a-z_][a-z0-9\-_.]+$/i;
const VALUE_PATTERN = /^[a-z0-9:\-_\s.*()?+[\]\\^$|/]+$/i;
const NODE_LABELS = 'node.labels.';
const ENGINE_LABELS = 'engine.labels.';

/**
 * Parses constraint expressions.
 * @throws SkepError invalid_argument with SwarmKit's texts
 */
export function parseConstraints(expressions: readonly string[]): readonly Constraint[] {
  return expressions.map(parseConstraint);
}

function parseConstraint(expression: string): Constraint {
  for (const operator of ['==', '!='] as const) {
    const at = expression.indexOf(operator);
    if (at < 0) continue;
    const key = expression.slice(0, at).trim();
    const value = expression.slice(at + operator.length).trim();
    if (!KEY_PATTERN.test(key)) throw new SkepError('invalid_argument', `key '${key}' is invalid`);
    if (!VALUE_PATTERN.test(value)) {
      throw new SkepError('invalid_argument', `value '${value}' is invalid`);
    }
    return { key, operator, value };
  }
  throw new SkepError('invalid_argument', 'constraint expected one operator from ==, !=');
}

/** Whether `node` meets all `constraints`. */
export function nodeMatches(constraints: readonly Constraint[], node: Node): boolean {
  return constraints.every((constraint) => meets(constraint, node));
}

/**
 * Whether `node` meets the constraint expressions; expressions that do not parse are met by no
 * node (they are refused when the service is created).
 */
export function nodeMeetsExpressions(expressions: readonly string[], node: Node): boolean {
  if (expressions.length === 0) return true;
  try {
    return nodeMatches(parseConstraints(expressions), node);
  } catch (error) {
    if (error instanceof SkepError) return false;
    throw error;
  }
}

function meets(constraint: Constraint, node: Node): boolean {
  const { key, operator, value } = constraint;
  switch (key.toLowerCase()) {
    case 'node.id':
      return compare(operator, value, node.id);
    case 'node.hostname':
      return compare(operator, value, node.description?.hostname ?? '');
    case 'node.ip':
      return meetsAddress(operator, value, node.status?.addr ?? '');
    case 'node.role':
      return compare(operator, value, node.role === NodeRole.MANAGER ? 'manager' : 'worker');
    case 'node.platform.os':
      return compare(operator, value, node.description?.platform?.os ?? '');
    case 'node.platform.arch':
      return compare(operator, value, node.description?.platform?.architecture ?? '');
    default:
      return meetsLabel(constraint, node);
  }
}

function meetsLabel({ key, operator, value }: Constraint, node: Node): boolean {
  const lowerKey = key.toLowerCase();
  if (lowerKey.startsWith(NODE_LABELS)) {
    const label = key.slice(NODE_LABELS.length);
    return compare(operator, value, node.spec?.annotations?.labels[label]);
  }
  if (lowerKey.startsWith(ENGINE_LABELS)) {
    const label = key.slice(ENGINE_LABELS.length);
    return compare(operator, value, node.description?.engine?.labels[label]);
  }
  return false;
}

/** A missing label equals nothing and so differs from everything. */
function compare(operator: '==' | '!=', wanted: string, actual: string | undefined): boolean {
  const equal = actual !== undefined && actual.toLowerCase() === wanted.toLowerCase();
  return operator === '==' ? equal : !equal;
}

/** An address or CIDR against the node's; malformed ones are never met. */
function meetsAddress(operator: '==' | '!=', wanted: string, actual: string): boolean {
  const prefix = parseIpPrefix(
    wanted.includes('/') ? wanted : `${wanted}/${wanted.includes(':') ? 128 : 32}`,
  );
  const address = parseIpPrefix(`${actual}/${actual.includes(':') ? 128 : 32}`);
  if (prefix === undefined || address === undefined) return false;
  const inside = containsAddress(prefix, address);
  return operator === '==' ? inside : !inside;
}
