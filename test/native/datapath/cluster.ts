/**
 * The cluster most end-to-end tests use: two nodes, an ingress network, one overlay network, a
 * service `web` with a task on each node, published on 8080, and a client container without a
 * published port.
 */
import {
  type Actor,
  inside,
  macOf,
  type NodeOptions,
  UNDERLAY6,
  type World,
  type WorldNode,
} from './world.js';

export const INGRESS = 4096;
export const OVERLAY = 4097;
export const CLIENT_ADDRESS = '192.168.77.1';
export const PUBLISHED_PORT = 8080;
export const TARGET_PORT = 80;
export const VIP = '10.0.1.100';
export const CLIENT_ADDRESS6 = `${UNDERLAY6}1`;
export const INGRESS6 = 'fd00:10:0:1::/64';
export const OVERLAY6 = 'fd00:10:0:2::/64';
export const VIP6 = 'fd00:10:0:2::64';

/** Everything a test talks to. */
export interface Cluster {
  readonly world: World;
  /** Outside client at {@link CLIENT_ADDRESS}; also the underlay's switch. */
  readonly client: Actor;
  readonly a: WorldNode;
  readonly b: WorldNode;
  /** Task of `web` on A: 10.0.0.11 on ingress, 10.0.1.11 on the overlay. */
  readonly webA: Actor;
  /** Task of `web` on B: 10.0.0.12 and 10.0.1.12. */
  readonly webB: Actor;
  /** Container on A with 10.0.1.21 on the overlay only. */
  readonly plainA: Actor;
}

const NODES = [
  { nodeId: '10.0.0.2', address: '192.168.77.11' },
  { nodeId: '10.0.0.3', address: '192.168.77.12' },
] as const;

async function configure(nodes: readonly WorldNode[], index: 0 | 1): Promise<void> {
  const node = nodes[index] as WorldNode;
  await node.datapath(
    'putNodes',
    NODES.map(({ nodeId }, each) => ({ nodeId, tunnelAddress: nodes[each]?.tunnelAddress })),
  );
  await node.datapath('putNetworks', [
    {
      vni: INGRESS,
      subnet: '10.0.0.0/24',
      subnet6: INGRESS6,
      gateway: '10.0.0.1',
      internal: false,
      nodeAddress: NODES[index].nodeId,
    },
    {
      vni: OVERLAY,
      subnet: '10.0.1.0/24',
      subnet6: OVERLAY6,
      gateway: '10.0.1.1',
      internal: false,
      nodeAddress: `10.0.1.${2 + index}`,
    },
  ]);
  await node.datapath('setNodeId', NODES[index].nodeId);
  await node.datapath('setLocalAddresses', [node.address, address6Of(node)]);
}

/** Rows of what runs on the other node. */
async function putRemote(node: WorldNode, addresses: readonly string[], tunnelAddress: string) {
  await node.datapath(
    'putRemoteEndpoints',
    addresses.map((address) => ({
      vni: address.startsWith('10.0.0.') ? INGRESS : OVERLAY,
      address,
      mac: macOf(address),
      tunnelAddress,
    })),
  );
}

/** Backends of `web`, seen from one node. */
export function backendRows(local: 11 | 12, remoteTunnel: string, state = 'active') {
  return [11, 12].flatMap((task) =>
    [
      { vni: INGRESS, address: `10.0.0.${task}` },
      { vni: OVERLAY, address: `10.0.1.${task}` },
    ].map((place) => ({
      ...place,
      state,
      ...(task === local ? {} : { tunnelAddress: remoteTunnel }),
    })),
  );
}

/** The rows of service `web` with the given tasks. */
export function serviceRows(tasks: readonly number[]) {
  return [
    {
      key: { kind: 'vip', vni: OVERLAY, address: VIP },
      backends: tasks.map((task) => ({ vni: OVERLAY, address: `10.0.1.${task}` })),
    },
    ...(['tcp', 'udp'] as const).map((protocol) => ({
      key: { kind: 'published', protocol, port: PUBLISHED_PORT },
      targetPort: TARGET_PORT,
      backends: tasks.map((task) => ({ vni: INGRESS, address: `10.0.0.${task}` })),
    })),
  ];
}

/** Brings the cluster up. The caller closes `world`, also if a test fails. */
export async function startCluster(world: World, options: NodeOptions = {}): Promise<Cluster> {
  const client = await world.outside();
  inside(client, 'ip', 'link', 'add', 'br0', 'type', 'bridge');
  inside(client, 'ip', 'link', 'set', 'br0', 'up');
  inside(client, 'ip', 'addr', 'add', `${CLIENT_ADDRESS}/24`, 'dev', 'br0');
  inside(client, 'ip', '-6', 'addr', 'add', `${CLIENT_ADDRESS6}/64`, 'dev', 'br0', 'nodad');
  const a = await world.node(client, NODES[0].address, options);
  const b = await world.node(client, NODES[1].address, options);
  await configure([a, b], 0);
  await configure([a, b], 1);
  const [webA, webB, plainA] = await Promise.all([
    world.container(a, 'web-a', [
      { vni: INGRESS, address: '10.0.0.11', subnet6: INGRESS6 },
      { vni: OVERLAY, address: '10.0.1.11', subnet6: OVERLAY6 },
    ]),
    world.container(b, 'web-b', [
      { vni: INGRESS, address: '10.0.0.12', subnet6: INGRESS6 },
      { vni: OVERLAY, address: '10.0.1.12', subnet6: OVERLAY6 },
    ]),
    world.container(a, 'plain-a', [{ vni: OVERLAY, address: '10.0.1.21', subnet6: OVERLAY6 }]),
  ]);
  await putRemote(a, ['10.0.0.12', '10.0.1.12', '10.0.1.3'], b.tunnelAddress);
  await putRemote(b, ['10.0.0.11', '10.0.1.11', '10.0.1.21', '10.0.1.2'], a.tunnelAddress);
  await a.datapath('putBackends', backendRows(11, b.tunnelAddress));
  await b.datapath('putBackends', backendRows(12, a.tunnelAddress));
  for (const node of [a, b]) await node.datapath('putServices', serviceRows([11, 12]));
  for (const web of [webA, webB])
    for (const host of ['0.0.0.0', '::']) await web.serve(TARGET_PORT, host);
  return { world, client, a, b, webA, webB, plainA };
}

/** A node's IPv6 address on the underlay. */
export function address6Of(node: WorldNode): string {
  return `${UNDERLAY6}${node.address.split('.').at(-1)}`;
}

/** Which task answers is up to a hash of the client's port: this many tries find both. */
const TRIES_MAX = 64;

/** Names of the servers that answer, asked until there are two. */
export async function names(
  ask: () => Promise<{ readonly name: string }>,
): Promise<readonly string[]> {
  const found = new Set<string>();
  for (let tries = 0; tries < TRIES_MAX && found.size < 2; tries += 1)
    found.add((await ask()).name);
  return [...found].sort();
}
