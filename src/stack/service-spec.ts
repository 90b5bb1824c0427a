/**
 * A service of a compose file as the swarm takes it, as `docker stack deploy` makes it, and what that
 * leaves out: tmpfs, address of a port, groups, the older keys for resources.
 */
import { SkepError } from '../model/errors.js';
import { containerLabels } from './container-settings.js';
import type { UpdateConfig } from './deploy-schema.js';
import type { Network, Volume } from './file-schema.js';
import { mountOf } from './mounts.js';
import type { Namespace } from './namespace.js';
import type { Port } from './ports.js';
import type { FileReference, Service } from './service-schema.js';
import {
  type FileTarget,
  IMAGE_LABEL,
  type Labels,
  type ServiceMode,
  type ServiceSpec,
} from './swarm-spec.js';

/** A secret or config that a service refers to. */
export interface Referenced {
  readonly id: string;
  readonly name: string;
}

/** What is around a service. */
export interface ServiceContext {
  readonly namespace: Namespace;
  readonly networks: ReadonlyMap<string, Network>;
  readonly volumes: ReadonlyMap<string, Volume>;
  /** By keys of the file. */
  readonly secrets: ReadonlyMap<string, Referenced>;
  readonly configs: ReadonlyMap<string, Referenced>;
  /** Labels of the cluster object: what containers may have beyond the spec. */
  readonly clusterLabels: Labels;
}

/** @throws SkepError invalid_argument, not_found */
export function serviceSpec(key: string, service: Service, context: ServiceContext): ServiceSpec {
  const { namespace } = context;
  const { deploy = {}, image = '' } = service;
  if (image === '') refuse('no image specified; images are not built here');
  const labels = {
    ...addressLabels(service.ports ?? []),
    ...containerLabels(service, context.clusterLabels).labels,
    ...deploy.labels,
  };
  return {
    Name: namespace.scope(key),
    Labels: { ...namespace.label(labels), [IMAGE_LABEL]: image },
    TaskTemplate: {
      ContainerSpec: {
        ...containerOf(service, context),
        ...filesOf(service, context),
        Image: image,
      },
      ...(service.logging === undefined
        ? {}
        : {
            LogDriver: {
              Name: service.logging.driver ?? '',
              ...optional('Options', service.logging.options),
            },
          }),
      Resources: resourcesOf(service),
      ...optional('RestartPolicy', restartOf(service)),
      Placement: {
        ...optional('Constraints', deploy.placement?.constraints),
        ...optional(
          'Preferences',
          deploy.placement?.preferences?.map(({ spread = '' }) => ({
            Spread: { SpreadDescriptor: spread },
          })),
        ),
        ...optional('MaxReplicas', deploy.placement?.max_replicas_per_node),
      },
      Networks: networksOf(key, service, context),
    },
    EndpointSpec: endpointOf(service),
    Mode: modeOf(service),
    ...optional('UpdateConfig', updateOf(deploy.update_config)),
    ...optional('RollbackConfig', updateOf(deploy.rollback_config)),
  };
}

function optional<K extends string, T>(key: K, value: T | undefined): { readonly [P in K]?: T } {
  return value === undefined ? {} : ({ [key]: value } as { readonly [P in K]?: T });
}

function refuse(text: string): never {
  throw new SkepError('invalid_argument', text);
}

function containerOf(service: Service, context: ServiceContext): object {
  const { healthcheck, ulimits, credential_spec: credentials } = service;
  const configId = context.configs.get(credentials?.config ?? '')?.id ?? '';
  const dns = [service.dns, service.dns_search, service.dns_opt];
  const environment = Object.entries(service.environment ?? {})
    .map(([name, value]) => (value === null ? name : `${name}=${value}`))
    .sort();
  return {
    ...optional('Command', service.entrypoint ?? undefined),
    ...optional('Args', service.command ?? undefined),
    ...optional('Hostname', service.hostname),
    ...optional(
      'Hosts',
      service.extra_hosts?.map((entry) => {
        const at = entry.indexOf(':');
        return `${entry.slice(at + 1)} ${entry.slice(0, at)}`;
      }),
    ),
    ...(dns.every((part) => part === undefined)
      ? {}
      : {
          DNSConfig: {
            ...optional('Nameservers', service.dns),
            ...optional('Search', service.dns_search),
            ...optional('Options', service.dns_opt),
          },
        }),
    ...optional('Healthcheck', healthcheck === undefined ? undefined : healthOf(healthcheck)),
    ...(environment.length === 0 ? {} : { Env: environment }),
    ...optional('Dir', service.working_dir),
    ...optional('User', service.user),
    ...optional('Groups', service.group_add),
    ...optional('StopGracePeriod', service.stop_grace_period),
    ...optional('StopSignal', service.stop_signal),
    ...optional('TTY', service.tty),
    ...optional('OpenStdin', service.stdin_open),
    ...optional('ReadOnly', service.read_only),
    ...optional('Init', service.init),
    ...optional('Isolation', service.isolation),
    ...optional('Sysctls', service.sysctls),
    ...capabilitiesOf(service),
    ...optional(
      'Ulimits',
      ulimits === undefined
        ? undefined
        : Object.entries(ulimits)
            .map(([name, { soft, hard }]) => ({ Name: name, Soft: soft, Hard: hard }))
            .sort((a, b) => (a.Name < b.Name ? -1 : 1)),
    ),
    // Always there, as the docker CLI sends it: without it, tasks of its stacks would be replaced.
    Privileges: {
      CredentialSpec:
        credentials === undefined
          ? null
          : {
              Config: configId,
              File: credentials.file ?? '',
              Registry: credentials.registry ?? '',
            },
      SELinuxContext: null,
    },
  };
}

