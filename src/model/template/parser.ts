/**
 * From tokens to the tree, by the grammar and with the messages of Go's text/template/parse. All
 * control structures and parentheses are bounded in depth: a template comes from anybody.
 */
import { Lexer, type Token, type TokenType, isKeyword } from './lexer.js';
import { NESTING_MAX, PIPELINE_MAX, VARIABLES_MAX } from './limits.js';
import { characterConstant, numberConstant, unquote } from './literals.js';
import {
  type Command,
  nodeText,
  type Operand,
  type Pipeline,
  type TemplateNode,
  type TemplateSet,
} from './nodes.js';
import { TemplateError } from './template-error.js';

/** How a list of nodes ended. */
type ListEnd = 'eof' | 'end' | 'else';

/** The word after `{{else`, if it begins another control structure. */
type ElseWord = 'if' | 'with' | undefined;

const OPERANDS: ReadonlySet<TokenType> = new Set<TokenType>([
  ...(['bool', 'charConstant', 'dot', 'field', 'identifier', 'number', 'nil'] as const),
  ...(['rawString', 'string', 'variable', 'leftParen'] as const),
]);
const NOT_EXECUTABLE: ReadonlySet<string> = new Set(['bool', 'dot', 'nil', 'number', 'string']);

/**
 * The templates in `text`, itself under `name`.
 * @param isFunction whether a function of that name exists
 * @throws TemplateError with Go's text
 */
export function parseTemplate(
  name: string,
  text: string,
  isFunction: (name: string) => boolean,
): TemplateSet {
  return new Parser(name, text, isFunction).parse();
}

class Parser {
  private readonly lexer: Lexer;
  private readonly pushedBack: Token[] = [];
  private readonly templates = new Map<string, readonly TemplateNode[]>();
  private variables: string[] = ['$'];
  private line = 1;
  private actionLine = 0;
  private depth = 0;
  private ranges = 0;

  constructor(
    private readonly name: string,
    text: string,
    private readonly isFunction: (name: string) => boolean,
  ) {
    this.lexer = new Lexer(text);
  }

  parse(): TemplateSet {
    const { nodes, end } = this.list(true);
    if (end !== 'eof') this.fail(`unexpected {{${end}}}`);
    this.add(this.name, nodes);
    return this.templates;
  }

  /** Nodes up to `{{end}}`, `{{else}}` or, at the top, the end of the text. */
  private list(top: boolean): { nodes: TemplateNode[]; end: ListEnd; elseWord: ElseWord } {
    const nodes: TemplateNode[] = [];
    for (;;) {
      const token = this.nextNonSpace();
      if (token.type === 'eof') {
        if (!top) this.fail('unexpected EOF');
        return { nodes, end: 'eof', elseWord: undefined };
      }
      if (token.type === 'text') {
        nodes.push({ kind: 'text', text: token.text, position: token.position });
        continue;
      }
      if (token.type !== 'leftDelim') this.unexpected(token, 'input');
      this.actionLine = token.line;
      const first = this.nextNonSpace();
      if (first.type === 'end') {
        this.expect('rightDelim', 'end');
        this.actionLine = 0;
        return { nodes, end: 'end', elseWord: undefined };
      }
      if (first.type === 'else') return { nodes, end: 'else', elseWord: this.elseWord() };
      if (first.type === 'define' && top) this.definition();
      else nodes.push(this.action(first));
      this.actionLine = 0;
    }
  }

  private elseWord(): ElseWord {
    const word = this.peekNonSpace().type;
    if (word === 'if' || word === 'with') return word;
    this.expect('rightDelim', 'else');
    this.actionLine = 0;
    return undefined;
  }

  private definition(): void {
    const name = this.templateName(this.nextNonSpace(), 'define clause');
    this.expect('rightDelim', 'define clause');
    this.add(name, this.body('define clause'));
  }

  /** The list of a definition, with variables and loops of its own. */
  private body(context: string): readonly TemplateNode[] {
    const { variables, ranges } = this;
    this.variables = ['$'];
    this.ranges = 0;
    const { nodes, end } = this.nested(() => this.list(false));
    if (end !== 'end') this.fail(`unexpected {{${end}}} in ${context}`);
    this.variables = variables;
    this.ranges = ranges;
    return nodes;
  }

  private add(name: string, nodes: readonly TemplateNode[]): void {
    const present = this.templates.get(name);
    if (present === undefined || isEmpty(present)) this.templates.set(name, nodes);
    else if (!isEmpty(nodes))
      this.fail(`template: multiple definition of template ${JSON.stringify(name)}`);
  }

  private action(first: Token): TemplateNode {
    const { position } = first;
    switch (first.type) {
      case 'block':
        return this.block(position);
      case 'break':
      case 'continue':
        return this.loopControl(first.type, position);
      case 'if':
      case 'range':
      case 'with':
        return this.control(first.type, position);
      case 'template':
        return this.template();
      default: {
        this.pushedBack.push(first);
        const pipeline = this.pipeline('command', 'rightDelim');
        return { kind: 'action', pipeline, position };
      }
    }
  }

