/** The functions every Go template has, and `join` of SwarmKit's templates. */
import { escapeHtml, escapeJs, escapeQuery } from './escapers.js';
import { sprint, sprintln, printed } from './print.js';
import { sprintf } from './printf.js';
import { TemplateError } from './template-error.js';
import { isTrue, kindOf, Struct, typeOf, type Value } from './values.js';

/** What functions may use of the expansion they run in. */
export interface FunctionContext {
  /** Accounts for bytes made. @throws TemplateError when there were too many */
  readonly spend: (bytes: number) => void;
}

/** A type that an argument must have; `any` takes all. */
export type ParameterType = 'any' | 'string';

/** A function of a template. */
export interface TemplateFunction {
  readonly parameters: readonly ParameterType[];
  /** Type of further arguments; undefined: there may be none. */
  readonly rest?: ParameterType;
  /** @throws TemplateError with the text after `error calling NAME: ` */
  call(args: readonly Value[], context: FunctionContext): Value;
}

/** Functions by name. */
export type FunctionTable = ReadonlyMap<string, TemplateFunction>;

function define(
  parameters: readonly ParameterType[],
  rest: ParameterType | undefined,
  call: TemplateFunction['call'],
): TemplateFunction {
  return rest === undefined ? { parameters, call } : { parameters, rest, call };
}

function fail(message: string): never {
  throw new TemplateError(message);
}

/** An argument of type `string`, which the evaluator has checked. */
export function asString(value: Value | undefined): string {
  return typeof value === 'string' ? value : '';
}

/** Go's rule for what the escapers make a text of. */
function argumentText(args: readonly Value[]): string {
  return sprint(args.map((arg) => (arg === null ? '<no value>' : arg)));
}

function compare(call: (left: Value, right: Value) => boolean): TemplateFunction {
  return define(['any', 'any'], undefined, ([left = null, right = null]) => call(left, right));
}

function basicKind(value: Value): 'bool' | 'int' | 'float' | 'string' {
  const kind = kindOf(value);
  if (kind === 'map' || kind === 'struct' || kind === 'nil')
    return fail('invalid type for comparison');
  return kind;
}

function equal(first: Value, others: readonly Value[]): boolean {
  if (first instanceof Map) fail(`non-comparable type ${printed(first)}: ${typeOf(first)}`);
  if (others.length === 0) fail('missing argument for comparison');
  return others.some((other) => {
    if (other instanceof Map) fail(`non-comparable type ${printed(other)}: ${typeOf(other)}`);
    if (first === null || other === null) return first === other;
    if (first instanceof Struct || other instanceof Struct) return first === other;
    if (kindOf(first) !== kindOf(other)) fail('incompatible types for comparison');
    return first === other;
  });
}

function less(left: Value, right: Value): boolean {
  const kind = basicKind(left);
  if (kind !== basicKind(right)) fail('incompatible types for comparison');
  if (kind === 'bool') fail('invalid type for comparison');
  return (left ?? 0) < (right ?? 0);
}

function lessOrEqual(left: Value, right: Value): boolean {
  return less(left, right) || equal(left, [right]);
}

function toIndex(value: Value, length: number): number {
  if (typeof value !== 'bigint') {
    if (value === null) return fail('cannot index slice/array with nil');
    return fail(`cannot index slice/array with type ${typeOf(value)}`);
  }
  if (value < 0n || value > BigInt(length)) fail(`index out of range: ${value}`);
  return Number(value);
}

function index(item: Value, indices: readonly Value[]): Value {
  if (item === null) return fail('index of untyped nil');
  let current: Value = item;
  for (const key of indices) {
    if (typeof current === 'string') {
      const at = toIndex(key, current.length);
      if (at === current.length) fail(`index out of range: ${at}`);
      current = BigInt(current.charCodeAt(at));
    } else if (current instanceof Map) {
      if (key !== null && typeof key !== 'string')
        return fail(`value has type ${typeOf(key)}; should be string`);
      if (key === null) return fail('value is nil; should be of type string');
      current = current.get(key) ?? '';
    } else {
      return fail(`can't index item of type ${typeOf(current)}`);
    }
  }
  return current;
}

function slice(item: Value, indices: readonly Value[]): Value {
  if (item === null) return fail('slice of untyped nil');
  if (indices.length > 3) fail(`too many slice indexes: ${indices.length}`);
  if (typeof item !== 'string') return fail(`can't slice item of type ${typeOf(item)}`);
  if (indices.length === 3) fail('cannot 3-index slice a string');
  const [from = 0, to = item.length] = indices.map((value) => toIndex(value, item.length));
  if (from > to) fail(`invalid slice index: ${from} > ${to}`);
  return item.slice(from, to);
}

function length(item: Value): bigint {
  if (item === null) return fail('len of nil pointer');
  if (typeof item === 'string') return BigInt(item.length);
  if (item instanceof Map) return BigInt(item.size);
  return fail(`len of type ${typeOf(item)}`);
}

/** `and` and `or` end with the argument that decides; the evaluator does not get to the rest. */
function lastArgument(args: readonly Value[]): Value {
  return args.at(-1) ?? null;
}

const SOME_ANY = (call: TemplateFunction['call']): TemplateFunction => define([], 'any', call);

/** The built-in functions of text/template. `and` and `or` are evaluated step by step elsewhere. */
export const BUILTINS: FunctionTable = new Map<string, TemplateFunction>([
  ['and', define(['any'], 'any', lastArgument)],
  ['or', define(['any'], 'any', lastArgument)],
  ['not', define(['any'], undefined, ([value = null]) => !isTrue(value))],
  [
    'call',
    define(['any'], 'any', ([value = null]) =>
      fail(value === null ? 'call of nil' : `non-function of type ${typeOf(value)}`),
    ),
  ],
  ['html', SOME_ANY((args) => escapeHtml(argumentText(args)))],
  ['js', SOME_ANY((args) => escapeJs(argumentText(args)))],
  ['urlquery', SOME_ANY((args) => escapeQuery(argumentText(args)))],
  ['print', SOME_ANY(sprint)],
  ['println', SOME_ANY(sprintln)],
  [
    'printf',
    define(['string'], 'any', ([format = '', ...values], { spend }) =>
      sprintf(asString(format), values, spend),
    ),
  ],
  ['index', define(['any'], 'any', ([item = null, ...indices]) => index(item, indices))],
  ['slice', define(['any'], 'any', ([item = null, ...indices]) => slice(item, indices))],
  ['len', define(['any'], undefined, ([item = null]) => length(item))],
  ['eq', define(['any'], 'any', ([first = null, ...others]) => equal(first, others))],
  ['ne', compare((left, right) => !equal(left, [right]))],
  ['lt', compare(less)],
  ['le', compare(lessOrEqual)],
  ['gt', compare((left, right) => !lessOrEqual(left, right))],
  ['ge', compare((left, right) => !less(left, right))],
]);

/** SwarmKit's `join SEPARATOR A B ...`. */
export const JOIN: TemplateFunction = define([], 'string', (args) => {
  const [separator, ...parts] = args.map(asString);
  if (separator === undefined) return fail('runtime error: slice bounds out of range [1:0]');
  return parts.join(separator);
});
