/**
 * Networks, secrets and configs of a stack as the swarm takes them, and the versions of secrets and
 * configs: both are immutable, so new content becomes a new object, `NAME.2` behind `NAME`, which
 * services refer to under the old file name.
 */
import { SkepError } from '../model/errors.js';
import type { Network } from './file-schema.js';
import { NAME_LENGTH_MAX } from './limits.js';
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

/** The versions of an object: first its own name, then `.2` and so on. */
export function versionsOf<T extends SwarmObject>(name: string, all: readonly T[]): readonly T[] {
  const number = (object: T) => versionNumber(name, object.Spec.Name);
  return all
    .filter((object) => number(object) !== undefined)
    .toSorted((a, b) => (number(a) ?? 0) - (number(b) ?? 0));
}

function versionNumber(base: string, name: string): number | undefined {
  if (name === base) return 1;
  const rest = name.startsWith(`${base}.`) ? name.slice(base.length + 1) : '';
  return /^[1-9]\d{0,8}$/.test(rest) ? Number(rest) : undefined;
}

/** The name of the next version. @throws SkepError invalid_argument if it is too long */
export function nextVersion(name: string, versions: readonly SwarmObject[]): string {
  const last = Math.max(0, ...versions.map(({ Spec }) => versionNumber(name, Spec.Name) ?? 0));
  const next = last === 0 ? name : `${name}.${last + 1}`;
  if (next.length > NAME_LENGTH_MAX)
    throw new SkepError(
      'invalid_argument',
      `${next}: names have at most ${NAME_LENGTH_MAX} characters`,
    );
  return next;
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
