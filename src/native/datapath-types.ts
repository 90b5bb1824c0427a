/**
 * What user space tells the packet side, and what it reads back. The kernel owns every packet;
 * these calls only write maps, attach programs and read counters. Addresses are text, ports are
 * numbers in host order. Members of a network (links, endpoints, backends, virtual addresses, nodes) are
 * given by their IPv4 address; where a network has an IPv6 subnet too, their IPv6 addresses are
 * derived from it (src/model/derived-addresses.ts). Tunnel addresses and the host's own addresses may
 * be of either family. Every call is idempotent: writing a row twice or
 * removing a missing one is no error. Errors are Node-like (`code`, `errno`, `syscall`).
 */
import type { BalancePolicy } from '../model/balance-policy.js';

/** Layer-4 protocols that can be published. */
export type PortProtocol = 'tcp' | 'udp' | 'sctp';

/** Set once per node; a second `openDatapath` with the same pin directory takes the pinned state over. */
export interface DatapathOptions {
  /** Directory on a bpffs that holds the pinned maps, programs and links. Created 0700. */
  readonly pinDirectory: string;
  /**
   * File that says what was changed on the host outside of own devices (settings, reserved ports,
   * qdiscs), for {@link Datapath.destroy}. Its directory is made, 0700.
   */
  readonly recordFile: string;
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
  /**
   * Tunnel address through WireGuard that packets between members of the ingress network are sent to
   * while that network is encrypted. Absent: no key is known, and they are dropped.
   */
  readonly wireguardTunnel?: string;
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
  /** True if its packets may only travel through WireGuard. */
  readonly encrypted?: boolean;
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

/** The way to one tunnel address of another node through a WireGuard device of this one. */
export interface WireguardPeerRow {
  /** The peer's, out of 240.0.0.0/4. */
  readonly tunnelAddress: string;
  /** Own device: `sw-wg0` or `sw-wg1`. */
  readonly interfaceName: string;
  /** Own tunnel address on that device. */
  readonly source: string;
  /** The peer's tunnel address on the underlay: what members of an encrypted ingress network are known by. */
  readonly underlayAddress: string;
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
  /**
   * A published port (ingress and host mode alike) on every own address of this node, or on one:
   * 127.0.0.1 means sockets of the host only.
   */
  | {
      readonly kind: 'published';
      readonly protocol: PortProtocol;
      readonly port: number;
      readonly address?: string;
    }
  /** What a port published on some addresses only means for a backend here, as the mesh brings it. */
  | {
      readonly kind: 'landing';
      readonly vni: number;
      readonly address: string;
      readonly protocol: PortProtocol;
      readonly port: number;
    };

/** A load-balanced service. Replaces the former row of the same key in one step. */
export interface ServiceRow {
  readonly key: ServiceKey;
  /** Container port of a published port; ignored for a VIP. */
  readonly targetPort?: number;
  /** Ports published from the key's on, each leading to its own container port; 1 if absent. */
  readonly ports?: number;
  /**
   * How a new flow gets its backend; `maglev` if absent: by a hash of the client's end (`maglev`) or of
   * its address (`client-ip`), the same on every node; the one with the fewest connections opened on
   * this node (`least-conn`); by the hash among this node's backends if there are any (`local-first`).
   */
  readonly policy?: BalancePolicy;
  /** Backends by (vni, address); each must have been written with `putBackends` before. */
  readonly backends: readonly { readonly vni: number; readonly address: string }[];
  /** Client networks that may open connections (CIDR, both families); absent: everybody. */
  readonly allow?: readonly string[];
  /** A published port of all addresses for which rows of single addresses, or landings, exist. */
  readonly addressed?: boolean;
  /**
   * A published port that is published no more: new flows are the host's, those it has go on. Without
   * this, new flows to a row without backends are refused.
   */
  readonly retired?: boolean;
  /**
   * Replies of backends on other nodes go straight to outside clients wherever that is proven to
   * work (`setDirectWays`); else, and without this, they return through this node.
   */
  readonly direct?: boolean;
}

/** Which ways of direct return between this node and another one are proven to work. */
export interface DirectWayRow {
  readonly tunnelAddress: string;
  /** The other node may answer clients under this node's tunnel address. */
  readonly asEntry: boolean;
  /** This node may answer clients under the other's. */
  readonly asBackend: boolean;
}

/** A probe of direct return that is awaited. */
export interface DirectProbeRow {
  /** 16 bytes. */
  readonly nonce: Uint8Array;
  /** Length of the IP packet that came; 0: none yet. */
  readonly bytes: number;
}

/** Packets and bytes of one drop reason or verdict, summed over CPUs since load. */
export interface CounterRow {
  readonly reason: string;
  readonly packets: bigint;
  readonly bytes: bigint;
}

/** One flow through a service, as the connection table holds it. */
export interface ConnectionRow {
  /** `service`: client to service; `reply`: the way back; `borrowed`: replies to an address of ours. */
  readonly kind: 'service' | 'reply' | 'borrowed';
  /** IP protocol number. */
  readonly protocol: number;
  /** Network of the flow's source; 0: outside, 1: the mesh. */
  readonly vni: number;
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
  readonly state: 'new' | 'established' | 'closing' | 'reset';
  /** Service flow: the backend. Reply: what the client knows the service as. */
  readonly other: string;
  readonly otherPort: number;
  /** Seconds since the last packet, within a few seconds. */
  readonly idleSeconds: number;
}

/** Which packets a trace follows: those with this address at either end, and this port if given. */
export interface TraceFilter {
  readonly address: string;
  /** Source or destination port; 0: any. */
  readonly port: number;
  /** At most two that do as well: what containers call a published port, which their replies carry. */
  readonly otherPorts?: readonly number[];
  /** IP protocol number; 0: any. */
  readonly protocol: number;
  /** The programs stop tracing by themselves after this, also if nobody tells them to. */
  readonly durationMs: number;
}

/** What one program did with one packet. */
export interface TraceRow {
  /** Nanoseconds of the monotonic clock. */
  readonly timeNs: bigint;
  /** Program: `from_uplink`, `from_overlay`, `from_container`, `from_host`. */
  readonly program: string;
  /** Interface the packet came in by; `#` and its index if it is gone already. */
  readonly interfaceName: string;
  readonly protocol: number;
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
  readonly tcpFlags: number;
  readonly bytes: number;
  /** Steps taken, by their counters' names, the last one last: `service-connection`, `mesh-sent`, ... */
  readonly steps: readonly string[];
  /** What became of it: sent on by the programs, left to the host's stack, or dropped. */
  readonly verdict: 'forwarded' | 'host' | 'dropped';
}

/** What a repair put back. */
export interface DatapathRepair {
  /** Programs, addresses and routes. */
  readonly parts: number;
  /** True if netfilter rules of ours were missing or changed. */
  readonly rules: boolean;
}

/** The packet side of one node. */
export interface Datapath {
  /** MTU for container interfaces, derived from the underlay (underlay - 50, over IPv6 - 70). */
  readonly containerMtu: number;
  /** Identifies this node on the mesh; needed before published ports work across nodes. */
  setNodeId(nodeId: string): void;
  /** Addresses published ports answer on (all of the host's own, never 127/8: that is handled by the socket hooks). */
  /**
   * Makes those of the interfaces that exist the underlay, and the MTU for containers theirs; if none
   * exists, the former ones stay.
   * @returns whether anything changed; own addresses have to be set again then
   */
  setUnderlay(interfaceNames: readonly string[]): boolean;
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
  /** Attaches the programs to the WireGuard devices there are, and replaces the ways through them. */
  setWireguard(rows: readonly WireguardPeerRow[]): void;
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
  /**
   * Sends a datagram from this node's id to another's, with `port` at both ends, whose checksum no
   * offload completes: what is sent from a socket instead differs in nothing else.
   */
  sendSummed(nodeId: string, port: number, payload: Uint8Array): void;
  /** Whether what goes into tunnels gets its checksums before a network card sees it. */
  softwareChecksums(): boolean;
  /** Switches to that, until the data path is destroyed; a new process finds it so. */
  useSoftwareChecksums(): void;
  /** Replaces the ways in force; on all others replies take the tunnel. */
  setDirectWays(rows: readonly DirectWayRow[]): void;
  /** Awaits probes with these nonces (16 bytes) and no others; one packet from elsewhere changes nothing. */
  awaitDirectProbes(nonces: readonly Uint8Array[]): void;
  directProbes(): readonly DirectProbeRow[];
  /**
   * Sends a probe to another node under that node's own address, as replies would leave for its clients:
   * an IP packet of `packetBytes` (48 to 65,535). False where several underlay interfaces, or checksums
   * made in software, forbid direct return: then nothing is sent.
   */
  sendDirectProbe(tunnelAddress: string, nonce: Uint8Array, packetBytes: number): boolean;
  counters(): readonly CounterRow[];
  /** Flows in the connection table, at most `max`. */
  connections(max: number): readonly ConnectionRow[];
  /** Starts following packets; replaces a former trace. */
  startTrace(filter: TraceFilter): void;
  /** What was traced since the last call, and how many rows there was no room for. */
  readTrace(): { readonly rows: readonly TraceRow[]; readonly lost: number };
  stopTrace(): void;
  /** Puts back programs, addresses, routes and rules that somebody else took away. */
  repair(): Promise<DatapathRepair>;
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

/** A route in the network namespace of a container. */
export interface RouteInside {
  /** Path of the namespace. */
  readonly namespace: string;
  readonly source: string;
  readonly destination: string;
  readonly prefixLength: number;
  /** Not given: whoever answers on the link. */
  readonly gateway?: string;
  /** Of several routes the one with the lowest counts; those of the engine have 0. */
  readonly metric: number;
}

/** Devices, addresses and namespaces of this host, without running any command. */
export interface Netlink {
  /** Makes a veth pair in the current namespace, both ends down; `peer` is moved away by the engine later. */
  createVethPair(options: { name: string; peer: string; peerMac: string; mtu: number }): void;
  /** Makes a device of the kernel's WireGuard, down and without keys. @throws EOPNOTSUPP without it */
  createWireguard(name: string): void;
  /** Bytes. @throws ENODEV */
  setLinkMtu(name: string, mtu: number): void;
  /**
   * Both ends of a veth pair, wherever the other one is; an MTU that was made smaller inside stays.
   * @throws ENODEV; ENOENT and the like for the namespace
   */
  setPairMtu(options: { name: string; peerNamespace: string; mtu: number }): void;
  /**
   * Adds or replaces a route in another network namespace, over the interface there that has `source`.
   * @throws ENODEV if none has; ENOENT and the like for the namespace
   */
  setRouteInside(route: RouteInside): void;
  /** Kind of a device (`wireguard`, `tun`, `veth`; empty for plain ones); undefined if there is none. */
  linkKind(name: string): string | undefined;
  /** @throws ENODEV */
  setLinkUp(name: string): void;
  /** @throws ENODEV */
  setLinkDown(name: string): void;
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
