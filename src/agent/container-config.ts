/**
 * From a task to the body of `POST /containers/create`; pure. Follows Docker's own conversion
 * (daemon/cluster/executor/container/container.go). What a service spec cannot ask for (privileged,
 * devices, host namespaces) comes from its labels alone, which the manager has allowed.
 */
import type Docker from 'dockerode';
import { SkepError } from '../model/errors.js';
import { assignedMembers, resourceVariables } from '../model/generic-resources.js';
import { containerHostConfig, type HostConfigPart } from '../model/container-settings.js';
import type { Duration } from '@bufbuild/protobuf/wkt';
import type { Network, Task } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type ContainerSpec,
  ContainerSpec_Isolation as Isolation,
} from '../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  type PortConfig,
  PortConfig_Protocol as Protocol,
  PortConfig_PublishMode as PublishMode,
  type Privileges,
  Privileges_AppArmorOpts_AppArmorMode as AppArmorMode,
  Privileges_SeccompOpts_SeccompMode as SeccompMode,
  type ResourceRequirements,
} from '../model/gen/docker/swarmkit/v1/types_pb.js';
import type { ContainerNetworking } from '../network/types.js';
import { engineMounts } from './mounts.js';
import { containerLabels } from './container-labels.js';

/** Label on the store's copies of the engine's own networks. */
const PREDEFINED_LABEL = 'com.docker.swarm.predefined';
/** Drivers that only exist as an engine's own network. */
const PREDEFINED_DRIVERS: ReadonlySet<string> = new Set(['bridge', 'host', 'null', 'none']);

/** The container spec of a task. @throws SkepError invalid_argument for another runtime */
export function containerSpec(task: Task): ContainerSpec {
  const runtime = task.spec?.runtime;
  if (runtime?.case !== 'container') {
    throw new SkepError('invalid_argument', 'unsupported runtime');
  }
  return runtime.value;
}

/** Name on the engine when `network` stands for one of the engine's own, else undefined. */
export function predefinedNetwork(network: Network | undefined): string | undefined {
  const annotations = network?.spec?.annotations;
  const driver = network?.driverState?.name ?? network?.spec?.driverConfig?.name ?? '';
  const predefined =
    annotations?.labels[PREDEFINED_LABEL] === 'true' || PREDEFINED_DRIVERS.has(driver);
  return predefined ? annotations?.name : undefined;
}

/** Host-mode ports that the engine itself has to bind: those of a task on no swarm network. */
export function engineBoundPorts(task: Task): readonly PortConfig[] {
  const swarm = task.networks.some((a) => predefinedNetwork(a.network) === undefined);
  return swarm ? [] : hostPorts(task);
}

/** All ports published in host mode. */
export function hostPorts(task: Task): readonly PortConfig[] {
  return (task.endpoint?.ports ?? []).filter(isHostPort);
}

/** Whether the port is published in host mode. */
export function isHostPort({ publishMode }: PortConfig): boolean {
  return publishMode === PublishMode.HOST;
}

/** `80/tcp` of a port. */
export function enginePort(port: PortConfig): string {
  return `${port.targetPort}/${Protocol[port.protocol].toLowerCase()}`;
}

