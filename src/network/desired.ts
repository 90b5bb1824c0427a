/**
 * The desired-state function: which rows the packet side must hold, given what is known. Pure and
 * total: hostile or contradictory announcements lose, they never throw.
 */
import type {
  BackendRow,
  NetworkRow,
  NodeRow,
  PortProtocol,
  RemoteEndpointRow,
  ServiceKey,
  ServiceRow,
} from '../native/datapath-types.js';
import { nodeKey } from './records.js';
import { type SubnetInfo, subnetOf } from './network-info.js';
import type { ClusterView, EndpointView, NetworkView, PeerView } from './view.js';

/** The rows wanted; links are not here, the engine plugin attaches them. */
export interface DesiredDatapath {
  /** Own address on the ingress network; undefined before it is allocated. */
  readonly nodeId: string | undefined;
  readonly nodes: readonly NodeRow[];
  readonly networks: readonly NetworkRow[];
  readonly remoteEndpoints: readonly RemoteEndpointRow[];
  readonly backends: readonly BackendRow[];
  readonly services: readonly ServiceRow[];
}

/** Identity of a row that has an address inside a network. */
export function addressKey(row: { readonly vni: number; readonly address: string }): string {
  return `${row.vni}/${row.address}`;
}

/** Identity of a service row. */
export function serviceKeyText(key: ServiceKey): string {
  return key.kind === 'vip' ? `vip ${addressKey(key)}` : `published ${key.port}/${key.protocol}`;
}

/** Computes the rows for `view`. */
export function desiredDatapath(view: ClusterView): DesiredDatapath {
  const networks = new Map(view.networks.map((network) => [network.info.id, network]));
  const ingress = view.networks.find(({ info }) => info.ingress);
  const peers = validPeers(view, networks);
  const builder = new ServiceBuilder(peers);
  for (const endpoint of view.endpoints) {
    const network = networks.get(endpoint.networkId);
    if (network === undefined || endpoint.serviceId === '') continue;
    builder.addEndpoint(network, endpoint);
  }
  for (const port of view.hostPorts) {
    const network = networks.get(port.networkId);
    const subnet = network && subnetOf(network.info, port.address);
    if (subnet !== undefined) builder.addHostPort(port, subnet.vni);
  }
  const nodes = nodeRows(view, peers, ingress);
  return {
    nodeId: ingress?.nodeAddresses[0],
    nodes,
    networks: view.networks.flatMap(networkRows),
    remoteEndpoints: remoteRows(peers, nodes, ingress),
    backends: builder.backendRows(),
    services: builder.serviceRows(),
  };
}

interface PlacedPeer {
  readonly peer: PeerView;
  readonly vni: number;
}

interface PeerIndex {
  /** By vni/address; one winner each. */
  readonly byAddress: ReadonlyMap<string, PlacedPeer>;
  /** By network and entry key. */
  readonly byKey: ReadonlyMap<string, PlacedPeer>;
  /** Any tunnel of an owner, for endpoints whose own peer record is not here yet. */
  readonly tunnelOfOwner: ReadonlyMap<string, string>;
}

/** Peers inside their network's subnet, not ours, one an address. */
function validPeers(view: ClusterView, networks: ReadonlyMap<string, NetworkView>): PeerIndex {
  const byAddress = new Map<string, PlacedPeer>();
  const byKey = new Map<string, PlacedPeer>();
  const tunnelOfOwner = new Map<string, string>();
  const local = new Set<string>();
  for (const endpoint of view.endpoints) {
    if (endpoint.owner === undefined) local.add(`${endpoint.networkId} ${endpoint.endpointIp}`);
  }
  for (const peer of view.peers) {
    const network = networks.get(peer.networkId);
    const subnet = network && subnetOf(network.info, peer.address);
    if (network === undefined || subnet === undefined) continue;
    if (peer.tunnelAddress === view.tunnelAddress || peer.address === subnet.gateway) continue;
    if (network.nodeAddresses.includes(peer.address)) continue;
    if (local.has(`${peer.networkId} ${peer.address}`)) continue;
    const placed = { peer, vni: subnet.vni };
    const key = addressKey({ vni: subnet.vni, address: peer.address });
    const rival = byAddress.get(key);
    if (rival === undefined || outranks(peer, rival.peer)) byAddress.set(key, placed);
    byKey.set(`${peer.networkId} ${peer.key} ${peer.owner}`, placed);
    if (!tunnelOfOwner.has(peer.owner)) tunnelOfOwner.set(peer.owner, peer.tunnelAddress);
  }
  return { byAddress, byKey, tunnelOfOwner };
}

