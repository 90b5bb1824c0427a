/**
 * Networks, secrets and configs of a stack as the swarm takes them, and the versions of secrets and
 * configs: both are immutable, so new content becomes a new object, `NAME.2` behind `NAME` with a label
 * that says so, which services refer to under the old file name.
 */
import { VERSION_OF_LABEL } from '../model/labels/keys.js';
import type { Network } from './file-schema.js';
import { OBJECT_NAME_LENGTH_MAX } from './limits.js';
import type { Namespace } from './namespace.js';
import type { Project, StackObject } from './project.js';
import { networkName } from './service-spec.js';
import type { NetworkSpec, ObjectSpec, SwarmObject } from './swarm-spec.js';

/** The networks that services of a project are on, to be made or only to be there. */
export interface WantedNetworks {
  readonly own: readonly NetworkSpec[];
  /** Names that must exist. */
  readonly external: readonly string[];
}

/** The networks that services use, by the keys of the file. */
export function wantedNetworks(project: Project, namespace: Namespace): WantedNetworks {
  const used = new Set<string>();
  for (const { networks = {} } of project.services.values()) {
    const keys = Object.keys(networks);
    for (const key of keys.length === 0 ? ['default'] : keys) used.add(key);
  }
  const own: NetworkSpec[] = [];
  const external: string[] = [];
  for (const key of [...used].sort()) {
    const network = project.networks.get(key) ?? {};
    const name = networkName(key, network, namespace);
    if (network.external === true) external.push(name);
    else own.push(networkSpec(name, network, namespace));
  }
  return { own, external };
}

function networkSpec(name: string, network: Network, namespace: Namespace): NetworkSpec {
  const { ipam } = network;
  return {
    Name: name,
    CheckDuplicate: true,
    Driver: network.driver ?? 'overlay',
    Labels: namespace.label(network.labels),
    ...(network.driver_opts === undefined ? {} : { Options: network.driver_opts }),
    ...(network.internal === undefined ? {} : { Internal: network.internal }),
    ...(network.attachable === undefined ? {} : { Attachable: network.attachable }),
    ...(network.enable_ipv6 === undefined ? {} : { EnableIPv6: network.enable_ipv6 }),
    ...(ipam === undefined
      ? {}
      : {
          IPAM: {
            ...(ipam.driver === undefined ? {} : { Driver: ipam.driver }),
            ...(ipam.options === undefined ? {} : { Options: ipam.options }),
            Config: (ipam.config ?? []).map(({ subnet, ip_range, gateway }) => ({
              ...(subnet === undefined ? {} : { Subnet: subnet }),
              ...(ip_range === undefined ? {} : { IPRange: ip_range }),
              ...(gateway === undefined ? {} : { Gateway: gateway }),
            })),
          },
        }),
  };
}

/** A secret or config under its first name. */
export function objectSpec(key: string, object: StackObject, namespace: Namespace): ObjectSpec {
  return {
    Name: object.name ?? namespace.scope(key),
    Labels: namespace.label(object.labels),
    Data: Buffer.from(object.data ?? []).toString('base64'),
    ...(object.driver === undefined
      ? {}
      : {
          Driver: {
            Name: object.driver,
            ...(object.driver_opts === undefined ? {} : { Options: object.driver_opts }),
          },
        }),
    ...(object.template_driver === undefined
      ? {}
      : { Templating: { Name: object.template_driver } }),
  };
}

/**
 * The versions of an object, oldest first: that of its own name, if it is the stack's, and the later
 * ones, told by label. What only has such a name, or belongs to others, is none.
 */
export function versionsOf<T extends SwarmObject>(
  name: string,
  namespace: Namespace,
  all: readonly T[],
): readonly T[] {
  const number = ({ Spec }: T) => (Spec.Name === name ? 1 : versionNumber(Spec.Name));
  return all
    .filter(({ Spec }) => namespace.owns(Spec.Labels))
    .filter(({ Spec }) => Spec.Name === name || Spec.Labels?.[VERSION_OF_LABEL] === name)
    .toSorted((a, b) => number(a) - number(b));
}

function versionNumber(name: string): number {
  return Number(/\.([1-9]\d{0,8})$/.exec(name)?.[1] ?? 1);
}

/** The object under its own name or, if it is taken, that of the next version. */
export function nextVersion(
  spec: ObjectSpec,
  versions: readonly SwarmObject[],
  all: readonly SwarmObject[],
): ObjectSpec {
  const taken = new Set(all.map(({ Spec }) => Spec.Name));
  const { Name: name } = spec;
  if (versions.length === 0 && !taken.has(name)) return spec;
  const last = versions.at(-1)?.Spec.Name ?? name;
  // A plain name may end like that of a version.
  let number = last === name ? 1 : versionNumber(last);
  let next: string;
  do {
    const suffix = `.${++number}`;
    // The label tells what it is a version of; of a long name there is room for less.
    next = name.slice(0, OBJECT_NAME_LENGTH_MAX - suffix.length) + suffix;
  } while (taken.has(next));
  return asVersion(spec, next);
}

/** The object as the version of this name. */
export function asVersion(spec: ObjectSpec, name: string): ObjectSpec {
  if (name === spec.Name) return spec;
  return { ...spec, Name: name, Labels: { ...spec.Labels, [VERSION_OF_LABEL]: spec.Name } };
}

/** Whether everything but content, name and labels is the same: it cannot be changed either. */
export function isSameKind(a: ObjectSpec, b: ObjectSpec): boolean {
  const kind = ({ Driver, Templating }: ObjectSpec) =>
    JSON.stringify([
      Driver?.Name ?? '',
      Object.entries(Driver?.Options ?? {}).sort(([a], [b]) => (a < b ? -1 : 1)),
      Templating?.Name ?? '',
    ]);
  return kind(a) === kind(b);
}