function healthOf(health: NonNullable<Service['healthcheck']>): object {
  if (health.disable === true) {
    if ((health.test ?? []).length > 0) refuse("test and disable can't be set at the same time");
    return { Test: ['NONE'] };
  }
  return {
    ...optional('Test', health.test),
    ...optional('Interval', health.interval),
    ...optional('Timeout', health.timeout),
    ...optional('Retries', health.retries),
    ...optional('StartPeriod', health.start_period),
    ...optional('StartInterval', health.start_interval),
  };
}

/** Capabilities in their full names; what is added is not dropped. */
function capabilitiesOf({ cap_add = [], cap_drop = [] }: Service): object {
  const full = (names: readonly string[]): readonly string[] => {
    const all = names.map((name) => {
      const upper = name.trim().toUpperCase();
      return upper === 'ALL' || upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
    });
    return all.includes('ALL') ? ['ALL'] : [...new Set(all)].sort();
  };
  const added = full(cap_add);
  const dropped = full(cap_drop).filter((name) => !added.includes(name));
  return {
    ...(added.length === 0 ? {} : { CapabilityAdd: added }),
    ...(dropped.length === 0 ? {} : { CapabilityDrop: dropped }),
  };
}

function filesOf(service: Service, context: ServiceContext): object {
  const { secrets = [], configs = [], volumes = [], labels } = service;
  const { namespace } = context;
  const byName = <T extends { readonly name: string }>(entries: readonly T[]): readonly T[] =>
    entries.toSorted((a, b) => (a.name < b.name ? -1 : Number(a.name > b.name)));
  const referenced = (
    references: readonly FileReference[],
    known: ReadonlyMap<string, Referenced>,
  ) =>
    byName(
      references.map((reference) => ({
        ...(known.get(reference.source) ?? { id: '', name: reference.source }),
        file: targetOf(reference),
      })),
    );
  return {
    Labels: namespace.label(labels),
    ...(volumes.length === 0
      ? {}
      : { Mounts: volumes.map((volume) => mountOf(volume, context.volumes, namespace)) }),
    Secrets: referenced(secrets, context.secrets).map(({ id, name, file }) => ({
      File: file,
      SecretID: id,
      SecretName: name,
    })),
    Configs: referenced(configs, context.configs).map(({ id, name, file }) => ({
      File: file,
      ConfigID: id,
      ConfigName: name,
    })),
  };
}

function targetOf({ source, target, uid, gid, mode }: FileReference): FileTarget {
  return { Name: target ?? source, UID: uid ?? '0', GID: gid ?? '0', Mode: mode ?? 0o444 };
}

function resourcesOf(service: Service): object {
  const { limits, reservations } = service.deploy?.resources ?? {};
  const cpus = limits?.cpus ?? service.cpus;
  const memory = limits?.memory ?? service.mem_limit;
  const pids = limits?.pids ?? service.pids_limit;
  const reserved = reservations?.memory ?? service.mem_reservation;
  const limit = {
    ...optional('NanoCPUs', cpus),
    ...optional('MemoryBytes', memory),
    ...optional('Pids', pids),
  };
  const reservation = {
    ...optional('NanoCPUs', reservations?.cpus),
    ...optional('MemoryBytes', reserved),
    ...optional(
      'GenericResources',
      reservations?.generic_resources?.map(({ discrete_resource_spec: spec }) => ({
        DiscreteResourceSpec: { Kind: spec?.kind ?? '', Value: spec?.value ?? 0 },
      })),
    ),
  };
  return {
    ...(Object.keys(limit).length === 0 ? {} : { Limits: limit }),
    ...(Object.keys(reservation).length === 0 ? {} : { Reservations: reservation }),
  };
}

