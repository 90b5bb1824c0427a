/**
 * Which nodes can take a task: the filters in SwarmKit's order, and its words for what was missing
 * (manager/scheduler/filter.go, pipeline.go).
 */
import { nodeMeetsExpressions } from '../../model/constraint.js';
import { runsSkepd } from '../../model/agent-kind.js';
import { ENCRYPTED_DRIVER_OPTION } from '../../model/labels/keys.js';
import type { Network, Node, Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeSpec_Availability } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  type Mount,
  Mount_Type,
  NodeStatus_State,
  type PluginDescription,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { needsSkepd } from '../orchestrator/task-ports.js';
import { taskSettingsText } from '../orchestrator/container-policy.js';
import { type NodeInfo, scopedHostPorts } from './node-info.js';

/** A condition on the node alone, whatever tasks it holds. */
interface StaticFilter {
  readonly admits: (info: { readonly node: Node }, task: Task) => boolean;
  readonly explain: (nodes: number) => string;
}

/** One condition a node must meet. */
interface Filter {
  /** Whether `node` can take `task` as far as this filter is concerned. */
  readonly admits: (info: NodeInfo, task: Task) => boolean;
  /** SwarmKit's sentence about the nodes this filter refused. */
  readonly explain: (nodes: number) => string;
}

const onNodes = (problem: string) => (nodes: number) =>
  nodes === 1 ? `${problem} on 1 node` : `${problem} on ${nodes} nodes`;

const READY: StaticFilter = {
  admits: ({ node }) =>
    node.status?.state === NodeStatus_State.READY &&
    (node.spec?.availability ?? NodeSpec_Availability.ACTIVE) === NodeSpec_Availability.ACTIVE,
  explain: (nodes) =>
    nodes === 1
      ? '1 node not available for new tasks'
      : `${nodes} nodes not available for new tasks`,
};

const RESOURCES: Filter = {
  admits: (node, task) => node.resources.has(task.spec?.resources?.reservations),
  explain: onNodes('insufficient resources'),
};

const PLUGINS: StaticFilter = { admits: hasPlugins, explain: onNodes('missing plugin') };

/** A stock engine encrypts with IPsec, which nobody else here speaks. */
const ENCRYPTION: StaticFilter = {
  admits: ({ node }, task) =>
    runsSkepd(node) || !task.networks.some(({ network }) => isEncrypted(network)),
  explain: onNodes('encrypted network not supported by the stock engine'),
};

const CONSTRAINTS: StaticFilter = {
  admits: ({ node }, task) => nodeMeetsExpressions(task.spec?.placement?.constraints ?? [], node),
  explain: onNodes('scheduling constraints not satisfied'),
};

const PLATFORM: StaticFilter = { admits: hasPlatform, explain: onNodes('unsupported platform') };

const HOST_PORTS: Filter = {
  admits: (node, task) =>
    !scopedHostPorts(task).some(([port, scope]) => node.isHostPortTaken(task, port, scope)),
  explain: onNodes('host-mode port already in use'),
};

/** A stock engine would publish to everybody what a label restricts. */
const PUBLISH_RULES: StaticFilter = {
  admits: ({ node }, task) => !needsSkepd(task.serviceAnnotations?.labels) || runsSkepd(node),
  explain: onNodes('skep.publish labels need skepd'),
};

/** A stock engine would make the container without them. */
const CONTAINER_SETTINGS: StaticFilter = {
  admits: ({ node }, task) => taskSettingsText(task) === '' || runsSkepd(node),
  explain: onNodes('skep.container labels need skepd'),
};

const MAX_REPLICAS: Filter = {
  admits: (node, task) => {
    const maxReplicas = task.spec?.placement?.maxReplicas ?? 0n;
    return maxReplicas === 0n || BigInt(node.activeTasksOf(task.serviceId)) < maxReplicas;
  },
  explain: () => 'max replicas per node limit exceed',
};

const FILTERS: readonly Filter[] = [
  READY,
  RESOURCES,
  PLUGINS,
  ENCRYPTION,
  CONSTRAINTS,
  PLATFORM,
  PUBLISH_RULES,
  CONTAINER_SETTINGS,
  HOST_PORTS,
  MAX_REPLICAS,
];

