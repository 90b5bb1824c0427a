/* Keys and values of the maps, shared by the BPF programs and the C++ side. Every struct has
 * explicit padding that must be zero. Names ending in _be hold network byte order. Tunnel addresses
 * are in host byte order, because that is what bpf_tunnel_key wants; a number out of 0.0.0.0/8 stands
 * for an IPv6 address of sw_underlay6.
 *
 * Two kinds of address. What stands in packets is a skep_address, of either family. What a network
 * knows its members by (endpoints, backends, virtual addresses, node ids) is the member's IPv4
 * address alone: its IPv6 address is derived from that one (skep_subnets), so that both families
 * share one row each. */
#pragma once

#include <linux/types.h>

#include "consts.h"

/* An IPv6 address, or an IPv4 address in the form ::ffff:a.b.c.d. All zero: none. */
struct skep_address {
  __u32 word_be[4];
};

/* The one row of sw_config. */
struct skep_config {
  __u64 netns_cookie; /* namespace of the host sockets that may use published ports */
  __u32 vxlan_ifindex;
  __u32 host_ifindex;   /* sw-h0 */
  __u32 node_id_be;     /* own address on the ingress network, 0 while unknown */
  __u32 dns_address_be; /* service DNS, on sw-h0 */
  __u32 frontend_be;    /* address that host sockets reach published ports under, over sw-h0 */
  __u32 ingress_vni;    /* network of the published backends, 0 while unknown */
  __u16 tunnel_port_be;
  __u8 host_mac[6]; /* of sw-h0 */
  __u32 tunnel_address_be;
  __u32 uplink_ifindex;  /* the one underlay interface; 0: several, take the tunnel device */
  __u32 frame_bytes_max; /* longest frame that fits the underlay after encapsulation */
  __u32 fronts_be; /* first of the SKEP_FRONTS addresses behind skep_service.front_be */
  __u32 encrypted_networks; /* how many rows of sw_network are encrypted */
  __u32 tunnel_source_bytes; /* SKEP_TUNNEL_SOURCE_BYTES where the kernel takes tunnel sources, else 0 */
  struct skep_address tunnel_address6; /* instead of tunnel_address_be where the underlay is IPv6 */
  /* Fronts of IPv6: these three words, and an IPv4 front as the last one. All zero while the ingress
   * network has no IPv6 subnet. */
  struct skep_address fronts6;
  __u32 mesh_encrypted; /* 1: the ingress network is, and so everything on the mesh VNI but echoes */
  __u32 mesh_frame_bytes_max; /* longest frame that fits the tunnels of the mesh */
};

struct skep_node {
  __u32 node_id_be;
  __u32 wireguard; /* the tunnel address it is sent to while the ingress network is encrypted, or 0 */
};

/* How the two addresses of a network's member belong together: the IPv6 address is the IPv6 subnet
 * with the host part of the IPv4 address in its last bits. */
struct skep_subnets {
  __u32 subnet_be;
  __u32 mask_be;
  struct skep_address subnet6; /* all zero if the network has none */
};

#define SKEP_NETWORK_INTERNAL 1
#define SKEP_NETWORK_ENCRYPTED 2
struct skep_network {
  struct skep_subnets subnets;
  __u32 gateway_be;
  __u32 node_address_be; /* own address there, 0 if none */
  __u32 prefix6_length;
  __u32 flags;
};

/* The way to one tunnel address of a peer through WireGuard. */
struct skep_wireguard_peer {
  __u32 ifindex;   /* own WireGuard device */
  __u32 source_be; /* own tunnel address, the one the peer expects from that device */
  __u32 underlay;  /* what the peer is known by elsewhere: its tunnel address on the underlay */
};

struct skep_subnet_key {
  __u32 prefix_length; /* IPv4: 96 more than its own */
  struct skep_address address;
};

struct skep_link {
  __u32 vni;
  __u32 address_be;
  struct skep_subnets subnets; /* of its network */
  __u8 mac[6];
  __u16 asks;    /* 1 once a flow to a virtual address has begun here: its port may be asked for again */
  __u32 replies; /* 1 once a published flow ends here: look for its replies */
  char name[16];
};

struct skep_endpoint_key {
  __u32 vni;
  __u32 address_be;
};

enum skep_endpoint_kind {
  SKEP_ENDPOINT_LOCAL = 1,  /* a container here */
  SKEP_ENDPOINT_REMOTE = 2, /* a container behind a tunnel */
  SKEP_ENDPOINT_VIP = 3,    /* virtual address of a service */
  SKEP_ENDPOINT_NODE = 4,   /* this host's own address on the network */
  SKEP_ENDPOINT_PEER = 5,   /* another host's own address on the ingress network */
};