/** The create body. `networking` is undefined for a task on no swarm network. */
export function containerBody(
  task: Task,
  networking: ContainerNetworking | undefined,
  extraMounts: readonly Docker.MountSettings[] = [],
): Docker.ContainerCreateOptions {
  const spec = containerSpec(task);
  const ports = engineBoundPorts(task);
  const exposed = Object.fromEntries(hostPorts(task).map((port) => [enginePort(port), {}]));
  const body = {
    Image: spec.image,
    Labels: containerLabels(task, spec.labels),
    Env: [...spec.env, ...resourceVariables(task.assignedGenericResources)],
    Tty: spec.tty,
    OpenStdin: spec.openStdin,
    ...given('Hostname', spec.hostname),
    ...given('WorkingDir', spec.dir),
    ...given('User', spec.user),
    ...given('StopSignal', spec.stopSignal),
    ...(spec.command.length > 0 ? { Entrypoint: [...spec.command] } : {}),
    ...(spec.args.length > 0 ? { Cmd: [...spec.args] } : {}),
    ...(Object.keys(exposed).length > 0 ? { ExposedPorts: exposed } : {}),
    ...healthcheck(spec),
    HostConfig: {
      ...withSettings(
        hostConfig(task, spec),
        containerHostConfig(task.serviceAnnotations?.labels, spec.labels, (kind) =>
          assignedMembers(task.assignedGenericResources, kind),
        ),
      ),
      Mounts: [...engineMounts(spec.mounts), ...extraMounts],
      ...networkMode(task, networking),
      ...dns(spec, networking),
      ...(ports.length > 0 ? { PortBindings: portBindings(ports) } : {}),
    },
    ...endpointsConfig(networking),
  };
  return body;
}

function given<K extends string>(key: K, value: string): Partial<Record<K, string>> {
  return value === '' ? {} : ({ [key]: value } as Record<K, string>);
}

function nanoseconds(duration: Duration | undefined): number {
  return duration === undefined ? 0 : Number(duration.seconds) * 1e9 + duration.nanos;
}

function healthcheck(spec: ContainerSpec): object {
  const check = spec.healthcheck;
  if (check === undefined) return {};
  return {
    Healthcheck: {
      Test: [...check.test],
      Interval: nanoseconds(check.interval),
      Timeout: nanoseconds(check.timeout),
      StartPeriod: nanoseconds(check.startPeriod),
      Retries: check.retries,
      ...(check.startInterval === undefined
        ? {}
        : { StartInterval: nanoseconds(check.startInterval) }),
    },
  };
}

/** Security options of spec and labels add up; of all else the label's goes first. */
function withSettings(config: HostConfigPart, settings: HostConfigPart): HostConfigPart {
  const [own, more] = [config['SecurityOpt'], settings['SecurityOpt']];
  const all = { ...config, ...settings };
  if (!Array.isArray(own) || !Array.isArray(more)) return all;
  return { ...all, SecurityOpt: [...(own as string[]), ...(more as string[])] };
}

function hostConfig(task: Task, spec: ContainerSpec): HostConfigPart {
  const isolation = {
    [Isolation.DEFAULT]: {},
    [Isolation.PROCESS]: { Isolation: 'process' },
    [Isolation.HYPERV]: { Isolation: 'hyperv' },
  }[spec.isolation];
  const driver = task.logDriver ?? task.spec?.logDriver;
  return {
    RestartPolicy: { Name: '' },
    ReadonlyRootfs: spec.readOnly,
    GroupAdd: [...spec.groups],
    ...resources(task.spec?.resources),
    ...(spec.init === undefined ? {} : { Init: spec.init }),
    ...(Object.keys(spec.sysctls).length > 0 ? { Sysctls: spec.sysctls } : {}),
    ...(spec.capabilityAdd.length > 0 ? { CapAdd: [...spec.capabilityAdd] } : {}),
    ...(spec.capabilityDrop.length > 0 ? { CapDrop: [...spec.capabilityDrop] } : {}),
    ...(spec.pidsLimit > 0n ? { PidsLimit: Number(spec.pidsLimit) } : {}),
    ...(spec.oomScoreAdj === 0n ? {} : { OomScoreAdj: Number(spec.oomScoreAdj) }),
    Ulimits: spec.ulimits.map((limit) => ({
      Name: limit.name,
      Soft: Number(limit.soft),
      Hard: Number(limit.hard),
    })),
    ...(driver === undefined ? {} : { LogConfig: { Type: driver.name, Config: driver.options } }),
    ...securityOptions(spec.privileges),
    ...isolation,
    ExtraHosts: extraHosts(spec.hosts),
  };
}

