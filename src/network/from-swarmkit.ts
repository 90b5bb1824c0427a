/**
 * Reads SwarmKit's objects (attachments, ports, a task's endpoint) into the shapes this room keeps.
 */
import { SkepError } from '../model/errors.js';
import type { NetworkAttachment, Node } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import { PortConfig_PublishMode } from '../model/gen/docker/swarmkit/v1/types_pb.js';
import {
  DATA_PATH_FAMILY_LABEL,
  REMOVED_NODES_LABEL,
  type DataPathFamily,
  DNS_TTL_LABEL,
  ENCRYPTION_PORT_LABEL,
  FENCE_AFTER_LABEL,
  ENCRYPTION_ROTATION_LABEL,
} from '../model/labels/keys.js';
import { durationLabelMs, numberLabel } from '../model/labels/read.js';
import { bareAddress, parseAddressWithPrefix } from './addresses.js';
import type { KeySettings } from './encryption/own-keys.js';
import type { LocalNode, LocalPort, LocalTask, PlannedAddress } from './local-state.js';
import { joinRuns } from './port-ranges.js';
import { isOverlay, type NetworkInfo, networkInfoOf } from './network-info.js';
import { protocolOf } from './records.js';
import type { TaskEndpoint, TaskPublication } from './types.js';

/** Of a container id, as Docker shows it. */
const SHORT_ID_LENGTH = 12;

/** An attachment to an overlay network. */
export interface OverlayAttachment {
  readonly info: NetworkInfo;
  readonly address: string;
  readonly aliases: readonly string[];
}

/** Overlay attachments with their address. @throws SkepError when one has none yet */
export function overlayAttachments(
  attachments: readonly NetworkAttachment[],
): readonly OverlayAttachment[] {
  return attachments.flatMap((attachment) => {
    const { network } = attachment;
    if (network === undefined || !isOverlay(network)) return [];
    const info = networkInfoOf(network);
    const address = attachment.addresses.map(bareAddress).find((each) => each !== undefined);
    if (address === undefined) {
      throw new SkepError(
        'failed_precondition',
        'node is missing network attachments, ip addresses may be exhausted',
      );
    }
    return [{ info, address, aliases: attachment.aliases }];
  });
}

/** Which attachment carries the default route: ingress, else the first network to the outside. */
export function planAddresses(
  attachments: readonly OverlayAttachment[],
  taskId: string,
  plannedAtMs: number,
): readonly PlannedAddress[] {
  const route =
    attachments.find(({ info }) => info.ingress) ?? attachments.find(({ info }) => !info.internal);
  return attachments.map((attachment) => ({
    networkId: attachment.info.id,
    address: attachment.address,
    defaultRoute: attachment === route,
    taskId,
    plannedAtMs,
  }));
}

/** A task as it is remembered and announced. */
export function localTaskOf(endpoint: TaskEndpoint): LocalTask {
  // The names a task has besides its own.
  const names = [endpoint.containerId.slice(0, SHORT_ID_LENGTH), endpoint.hostname];
  const virtual = virtualIpsOf(endpoint);
  return {
    taskId: endpoint.taskId,
    taskName: endpoint.taskName,
    containerId: endpoint.containerId,
    serviceId: endpoint.serviceId,
    serviceName: endpoint.serviceName,
    attachments: overlayAttachments(endpoint.attachments).map(({ info, address, aliases }) => ({
      networkId: info.id,
      address,
      aliases,
      virtualIp: virtual.get(info.id) ?? '',
    })),
    ports: localPortsOf(endpoint),
    policy: endpoint.policy,
    returnPath: endpoint.returnPath,
    taskAliases: [...new Set(names)].filter((name) => name !== ''),
    draining: false,
  };
}

/** Plain virtual addresses by network id. */
export function virtualIpsOf({ virtualIps }: TaskPublication): ReadonlyMap<string, string> {
  return new Map(
    virtualIps.map(({ networkId, address }) => [networkId, bareAddress(address) ?? '']),
  );
}

/** Ports that have a number (one still to be assigned cannot be served), neighbours as one. */
export function localPortsOf({ ports, rules }: TaskPublication): readonly LocalPort[] {
  const single = ports.flatMap((port): LocalPort[] => {
    const protocol = protocolOf(port.protocol);
    if (protocol === undefined || port.publishedPort === 0 || port.targetPort === 0) return [];
    const { targetPort, publishedPort } = port;
    const mode = port.publishMode === PortConfig_PublishMode.HOST ? 'host' : 'ingress';
    return [{ protocol, targetPort, publishedPort, mode, ...rules.get(publishedPort) }];
  });
  // Rules are for single ports.
  const isPlain = ({ publishedPort }: LocalPort) => rules.get(publishedPort) === undefined;
  return joinRuns(single, (a, b) => a.mode === b.mode && isPlain(a) && isPlain(b));
}

/** How this node takes part in encrypted networks, by its labels. */
export function keySettingsOf(node: Node): KeySettings {
  const labels = node.spec?.annotations?.labels;
  return {
    port: numberLabel(ENCRYPTION_PORT_LABEL, labels),
    rotationMs: durationLabelMs(ENCRYPTION_ROTATION_LABEL, labels),
  };
}

/** Of which family this node's data path address has to be; undefined when the cluster does not say. */
export function dataPathFamilyOf(node: Node): DataPathFamily | undefined {
  const family = node.spec?.annotations?.labels[DATA_PATH_FAMILY_LABEL];
  return family === 'ipv4' || family === 'ipv6' ? family : undefined;
}

/** What the cluster has set for all nodes. */
export interface ClusterSettings {
  /** Time to live of answers about names, seconds. */
  readonly dnsTtlSeconds: number;
  /** How long this node may reach nobody before it fences its endpoints, milliseconds. */
  readonly fenceAfterMs: number;
  /** Nodes that belong to the cluster no more: what they say counts for nothing. */
  readonly removedNodes: ReadonlySet<string>;
}

/** The cluster's settings, which come as labels of the node in its session; defaults without one. */
export function clusterSettingsOf(node: Node | undefined): ClusterSettings {
  const labels = node?.spec?.annotations?.labels;
  return {
    dnsTtlSeconds: numberLabel(DNS_TTL_LABEL, labels),
    fenceAfterMs: durationLabelMs(FENCE_AFTER_LABEL, labels),
    removedNodes: new Set((labels?.[REMOVED_NODES_LABEL] ?? '').split(',').filter(Boolean)),
  };
}

/** This node with its own addresses, and the networks these are on. */
export function localNodeOf(node: Node): {
  readonly node: LocalNode;
  readonly networks: readonly NetworkInfo[];
} {
  const networks: NetworkInfo[] = [];
  const attachments: LocalNode['attachments'][number][] = [];
  const all =
    node.attachments.length > 0 || !node.attachment ? node.attachments : [node.attachment];
  for (const { network, addresses } of all) {
    if (network === undefined || !isOverlay(network)) continue;
    const parsed = addresses.map(parseAddressWithPrefix).find((each) => each !== undefined);
    // The allocator is not done with it: a later message brings the address.
    if (parsed === undefined) continue;
    networks.push(networkInfoOf(network));
    attachments.push({ networkId: network.id, ...parsed });
  }
  return { node: { id: node.id, attachments }, networks };
}
