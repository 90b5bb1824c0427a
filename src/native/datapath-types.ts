/**
 * What user space tells the packet side, and what it reads back. The kernel owns every packet;
 * these calls only write maps, attach programs and read counters. Addresses are text, ports are
 * numbers in host order. Members of a network (links, endpoints, backends, virtual addresses, nodes) are
 * given by their IPv4 address; where a network has an IPv6 subnet too, their IPv6 addresses are
 * derived from it (src/model/derived-addresses.ts). Tunnel addresses and the host's own addresses may
 * be of either family. Every call is idempotent: writing a row twice or
 * removing a missing one is no error. Errors are Node-like (`code`, `errno`, `syscall`).
 */

/** Layer-4 protocols that can be published. */
export type PortProtocol = 'tcp' | 'udp' | 'sctp';

/** Set once per node; a second `openDatapath` with the same pin directory takes the pinned state over. */
export interface DatapathOptions {
  /** Directory on a bpffs that holds the pinned maps, programs and links. Created 0700. */
  readonly pinDirectory: string;
  /** Underlay interfaces whose ingress gets the published-port program (e.g. `eth0`). */
  readonly underlayInterfaces: readonly string[];
  /** Own tunnel endpoint (data path address). */
  readonly tunnelAddress: string;
  /** VXLAN UDP port, 1024-49151, default 4789. */
  readonly tunnelPort: number;
  /** Address of the service DNS server, put on the host leg (link-local). */
  readonly dnsAddress: string;
  /** Table sizes; a full table is an error that names it. Defaults in design: see docs/LIMITS.md. */
  readonly limits?: Partial<DatapathLimits>;
}

/** Capacities of the big maps, in entries. */
export interface DatapathLimits {
  readonly services: number;
  readonly backends: number;
  readonly endpoints: number;
  readonly nodes: number;
  readonly links: number;
  readonly connections: number;
}

/** Another member of the cluster, as a tunnel peer. VXLAN from any other source is dropped. */
export interface NodeRow {
  /** The node's own address on the ingress network: its id on the mesh wire. */
  readonly nodeId: string;
  /** Outer address of its tunnel. */
  readonly tunnelAddress: string;
}

/** An overlay network known on this node. */
export interface NetworkRow {
  readonly vni: number;
  /** CIDR, e.g. `10.0.1.0/24`. */
  readonly subnet: string;
  /** IPv6 CIDR of a dual-stack network, with room for every IPv4 host number. */
  readonly subnet6?: string;
  readonly gateway: string;
  /** True for `--internal`: nothing leaves to the outside. */
  readonly internal: boolean;
  /** This node's own load-balancer address on the network (source of hairpins and of host traffic); absent if none. */
  readonly nodeAddress?: string;
}

/** A container interface on this node: the host side of its veth pair, in skepd's namespace. */
export interface LinkRow {
  readonly interfaceName: string;
  readonly vni: number;
  readonly address: string;
  readonly mac: string;
}

/** A container somewhere else, reachable over the tunnel. Local ones come from {@link LinkRow}. */
export interface RemoteEndpointRow {
  readonly vni: number;
  readonly address: string;
  readonly mac: string;
  /** Tunnel address of the node that runs it. */
  readonly tunnelAddress: string;
}

/** Where a backend is in its life; only `active` ones are chosen for new connections. */
export type BackendState = 'active' | 'draining';

/** One task as a load-balancing target. Its id on the wire is its address on the ingress network. */
export interface BackendRow {
  readonly vni: number;
  readonly address: string;
  readonly state: BackendState;
  /** Tunnel address of its node; absent when it runs here. */
  readonly tunnelAddress?: string;
}

/** What a service row listens on. */
export type ServiceKey =
  /** A virtual IP inside a network: every port and protocol, ports unchanged. */
  | { readonly kind: 'vip'; readonly vni: number; readonly address: string }
  /** A published port on every own address of this node (ingress and host mode alike). */
  | { readonly kind: 'published'; readonly protocol: PortProtocol; readonly port: number };

