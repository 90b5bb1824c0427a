/**
 * Which GPUs a container wants, in the syntax of `docker run --gpus`: one CSV record of a count and
 * `key=value` fields (docker CLI, opts/gpus.go).
 */

/** One of the engine's `DeviceRequests`. */
export interface GpuRequest {
  readonly Driver: string;
  /** -1: all. 0 beside `DeviceIDs`. */
  readonly Count: number;
  readonly DeviceIDs: readonly string[] | null;
  readonly Capabilities: readonly (readonly string[])[];
  readonly Options: Readonly<Record<string, string>>;
}

const ALL = -1;
const FIELDS_MAX = 16;
const COUNT = /^(?:all|\d{1,6})$/;

/** The request, or undefined for text that is none. */
export function parseGpuRequest(text: string): GpuRequest | undefined {
  const fields = csvFields(text);
  if (fields === undefined || fields.length > FIELDS_MAX) return undefined;
  const given = new Map<string, string>();
  for (const field of fields) {
    const at = field.indexOf('=');
    const [key, value] = at < 0 ? ['count', field] : [field.slice(0, at), field.slice(at + 1)];
    if (given.has(key)) return undefined;
    given.set(key, value);
  }
  const request = {
    Driver: given.get('driver') ?? '',
    Count: given.has('device') ? 0 : 1,
    DeviceIDs: given.get('device')?.split(',') ?? null,
    Capabilities: [[...(given.get('capabilities')?.split(',') ?? []), 'gpu']],
    Options: {},
  };
  const count = given.get('count');
  if (count !== undefined) {
    if (!COUNT.test(count) || given.has('device')) return undefined;
    request.Count = count === 'all' ? ALL : Number(count);
  }
  const options = optionsOf(given.get('options'));
  for (const key of ['driver', 'count', 'device', 'capabilities', 'options']) given.delete(key);
  if (given.size > 0 || options === undefined) return undefined;
  return { ...request, Options: options };
}

function optionsOf(text: string | undefined): Record<string, string> | undefined {
  if (text === undefined) return {};
  const fields = csvFields(text);
  if (fields === undefined) return undefined;
  return Object.fromEntries(
    fields.map((field) => {
      const at = field.indexOf('=');
      return at < 0 ? [field, ''] : [field.slice(0, at), field.slice(at + 1)];
    }),
  );
}

/** The fields of one CSV record, none of them empty; a field in quotes may hold commas. */
function csvFields(text: string): string[] | undefined {
  const fields: string[] = [];
  let rest = text;
  for (;;) {
    const match = /^(?:"((?:[^"]|"")*)"|([^",]*))(,|$)/.exec(rest);
    if (match === null) return undefined;
    const field = match[1]?.replaceAll('""', '"') ?? match[2] ?? '';
    if (field === '') return undefined;
    fields.push(field);
    if (match[3] === '') return fields;
    rest = rest.slice(match[0].length);
  }
}
