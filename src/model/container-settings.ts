/**
 * The `skep.container.…` labels: what `docker run` can ask of an engine and a service spec has no field
 * for. Each is named after the flag of `docker run`, and read to the fields of the engine's
 * `HostConfig` that the flag sets. A swarm takes none of them unless its cluster label
 * {@link CONTAINER_ALLOW_LABEL} names it.
 */
import { SkepError } from './errors.js';
import { parseGpuRequest } from './gpu-request.js';

const PREFIX = 'skep.container.';

/** Cluster label: the settings that services may have, separated by commas, or `all`. */
export const CONTAINER_ALLOW_LABEL = `${PREFIX}allow`;

/** Value of {@link CONTAINER_ALLOW_LABEL} that allows everything. */
const ALLOW_ALL = 'all';

type Labels = Readonly<Record<string, string>>;

/** A part of the engine's `HostConfig`. */
export type HostConfigPart = Readonly<Record<string, unknown>>;

/** One setting. */
export interface ContainerSetting {
  /** What follows `skep.container.`. */
  readonly name: string;
  /** Such as it is to be; for error messages and the page of labels. */
  readonly form: string;
  readonly meaning: string;
  /** What a value sets; undefined if it is none. */
  readonly read: (value: string) => HostConfigPart | undefined;
}

/** Longest value, characters: it travels with each task. */
const VALUE_MAX = 4096;
/** Entries of a list. */
const LIST_MAX = 64;

const RESERVED = /^reserved:([\w.-]+)$/;
const DEVICE_MODE = /^(?!.*(.).*\1)[rwm]{1,3}$/;
const ABSOLUTE = /^\/[^:,;\0]*$/;
const SIZE = /^(\d{1,15})\s?([kmgt]?)(?:i?b)?$/i;
const SIZE_UNITS = ['', 'k', 'm', 'g', 't'];
const DEVICE_RULE = /^[acb] (?:\d{1,9}|\*):(?:\d{1,9}|\*) (?!.*(.).*\1)[rwm]{1,3}$/;
const RUNTIME = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,254}$/;
const CPUS = /^\d{1,5}(?:-\d{1,5})?(?:,\d{1,5}(?:-\d{1,5})?)*$/;
const SECURITY_OPTION =
  /^(?:seccomp=unconfined|apparmor=[^\s,=]{1,255}|label=(?:disable|(?:user|role|type|level):[^\s,=]{1,255})|no-new-privileges(?:=(?:true|false))?|systempaths=unconfined)$/;

