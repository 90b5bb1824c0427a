/**
 * Executes parsed templates over values, with the rules and messages of Go's text/template and its
 * option `missingkey=error`. Steps, output and strings made on the way are counted; an expansion
 * that goes beyond a limit fails.
 */
import type { FunctionTable, ParameterType, TemplateFunction } from './functions.js';
import { OUTPUT_BYTES_MAX, STEPS_MAX, TEMPLATE_DEPTH_MAX, WORK_BYTES_MAX } from './limits.js';
import { fitsInt } from './literals.js';
import {
  type AnyNode,
  type Command,
  nodeText,
  type Operand,
  type Pipeline,
  type TemplateNode,
  type TemplateSet,
} from './nodes.js';
import { parseTemplate } from './parser.js';
import { printed } from './print.js';
import { TemplateError } from './template-error.js';
import { isTrue, sortedEntries, Struct, typeOf, type Value } from './values.js';

/** Whether a list of nodes ended by itself or by a loop control. */
type Flow = 'next' | 'break' | 'continue';

/**
 * Parses and executes a template.
 * @param text a string of bytes; so is the result
 * @param name in front of messages
 * @throws TemplateError with Go's text
 */
export function execute(name: string, text: string, data: Value, functions: FunctionTable): string {
  const templates = parseTemplate(name, text, (word) => functions.has(word));
  return new Execution(name, text, templates, functions).run(data);
}

class Execution {
  private readonly output: string[] = [];
  private outputBytes = 0;
  private workBytes = 0;
  private steps = 0;
  private depth = 0;
  private template: string;
  private variables: { readonly name: string; value: Value }[] = [];
  private node: AnyNode | undefined;
  private readonly context = { spend: (bytes: number): void => this.spend(bytes) };

  constructor(
    private readonly name: string,
    private readonly text: string,
    private readonly templates: TemplateSet,
    private readonly functions: FunctionTable,
  ) {
    this.template = name;
  }

  run(data: Value): string {
    this.variables = [{ name: '$', value: data }];
    this.list(data, this.templates.get(this.name) ?? []);
    return this.output.join('');
  }

  private list(dot: Value, nodes: readonly TemplateNode[]): Flow {
    for (const node of nodes) {
      const flow = this.walk(dot, node);
      if (flow !== 'next') return flow;
    }
    return 'next';
  }

  private walk(dot: Value, node: TemplateNode): Flow {
    this.at(node);
    switch (node.kind) {
      case 'text':
        this.write(node.text);
        return 'next';
      case 'action': {
        const value = this.pipeline(dot, node.pipeline);
        if (node.pipeline.variables.length > 0) return 'next';
        this.at(node);
        this.write(value === null ? '<no value>' : printedIndirect(value));
        return 'next';
      }
      case 'if':
      case 'with':
        return this.condition(dot, node);
      case 'range':
        return this.range(dot, node);
      case 'template':
        this.invoke(dot, node);
        return 'next';
      case 'break':
      case 'continue':
        return node.kind;
    }
  }

  private condition(
    dot: Value,
    node: Extract<TemplateNode, { kind: 'if' | 'range' | 'with' }>,
  ): Flow {
    const mark = this.variables.length;
    const value = this.pipeline(dot, node.pipeline);
    const inner = node.kind === 'with' ? value : dot;
    const flow = isTrue(value) ? this.list(inner, node.list) : this.list(dot, node.elseList ?? []);
    this.variables.length = mark;
    return flow;
  }

  private range(dot: Value, node: Extract<TemplateNode, { kind: 'if' | 'range' | 'with' }>): Flow {
    const mark = this.variables.length;
    const value = this.pipeline(dot, node.pipeline);
    let flow: Flow = 'next';
    let ran = false;
    const inside = this.variables.length;
    for (const [key, item] of this.items(value, node.pipeline)) {
      ran = true;
      this.step();
      this.setLoopVariables(node.pipeline, key, item);
      flow = this.list(item, node.list);
      this.variables.length = inside;
      if (flow === 'break') break;
    }
    const ended = ran ? 'next' : this.list(dot, node.elseList ?? []);
    this.variables.length = mark;
    return ended;
  }

  private *items(value: Value, pipeline: Pipeline): Generator<readonly [Value, Value]> {
    if (value === null) return;
    if (value instanceof Map) {
      yield* sortedEntries(value);
      return;
    }
    if (typeof value !== 'bigint') this.fail(`range can't iterate over a ${typeOf(value)}`);
    if (pipeline.variables.length > 1)
      this.fail(`can't use ${value} to iterate over more than one variable`);
    for (let index = 0n; index < value; index += 1n) yield [null, index];
  }