/** A load-balanced service. Replaces the former row of the same key in one step. */
export interface ServiceRow {
  readonly key: ServiceKey;
  /** Container port of a published port; ignored for a VIP. */
  readonly targetPort?: number;
  /** Backends by (vni, address); each must have been written with `putBackends` before. */
  readonly backends: readonly { readonly vni: number; readonly address: string }[];
}

/** Packets and bytes of one drop reason or verdict, summed over CPUs since load. */
export interface CounterRow {
  readonly reason: string;
  readonly packets: bigint;
  readonly bytes: bigint;
}

/** The packet side of one node. */
export interface Datapath {
  /** MTU for container interfaces, derived from the underlay (underlay - 50, over IPv6 - 70). */
  readonly containerMtu: number;
  /** Identifies this node on the mesh; needed before published ports work across nodes. */
  setNodeId(nodeId: string): void;
  /** Addresses published ports answer on (all of the host's own, never 127/8: that is handled by the socket hooks). */
  setLocalAddresses(addresses: readonly string[]): void;
  putNodes(rows: readonly NodeRow[]): void;
  removeNodes(nodeIds: readonly string[]): void;
  /** Also adds/removes the host route to the subnet over the host leg. */
  putNetworks(rows: readonly NetworkRow[]): void;
  removeNetworks(vnis: readonly number[]): void;
  /** Attaches from_container and makes the endpoint local. */
  attachLink(row: LinkRow): void;
  /** Forgets the link by interface name, also when the device is already gone. */
  detachLink(interfaceName: string): void;
  /** Links as the maps hold them, for take-over after a restart. */
  links(): readonly LinkRow[];
  putRemoteEndpoints(rows: readonly RemoteEndpointRow[]): void;
  removeRemoteEndpoints(rows: readonly { readonly vni: number; readonly address: string }[]): void;
  putBackends(rows: readonly BackendRow[]): void;
  removeBackends(rows: readonly { readonly vni: number; readonly address: string }[]): void;
  putServices(rows: readonly ServiceRow[]): void;
  removeServices(keys: readonly ServiceKey[]): void;
  /** Everything the maps hold, as rows: the reconciler compares it with what is wanted after a restart. */
  dump(): DatapathState;
  /** Sends one data-path echo to each tunnel address (answered in BPF by the peer, also while its skepd is stopped). */
  sendEchoes(tunnelAddresses: readonly string[]): void;
  /** Monotonic milliseconds (CLOCK_MONOTONIC) of the last echo reply by tunnel address. */
  echoReplies(): ReadonlyMap<string, number>;
  counters(): readonly CounterRow[];
  /** Lets go of file descriptors; programs, maps and links stay pinned and keep forwarding. */
  close(): void;
  /** Detaches and removes everything: devices, pins, rules, routes. */
  destroy(): void;
}

/** The rows in force. */
export interface DatapathState {
  readonly nodes: readonly NodeRow[];
  readonly networks: readonly NetworkRow[];
  readonly links: readonly LinkRow[];
  readonly remoteEndpoints: readonly RemoteEndpointRow[];
  readonly backends: readonly BackendRow[];
  readonly services: readonly ServiceRow[];
}

/** Devices, addresses and namespaces of this host, without running any command. */
export interface Netlink {
  /** Makes a veth pair in the current namespace, both ends down; `peer` is moved away by the engine later. */
  createVethPair(options: { name: string; peer: string; peerMac: string; mtu: number }): void;
  setLinkUp(name: string): void;
  /** True if it existed. */
  deleteLink(name: string): boolean;
  linkNames(): readonly string[];
  /** Addresses of the host, both families, with their interface and prefix length. */
  addresses(): readonly {
    readonly interfaceName: string;
    readonly address: string;
    readonly prefixLength: number;
  }[];
  /** Interface the kernel would use towards `address`, and its MTU. @throws ENETUNREACH */
  routeTo(address: string): {
    readonly interfaceName: string;
    readonly source: string;
    readonly mtu: number;
  };
}
