/** The tree of a parsed template, and its nodes as text for error messages. */

/** Where a node is: offset of its first byte. */
interface At {
  readonly position: number;
}

/** An expression that yields a value. */
export type Operand =
  | (At & { readonly kind: 'bool'; readonly value: boolean })
  | (At & { readonly kind: 'dot' })
  | (At & { readonly kind: 'nil' })
  | (At & { readonly kind: 'number'; readonly text: string; readonly value: bigint | number })
  | (At & { readonly kind: 'string'; readonly quoted: string; readonly text: string })
  | (At & { readonly kind: 'field'; readonly path: readonly string[] })
  | (At & { readonly kind: 'variable'; readonly path: readonly string[] })
  | (At & { readonly kind: 'function'; readonly name: string })
  | (At & { readonly kind: 'chain'; readonly operand: Operand; readonly path: readonly string[] })
  | Pipeline;

/** One stage of a pipeline: what is called, and its arguments. */
export interface Command extends At {
  readonly kind: 'command';
  readonly operands: readonly Operand[];
}

/** Commands joined by `|`, perhaps with variables that take the value. */
export interface Pipeline extends At {
  readonly kind: 'pipeline';
  readonly variables: readonly string[];
  /** `=` instead of `:=`. */
  readonly assigns: boolean;
  readonly commands: readonly Command[];
}

/** What stands in the text of a template. */
export type TemplateNode =
  | (At & { readonly kind: 'text'; readonly text: string })
  | (At & { readonly kind: 'action'; readonly pipeline: Pipeline })
  | (At & {
      readonly kind: 'if' | 'range' | 'with';
      readonly pipeline: Pipeline;
      readonly list: readonly TemplateNode[];
      readonly elseList: readonly TemplateNode[] | undefined;
    })
  | (At & {
      readonly kind: 'template';
      readonly name: string;
      readonly pipeline: Pipeline | undefined;
    })
  | (At & { readonly kind: 'break' | 'continue' });

/** A node that an error may point at. */
export type AnyNode = Operand | Command | TemplateNode;

/** Trees by name. */
export type TemplateSet = ReadonlyMap<string, readonly TemplateNode[]>;

/** The node as Go shows it. */
export function nodeText(node: AnyNode): string {
  switch (node.kind) {
    case 'bool':
      return String(node.value);
    case 'dot':
      return '.';
    case 'nil':
      return 'nil';
    case 'number':
      return node.text;
    case 'string':
      return node.quoted;
    case 'field':
      return node.path.map((name) => `.${name}`).join('');
    case 'variable':
      return node.path.join('.');
    case 'function':
      return node.name;
    case 'chain':
      return argumentText(node.operand) + node.path.map((name) => `.${name}`).join('');
    case 'command':
      return node.operands.map(argumentText).join(' ');
    case 'pipeline':
      return pipelineText(node);
    case 'text':
      return node.text;
    case 'action':
      return `{{${pipelineText(node.pipeline)}}}`;
    case 'template':
      return `{{template ${JSON.stringify(node.name)}${node.pipeline === undefined ? '' : ` ${pipelineText(node.pipeline)}`}}}`;
    case 'break':
    case 'continue':
      return `{{${node.kind}}}`;
    default:
      return controlText(node);
  }
}

function argumentText(operand: Operand): string {
  return operand.kind === 'pipeline' ? `(${pipelineText(operand)})` : nodeText(operand);
}

function pipelineText(pipeline: Pipeline): string {
  const { variables, assigns, commands } = pipeline;
  const declared = variables.length === 0 ? '' : `${variables.join(', ')} ${assigns ? '=' : ':='} `;
  return declared + commands.map(nodeText).join(' | ');
}

function controlText(node: Extract<TemplateNode, { kind: 'if' | 'range' | 'with' }>): string {
  const list = node.list.map(nodeText).join('');
  const elseList = node.elseList?.map(nodeText).join('');
  const otherwise = elseList === undefined ? '' : `{{else}}${elseList}`;
  return `{{${node.kind} ${pipelineText(node.pipeline)}}}${list}${otherwise}{{end}}`;
}
