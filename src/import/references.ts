/**
 * What services refer to by id (networks, secrets, configs), as names, and as ids of another swarm.
 */
import { clone } from '@bufbuild/protobuf';
import type { GoStruct } from '../api/http/go-struct.js';
import {
  type ContainerSpec,
  type ServiceSpec,
  ServiceSpecSchema,
} from '../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  PortConfig_Protocol as Protocol,
  PortConfig_PublishMode as PublishMode,
} from '../model/gen/docker/swarmkit/v1/types_pb.js';

/** Networks that every swarm has, twins of the engine's own. */
export const PREDEFINED_NETWORKS: readonly string[] = ['bridge', 'host'];

/** What services refer to. */
export type ReferenceKind = 'network' | 'secret' | 'config';

/** What stands for what: ids for names, or names for ids. */
export type Dictionary = Readonly<Record<ReferenceKind, ReadonlyMap<string, string>>>;

/** A spec with other references, and those that were not found, as `network front`. */
export interface Translated {
  readonly spec: ServiceSpec;
  readonly missing: readonly string[];
}

/** A dictionary of ids by name, or the other way round. */
export function dictionaryOf(
  swarm: Readonly<
    Record<`${ReferenceKind}s`, readonly { readonly id: string; readonly name: string }[]>
  >,
  to: 'ids' | 'names',
): Dictionary {
  const map = (kind: ReferenceKind) =>
    new Map(swarm[`${kind}s`].map(({ id, name }) => (to === 'ids' ? [name, id] : [id, name])));
  const network = map('network');
  // In every swarm, and hidden in its lists: found by name.
  if (to === 'ids')
    for (const name of PREDEFINED_NETWORKS) if (!network.has(name)) network.set(name, name);
  return { network, secret: map('secret'), config: map('config') };
}

/** The spec with every reference looked up; those that are not found stay as they are. */
export function translate(original: ServiceSpec, to: 'ids' | 'names', by: Dictionary): Translated {
  const spec = clone(ServiceSpecSchema, original);
  const missing = new Set<string>();
  const look = (kind: ReferenceKind, word: string, shown: string): string => {
    const found = by[kind].get(word);
    if (found === undefined) missing.add(`${kind} ${shown}`);
    return found ?? word;
  };
  for (const network of [...spec.networks, ...(spec.task?.networks ?? [])])
    network.target = look('network', network.target, network.target);
  const container = containerOf(spec);
  for (const secret of container?.secrets ?? []) {
    secret.secretId = look('secret', secret.secretId, secret.secretName);
    if (to === 'names') secret.secretName = secret.secretId;
  }
  for (const config of container?.configs ?? []) {
    config.configId = look('config', config.configId, config.configName);
    if (to === 'names') config.configName = config.configId;
  }
  return { spec, missing: [...missing] };
}

/** Names of the objects of a kind that a spec with names refers to. */
export function referredTo(kind: ReferenceKind, spec: ServiceSpec): readonly string[] {
  const container = containerOf(spec);
  switch (kind) {
    case 'network':
      return [...spec.networks, ...(spec.task?.networks ?? [])].map(({ target }) => target);
    case 'secret':
      return (container?.secrets ?? []).map(({ secretId }) => secretId);
    case 'config':
      return (container?.configs ?? []).map(({ configId }) => configId);
  }
}

/**
 * Clients know the ports that a swarm has chosen by itself, so they are published under the same
 * numbers. Changes `spec`. @returns what is kept, as `30000 (80/tcp)`
 */
export function keepGivenPorts(spec: ServiceSpec, given: readonly GoStruct[]): readonly string[] {
  const kept: string[] = [];
  const free = given.map((port) => ({
    target: port.uint32('TargetPort'),
    published: port.uint32('PublishedPort'),
    protocol: port.string('Protocol'),
    isHost: port.string('PublishMode') === 'host',
  }));
  for (const port of spec.endpoint?.ports ?? []) {
    if (port.publishedPort !== 0 || port.publishMode !== PublishMode.INGRESS) continue;
    const protocol = Protocol[port.protocol].toLowerCase();
    const at = free.findIndex((one) => {
      return one.target === port.targetPort && one.protocol === protocol && !one.isHost;
    });
    const [found] = at === -1 ? [] : free.splice(at, 1);
    if (found === undefined || found.published === 0) continue;
    port.publishedPort = found.published;
    kept.push(`${found.published} (${found.target}/${protocol})`);
  }
  return kept;
}

function containerOf(spec: ServiceSpec): ContainerSpec | undefined {
  return spec.task?.runtime.case === 'container' ? spec.task.runtime.value : undefined;
}
