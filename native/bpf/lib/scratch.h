/* What a program knows of the packet at hand: a row per CPU, since a program and those it goes on in
 * run to their end on one. The stack is too small for it, and what is on the stack the verifier follows
 * through every branch, where it only trusts what is in a map to be a number. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "structs.h"

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

/* The packet an ICMP error quotes. */
struct quote {
  struct skep_address source;
  struct skep_address destination;
  __u16 source_port_be;
  __u16 destination_port_be;
  __u32 protocol;
};

/* Where the client of a service is, seen from the node that chooses its backend. */
struct entry {
  __u8 route;     /* enum skep_route of the reply */
  __u8 refusals;  /* nodes that did not have the backend they were sent this packet for */
  __u16 pad;
  __u32 target;   /* uplink, for SKEP_ROUTE_UPLINK */
  __u32 vni;      /* network of the client, for SKEP_ROUTE_ENDPOINT; else 0 */
  __u32 avoid_be; /* backend of the last refusal */
};

/* Where the loops that choose a backend stand. Here and read anew each time: of a number in memory the
 * verifier remembers nothing, so that every turn looks the same to it, also to that of Linux 6.1. */
struct search {
  volatile __u32 index;
  volatile __u32 best;
  volatile __u32 least;
};

/* An ICMP error made here: the header of both families, and the start of the packet it is about. */
#define COMPLAINT_QUOTE_BYTES 128
struct complaint {
  __u8 type;
  __u8 code;
  __u16 check;
  __u32 mtu_be;
  __u8 quote[COMPLAINT_QUOTE_BYTES];
};

struct scratch {
  struct packet packet; /* first: see scratch_of */
  /* Handed over to the next program. */
  struct entry entry;
  __s32 verdict;    /* 0, or why there is nothing to be chosen */
  __u32 tunnel;     /* of the node that refused the packet; where SKEP_CALL_TUNNEL6 sends it */
  __u32 vni;        /* for SKEP_CALL_TUNNEL6 */
  __u32 backend_be; /* that was refused */
  __u32 virtual_be; /* what its network knows the virtual address by */
  struct skep_endpoint_key chosen; /* backend of a new flow that is to be filed */
  struct search search;            /* for it */
  /* Work space. */
  struct quote quote;
  struct skep_flow flow;
  struct skep_flow back;
  struct skep_flow forward;
  struct skep_connection connection;
  struct skep_connection reply;
  struct skep_fragment_key fragment;
  struct complaint complaint;
};

/* What an earlier packet left in it is still there. */
static __always_inline struct scratch *get_scratch(void)
{
  __u32 zero = 0;
  _Static_assert(sizeof(struct scratch) <= sizeof(struct skep_scratch), "it fits the row");
  return (struct scratch *)bpf_map_lookup_elem(&sw_scratch, &zero);
}

/* The row a packet stands in: all of them come from get_scratch. */
static __always_inline struct scratch *scratch_of(struct packet *packet)
{
  return (struct scratch *)packet;
}
