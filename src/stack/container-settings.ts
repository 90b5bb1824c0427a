/**
 * Keys of services that no service spec has a field for (`privileged`, `devices`, `shm_size`, ...): read
 * into the long form, and written as labels `skep.container.…` where the swarm allows these settings.
 */
import {
  allowsSetting,
  CONTAINER_ALLOW_LABEL,
  CONTAINER_SETTINGS,
  type ContainerSetting,
  containerSettingLabel,
  readContainerSetting,
} from '../model/container-settings.js';
import {
  count,
  type Decode,
  type Fields,
  flag,
  integer,
  isMapping,
  list,
  pairs,
  record,
  text,
} from './decode.js';
import type { Labels } from './swarm-spec.js';
import { size } from './units.js';

const DEVICE = record({ source: text, target: text, permissions: text });

/** `SOURCE[:TARGET[:PERMISSIONS]]`. */
const device: Decode<string> = (value, place) => {
  if (!isMapping(value)) return text(value, place);
  const { source, target, permissions } = DEVICE(value, place);
  if (source === undefined) throw place.error('source is required');
  if (permissions !== undefined) return `${source}:${target ?? source}:${permissions}`;
  return target === undefined ? source : `${source}:${target}`;
};

const gpuCount: Decode<number | 'all'> = (value, place) =>
  value === 'all' ? value : count(value, place);

/** A request for devices of a driver: an entry of `gpus` and of `reservations.devices`. */
export const deviceRequest = record({
  driver: text,
  count: gpuCount,
  device_ids: list(text),
  capabilities: list(text),
  options: pairs(''),
});

type DeviceRequest = ReturnType<typeof deviceRequest>;

const gpus: Decode<readonly DeviceRequest[]> = (value, place) =>
  value === 'all' ? [{ count: 'all' }] : list(deviceRequest)(value, place);

/** The keys and how they are read. */
export const containerSettings = {
  privileged: flag,
  devices: list(device),
  device_cgroup_rules: list(text),
  gpus,
  shm_size: size,
  security_opt: list(text),
  pid: text,
  ipc: text,
  uts: text,
  userns_mode: text,
  cgroup: text,
  cgroup_parent: text,
  cpuset: text,
  oom_score_adj: integer,
  runtime: text,
};

/** Of a service: what these keys say, and what its `deploy` reserves. */
export type ContainerKeys = Fields<typeof containerSettings> & {
  readonly deploy?: {
    readonly resources?: {
      readonly reservations?: { readonly devices?: readonly DeviceRequest[] };
    };
  };
};

/** What becomes of these keys in a swarm. */
export interface ContainerLabels {
  readonly labels: Labels;
  /** Lines `KEY: why it is ignored`. */
  readonly warnings: readonly string[];
}

/** The labels of a service in a swarm whose cluster object has the labels `cluster`. */
export function containerLabels(service: ContainerKeys, cluster: Labels): ContainerLabels {
  const labels: Record<string, string> = {};
  const warnings: string[] = [];
  for (const { key, name, value } of wantedSettings(service)) {
    const setting = CONTAINER_SETTINGS.find((each) => each.name === name);
    if (setting === undefined || !isReadable(setting, value))
      warnings.push(`${key}: ${JSON.stringify(value)} cannot be had in a swarm, ignored`);
    else if (allowsSetting(cluster, name)) labels[containerSettingLabel(setting)] = value;
    else
      warnings.push(`${key}: ignored, ${CONTAINER_ALLOW_LABEL} of the swarm does not name ${name}`);
  }
  return { labels, warnings };
}

function isReadable(setting: ContainerSetting, value: string): boolean {
  return readContainerSetting(setting, value) !== undefined;
}

interface WantedSetting {
  readonly key: string;
  /** Of the container setting. */
  readonly name: string;
  readonly value: string;
}

function wantedSettings(service: ContainerKeys): readonly WantedSetting[] {
  const listed = (entries: readonly string[] | undefined) =>
    entries === undefined || entries.length === 0 ? undefined : entries.join(',');
  const reserved = service.deploy?.resources?.reservations?.devices;
  const wanted: readonly (readonly [key: string, name: string, value: string | undefined])[] = [
    ['privileged', 'privileged', service.privileged === true ? 'true' : undefined],
    ['devices', 'devices', listed(service.devices)],
    ['device_cgroup_rules', 'device-cgroup-rule', listed(service.device_cgroup_rules)],
    ['gpus', 'gpus', gpuText(service.gpus)],
    ['deploy.resources.reservations.devices', 'gpus', gpuText(reserved)],
    ['shm_size', 'shm-size', service.shm_size?.toString()],
    ['security_opt', 'security-opt', listed(service.security_opt?.map(securityOption))],
    ['pid', 'pid', service.pid],
    ['ipc', 'ipc', service.ipc],
    ['uts', 'uts', service.uts],
    ['userns_mode', 'userns', service.userns_mode],
    ['cgroup', 'cgroupns', service.cgroup],
    ['cgroup_parent', 'cgroup-parent', service.cgroup_parent],
    ['cpuset', 'cpuset-cpus', service.cpuset],
    ['oom_score_adj', 'oom-score-adj', service.oom_score_adj?.toString()],
    ['runtime', 'runtime', service.runtime],
  ];
  return wanted.flatMap(([key, name, value]) =>
    value === undefined ? [] : [{ key, name, value }],
  );
}

/** Compose files may write `seccomp:unconfined`, as the engine once did. */
function securityOption(option: string): string {
  return option.replace(/^([a-z-]+):/, '$1=');
}

/** As `docker run --gpus` has it: there is one request only. */
function gpuText(requests: readonly DeviceRequest[] | undefined): string | undefined {
  if (requests === undefined || requests.length === 0) return undefined;
  return requests.map(gpuRequestText).join(';');
}

function gpuRequestText(request: DeviceRequest): string {
  const { driver, count: number, device_ids: ids, capabilities, options } = request;
  // The engine adds `gpu` itself.
  const asked = capabilities?.filter((capability) => capability !== 'gpu') ?? [];
  const settings = Object.entries(options ?? {}).map(([key, value]) => `${key}=${value}`);
  return [
    ...(driver === undefined ? [] : [`driver=${driver}`]),
    ...(number === undefined && ids === undefined ? ['count=all'] : []),
    ...(number === undefined ? [] : [`count=${number}`]),
    ...(ids === undefined ? [] : [quoted(`device=${ids.join(',')}`)]),
    ...(asked.length === 0 ? [] : [quoted(`capabilities=${asked.join(',')}`)]),
    ...(settings.length === 0 ? [] : [quoted(`options=${settings.join(',')}`)]),
  ].join(',');
}

/** A field of a CSV record. */
function quoted(field: string): string {
  return /[",]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field;
}