struct skep_endpoint {
  __u32 ifindex; /* LOCAL: host side of its veth; NODE: 1 if the host itself has the address */
  __u32 tunnel;
  __u8 mac[6];
  __u8 kind;
  __u8 pad;
  __u32 replies; /* 1 once this address has used a virtual address: look for the replies */
};

#define SKEP_BACKEND_ACTIVE 1
#define SKEP_BACKEND_DRAINING 2
struct skep_backend {
  __u32 tunnel; /* 0: here */
  __u32 state;
};

/* Published on some addresses only: rows of single addresses exist, and landings. */
#define SKEP_SERVICE_ADDRESSED 1
/* Published no more; the row is there for the flows it has. */
#define SKEP_SERVICE_RETIRED 2
/* Replies of backends elsewhere should go straight to the client (lib/direct.h). */
#define SKEP_SERVICE_DIRECT 4

/* A virtual address (port 0), a published port (vni 0), or a landing: what a published port means
 * for one backend here, whatever address of which node was asked. */
struct skep_service_key {
  __u32 vni; /* 0: published port */
  struct skep_address address; /* all zero: any own address */
  __u16 port_be;    /* 0: any */
  __u8 protocol;    /* 0: any */
  __u8 pad;
};

/* How a service chooses the backend of a new flow. */
enum skep_policy {
  SKEP_POLICY_MAGLEV = 0,     /* by client address, ports and protocol */
  SKEP_POLICY_CLIENT_IP = 1,  /* by client address */
  SKEP_POLICY_LEAST_CONN = 2, /* the fewest connections opened from this node */
  SKEP_POLICY_LOCAL_FIRST = 3, /* as MAGLEV, among the slots of this node if there are any */
};

struct skep_service {
  __u32 table;  /* slots of this service are {table, 0..total-1} */
  __u32 active; /* the first so many slots may be chosen */
  __u32 total;
  __u32 next; /* where the next comparison of loads begins */
  __u16 target_port_be; /* of the first port published */
  __u16 flags;          /* SKEP_SERVICE_* */
  __u32 front_be; /* address host sockets get instead of this row's own one; 0: the common front */
  __u32 allow;    /* list in sw_allow, 0: everybody */
  __u16 first_port_be; /* the key's port */
  __u16 ports;         /* published from there on; 0: a virtual address */
  __u16 cells;         /* of the Maglev table; 0: there is none */
  __u16 policy;        /* enum skep_policy */
  __u16 former_target_port_be; /* what it was before it was changed last; 0: it never was */
  __u16 pad;
};

/* Address families in sw_allow: one list holds networks of both. */
#define SKEP_FAMILY_IPV4 4
#define SKEP_FAMILY_IPV6 6
struct skep_allow_key {
  __u32 prefix_length; /* in bits, those of list and family included */
  __u32 list;
  __u32 family;
  __u32 address_be[4]; /* IPv4 in the first */
};

/* Maglev tables: which of the first `active` slots a cell leads to. */
struct skep_maglev {
  __u8 slot[SKEP_MAGLEV_SMALL_CELLS];
  __u8 pad[3];
};

struct skep_maglev_large {
  __u16 slot[SKEP_MAGLEV_LARGE_CELLS];
  __u16 pad;
};

/* A block of ports of one protocol, aligned to its size. */
struct skep_range_key {
  __u32 prefix_length; /* in bits, those of the protocol included */
  __u8 protocol;
  __u8 pad;
  __u16 port_be;
};

/* Room for what a program finds out about a packet (lib/scratch.h); only programs look inside. */
struct skep_scratch {
  __u64 words[SKEP_SCRATCH_WORDS];
};

struct skep_budget {
  __u32 second; /* coarse */
  __u32 used;
};

struct skep_slot_key {
  __u32 table;
  __u32 index;
};

struct skep_local {
  __u32 ifindex; /* uplink that owns the address, 0: not an uplink */
};

enum skep_flow_kind {
  SKEP_FLOW_SERVICE = 1, /* client to service, value: the backend */
  SKEP_FLOW_REPLY = 2,   /* backend to client, value: the front the client knows */
  SKEP_FLOW_BORROWED = 3, /* mesh reply to a borrowed source, value: the container behind it */
};

struct skep_flow {
  struct skep_address source;
  struct skep_address destination;
  __u32 vni;
  __u16 source_port_be;
  __u16 destination_port_be;
  __u8 protocol;
  __u8 kind;
  __u16 pad;
};

