/**
 * The keys of a service, read into the long form. What a swarm cannot do is ignored with a warning
 * in the words of the docker CLI, or refused where ignoring it would change what the service is.
 */
import {
  count,
  type Decode,
  flag,
  type Ignored,
  isMapping,
  list,
  listOrOne,
  mapOf,
  mode,
  oneOf,
  orNull,
  pairs,
  record,
  text,
} from './decode.js';
import { containerSettings } from './container-settings.js';
import { deploy, healthcheck, logging, serviceNetwork } from './deploy-schema.js';
import type { Place } from './place.js';
import { ports } from './ports.js';
import { serviceVolume, tmpfsMount } from './service-volumes.js';
import { command, duration, nanoCpus, size } from './units.js';

const UNSUPPORTED =
  'blkio_config build cgroupns_mode cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period ' +
  'cpu_rt_runtime cpu_shares domainname external_links links mac_address mem_swappiness ' +
  'memswap_limit network_mode oom_kill_disable storage_opt use_api_socket';

/** Keys that come to nothing, and what is said about each. */
const IGNORED: Ignored = {
  ...Object.fromEntries(UNSUPPORTED.split(' ').map((key) => [key, 'unsupported option, ignored'])),
  container_name: 'Setting the container name is not supported.',
  expose:
    "Exposing ports is unnecessary - services on the same network can access each other's " +
    'containers on any port.',
  annotations: 'annotations of containers are not set',
  attach: 'logs are read with docker service logs',
  develop: 'only for development on one machine',
  models: 'unsupported option, ignored',
  platform: 'nodes are chosen by the platforms of the image',
  pull_policy: 'images are pulled by the nodes where they are missing',
};

function refused(reason: string): Decode<undefined> {
  return (value, place) => {
    if (value === null) return undefined;
    throw place.error(reason);
  };
}

/** A secret or config of a service. */
const fileReference: Decode<FileReference> = (value, place) => {
  if (typeof value === 'string') return { source: value };
  const { source, ...rest } = FILE_REFERENCE(value, place);
  if (source === undefined) throw place.error('source is required');
  return { source, ...rest };
};

const FILE_REFERENCE = record({ source: text, target: text, uid: text, gid: text, mode });

/** `secrets` and `configs` of a service in the long form. */
export interface FileReference {
  readonly source: string;
  readonly target?: string;
  readonly uid?: string;
  readonly gid?: string;
  readonly mode?: number;
}

/** When a service that others depend on is far enough. */
export type DependencyCondition =
  | 'service_started'
  | 'service_healthy'
  | 'service_completed_successfully';

/** `depends_on` in the long form. */
export interface Dependency {
  readonly condition: DependencyCondition;
  /** Whether this service is restarted when the other was changed. */
  readonly restart?: boolean;
  /** Whether the other must be there at all; it must if absent. */
  readonly required?: boolean;
}

const CONDITION = oneOf('service_started', 'service_healthy', 'service_completed_successfully');
const DEPENDENCY = record({ condition: CONDITION, restart: flag, required: flag });

const dependsOn: Decode<Readonly<Record<string, Dependency>>> = (value, place) => {
  const condition = 'service_started';
  if (Array.isArray(value))
    return Object.fromEntries(list(text)(value, place).map((name) => [name, { condition }]));
  return mapOf((each, at) => ({ condition, ...DEPENDENCY(each ?? {}, at) }) as const)(value, place);
};

const ENV_FILE = record({ path: text, required: flag, format: oneOf('raw') });

/** `env_file` in the long form. */
export interface EnvFile {
  readonly path: string;
  readonly required?: boolean;
  readonly format?: 'raw';
}

const envFile: Decode<EnvFile> = (value, place) => {
  if (!isMapping(value)) return { path: text(value, place) };
  const { path, ...rest } = ENV_FILE(value, place);
  if (path === undefined) throw place.error('path is required');
  return { path, ...rest };
};

const networks: Decode<Readonly<Record<string, ReturnType<typeof serviceNetwork>>>> = (
  value,
  place,
) =>
  Array.isArray(value)
    ? Object.fromEntries(list(text)(value, place).map((name) => [name, null]))
    : mapOf(serviceNetwork)(value, place);

const extraHosts: Decode<readonly string[]> = (value, place) => {
  const one = (name: string, address: string) => `${name}:${address.replace(/^\[(.*)\]$/, '$1')}`;
  if (Array.isArray(value))
    return list(text)(value, place).map((entry) => {
      const at = entry.search(/[=:]/);
      if (at === -1) throw place.error(`invalid host ${JSON.stringify(entry)}`);
      return one(entry.slice(0, at), entry.slice(at + 1));
    });
  const hosts = mapOf(listOrOne(text))(value, place);
  return Object.entries(hosts)
    .flatMap(([name, addresses]) => addresses.map((address) => one(name, address)))
    .sort();
};

const ulimit: Decode<{ readonly soft: number; readonly hard: number }> = (value, place) => {
  const limit = ulimitValue;
  if (!isMapping(value)) return { soft: limit(value, place), hard: limit(value, place) };
  const { soft, hard } = record({ soft: limit, hard: limit })(value, place);
  if (soft === undefined || hard === undefined) throw place.error('soft and hard are required');
  return { soft, hard };
};

const ulimitValue: Decode<number> = (value, place) =>
  value === -1 || value === '-1' ? -1 : count(value, place);

const EXTENDS = record({ file: text, service: text });

const extendsService: Decode<{ readonly file?: string; readonly service: string }> = (
  value,
  place: Place,
) => {
  if (!isMapping(value)) return { service: text(value, place) };
  const { service, ...rest } = EXTENDS(value, place);
  if (service === undefined) throw place.error('service is required');
  return { service, ...rest };
};

/** A service in the long form. */
export const service = record(
  {
    image: text,
    command: orNull(command),
    entrypoint: orNull(command),
    environment: pairs<null>(null),
    env_file: listOrOne(envFile),
    labels: pairs(''),
    hostname: text,
    extra_hosts: extraHosts,
    dns: listOrOne(text),
    dns_search: listOrOne(text),
    dns_opt: list(text),
    user: text,
    group_add: list(text),
    working_dir: text,
    stop_signal: text,
    stop_grace_period: duration,
    stdin_open: flag,
    tty: flag,
    read_only: flag,
    init: flag,
    isolation: text,
    sysctls: pairs(''),
    ulimits: mapOf(ulimit),
    cap_add: list(text),
    cap_drop: list(text),
    healthcheck,
    logging,
    volumes: list(serviceVolume),
    tmpfs: listOrOne(tmpfsMount),
    secrets: list(fileReference),
    configs: list(fileReference),
    ports,
    networks,
    restart: text,
    scale: count,
    cpus: nanoCpus,
    mem_limit: size,
    mem_reservation: size,
    pids_limit: count,
    credential_spec: record({ config: text, file: text, registry: text }),
    ...containerSettings,
    deploy,
    depends_on: dependsOn,
    extends: extendsService,
    profiles: list(text),
    label_file: refused('write the labels into labels'),
    provider: refused('services of providers cannot run in a swarm'),
    volumes_from: refused(
      'To share a volume between services, define it using the top-level `volumes` option and ' +
        'reference it from each service that shares it using the service-level `volumes` option.',
    ),
    post_start: refused('hooks of the life cycle cannot be had in a swarm'),
    pre_stop: refused('hooks of the life cycle cannot be had in a swarm'),
  },
  IGNORED,
);

/** What {@link service} reads. */
export type Service = ReturnType<typeof service>;
