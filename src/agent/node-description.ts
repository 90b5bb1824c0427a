/**
 * What a node tells managers about itself, from the engine's `/info`. Values are copied as the
 * kernel and the engine spell them (`x86_64`): constraints compare them so.
 */
import { create } from '@bufbuild/protobuf';
import {
  type GenericResource,
  type NodeDescription,
  NodeDescriptionSchema,
  type NodeTLSInfo,
} from '../model/gen/docker/swarmkit/v1/types_pb.js';
import { AGENT_PLUGIN } from '../model/agent-kind.js';
import { discreteResource, namedResource } from '../model/generic-resources.js';
import { AGENT_VERSION_LABEL } from '../model/labels/keys.js';
import { DRIVER_NAME } from '../network/limits.js';

const NANO_CPUS = 1_000_000_000n;
/** Plugins every node has: overlays are ours, not the engine's. */
const OWN_PLUGINS = [
  { type: 'Network', name: 'overlay' },
  { type: 'Volume', name: 'local' },
  AGENT_PLUGIN,
] as const;

/** What a node says of itself besides what its engine tells. */
export interface OwnFacts {
  /** Skep's version. */
  readonly version: string;
  readonly tlsInfo: NodeTLSInfo | undefined;
  /** Of skepd's flags; where there are none, the engine's own count. */
  readonly genericResources: readonly GenericResource[];
}

/** The description of a node; fields of `info` of another type than expected are left out. */
export function describeNode(
  info: Readonly<Record<string, unknown>>,
  { version, tlsInfo, genericResources }: OwnFacts,
): NodeDescription {
  return create(NodeDescriptionSchema, {
    hostname: text(info['Name']),
    platform: { architecture: text(info['Architecture']), os: text(info['OSType']) },
    resources: {
      nanoCpus: whole(info['NCPU']) * NANO_CPUS,
      memoryBytes: whole(info['MemTotal']),
      generic: [
        ...(genericResources.length > 0
          ? genericResources
          : engineResources(info['GenericResources'])),
      ],
    },
    engine: {
      engineVersion: text(info['ServerVersion']),
      labels: { ...labels(info['Labels']), [AGENT_VERSION_LABEL]: version },
      plugins: plugins(info['Plugins']),
    },
    ...(tlsInfo === undefined ? {} : { tlsInfo }),
  });
}

/** The list of `/info`: what dockerd's flags of the same name say. */
function engineResources(value: unknown): readonly GenericResource[] {
  const found: GenericResource[] = [];
  for (const entry of Array.isArray(value) ? (value as unknown[]) : []) {
    const { NamedResourceSpec, DiscreteResourceSpec } = object(entry);
    const [named, discrete] = [object(NamedResourceSpec), object(DiscreteResourceSpec)];
    const kind = text(named['Kind']) || text(discrete['Kind']);
    if (kind === '') continue;
    const value = text(named['Value']);
    found.push(
      value === '' ? discreteResource(kind, whole(discrete['Value'])) : namedResource(kind, value),
    );
  }
  return found;
}

function object(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function whole(value: unknown): bigint {
  return typeof value === 'number' && Number.isSafeInteger(value) ? BigInt(value) : 0n;
}

function labels(value: unknown): Record<string, string> {
  const result: Record<string, string> = {};
  for (const entry of Array.isArray(value) ? value : []) {
    const [key, ...rest] = text(entry).split('=');
    if (key !== undefined && key !== '') result[key] = rest.join('=');
  }
  return result;
}

function plugins(value: unknown): { type: string; name: string }[] {
  const found = new Map<string, { type: string; name: string }>();
  const add = (type: string, name: string): void => {
    // Our own driver, which the engine lists once it was used: to the cluster it is `overlay`.
    if (name !== '' && name !== DRIVER_NAME) found.set(`${type} ${name}`, { type, name });
  };
  for (const own of OWN_PLUGINS) add(own.type, own.name);
  const groups = typeof value === 'object' && value !== null ? value : {};
  for (const [type, names] of Object.entries(groups)) {
    for (const name of Array.isArray(names) ? names : []) add(type, text(name));
  }
  return [...found.keys()].sort().flatMap((key) => found.get(key) ?? []);
}