  private setLoopVariables({ variables, assigns }: Pipeline, key: Value, item: Value): void {
    const [first, second] = variables;
    if (first === undefined) return;
    const values = second === undefined ? [item] : [key, item];
    for (const [index, value] of values.entries()) {
      if (assigns) this.assign(variables[index] ?? '', value);
      else {
        const place = this.variables[this.variables.length - values.length + index];
        if (place !== undefined) place.value = value;
      }
    }
  }

  private invoke(dot: Value, node: Extract<TemplateNode, { kind: 'template' }>): void {
    const nodes = this.templates.get(node.name);
    if (nodes === undefined) this.fail(`template ${JSON.stringify(node.name)} not defined`);
    if (this.depth >= TEMPLATE_DEPTH_MAX)
      this.fail(`exceeded maximum template depth (${TEMPLATE_DEPTH_MAX})`);
    const value = node.pipeline === undefined ? null : this.pipeline(dot, node.pipeline);
    const { template, variables } = this;
    this.template = node.name;
    this.variables = [{ name: '$', value }];
    this.depth += 1;
    this.list(value, nodes);
    this.depth -= 1;
    this.template = template;
    this.variables = variables;
  }

  private pipeline(dot: Value, pipeline: Pipeline): Value {
    this.at(pipeline);
    let value: Value | undefined;
    for (const command of pipeline.commands) value = this.command(dot, command, value);
    const result = value ?? null;
    // A range with two variables has a place for each, the value in the last one.
    for (const name of pipeline.variables) {
      if (pipeline.assigns) this.assign(name, result);
      else this.variables.push({ name, value: result });
    }
    return result;
  }

  /** @param final value of the stage before; undefined in the first stage */
  private command(dot: Value, command: Command, final: Value | undefined): Value {
    const [first, ...args] = command.operands;
    if (first === undefined) return null;
    if (first.kind === 'function') return this.call(dot, first.name, first, command, args, final);
    const hasArguments = args.length > 0 || final !== undefined;
    if (hasArguments) return this.refuseArguments(dot, first);
    if (first.kind === 'nil') {
      this.at(first);
      this.fail('nil is not a command');
    }
    return this.operand(dot, first);
  }

  /** Only functions take arguments. Go looks at fields first, so that missing ones are told. */
  private refuseArguments(dot: Value, first: Operand): never {
    this.at(first);
    const path = 'path' in first ? first.path : [];
    const isField = first.kind === 'field' || first.kind === 'chain' || path.length > 1;
    if (!isField) this.fail(`can't give argument to non-function ${argumentName(first)}`);
    const receiver = this.receiver(dot, first);
    this.operand(dot, first);
    const name = path.at(-1) ?? '';
    this.fail(
      receiver instanceof Struct
        ? `${name} has arguments but cannot be invoked as function`
        : `${name} is not a method but has arguments`,
    );
  }

  /** What the last field of a path is looked up in. */
  private receiver(dot: Value, operand: Operand): Value {
    if (!('path' in operand)) return dot;
    const path = operand.path.slice(0, -1);
    if (operand.kind === 'field') return this.fields(dot, path);
    if (operand.kind === 'variable')
      return this.fields(this.variable(path[0] ?? ''), path.slice(1));
    return this.fields(this.operand(dot, operand.operand), path);
  }

  private operand(dot: Value, operand: Operand): Value {
    this.at(operand);
    switch (operand.kind) {
      case 'bool':
        return operand.value;
      case 'dot':
        return dot;
      case 'nil':
        return null;
      case 'number':
        if (typeof operand.value === 'bigint' && !fitsInt(operand.value))
          this.fail(`${operand.text} overflows int`);
        return operand.value;
      case 'string':
        return operand.text;
      case 'field':
        return this.fields(dot, operand.path);
      case 'variable':
        return this.fields(this.variable(operand.path[0] ?? ''), operand.path.slice(1));
      case 'function':
        return this.call(dot, operand.name, operand, operand, [], undefined);
      case 'chain': {
        if (operand.operand.kind === 'nil')
          this.fail(`indirection through explicit nil in ${nodeText(operand)}`);
        return this.fields(this.operand(dot, operand.operand), operand.path);
      }
      case 'pipeline':
        return this.pipeline(dot, operand);
    }
  }

  private fields(from: Value, path: readonly string[]): Value {
    let value = from;
    for (const name of path) value = this.field(value, name);
    return value;
  }

  private field(receiver: Value, name: string): Value {
    if (receiver === null) return this.fail(`nil data; no entry for key ${JSON.stringify(name)}`);
    if (receiver instanceof Struct) {
      const value = receiver.fields.get(name);
      if (value !== undefined) return value;
    }
    if (receiver instanceof Map) {
      const value = receiver.get(name);
      return value ?? this.fail(`map has no entry for key ${JSON.stringify(name)}`);
    }
    return this.fail(`can't evaluate field ${name} in type ${typeOf(receiver)}`);
  }

