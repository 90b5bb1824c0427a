/**
 * The desired-state function: which rows the packet side must hold, given what is known. Pure and
 * total: hostile or contradictory announcements lose, they never throw.
 */
import type {
  BackendRow,
  NetworkRow,
  NodeRow,
  RemoteEndpointRow,
  ServiceKey,
  ServiceRow,
} from '../native/datapath-types.js';
import { NO_KEY_TUNNEL } from './encryption/keys.js';
import { isStockEngine, nodeKey } from './records.js';
import { type SubnetInfo, subnetOf } from './network-info.js';
import { activeOf, policyOf, PublishedPorts, type Target } from './published-ports.js';
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
  switch (key.kind) {
    case 'vip':
      return `vip ${addressKey(key)}`;
    case 'landing':
      return `landing ${addressKey(key)} ${key.port}/${key.protocol}`;
    case 'published':
      return `published ${key.address ?? ''} ${key.port}/${key.protocol}`;
  }
}

/** Computes the rows for `view`. */
export function desiredDatapath(view: ClusterView): DesiredDatapath {
  const networks = new Map(view.networks.map((network) => [network.info.id, network]));
  const ingress = view.networks.find(({ info }) => info.ingress);
  const peers = validPeers(view, networks);
  const builder = new ServiceBuilder(view, peers);
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
  /** The one its network's rows have: the announced one, or on an encrypted network WireGuard's. */
  readonly tunnel: string;
}

interface PeerIndex {
  /** By vni/address; one winner each. */
  readonly byAddress: ReadonlyMap<string, PlacedPeer>;
  /** By network and entry key. */
  readonly byKey: ReadonlyMap<string, PlacedPeer>;
  /** Any tunnel of an owner, for endpoints whose own peer record is not here yet. */
  readonly tunnelOfOwner: ReadonlyMap<string, string>;
}

/** Tunnel of an owner on an encrypted network; while its key is not known one that leads nowhere. */
function encryptedTunnel(view: ClusterView, owner: string): string {
  return view.encryptedTunnels.get(owner) ?? NO_KEY_TUNNEL;
}

/**
 * True for networks whose rows lead straight into WireGuard. Members of the ingress network are known
 * by their underlay address whatever carries it: the rows of nodes say how these are reached.
 */
function hasWireguardRows({ info }: NetworkView): boolean {
  return info.encrypted && !info.ingress;
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
    const tunnel = hasWireguardRows(network)
      ? encryptedTunnel(view, peer.owner)
      : peer.tunnelAddress;
    const placed = { peer, vni: subnet.vni, tunnel };
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
    const wireguardTunnel = ingress?.info.encrypted
      ? view.encryptedTunnels.get(peer.owner)
      : undefined;
    const row = { nodeId: peer.address, tunnelAddress: peer.tunnelAddress };
    byTunnel.set(
      peer.tunnelAddress,
      wireguardTunnel === undefined ? row : { ...row, wireguardTunnel },
    );
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
    .map(({ peer: { address, mac }, vni, tunnel }) => ({
      vni,
      address,
      mac,
      tunnelAddress: tunnel,
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
      ...(network.info.encrypted ? { encrypted: true } : {}),
    };
    return nodeAddress === undefined ? row : { ...row, nodeAddress };
  });
}

/** Gathers backends and services endpoint by endpoint. */
class ServiceBuilder {
  private readonly view: ClusterView;
  private readonly peers: PeerIndex;
  private readonly backends = new Map<string, BackendRow>();
  private readonly vips = new Map<string, { key: ServiceKey; targets: Target[] }>();
  private readonly ports: PublishedPorts;

  constructor(view: ClusterView, peers: PeerIndex) {
    this.view = view;
    this.peers = peers;
    this.ports = new PublishedPorts(view.hostAddresses);
  }

  addEndpoint(network: NetworkView, endpoint: EndpointView): void {
    const subnet = subnetOf(network.info, endpoint.endpointIp);
    if (subnet === undefined) return;
    // Published ports lead to other nodes over the mesh, whose frames are ours alone: a stock engine drops them.
    if (network.info.ingress && isStockEngine(endpoint.owner ?? '')) return;
    const target = this.addBackend(network, endpoint, subnet.vni);
    if (target === undefined) return;
    if (network.info.ingress) {
      const claim = { host: false, serviceId: endpoint.serviceId };
      for (const port of endpoint.ingressPorts) {
        this.ports.add(port, claim, target);
        if (endpoint.owner === undefined) this.ports.addLanding(port, target);
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
    const target = { vni, address: port.address, active: !port.draining, policy: port.policy };
    const key = addressKey(target);
    if (!this.backends.has(key)) {
      const state = port.draining ? 'draining' : 'active';
      this.backends.set(key, { vni, address: port.address, state });
    }
    this.ports.add(port, { host: true, serviceId: '' }, target);
    this.ports.addLanding(port, target);
  }

  backendRows(): readonly BackendRow[] {
    return [...this.backends.values()];
  }

  serviceRows(): readonly ServiceRow[] {
    const vips = [...this.vips.values()].map(
      ({ key, targets }): ServiceRow => ({
        key,
        backends: activeOf(targets),
        ...policyOf(targets),
      }),
    );
    return [...vips, ...this.ports.rows()];
  }

  /** Undefined while nobody said where the endpoint lives. */
  private addBackend(
    network: NetworkView,
    endpoint: EndpointView,
    vni: number,
  ): Target | undefined {
    const address = endpoint.endpointIp;
    const state = endpoint.disabled ? 'draining' : 'active';
    const { policy = 'maglev' } = endpoint;
    // What goes encrypted between nodes must not come back in clear past the node asked.
    const direct = endpoint.returnPath === 'direct' && !network.info.encrypted;
    const target = { vni, address, active: !endpoint.disabled, policy, direct };
    const key = addressKey(target);
    if (endpoint.owner === undefined) {
      this.backends.set(key, { vni, address, state });
      return target;
    }
    const known = this.backends.get(key);
    if (known !== undefined && known.tunnelAddress === undefined) return undefined;
    const tunnelAddress = hasWireguardRows(network)
      ? encryptedTunnel(this.view, endpoint.owner)
      : this.tunnelOf(endpoint, vni);
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
}
