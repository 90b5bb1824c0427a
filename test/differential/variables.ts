/**
 * `${...}` in steps: variables, and what an object has now: `${id services/web}`, `${version
 * services/web}`, `${spec services/web Mode.Replicated.Replicas=3}`, the spec with fields changed.
 */
import { dockerRequest } from '../testbed/http.js';

/** Values by name. */
export type Variables = Map<string, string>;

/** The text with everything filled in. @throws Error for an unknown variable or object */
export async function substitute(
  text: string,
  socket: string,
  variables: Variables,
): Promise<string> {
  let filled = '';
  let end = 0;
  for (let start = text.indexOf('${'); start !== -1; start = text.indexOf('${', end)) {
    filled += text.slice(end, start);
    end = closing(text, start + 1) + 1;
    filled += await valueOf(text.slice(start + 2, end - 1), socket, variables);
  }
  return filled + text.slice(end);
}

/** Where the brace that opens at `start` closes. */
function closing(text: string, start: number): number {
  let depth = 0;
  for (let index = start; index < text.length; index += 1) {
    if (text[index] === '{') depth += 1;
    else if (text[index] === '}') depth -= 1;
    if (depth === 0) return index;
  }
  throw new Error(`a brace is not closed: ${text}`);
}

async function valueOf(expression: string, socket: string, variables: Variables): Promise<string> {
  const [field = '', target, ...changes] = expression.split(' ');
  if (target === undefined) {
    const value = variables.get(field);
    if (value === undefined) throw new Error(`no variable ${field}`);
    return value;
  }
  const path = target.replaceAll(/\$(\w+)/g, (_, name: string) => variables.get(name) ?? '');
  const answer = await dockerRequest(socket, 'GET', `/v1.41/${path}`);
  const object = answer.body as {
    readonly ID?: string;
    readonly Id?: string;
    readonly Version?: { readonly Index: number };
    readonly Spec?: unknown;
  };
  if (answer.status !== 200) throw new Error(`GET ${path}: ${answer.text}`);
  switch (field) {
    case 'id':
      return object.ID ?? object.Id ?? '';
    case 'version':
      return String(object.Version?.Index);
    case 'spec':
      return JSON.stringify(changes.reduce(change, object.Spec));
    default:
      throw new Error(`unknown expression ${expression}`);
  }
}

/** `path=JSON` sets a field, `path=` removes it. */
function change(spec: unknown, assignment: string): unknown {
  const [path = '', value = ''] = assignment.split(/=(.*)/s);
  const names = path.split('.');
  const last = names.pop() ?? '';
  const copy = structuredClone(spec) as Record<string, unknown>;
  let at = copy;
  for (const name of names) at = (at[name] ??= {}) as Record<string, unknown>;
  if (value === '') delete at[last];
  else at[last] = JSON.parse(value);
  return copy;
}