  private loopControl(kind: 'break' | 'continue', position: number): TemplateNode {
    const token = this.nextNonSpace();
    if (token.type !== 'rightDelim') this.unexpected(token, `{{${kind}}}`);
    if (this.ranges === 0) this.fail(`{{${kind}}} outside {{range}}`);
    return { kind, position };
  }

  private control(kind: 'if' | 'range' | 'with', position: number): TemplateNode {
    return this.nested(() => {
      const declared = this.variables.length;
      const pipeline = this.pipeline(kind, 'rightDelim');
      if (kind === 'range') this.ranges += 1;
      const { nodes: list, end, elseWord } = this.list(false);
      if (kind === 'range') this.ranges -= 1;
      const elseList = end === 'else' ? this.otherwise(kind, elseWord) : undefined;
      this.variables.length = declared;
      return { kind, pipeline, list, elseList, position };
    });
  }

  /** After `{{else}}`, or in the middle of `{{else if ...}}`, which shares its `{{end}}`. */
  private otherwise(kind: 'if' | 'range' | 'with', word: ElseWord): readonly TemplateNode[] {
    if (word !== undefined && word === kind) {
      const token = this.nextNonSpace();
      return [this.control(word, token.position)];
    }
    if (word !== undefined) this.unexpected(this.nextNonSpace(), 'input');
    const { nodes, end } = this.list(false);
    if (end !== 'end') this.fail(`expected end; found {{${end}}}`);
    return nodes;
  }

  private block(position: number): TemplateNode {
    const context = 'block clause';
    const name = this.templateName(this.nextNonSpace(), context);
    const pipeline = this.pipeline(context, 'rightDelim');
    this.add(name, this.body(context));
    return { kind: 'template', name, pipeline, position };
  }

  private template(): TemplateNode {
    const context = 'template clause';
    const token = this.nextNonSpace();
    const name = this.templateName(token, context);
    const { position } = token;
    if (this.peekNonSpace().type === 'rightDelim') {
      this.nextNonSpace();
      return { kind: 'template', name, pipeline: undefined, position };
    }
    return { kind: 'template', name, pipeline: this.pipeline(context, 'rightDelim'), position };
  }

  private templateName(token: Token, context: string): string {
    if (token.type !== 'string' && token.type !== 'rawString') this.unexpected(token, context);
    return this.reading(() => unquote(token.text));
  }

  private pipeline(context: string, end: 'rightDelim' | 'rightParen'): Pipeline {
    const { position } = this.peekNonSpace();
    const { names, assigns } = this.declarations(context);
    const commands: Command[] = [];
    for (;;) {
      const token = this.nextNonSpace();
      if (token.type === end) break;
      if (!OPERANDS.has(token.type)) this.unexpected(token, context);
      this.pushedBack.push(token);
      commands.push(this.command());
      if (commands.length > PIPELINE_MAX) this.fail('pipeline too long');
    }
    this.checkPipeline(commands, context);
    return { kind: 'pipeline', variables: names, assigns, commands, position };
  }

  /** `$x :=`, `$x =`, and in a range `$i, $x :=`. */
  private declarations(context: string): { names: string[]; assigns: boolean } {
    const names: string[] = [];
    for (;;) {
      const variable = this.peekNonSpace();
      if (variable.type !== 'variable') return { names, assigns: false };
      this.next();
      const adjacent = this.next();
      const following = adjacent.type === 'space' ? this.nextNonSpace() : adjacent;
      if (following.type === 'declare' || following.type === 'assign') {
        this.declare(names, variable.text);
        return { names, assigns: following.type === 'assign' };
      }
      if (following.type !== 'char' || following.text !== ',') {
        // A variable as an argument, not as a declaration.
        this.pushedBack.push(following);
        if (adjacent !== following) this.pushedBack.push(adjacent);
        this.pushedBack.push(variable);
        return { names, assigns: false };
      }
      this.declare(names, variable.text);
      if (context !== 'range' || names.length >= 2)
        this.fail(`too many declarations in ${context}`);
      const { type } = this.peekNonSpace();
      if (type !== 'variable' && type !== 'rightDelim' && type !== 'rightParen')
        this.fail('range can only initialize variables');
    }
  }

  private declare(names: string[], name: string): void {
    if (this.variables.length >= VARIABLES_MAX) this.fail('too many variables');
    names.push(name);
    this.variables.push(name);
  }

  private checkPipeline(commands: readonly Command[], context: string): void {
    if (commands.length === 0) this.fail(`missing value for ${context}`);
    for (const [index, command] of commands.entries()) {
      const [first] = command.operands;
      if (index > 0 && first !== undefined && NOT_EXECUTABLE.has(first.kind))
        this.fail(`non executable command in pipeline stage ${index + 1}`);
    }
  }