/** Those of all tasks of the same placement. */
const PLACEMENT_FILTERS = [READY, CONSTRAINTS, PLATFORM];

const STATIC_FILTERS: readonly StaticFilter[] = [
  READY,
  PLUGINS,
  ENCRYPTION,
  CONSTRAINTS,
  PLATFORM,
  PUBLISH_RULES,
  CONTAINER_SETTINGS,
];

/** Whether the node can take the task. */
export function admits(node: NodeInfo, task: Task): boolean {
  return FILTERS.every((filter) => filter.admits(node, task));
}

/** As {@link admits}, without what depends on the other tasks of the node. */
export function admitsStatically(node: Node, task: Task): boolean {
  return STATIC_FILTERS.every((filter) => filter.admits({ node }, task));
}

/** As {@link admitsStatically}, only what depends on the node and the placement a task asks for. */
export function meetsPlacement(node: Node, task: Task): boolean {
  return PLACEMENT_FILTERS.every((filter) => filter.admits({ node }, task));
}

/** Why none of `nodes` can take the task: `reason; reason`, the most frequent first. */
export function explain(nodes: Iterable<NodeInfo>, task: Task): string {
  const refusals = new Map<Filter, number>();
  for (const node of nodes) {
    const refusing = FILTERS.find((filter) => !filter.admits(node, task));
    if (refusing !== undefined) refusals.set(refusing, (refusals.get(refusing) ?? 0) + 1);
  }
  return [...refusals]
    .sort(([, a], [, b]) => b - a)
    .map(([filter, count]) => filter.explain(count))
    .join('; ');
}

function isEncrypted(network: Network | undefined): boolean {
  return network?.spec?.driverConfig?.options[ENCRYPTED_DRIVER_OPTION] !== undefined;
}

function hasPlugins({ node }: { readonly node: Node }, task: Task): boolean {
  const engine = node.description?.engine;
  if (engine === undefined) return true;
  const { plugins } = engine;
  const runtime = task.spec?.runtime;
  const mounts = runtime?.case === 'container' ? runtime.value.mounts : [];
  for (const name of mounts.map(volumePlugin)) {
    if (name !== undefined && !hasPlugin(plugins, 'Volume', name)) return false;
  }
  for (const { network } of task.networks) {
    const name = network?.driverState?.name ?? '';
    if (name !== '' && reports(plugins, 'Network') && !hasPlugin(plugins, 'Network', name)) {
      return false;
    }
  }
  const logDriver = task.spec?.logDriver?.name ?? '';
  if (logDriver === '' || logDriver === 'none' || !reports(plugins, 'Log')) return true;
  return hasPlugin(plugins, 'Log', logDriver);
}

/** The volume plugin a mount needs, if any beyond the built-in one. */
function volumePlugin(mount: Mount): string | undefined {
  if (mount.type !== Mount_Type.VOLUME) return undefined;
  const name = mount.volumeOptions?.driverConfig?.name ?? '';
  return name === '' || name === 'local' ? undefined : name;
}

/** Whether the node says anything about plugins of this type; older engines do not. */
function reports(plugins: readonly PluginDescription[], type: string): boolean {
  return plugins.some((plugin) => plugin.type === type);
}

function hasPlugin(plugins: readonly PluginDescription[], type: string, name: string): boolean {
  return plugins.some(
    (plugin) => plugin.type === type && (plugin.name === name || plugin.name === `${name}:latest`),
  );
}

function hasPlatform({ node }: { readonly node: Node }, task: Task): boolean {
  const platforms = task.spec?.placement?.platforms ?? [];
  if (platforms.length === 0) return true;
  const actual = node.description?.platform;
  if (actual === undefined) return false;
  return platforms.some(
    (wanted) =>
      (wanted.os === '' || wanted.os === actual.os) &&
      (wanted.architecture === '' ||
        normalisedArchitecture(wanted.architecture) ===
          normalisedArchitecture(actual.architecture)),
  );
}

/** Kernels and images name the same architectures differently. */
function normalisedArchitecture(architecture: string): string {
  switch (architecture) {
    case 'x86_64':
      return 'amd64';
    case 'aarch64':
      return 'arm64';
    default:
      return architecture;
  }
}