  private call(
    dot: Value,
    name: string,
    node: Operand,
    whole: AnyNode,
    args: readonly Operand[],
    final: Value | undefined,
  ): Value {
    this.at(node);
    const called = this.functions.get(name);
    if (called === undefined) this.fail(`${JSON.stringify(name)} is not a defined function`);
    this.checkCount(name, called, args.length, final !== undefined);
    const decides = name === 'and' ? false : name === 'or' ? true : undefined;
    const values: Value[] = [];
    for (const [index, arg] of args.entries()) {
      const value = this.argument(dot, arg, called.parameters[index] ?? called.rest ?? 'any');
      // `and` and `or` end with the first argument that decides.
      if (decides !== undefined && isTrue(value) === decides) return value;
      values.push(value);
    }
    if (final !== undefined) {
      const type = called.parameters[values.length] ?? called.rest ?? 'any';
      values.push(this.checkType(final, type));
    }
    return this.result(name, whole, () => called.call(values, this.context));
  }

  private result(name: string, whole: AnyNode, work: () => Value): Value {
    try {
      const value = work();
      if (typeof value === 'string') this.spend(value.length);
      return value;
    } catch (error) {
      if (!(error instanceof TemplateError)) throw error;
      this.at(whole);
      return this.fail(`error calling ${name}: ${error.message}`);
    }
  }

  private checkCount(
    name: string,
    { parameters, rest }: TemplateFunction,
    given: number,
    hasFinal: boolean,
  ): void {
    const count = given + (hasFinal ? 1 : 0);
    if (rest !== undefined) {
      if (count >= parameters.length) return;
      this.fail(
        `wrong number of args for ${name}: want at least ${parameters.length} got ${given}`,
      );
    }
    if (count === parameters.length) return;
    this.fail(`wrong number of args for ${name}: want ${parameters.length} got ${count}`);
  }

  private argument(dot: Value, node: Operand, type: ParameterType): Value {
    this.at(node);
    if (type === 'any') return this.operand(dot, node);
    if (node.kind === 'nil') this.fail('cannot assign nil to string');
    if (node.kind === 'bool' || node.kind === 'number')
      this.fail(`expected string; found ${nodeText(node)}`);
    return this.checkType(this.operand(dot, node), type);
  }

  private checkType(value: Value, type: ParameterType): Value {
    if (type === 'any' || typeof value === 'string') return value;
    if (value === null) return this.fail('invalid value; expected string');
    return this.fail(`wrong type for value; expected string; got ${typeOf(value)}`);
  }

  private variable(name: string): Value {
    const found = this.variables.findLast((variable) => variable.name === name);
    return found === undefined ? this.fail(`undefined variable: ${name}`) : found.value;
  }

  private assign(name: string, value: Value): void {
    const found = this.variables.findLast((variable) => variable.name === name);
    if (found === undefined) this.fail(`undefined variable: ${name}`);
    found.value = value;
  }

  private at(node: AnyNode): void {
    this.node = node;
    this.step();
  }

  private step(): void {
    this.steps += 1;
    if (this.steps > STEPS_MAX) this.fail(`more than ${STEPS_MAX} steps`);
  }

  private write(text: string): void {
    this.outputBytes += text.length;
    if (this.outputBytes > OUTPUT_BYTES_MAX) this.fail(`more than ${OUTPUT_BYTES_MAX} bytes`);
    this.output.push(text);
  }

  private spend(bytes: number): void {
    this.workBytes += bytes;
    if (this.workBytes > WORK_BYTES_MAX)
      throw new TemplateError(`more than ${WORK_BYTES_MAX} bytes of strings`);
  }

  private fail(message: string): never {
    const { node } = this;
    if (node === undefined) throw new TemplateError(`template: ${this.name}: ${message}`);
    const before = this.text.slice(0, node.position);
    const line = before.split('\n').length;
    const column = node.position - (before.lastIndexOf('\n') + 1);
    throw new TemplateError(
      `template: ${this.name}:${line}:${column}: executing ${JSON.stringify(this.template)} ` +
        `at <${nodeText(node)}>: ${message}`,
    );
  }
}

/** A pointer to a structure prints as the structure. */
function printedIndirect(value: Value): string {
  const text = printed(value);
  return value instanceof Struct && value.isPointer ? text.slice(1) : text;
}

function argumentName(operand: Operand): string {
  return operand.kind === 'pipeline' ? `(${nodeText(operand)})` : nodeText(operand);
}