enum skep_connection_state {
  SKEP_STATE_NEW = 1,
  SKEP_STATE_ESTABLISHED = 2,
  SKEP_STATE_CLOSING = 3,
  SKEP_STATE_RESET = 4,
};

/* Which sides of a TCP connection have sent FIN. The side that does so first keeps the tuple in
 * TIME_WAIT. */
#define SKEP_END_CLIENT 1
#define SKEP_END_BACKEND 2
#define SKEP_END_BACKEND_FIRST 4

/* How a reply gets back to its client. */
enum skep_route {
  SKEP_ROUTE_UPLINK = 1,   /* target: interface */
  SKEP_ROUTE_MESH = 2,     /* target: tunnel of the entry node */
  SKEP_ROUTE_HOST = 3,     /* a socket of this host */
  SKEP_ROUTE_ENDPOINT = 4, /* a container here or elsewhere on network `vni` */
};

struct skep_connection {
  __u32 last; /* coarse seconds of the last packet */
  __u8 state;
  __u8 route;
  __u16 port_be;
  struct skep_address address; /* service flow: backend; reply flow: the front */
  __u32 vni;        /* of the backend, or of the client for SKEP_ROUTE_ENDPOINT */
  __u32 backend_be; /* service flow: what the network knows the backend by */
  __u32 target;     /* see skep_route */
  struct skep_address other_address; /* service flow: source to borrow; reply flow: real client */
  __u16 other_port_be; /* the same; 0: the other end is left as it is */
  __u8 replied;        /* 1 once the other direction has been seen */
  __u8 ends;           /* reply flow: SKEP_END_*, which sides have sent FIN */
  __u8 counted;        /* service flow: 1 while it counts in sw_load */
  __u8 refusals;       /* service flow: nodes that did not have the backend */
  __u8 direct;         /* SKEP_DIRECT_WISHED or SKEP_DIRECT_GIVEN_UP */
  __u8 pad;
};

/* What skep_connection.direct says. */
#define SKEP_DIRECT_WISHED 1   /* reply flow: the entry node lets replies go to the client directly */
#define SKEP_DIRECT_GIVEN_UP 2 /* service flow: the client repeated itself; it returns by the tunnel */

/* Rows of sw_direct: which way between this node and another one is proven to carry direct return. */
#define SKEP_DIRECT_ENTRY 1   /* the other node may answer clients under our address */
#define SKEP_DIRECT_BACKEND 2 /* this node may answer clients under the other's address */

struct skep_direct_nonce {
  __u32 word[4];
};

struct skep_direct_probe {
  __u32 bytes; /* of the IP packet that came, 0 before */
};

struct skep_fragment_key {
  struct skep_address source;
  struct skep_address destination;
  __u32 vni;
  __u32 id;
  __u8 protocol;
  __u8 pad[3];
};

struct skep_ports {
  __u16 source_be;
  __u16 destination_be;
};

struct skep_socket_key {
  __u64 cookie;
  __u16 port_be;
  __u16 protocol;
  __u32 pad;
};

struct skep_counter {
  __u64 packets;
  __u64 bytes;
};

/* Which program a trace row is from. */
enum skep_program {
  SKEP_PROGRAM_CONTAINER = 1,
  SKEP_PROGRAM_OVERLAY = 2,
  SKEP_PROGRAM_UPLINK = 3,
  SKEP_PROGRAM_HOST = 4,
  SKEP_PROGRAM_WIREGUARD = 5,
};

/* The one row of sw_trace_filter: which packets are traced. IPv4 addresses are v4-mapped. */
struct skep_trace_filter {
  __u64 until_ns; /* monotonic; 0: nothing is traced */
  __u64 rows;     /* filed so far */
  __u32 address_be[4];
  __u16 port_be;  /* 0: any */
  __u8 protocol;  /* 0: any */
  __u8 pad;
  __u16 other_port_be[2]; /* do as well: what the containers call that port. 0: none */
};

/* What one program did with one traced packet. */
struct skep_trace_row {
  __u64 sequence; /* from 1; 0: no row */
  __u64 time_ns;
  __u32 source_be[4];
  __u32 destination_be[4];
  __u16 source_port_be;
  __u16 destination_port_be;
  __u32 ifindex;
  __u32 bytes;
  __s32 verdict;
  __u8 protocol;
  __u8 tcp_flags;
  __u8 program; /* enum skep_program */
  __u8 pad[5];
  __u32 steps[2]; /* the last eight reasons counted, a byte each; the last one lowest in [0] */
};