  private command(): Command {
    const { position } = this.peekNonSpace();
    const operands: Operand[] = [];
    for (;;) {
      const operand = this.operand();
      if (operand !== undefined) operands.push(operand);
      if (operands.length > PIPELINE_MAX) this.fail('too many arguments');
      const token = this.next();
      if (token.type === 'space') continue;
      if (token.type === 'rightDelim' || token.type === 'rightParen') this.pushedBack.push(token);
      else if (token.type !== 'pipe') this.unexpected(token, 'operand');
      break;
    }
    if (operands.length === 0) this.fail('empty command');
    return { kind: 'command', operands, position };
  }

  /** A term, perhaps followed by fields. */
  private operand(): Operand | undefined {
    const term = this.term();
    if (term === undefined) return undefined;
    const { position, type } = this.peek();
    if (type !== 'field') return term;
    const path: string[] = [];
    while (this.peek().type === 'field') path.push(this.next().text.slice(1));
    if (path.length > PIPELINE_MAX) this.fail('too many fields');
    if (term.kind === 'field' || term.kind === 'variable')
      return { kind: term.kind, path: [...term.path, ...path], position };
    if (NOT_EXECUTABLE.has(term.kind))
      this.fail(`unexpected . after term ${JSON.stringify(nodeText(term))}`);
    return { kind: 'chain', operand: term, path, position };
  }

  private term(): Operand | undefined {
    const token = this.nextNonSpace();
    const { text, position } = token;
    switch (token.type) {
      case 'identifier':
        if (!this.isFunction(text)) this.fail(`function ${JSON.stringify(text)} not defined`);
        return { kind: 'function', name: text, position };
      case 'dot':
        return { kind: 'dot', position };
      case 'nil':
        return { kind: 'nil', position };
      case 'variable':
        if (!this.variables.includes(text)) this.fail(`undefined variable ${JSON.stringify(text)}`);
        return { kind: 'variable', path: [text], position };
      case 'field':
        return { kind: 'field', path: [text.slice(1)], position };
      case 'bool':
        return { kind: 'bool', value: text === 'true', position };
      case 'charConstant':
      case 'number': {
        const read = token.type === 'number' ? numberConstant : characterConstant;
        return { kind: 'number', text, value: this.reading(() => read(text)), position };
      }
      case 'leftParen':
        return this.nested(() => this.pipeline('parenthesized pipeline', 'rightParen'));
      case 'string':
      case 'rawString':
        return { kind: 'string', quoted: text, text: this.reading(() => unquote(text)), position };
      default:
        this.pushedBack.push(token);
        return undefined;
    }
  }

  /** One level deeper. */
  private nested<T>(work: () => T): T {
    if (this.depth >= NESTING_MAX) this.fail('max expression depth exceeded');
    this.depth += 1;
    const result = work();
    this.depth -= 1;
    return result;
  }

  /** A literal's own error with the place in front. */
  private reading<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      if (error instanceof TemplateError) this.fail(error.message);
      throw error;
    }
  }

  private next(): Token {
    const early = this.pushedBack.pop();
    if (early !== undefined) return early;
    const token = this.lexer.next();
    this.line = token.line;
    return token;
  }

  private nextNonSpace(): Token {
    for (;;) {
      const token = this.next();
      if (token.type !== 'space') return token;
    }
  }

  private peek(): Token {
    const token = this.next();
    this.pushedBack.push(token);
    return token;
  }

  private peekNonSpace(): Token {
    const token = this.nextNonSpace();
    this.pushedBack.push(token);
    return token;
  }

  private expect(type: TokenType, context: string): void {
    const token = this.nextNonSpace();
    if (token.type !== type) this.unexpected(token, context);
  }

  private unexpected(token: Token, context: string): never {
    if (token.type !== 'error') this.fail(`unexpected ${tokenText(token)} in ${context}`);
    if (this.actionLine === 0 || this.actionLine === token.line) this.fail(token.text);
    const where = `started at ${this.name}:${this.actionLine}`;
    this.fail(`${token.text}${token.text.endsWith(' action') ? '' : ' in action'} ${where}`);
  }

  private fail(message: string): never {
    throw new TemplateError(`template: ${this.name}:${this.line}: ${message}`);
  }
}

/** Nothing but blanks: such a definition may be replaced. */
function isEmpty(nodes: readonly TemplateNode[]): boolean {
  return nodes.every((node) => node.kind === 'text' && node.text.trim() === '');
}

function tokenText(token: Token): string {
  if (token.type === 'eof') return 'EOF';
  if (isKeyword(token.type)) return `<${token.text}>`;
  const { text } = token;
  return text.length > 10 ? `${JSON.stringify(text.slice(0, 10))}...` : JSON.stringify(text);
}
