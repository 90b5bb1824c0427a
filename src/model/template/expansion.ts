/**
 * SwarmKit's templates of tasks (its package template): hostname, environment and mounts of a
 * container, and the payloads of secrets and configs whose template driver is `golang`. Filled in
 * on the node, with SwarmKit's messages.
 */
import { clone } from '@bufbuild/protobuf';
import { SkepError } from '../errors.js';
import {
  type Config,
  type Secret,
  type Task,
  TaskSchema,
} from '../gen/docker/swarmkit/v1/objects_pb.js';
import type { ContainerSpec } from '../gen/docker/swarmkit/v1/specs_pb.js';
import type { Driver, Mount } from '../gen/docker/swarmkit/v1/types_pb.js';
import { taskName } from '../naming.js';
import { execute } from './evaluator.js';
import {
  asString,
  BUILTINS,
  type FunctionTable,
  JOIN,
  type TemplateFunction,
} from './functions.js';
import { MESSAGE_MAX } from './limits.js';
import { TemplateError } from './template-error.js';
import { fromBytes, type StringMap, Struct, toBytes, type Value } from './values.js';

/** What templates may know of the node. */
export interface NodeFacts {
  readonly hostname: string;
  readonly architecture: string;
  readonly os: string;
}

const NAME = 'expansion';
const FUNCTIONS: FunctionTable = new Map([...BUILTINS, ['join', JOIN]]);
/** The only template driver. */
const GOLANG = 'golang';

/**
 * A copy of a container task with its templates filled in.
 * @throws SkepError invalid_argument with SwarmKit's text
 */
export function expandTask(task: Task, node: NodeFacts): Task {
  const copy = clone(TaskSchema, task);
  const runtime = copy.spec?.runtime;
  if (runtime?.case !== 'container') return copy;
  const spec = runtime.value;
  if (!hasTemplates(spec)) return copy;
  const expand = expander(contextOf(task, node, '*template.Context'), FUNCTIONS);
  spec.env = spec.env.map((entry) => expandEnv(entry, expand));
  for (const mount of spec.mounts) expandMount(mount, expand);
  spec.hostname = within('expanding hostname failed', () => expand(spec.hostname));
  return copy;
}

/** Secrets and configs that have arrived on the node. */
export interface PayloadSource {
  secret(id: string): Secret | undefined;
  config(id: string): Config | undefined;
}

/** Where a payload is filled in. */
export interface PayloadPlace {
  /** With its templates filled in: `env` sees the values. */
  readonly task: Task;
  readonly node: NodeFacts;
  readonly dependencies: PayloadSource;
}

/**
 * The payload of a secret or config for a task. Errors in secrets, and in configs that have read a
 * secret, tell the place only: what SwarmKit quotes may be part of the secret.
 * @throws SkepError invalid_argument with SwarmKit's text
 */
export function expandPayload(
  kind: 'secret' | 'config',
  id: string,
  spec: { readonly data: Uint8Array; readonly templating?: Driver | undefined },
  place: PayloadPlace,
): Uint8Array {
  const { templating } = spec;
  if (templating === undefined) return spec.data;
  return within(`failed to expand templated ${kind} ${id}`, () => {
    if (templating.name !== GOLANG) throw new TemplateError('unrecognized template type');
    const data = contextOf(place.task, place.node, '*template.PayloadContext');
    let mayQuoteSecret = kind === 'secret';
    const onSecret = (): void => {
      mayQuoteSecret = true;
    };
    const functions = new Map([...FUNCTIONS, ...payloadFunctions(place, onSecret)]);
    const text = Buffer.from(spec.data).toString('latin1');
    return withoutQuotes(
      () => Buffer.from(execute(NAME, text, data, functions), 'latin1'),
      () => mayQuoteSecret,
    );
  });
}

function withoutQuotes<T>(work: () => T, mayQuoteSecret: () => boolean): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof TemplateError) || !mayQuoteSecret()) throw error;
    const where = /^template: expansion:[0-9:]*/.exec(error.message)?.[0] ?? 'template:';
    throw new TemplateError(`${where} the template cannot be filled in (a secret is not quoted)`);
  }
}

function expander(data: Value, functions: FunctionTable): (text: string) => string {
  return (text) => {
    if (!text.includes('{{')) return text;
    return fromBytes(execute(NAME, toBytes(text), data, functions));
  };
}

function hasTemplates(spec: ContainerSpec): boolean {
  const texts = [
    spec.hostname,
    ...spec.env,
    ...spec.mounts.flatMap((mount) => [
      mount.source,
      mount.target,
      ...Object.values(mount.volumeOptions?.labels ?? {}),
      ...Object.values(mount.volumeOptions?.driverConfig?.options ?? {}),
    ]),
  ];
  return texts.some((text) => text.includes('{{'));
}