/** The settings, by the order of the page. */
export const CONTAINER_SETTINGS: readonly ContainerSetting[] = [
  {
    name: 'privileged',
    form: '`true` or `false`',
    meaning: 'All capabilities and devices, nothing masked.',
    read: (value) => readBoolean(value, 'Privileged'),
  },
  {
    name: 'devices',
    form: '`PATH[:PATH[:PERMISSIONS]]` or `reserved:KIND`, separated by commas',
    meaning:
      'Devices of the node, such as `/dev/ttyUSB0,/dev/sda:/dev/xvdc:r`: in the container under the second path, with ' +
      'the permissions `rwm`. A node that lacks one rejects the task. `reserved:KIND` stands for the members of a named ' +
      'generic resource that the task got: with `--node-generic-resource tty=/dev/ttyUSB0 --node-generic-resource ' +
      'tty=/dev/ttyUSB1` on a node, and `--generic-resource tty=1` on the service, each task has one of its own.',
    read: (value) => readList(value, ',', readDevice, 'Devices'),
  },
  {
    name: 'device-cgroup-rule',
    form: '`c 189:* rmw`, separated by commas',
    meaning: 'Devices that the container may use once they are there.',
    read: (value) =>
      readList(
        value,
        ',',
        (rule) => (DEVICE_RULE.test(rule) ? rule : undefined),
        'DeviceCgroupRules',
      ),
  },
  {
    name: 'gpus',
    form: 'as of `docker run --gpus`, or `reserved:KIND`',
    meaning:
      'GPUs, as device requests to the engine: `all`, `2`, `"device=0,2"`, `driver=nvidia,count=1,"capabilities=compute,utility"`. ' +
      'Of these the scheduler does not know how many a node has left; `reserved:gpu` asks for those that the task got of the ' +
      'named generic resource `gpu`, by their ids.',
    read: (value) => {
      const request = parseGpuRequest(value);
      return request && { DeviceRequests: [request] };
    },
  },
  {
    name: 'shm-size',
    form: 'a size such as `64m`',
    meaning: 'Size of `/dev/shm`.',
    read: (value) => {
      const bytes = sizeBytes(value);
      return bytes === undefined ? undefined : { ShmSize: bytes };
    },
  },
  {
    name: 'tmpfs',
    form: '`PATH[:OPTIONS]`, separated by semicolons',
    meaning:
      'File systems in memory with options that `--mount type=tmpfs` does not have: `/run:rw,exec,size=64m,uid=1000;/tmp`.',
    read: readTmpfs,
  },
  {
    name: 'security-opt',
    form: '`seccomp=unconfined`, `apparmor=PROFILE`, `label=...`, `no-new-privileges`, `systempaths=unconfined`, separated by commas',
    meaning: 'Security options, beside those of the spec.',
    read: readSecurityOptions,
  },
  {
    name: 'pid',
    form: '`host`',
    meaning: 'The PID namespace of the node.',
    read: (value) => readChoice(value, ['host'], 'PidMode'),
  },
  {
    name: 'ipc',
    form: '`host`, `private`, `shareable` or `none`',
    meaning: 'The IPC namespace.',
    read: (value) => readChoice(value, ['host', 'private', 'shareable', 'none'], 'IpcMode'),
  },
  {
    name: 'uts',
    form: '`host`',
    meaning: 'The UTS namespace of the node: its host name. Not beside `--hostname`.',
    read: (value) => readChoice(value, ['host'], 'UTSMode'),
  },
  {
    name: 'userns',
    form: '`host`',
    meaning: 'The user namespace of the node, where the engine maps users (`userns-remap`).',
    read: (value) => readChoice(value, ['host'], 'UsernsMode'),
  },
  {
    name: 'cgroupns',
    form: '`host` or `private`',
    meaning: 'The cgroup namespace.',
    read: (value) => readChoice(value, ['host', 'private'], 'CgroupnsMode'),
  },
  {
    name: 'cgroup-parent',
    form: 'a path or a slice',
    meaning: 'The cgroup above that of the container.',
    read: (value) => (/^[\w./:@-]{1,255}$/.test(value) ? { CgroupParent: value } : undefined),
  },
  {
    name: 'cpuset-cpus',
    form: 'a list such as `0-3,8`',
    meaning: 'Processors the container may use.',
    read: (value) => (CPUS.test(value) ? { CpusetCpus: value } : undefined),
  },
  {
    name: 'cpuset-mems',
    form: 'a list such as `0,1`',
    meaning: 'Memory nodes the container may use.',
    read: (value) => (CPUS.test(value) ? { CpusetMems: value } : undefined),
  },
  {
    name: 'oom-score-adj',
    form: '-1000 to 1000',
    meaning: 'How early the kernel ends it when memory is short; later the lower.',
    read: (value) => {
      const score = /^-?\d{1,4}$/.test(value) ? Number(value) : Number.NaN;
      return Math.abs(score) <= 1000 ? { OomScoreAdj: score } : undefined;
    },
  },
  {
    name: 'runtime',
    form: 'a name',
    meaning: 'An OCI runtime that the engines know (`nvidia`, `runsc`, `kata`).',
    read: (value) => (RUNTIME.test(value) ? { Runtime: value } : undefined),
  },
];

const BY_NAME = new Map(CONTAINER_SETTINGS.map((setting) => [setting.name, setting]));

/** The label of a setting. */
export function containerSettingLabel({ name }: ContainerSetting): string {
  return `${PREFIX}${name}`;
}

/**
 * What the value of one setting sets; undefined if it cannot be read.
 * @param members of a kind of named generic resources that the task has
 */
