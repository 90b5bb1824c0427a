/* Keys and values of the maps, shared by the BPF programs and the C++ side. Every struct has
 * explicit padding that must be zero. Names ending in _be hold network byte order.
 *
 * Two kinds of address. What stands in packets is a skep_address, of either family. What a network
 * knows its members by (endpoints, backends, virtual addresses, node ids) is the member's IPv4
 * address alone: its IPv6 address is derived from that one (see skep_network), so both families
 * share one row each. */
#pragma once

#include <linux/types.h>

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
  __u32 ingress_vni;    /* network of the published backends, 0 while unknown */
  /* Where host sockets reach published ports, over sw-h0. */
  struct skep_address frontend;
  struct skep_address frontend6; /* all zero while the ingress network has no IPv6 subnet */
  struct skep_address tunnel_address;
  __u16 tunnel_port_be;
  __u8 host_mac[6];      /* of sw-h0 */
  __u32 uplink_ifindex;  /* the one underlay interface; 0: several, take the tunnel device */
  __u32 frame_bytes_max; /* longest frame that fits the underlay after encapsulation */
  __u32 pad;
};

struct skep_node {
  __u32 node_id_be;
};

/* How the two addresses of a network's member belong together: the IPv6 address is the IPv6 subnet
 * with the host part of the IPv4 address in its last bits. */
struct skep_subnets {
  __u32 subnet_be;
  __u32 mask_be;
  struct skep_address subnet6; /* all zero if the network has none */
};

#define SKEP_NETWORK_INTERNAL 1
struct skep_network {
  struct skep_subnets subnets;
  __u32 gateway_be;
  __u32 node_address_be; /* own address there, 0 if none */
  __u32 flags;
  __u32 prefix6_length;
};

struct skep_subnet_key {
  __u32 prefix_length; /* IPv4: 96 more than its own */
  struct skep_address address;
};

struct skep_link {
  __u32 vni;
  __u32 address_be;
  struct skep_subnets subnets;
  __u8 mac[6];
  __u16 pad;
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
  struct skep_address tunnel;
  __u8 mac[6];
  __u8 kind;
  __u8 pad;
  __u32 replies; /* 1 once this address has used a virtual address: look for the replies */
};

#define SKEP_BACKEND_ACTIVE 1
#define SKEP_BACKEND_DRAINING 2
struct skep_backend {
  struct skep_address tunnel; /* all zero: here */
  __u32 state;
};

struct skep_service_key {
  __u32 vni;        /* 0: published port */
  __u32 address_be; /* 0: any own address */
  __u16 port_be;    /* 0: any */
  __u8 protocol;    /* 0: any */
  __u8 pad;
};

struct skep_service {
  __u32 table;  /* slots of this service are {table, 0..total-1} */
  __u32 active; /* the first so many slots may be chosen */
  __u32 total;
  __u32 next; /* round robin */
  __u16 target_port_be;
  __u16 pad;
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

/* See skep_route. */
union skep_target {
  __u32 ifindex;
  struct skep_address tunnel;
};

struct skep_connection {
  __u32 last; /* coarse seconds of the last packet */
  __u8 state;
  __u8 route;
  __u16 port_be;
  struct skep_address address; /* service flow: backend; reply flow: the front */
  __u32 vni;                   /* of the backend, or of the client for SKEP_ROUTE_ENDPOINT */
  __u32 backend_be;            /* service flow: what the network knows the backend by */
  union skep_target target;
  struct skep_address other_address; /* service flow: source to borrow; reply flow: real client */
  __u16 other_port_be;               /* the same; 0: the other end is left as it is */
  __u8 replied;                      /* 1 once the other direction has been seen */
  __u8 ends;                         /* reply flow: SKEP_END_*, which sides have sent FIN */
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

/* The packet an ICMP error quotes. */
struct skep_quote {
  struct skep_address source;
  struct skep_address destination;
  __u16 source_port_be;
  __u16 destination_port_be;
  __u32 protocol;
};

/* What is known of a packet; lib/packet.h fills it in. */
struct packet {
  struct skep_address source;
  struct skep_address destination;
  __u16 source_port_be;
  __u16 destination_port_be;
  __u32 id;
  __u16 fragment; /* flags and offset as in an IPv4 header, host order */
  __u8 protocol;
  __u8 ttl;
  __u8 tcp_flags;
  __u8 has_ports; /* the layer-4 header is in this packet (0: a later fragment) */
  __u8 is_v6;
  __u8 pad;
  __u32 l4_at;
};

/* An ICMP error made here: the header of both families, and the start of the packet it is about. */
#define SKEP_QUOTE_BYTES 128
struct skep_complaint {
  __u8 type;
  __u8 code;
  __u16 check;
  __u32 mtu_be;
  __u8 quote[SKEP_QUOTE_BYTES];
};

/* Room for one decision. The stack of a program is too small for it, and what is on the stack the
 * verifier follows through every branch, where it only trusts what is in a map to be a number. */
struct skep_scratch {
  struct packet packet;
  struct skep_flow flow;
  struct skep_flow back;
  struct skep_flow forward;
  struct skep_connection connection;
  struct skep_connection reply;
  struct skep_fragment_key fragment;
  struct skep_quote quote;
  struct skep_complaint complaint;
  __u32 complaint_second; /* when the last ICMP errors were sent, and how many */
  __u32 complaints;
};

struct skep_counter {
  __u64 packets;
  __u64 bytes;
};