function resources(wanted: ResourceRequirements | undefined): object {
  const limits = wanted?.limits;
  const reserved = wanted?.reservations;
  const memory = Number(limits?.memoryBytes ?? 0n);
  const swap = wanted?.swapBytes;
  const swappiness = wanted?.memorySwappiness;
  return {
    ...(memory > 0 ? { Memory: memory } : {}),
    ...(limits !== undefined && limits.nanoCpus > 0n ? { NanoCpus: Number(limits.nanoCpus) } : {}),
    ...(reserved !== undefined && reserved.memoryBytes > 0n
      ? { MemoryReservation: Number(reserved.memoryBytes) }
      : {}),
    // The engine's MemorySwap counts memory and swap together; -1 is unlimited swap.
    ...(swap === undefined ? {} : { MemorySwap: swap < 0n ? -1 : memory + Number(swap) }),
    ...(swappiness === undefined ? {} : { MemorySwappiness: Number(swappiness) }),
  };
}

function securityOptions(privileges: Privileges | undefined): object {
  if (privileges === undefined) return {};
  const options: string[] = [];
  const context = privileges.selinuxContext;
  if (context !== undefined) {
    if (context.disable) options.push('label=disable');
    for (const key of ['user', 'role', 'type', 'level'] as const) {
      if (context[key] !== '') options.push(`label=${key}:${context[key]}`);
    }
  }
  const seccomp = privileges.seccomp;
  if (seccomp?.mode === SeccompMode.UNCONFINED) options.push('seccomp=unconfined');
  if (seccomp?.mode === SeccompMode.CUSTOM) {
    options.push(`seccomp=${Buffer.from(seccomp.profile).toString('utf8')}`);
  }
  if (privileges.apparmor?.mode === AppArmorMode.DISABLED) options.push('apparmor=unconfined');
  if (privileges.noNewPrivileges) options.push('no-new-privileges=true');
  return options.length > 0 ? { SecurityOpt: options } : {};
}

/** Swarm's `IP host [alias...]` as the engine's `host:IP`. */
function extraHosts(hosts: readonly string[]): string[] {
  return hosts.flatMap((line) => {
    const [address, ...names] = line.trim().split(/\s+/);
    return names.map((name) => `${name}:${address ?? ''}`);
  });
}

function networkMode(task: Task, networking: ContainerNetworking | undefined): object {
  const first = networking?.endpoints[0];
  if (first !== undefined) return { NetworkMode: first.engineNetworkName };
  const predefined = predefinedNetwork(task.networks[0]?.network);
  return predefined === undefined ? {} : { NetworkMode: predefined };
}

/** Our resolver first, so that service names work; the user's servers after it. */
function dns(spec: ContainerSpec, networking: ContainerNetworking | undefined): object {
  const config = spec.dnsConfig;
  const servers = [...(networking?.dnsServers ?? []), ...(config?.nameservers ?? [])];
  return {
    ...(servers.length > 0 ? { Dns: servers } : {}),
    ...(config !== undefined && config.search.length > 0 ? { DnsSearch: [...config.search] } : {}),
    ...(config !== undefined && config.options.length > 0
      ? { DnsOptions: [...config.options] }
      : {}),
  };
}

function portBindings(ports: readonly PortConfig[]): Record<string, { HostPort: string }[]> {
  const bindings: Record<string, { HostPort: string }[]> = {};
  for (const port of ports) {
    const binding = { HostPort: port.publishedPort === 0 ? '' : String(port.publishedPort) };
    (bindings[enginePort(port)] ??= []).push(binding);
  }
  return bindings;
}

/** The first network only: an engine of API 1.41 takes one here, the others are connected. */
function endpointsConfig(networking: ContainerNetworking | undefined): object {
  const first = networking?.endpoints[0];
  if (first === undefined) return {};
  const endpoint = first.address === '' ? {} : { IPAMConfig: { IPv4Address: first.address } };
  return { NetworkingConfig: { EndpointsConfig: { [first.engineNetworkName]: endpoint } } };
}