/** `deploy.restart_policy`, else the service's `restart`. */
function restartOf({ restart = '', deploy }: Service): object | undefined {
  const policy = deploy?.restart_policy;
  if (policy !== undefined)
    return {
      ...optional('Condition', policy.condition),
      ...optional('Delay', policy.delay),
      ...optional('MaxAttempts', policy.max_attempts),
      ...optional('Window', policy.window),
    };
  const [, name = '', retries] = /^([a-z-]*)(?::(\d+))?$/.exec(restart) ?? [];
  const attempts =
    retries === undefined || Number(retries) === 0 ? {} : { MaxAttempts: Number(retries) };
  switch (name) {
    case 'always':
    case 'unless-stopped':
      return { Condition: 'any', ...attempts };
    case 'on-failure':
      return { Condition: 'on-failure', ...attempts };
    case 'no':
      return undefined;
    default:
      if (restart === '') return undefined;
      return refuse(`invalid restart policy: unknown policy '${restart}'`);
  }
}

function networksOf(key: string, service: Service, context: ServiceContext) {
  const { networks, namespace } = context;
  const own = Object.entries(service.networks ?? {});
  const attachments = (own.length === 0 ? [['default', null] as const] : own).map(
    ([name, settings]) => {
      const declared = networks.get(name);
      const target = networkName(name, declared, namespace);
      // The networks of a host know no names.
      const isUserDefined = !['host', 'bridge', 'none', 'default'].includes(target);
      return {
        Target: target,
        Aliases: [...(settings?.aliases ?? []), ...(isUserDefined ? [key] : [])],
        ...optional('DriverOpts', settings?.driver_opts),
      };
    },
  );
  return attachments.sort((a, b) => (a.Target < b.Target ? -1 : 1));
}

/** The name in the swarm of a network of the file. */
export function networkName(
  key: string,
  network: Network | undefined,
  namespace: Namespace,
): string {
  return network?.name ?? (network?.external === true ? key : namespace.scope(key));
}

function endpointOf({ ports = [], deploy }: Service): object {
  return {
    ...optional('Mode', deploy?.endpoint_mode),
    Ports: ports
      .map(({ protocol, target, published, mode }) => ({
        Protocol: protocol,
        TargetPort: target,
        ...(published === 0 ? {} : { PublishedPort: published }),
        PublishMode: mode,
      }))
      .sort((a, b) => (a.PublishedPort ?? 0) - (b.PublishedPort ?? 0)),
  };
}

/** Addresses of ports, which a swarm has no field for. @throws SkepError invalid_argument */
function addressLabels(ports: readonly Port[]): Readonly<Record<string, string>> {
  const labels: Record<string, string> = {};
  for (const { host_ip: address, published } of ports) {
    if (address === undefined) continue;
    if (published === 0)
      refuse(`ports: an address (${address}) needs a published port, not one that is chosen`);
    labels[`skep.publish.${published}.address`] =
      address === '::1' || address.startsWith('127.') ? 'lo' : address;
  }
  return labels;
}

function modeOf({ scale, deploy = {} }: Service): ServiceMode {
  const { mode = 'replicated', replicas = scale } = deploy;
  const withReplicas = 'replicas can only be used with replicated or replicated-job mode';
  switch (mode) {
    case 'global':
      return replicas === undefined ? { Global: {} } : refuse(withReplicas);
    case 'global-job':
      return replicas === undefined ? { GlobalJob: {} } : refuse(withReplicas);
    case 'replicated-job':
      return {
        ReplicatedJob: {
          ...optional('MaxConcurrent', replicas),
          ...optional('TotalCompletions', replicas),
        },
      };
    case 'replicated':
      return { Replicated: optional('Replicas', replicas) };
    default:
      return mode satisfies never;
  }
}

function updateOf(config: UpdateConfig | undefined): object | undefined {
  if (config === undefined) return undefined;
  return {
    Parallelism: config.parallelism ?? 1,
    ...optional('Delay', config.delay),
    ...optional('FailureAction', config.failure_action),
    ...optional('Monitor', config.monitor),
    ...optional('MaxFailureRatio', config.max_failure_ratio),
    ...optional('Order', config.order),
  };
}
