/** The `deploy` section of services. */
import { deviceRequest } from './container-settings.js';
import {
  count,
  type Decode,
  flag,
  integer,
  list,
  orNull,
  oneOf,
  pairs,
  ratio,
  record,
  text,
} from './decode.js';
import { duration, nanoCpus, size } from './units.js';

const updateConfig = record({
  parallelism: count,
  delay: duration,
  failure_action: oneOf('continue', 'pause', 'rollback'),
  monitor: duration,
  max_failure_ratio: ratio,
  order: oneOf('start-first', 'stop-first'),
});

const discrete = record({ kind: text, value: count });

/** `deploy` in the long form. */
export const deploy = record({
  mode: oneOf('replicated', 'global', 'replicated-job', 'global-job'),
  replicas: count,
  endpoint_mode: oneOf('vip', 'dnsrr'),
  labels: pairs(''),
  update_config: updateConfig,
  rollback_config: updateConfig,
  restart_policy: record({
    condition: oneOf('none', 'on-failure', 'any'),
    delay: duration,
    max_attempts: count,
    window: duration,
  }),
  resources: record({
    limits: record({ cpus: nanoCpus, memory: size, pids: integer }),
    reservations: record(
      {
        cpus: nanoCpus,
        memory: size,
        generic_resources: list(record({ discrete_resource_spec: discrete })),
        devices: list(deviceRequest),
      },
      { pids: 'ignored' },
    ),
  }),
  placement: record({
    constraints: list(text),
    preferences: list(record({ spread: text })),
    max_replicas_per_node: count,
  }),
});

/** What {@link deploy} reads. */
export type Deploy = ReturnType<typeof deploy>;

/** `update_config` and `rollback_config`. */
export type UpdateConfig = NonNullable<Deploy['update_config']>;

/** `healthcheck`. */
export const healthcheck = record({
  test: ((value, place) =>
    typeof value === 'string' ? ['CMD-SHELL', value] : list(text)(value, place)) satisfies Decode<
    readonly string[]
  >,
  interval: duration,
  timeout: duration,
  retries: count,
  start_period: duration,
  start_interval: duration,
  disable: flag,
});

/** `logging`. */
export const logging = record({
  driver: text,
  options: pairs(''),
});

/** A network of a service. */
export const serviceNetwork = orNull(
  record(
    { aliases: list(text), driver_opts: pairs('') },
    Object.fromEntries(
      ['ipv4_address', 'ipv6_address', 'link_local_ips', 'mac_address', 'interface_name']
        .map((key) => [key, 'a service has many tasks; the swarm gives each its own'])
        .concat([
          ['priority', 'networks have no order in a swarm'],
          ['gw_priority', 'networks have no order in a swarm'],
        ]),
    ),
  ),
);