function expandEnv(entry: string, expand: (text: string) => string): string {
  const equals = entry.indexOf('=');
  if (equals === -1) return entry;
  const text = `expanding env failed: expanding env ${JSON.stringify(entry)}`;
  return entry.slice(0, equals + 1) + within(text, () => expand(entry.slice(equals + 1)));
}

function expandMount(mount: Mount, expand: (text: string) => string): void {
  const failed = 'expanding mounts failed';
  const { source, target, volumeOptions } = mount;
  mount.source = within(`${failed}: expanding mount source ${JSON.stringify(source)}`, () =>
    expand(source),
  );
  mount.target = within(`${failed}: expanding mount target ${JSON.stringify(target)}`, () =>
    expand(target),
  );
  if (volumeOptions === undefined) return;
  volumeOptions.labels = expandMap(
    volumeOptions.labels,
    `${failed}: expanding volume labels`,
    expand,
  );
  const driver = volumeOptions.driverConfig;
  if (driver === undefined) return;
  driver.options = expandMap(driver.options, `${failed}: expanding volume driver config`, expand);
}

function expandMap(
  map: Readonly<Record<string, string>>,
  failed: string,
  expand: (text: string) => string,
): Record<string, string> {
  const entries = Object.entries(map).map(([key, value]) => {
    const entry = `${JSON.stringify(key)}=${JSON.stringify(value)}`;
    const text = `${failed}: expanding map entry ${entry}`;
    return [key, within(text, () => expand(value))] as const;
  });
  return Object.fromEntries(entries);
}

/** Puts what was being done in front of a template's error. */
function within<T>(doing: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    const text = fromBytes(error.message.slice(0, MESSAGE_MAX));
    throw new SkepError('invalid_argument', `${doing}: ${text}`);
  }
}

/** The data of templates; types are named as errors of SwarmKit name them. */
function contextOf(task: Task, node: NodeFacts, type: string): Struct {
  const service = task.serviceAnnotations;
  const slot = task.slot === 0n ? task.nodeId : String(task.slot);
  return struct(type, {
    Service: struct('struct { ID string; Name string; Labels map[string]string }', {
      ID: toBytes(task.serviceId),
      Name: toBytes(service?.name ?? ''),
      Labels: stringMap(service?.labels ?? {}),
    }),
    Node: struct('struct { ID string; Hostname string; Platform template.Platform }', {
      ID: toBytes(task.nodeId),
      Hostname: toBytes(node.hostname),
      Platform: struct('template.Platform', {
        Architecture: toBytes(node.architecture),
        OS: toBytes(node.os),
      }),
    }),
    Task: struct('struct { ID string; Name string; Slot string }', {
      ID: toBytes(task.id),
      Name: toBytes(taskName(task)),
      Slot: toBytes(slot),
    }),
  });
}

function struct(type: string, fields: Readonly<Record<string, Value>>): Struct {
  return new Struct(type, new Map(Object.entries(fields)));
}

function stringMap(labels: Readonly<Record<string, string>>): StringMap {
  return new Map(Object.entries(labels).map(([key, value]) => [toBytes(key), toBytes(value)]));
}

/** `secret`, `config` and `env`: what the task may see by itself, and nothing else. */
function payloadFunctions(
  { task, dependencies }: PayloadPlace,
  onSecret: () => void,
): FunctionTable {
  const runtime = task.spec?.runtime;
  const spec = runtime?.case === 'container' ? runtime.value : undefined;
  const payload = (kind: string, target: string, data: Uint8Array | undefined): string => {
    if (data === undefined) throw new TemplateError(`${kind} target ${target} not found`);
    return Buffer.from(data).toString('latin1');
  };
  return new Map([
    [
      'secret',
      ofOneString((target) => {
        const reference = spec?.secrets.find(({ target: at }) => isFile(at, target));
        const held = dependencies.secret(reference?.secretId ?? '');
        const data = payload('secret', target, held?.spec?.data);
        onSecret();
        return data;
      }),
    ],
    [
      'config',
      ofOneString((target) => {
        const reference = spec?.configs.find(({ target: at }) => isFile(at, target));
        const held = dependencies.config(reference?.configId ?? '');
        return payload('config', target, held?.spec?.data);
      }),
    ],
    [
      'env',
      ofOneString((name) => {
        const prefix = `${fromBytes(name)}=`;
        const entry = spec?.env.find((text) => text.startsWith(prefix));
        return entry === undefined ? '' : toBytes(entry.slice(prefix.length));
      }),
    ],
  ]);
}

function isFile(
  target: { readonly case: string | undefined; readonly value?: unknown },
  name: string,
): boolean {
  if (target.case !== 'file') return false;
  return (target.value as { readonly name: string }).name === fromBytes(name);
}

function ofOneString(call: (argument: string) => string): TemplateFunction {
  return { parameters: ['string'], call: ([argument]) => call(asString(argument)) };
}