/** Of two claims to one address the one whose owner is in the ring wins, then the newer. */
function outranks(peer: PeerView, rival: PeerView): boolean {
  if (peer.held !== rival.held) return !peer.held;
  return peer.sequence > rival.sequence;
}

/**
 * Members of the mesh, one address a tunnel. Nodes of ours say which ingress address is their own
 * by the key of its entry; of a stock node it is the lowest ingress address that belongs to no
 * task. A tunnel that has none of these is still a member, under the lowest address behind it,
 * because VXLAN from unknown sources is dropped.
 */
function nodeRows(
  view: ClusterView,
  peers: PeerIndex,
  ingress: NetworkView | undefined,
): readonly NodeRow[] {
  const ofTasks = new Set<string>();
  for (const endpoint of view.endpoints) {
    if (endpoint.networkId === ingress?.info.id && endpoint.serviceId !== '') {
      ofTasks.add(endpoint.endpointIp);
    }
  }
  const rank = (peer: PeerView): number => {
    if (peer.networkId !== ingress?.info.id) return 2;
    if (peer.key === nodeKey(peer.owner, peer.networkId)) return 0;
    return ofTasks.has(peer.address) ? 2 : 1;
  };
  const ranked = [...peers.byAddress.values()].map(({ peer }) => ({ peer, rank: rank(peer) }));
  ranked.sort((a, b) => a.rank - b.rank || compareAddresses(a.peer, b.peer));
  const byTunnel = new Map<string, NodeRow>();
  const taken = new Set<string>();
  for (const { peer } of ranked) {
    if (byTunnel.has(peer.tunnelAddress) || taken.has(peer.address)) continue;
    byTunnel.set(peer.tunnelAddress, { nodeId: peer.address, tunnelAddress: peer.tunnelAddress });
    taken.add(peer.address);
  }
  return [...byTunnel.values()];
}

/** Addresses of other nodes on the ingress network are known by their node rows. */
function remoteRows(
  peers: PeerIndex,
  nodes: readonly NodeRow[],
  ingress: NetworkView | undefined,
): readonly RemoteEndpointRow[] {
  const ids = new Set(nodes.map(({ nodeId }) => nodeId));
  return [...peers.byAddress.values()]
    .filter(({ peer }) => peer.networkId !== ingress?.info.id || !ids.has(peer.address))
    .map(({ peer: { address, mac, tunnelAddress }, vni }) => ({
      vni,
      address,
      mac,
      tunnelAddress,
    }));
}

