/**
 * SwarmKit objects for tests of the networking room: networks, attachments, nodes, tasks.
 */
import { create } from '@bufbuild/protobuf';
import {
  type Network,
  type NetworkAttachment,
  NetworkAttachmentSchema,
  NetworkSchema,
  type Node,
  NodeSchema,
} from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type PortConfig,
  PortConfig_Protocol,
  PortConfig_PublishMode,
  PortConfigSchema,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { VXLAN_IDS_OPTION } from '../../../src/network/network-info.js';
import type { TaskEndpoint } from '../../../src/network/types.js';

/** An allocated overlay network `10.0.<third>.0/24`. */
export function overlay(
  name: string,
  third: number,
  flags: {
    readonly internal?: boolean;
    readonly attachable?: boolean;
    readonly ingress?: boolean;
  } = {},
): Network {
  return create(NetworkSchema, {
    id: `${name}id`,
    spec: { annotations: { name }, driverConfig: { name: 'overlay' }, ...flags },
    driverState: { name: 'overlay', options: { [VXLAN_IDS_OPTION]: String(4096 + third) } },
    ipam: { configs: [{ subnet: `10.0.${third}.0/24`, gateway: `10.0.${third}.1` }] },
  });
}

/** The ingress network, `10.0.0.0/24`. */
export const INGRESS = overlay('ingress', 0, { ingress: true });

/** An attachment with address `10.0.<third>.<last>/24`, third as in the network. */
export function attachment(
  network: Network,
  last: number,
  aliases: readonly string[] = [],
): NetworkAttachment {
  const gateway = network.ipam?.configs[0]?.gateway ?? '';
  const address = gateway.replace(/\d+$/, String(last));
  return create(NetworkAttachmentSchema, {
    network,
    addresses: [`${address}/24`],
    aliases: [...aliases],
  });
}

/** A node with its own addresses. */
export function node(id: string, attachments: readonly NetworkAttachment[]): Node {
  return create(NodeSchema, { id, attachments: [...attachments] });
}

/** A TCP port. */
export function port(published: number, target: number, mode: 'ingress' | 'host'): PortConfig {
  return create(PortConfigSchema, {
    protocol: PortConfig_Protocol.TCP,
    publishedPort: published,
    targetPort: target,
    publishMode: mode === 'host' ? PortConfig_PublishMode.HOST : PortConfig_PublishMode.INGRESS,
  });
}

/** A task of service `web` in `container`. */
export function webTask(
  slot: number,
  containerId: string,
  attachments: readonly NetworkAttachment[],
  ports: readonly PortConfig[] = [],
): TaskEndpoint {
  return {
    taskId: `task${slot}`,
    taskName: `web.${slot}.task${slot}`,
    hostname: `web${slot}`,
    containerId,
    serviceId: 'webid',
    serviceName: 'web',
    attachments,
    virtualIps: attachments.map(({ network }) => ({
      networkId: network?.id ?? '',
      address: `${(network?.ipam?.configs[0]?.gateway ?? '').replace(/\d+$/, '200')}/24`,
    })),
    ports,
    rules: new Map(),
    policy: 'maglev',
    returnPath: 'tunnel',
  };
}