export function readContainerSetting(
  setting: ContainerSetting,
  value: string,
  members: (kind: string) => readonly string[] = () => ['/reserved'],
): HostConfigPart | undefined {
  if (value.length > VALUE_MAX) return undefined;
  return setting.read(withMembers(setting.name, value, members));
}

/** The value with what `reserved:KIND` stands for. */
function withMembers(
  name: string,
  value: string,
  members: (kind: string) => readonly string[],
): string {
  const of = (kind: string): string => {
    const found = members(kind);
    if (found.length > 0) return found.join(',');
    const label = `${PREFIX}${name}`;
    throw new SkepError(
      'invalid_argument',
      `label ${label}: the task has no named resource ${kind}`,
    );
  };
  if (name === 'gpus')
    return value.replace(/^reserved:([\w.-]+)$/, (_, kind: string) => `"device=${of(kind)}"`);
  if (name !== 'devices') return value;
  const entries = value.split(',').map((entry) => entry.trim());
  return entries.map((entry) => entry.replace(RESERVED, (_, kind: string) => of(kind))).join(',');
}

/** Kinds of generic resources that these labels stand for, each with its label. */
export function reservedKinds(
  service: Labels | undefined,
  container: Labels | undefined,
): readonly (readonly [label: string, kind: string])[] {
  const given = givenSettings(service, container);
  return ['gpus', 'devices'].flatMap((name) =>
    (given[name] ?? '').split(',').flatMap((entry) => {
      const kind = RESERVED.exec(entry.trim())?.[1];
      return kind === undefined ? [] : [[`${PREFIX}${name}`, kind] as const];
    }),
  );
}

/** The settings among these labels by their names, the container's own going before the service's. */
function givenSettings(service: Labels | undefined, container: Labels | undefined): Labels {
  const given: Record<string, string> = {};
  for (const setting of CONTAINER_SETTINGS) {
    const label = containerSettingLabel(setting);
    const value = container?.[label] ?? service?.[label];
    if (value !== undefined) given[setting.name] = value;
  }
  return given;
}

/** `labels` with the settings of another set in the place of their own. */
export function withContainerSettings(
  labels: Labels,
  source: Labels | undefined,
): Record<string, string> {
  const mixed = { ...labels };
  for (const label of CONTAINER_SETTINGS.map(containerSettingLabel)) {
    const value = source?.[label];
    if (value === undefined) delete mixed[label];
    else mixed[label] = value;
  }
  return mixed;
}

/** One text of all settings, for comparison; empty without any. */
export function containerSettingsText(
  service: Labels | undefined,
  container: Labels | undefined,
): string {
  const given = Object.entries(givenSettings(service, container));
  return given.length === 0 ? '' : JSON.stringify(given);
}

/**
 * What all settings together set. Values that cannot be read, which only another software can have stored, set nothing.
 * @throws SkepError invalid_argument for a resource that the task does not have
 */
export function containerHostConfig(
  service: Labels | undefined,
  container: Labels | undefined,
  members?: (kind: string) => readonly string[],
): HostConfigPart {
  const parts = Object.entries(givenSettings(service, container)).map(([name, value]) => {
    const setting = BY_NAME.get(name);
    return setting && readContainerSetting(setting, value, members);
  });
  return Object.assign({}, ...parts) as HostConfigPart;
}

/** The names of an allow-list; undefined for text that is none. */
export function parseAllowedSettings(value: string): ReadonlySet<string> | undefined {
  const names = value.split(',').map((name) => name.trim());
  if (names.some((name) => name !== ALLOW_ALL && !BY_NAME.has(name))) return undefined;
  return new Set(names);
}

/** Whether the cluster with these labels allows the setting of this name. */
export function allowsSetting(cluster: Labels | undefined, name: string): boolean {
  const allowed = parseAllowedSettings(cluster?.[CONTAINER_ALLOW_LABEL] ?? '');
  return allowed !== undefined && (allowed.has(ALLOW_ALL) || allowed.has(name));
}