function compareAddresses(a: PeerView, b: PeerView): number {
  const left = a.address.split('.').map(Number);
  const right = b.address.split('.').map(Number);
  for (let index = 0; index < 4; index += 1) {
    const difference = (left[index] ?? 0) - (right[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

function networkRows(network: NetworkView): readonly NetworkRow[] {
  return network.info.subnets.map((subnet: SubnetInfo): NetworkRow => {
    const nodeAddress = network.nodeAddresses.find(
      (address) => subnetOf(network.info, address) === subnet,
    );
    const { vni, gateway, subnet6 } = subnet;
    const row = {
      ...{ vni, subnet: subnet.subnet, gateway },
      ...(subnet6 === undefined ? {} : { subnet6 }),
      internal: network.info.internal,
    };
    return nodeAddress === undefined ? row : { ...row, nodeAddress };
  });
}

interface Target {
  readonly vni: number;
  readonly address: string;
  readonly active: boolean;
}

/** Targets of one published port, apart by service and container port. */
interface PortGroup {
  readonly protocol: PortProtocol;
  readonly port: number;
  /** Published in host mode on this node: goes before the mesh. */
  readonly host: boolean;
  readonly serviceId: string;
  readonly targetPort: number;
  readonly targets: Target[];
}

/** Gathers backends and services endpoint by endpoint. */
class ServiceBuilder {
  private readonly peers: PeerIndex;
  private readonly backends = new Map<string, BackendRow>();
  private readonly vips = new Map<string, { key: ServiceKey; targets: Target[] }>();
  private readonly ports = new Map<string, PortGroup[]>();

  constructor(peers: PeerIndex) {
    this.peers = peers;
  }

  addEndpoint(network: NetworkView, endpoint: EndpointView): void {
    const subnet = subnetOf(network.info, endpoint.endpointIp);
    if (subnet === undefined) return;
    const target = this.addBackend(endpoint, subnet.vni);
    if (target === undefined) return;
    if (network.info.ingress) {
      for (const port of endpoint.ingressPorts) {
        this.addPort({ ...port, host: false, serviceId: endpoint.serviceId }, target);
      }
      return;
    }
    const vipSubnet = endpoint.virtualIp && subnetOf(network.info, endpoint.virtualIp);
    if (!vipSubnet || endpoint.virtualIp === vipSubnet.gateway) return;
    const key: ServiceKey = { kind: 'vip', vni: vipSubnet.vni, address: endpoint.virtualIp };
    const entry = this.vips.get(serviceKeyText(key)) ?? { key, targets: [] };
    entry.targets.push(target);
    this.vips.set(serviceKeyText(key), entry);
  }

  addHostPort(port: ClusterView['hostPorts'][number], vni: number): void {
    const target = { vni, address: port.address, active: !port.draining };
    const key = addressKey(target);
    if (!this.backends.has(key)) {
      const state = port.draining ? 'draining' : 'active';
      this.backends.set(key, { vni, address: port.address, state });
    }
    this.addPort({ ...port, host: true, serviceId: '' }, target);
  }

  backendRows(): readonly BackendRow[] {
    return [...this.backends.values()];
  }

  serviceRows(): readonly ServiceRow[] {
    const vips = [...this.vips.values()].map(
      ({ key, targets }): ServiceRow => ({
        key,
        backends: activeOf(targets),
      }),
    );
    const published = [...this.ports.values()].map((groups): ServiceRow => {
      const group = groups.reduce((best, other) => (prevails(other, best) ? other : best));
      return {
        key: { kind: 'published', protocol: group.protocol, port: group.port },
        targetPort: group.targetPort,
        backends: activeOf(group.targets),
      };
    });
    return [...vips, ...published];
  }

  /** Undefined while nobody said where the endpoint lives. */
  private addBackend(endpoint: EndpointView, vni: number): Target | undefined {
    const address = endpoint.endpointIp;
    const state = endpoint.disabled ? 'draining' : 'active';
    const target = { vni, address, active: !endpoint.disabled };
    const key = addressKey(target);
    if (endpoint.owner === undefined) {
      this.backends.set(key, { vni, address, state });
      return target;
    }
    const known = this.backends.get(key);
    if (known !== undefined && known.tunnelAddress === undefined) return undefined;
    const tunnelAddress = this.tunnelOf(endpoint, vni);
    if (tunnelAddress === undefined) return undefined;
    this.backends.set(key, { vni, address, state, tunnelAddress });
    return target;
  }

  private tunnelOf(endpoint: EndpointView, vni: number): string | undefined {
    const { networkId, key, owner, endpointIp } = endpoint;
    const own = this.peers.byKey.get(`${networkId} ${key} ${owner ?? ''}`);
    if (own !== undefined && own.peer.address === endpointIp) return own.peer.tunnelAddress;
    const byAddress = this.peers.byAddress.get(addressKey({ vni, address: endpointIp }));
    return byAddress?.peer.tunnelAddress ?? this.peers.tunnelOfOwner.get(owner ?? '');
  }

  private addPort(
    port: {
      readonly protocol: PortProtocol;
      readonly publishedPort: number;
      readonly targetPort: number;
      readonly host: boolean;
      readonly serviceId: string;
    },
    target: Target,
  ): void {
    const { protocol, publishedPort, targetPort, host, serviceId } = port;
    const name = `${publishedPort}/${protocol}`;
    const groups = this.ports.get(name) ?? [];
    this.ports.set(name, groups);
    const group = groups.find(
      (other) =>
        other.host === host && other.serviceId === serviceId && other.targetPort === targetPort,
    );
    if (group !== undefined) group.targets.push(target);
    else
      groups.push({
        protocol,
        port: publishedPort,
        host,
        serviceId,
        targetPort,
        targets: [target],
      });
  }
}

function activeOf(targets: readonly Target[]): ServiceRow['backends'] {
  const rows = new Map<string, { vni: number; address: string }>();
  for (const { active, vni, address } of targets) {
    if (active) rows.set(addressKey({ vni, address }), { vni, address });
  }
  return [...rows.values()];
}

/**
 * While a port changes hands (another container port, another service) two groups claim it: host
 * mode first, then the one with more active targets; the rest only makes the choice the same on
 * every node.
 */
function prevails(group: PortGroup, rival: PortGroup): boolean {
  if (group.host !== rival.host) return group.host;
  const active = activeOf(group.targets).length - activeOf(rival.targets).length;
  if (active !== 0) return active > 0;
  if (group.serviceId !== rival.serviceId) return group.serviceId > rival.serviceId;
  return group.targetPort > rival.targetPort;
}