/**
 * The label of a setting that these labels ask for and the cluster's do not allow; undefined if there is
 * none. What was there `before`, with the same value, does not count.
 */
export function forbiddenSetting(
  cluster: Labels | undefined,
  now: readonly [service: Labels | undefined, container: Labels | undefined],
  before: readonly [service: Labels | undefined, container: Labels | undefined] = [{}, {}],
): string | undefined {
  const given = givenSettings(...now);
  const had = givenSettings(...before);
  const name = Object.keys(given).find(
    (one) => had[one] !== given[one] && !allowsSetting(cluster, one),
  );
  return name === undefined ? undefined : `${PREFIX}${name}`;
}

/** Why a setting is refused. @param label as {@link forbiddenSetting} returns it */
export function forbiddenText(label: string): string {
  const name = label.slice(PREFIX.length);
  return (
    `label ${label} is not allowed in this swarm: ` +
    `${CONTAINER_ALLOW_LABEL} of the cluster does not name ${name}`
  );
}

function readBoolean(value: string, field: string): HostConfigPart | undefined {
  return value === 'true' || value === 'false' ? { [field]: value === 'true' } : undefined;
}

function readChoice(
  value: string,
  choices: readonly string[],
  field: string,
): HostConfigPart | undefined {
  return choices.includes(value) ? { [field]: value } : undefined;
}

function readList(
  value: string,
  separator: string,
  readEntry: (entry: string) => object | string | undefined,
  field: string,
): HostConfigPart | undefined {
  const entries = value.split(separator).map((entry) => entry.trim());
  if (entries.length > LIST_MAX) return undefined;
  const read = entries.flatMap((entry) => readEntry(entry) ?? []);
  return read.length === entries.length ? { [field]: read } : undefined;
}

/** As `docker run --device`: a second part of the letters of a mode is one. */
function readDevice(text: string): object | undefined {
  const [host = '', ...rest] = text.split(':');
  const mode = rest.length === 1 && DEVICE_MODE.test(rest[0] ?? '') ? rest[0] : rest[1];
  const inside = rest.length === 1 && mode !== undefined ? host : (rest[0] ?? host);
  const isRight =
    rest.length <= 2 &&
    ABSOLUTE.test(host) &&
    ABSOLUTE.test(inside) &&
    DEVICE_MODE.test(mode ?? 'rwm');
  if (!isRight) return undefined;
  return { PathOnHost: host, PathInContainer: inside, CgroupPermissions: mode ?? 'rwm' };
}

/** Bytes of `64m`, as the docker CLI reads sizes: units of 1024. */
function sizeBytes(text: string): number | undefined {
  const match = SIZE.exec(text);
  if (match === null) return undefined;
  const power = SIZE_UNITS.indexOf((match[2] ?? '').toLowerCase());
  const bytes = Number(match[1]) * 1024 ** power;
  return bytes > 0 && Number.isSafeInteger(bytes) ? bytes : undefined;
}

function readTmpfs(value: string): HostConfigPart | undefined {
  const mounts = new Map<string, string>();
  for (const entry of value.split(';')) {
    const [path = '', options = '', ...more] = entry.trim().split(':');
    if (more.length > 0 || !ABSOLUTE.test(path) || mounts.has(path)) return undefined;
    if (!/^[\w=,%-]*$/.test(options)) return undefined;
    mounts.set(path, options);
  }
  return mounts.size > LIST_MAX ? undefined : { Tmpfs: Object.fromEntries(mounts) };
}

/** `systempaths` is two fields of their own for the engine. */
function readSecurityOptions(value: string): HostConfigPart | undefined {
  const options = value.split(',').map((option) => option.trim());
  if (options.length > LIST_MAX || !options.every((one) => SECURITY_OPTION.test(one))) {
    return undefined;
  }
  const unmasked = options.includes('systempaths=unconfined');
  return {
    SecurityOpt: options.filter((option) => option !== 'systempaths=unconfined'),
    ...(unmasked ? { MaskedPaths: [], ReadonlyPaths: [] } : {}),
  };
}
