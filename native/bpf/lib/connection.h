/* Connection tracking of flows that go through a service. Entries live in an LRU map; age matters
 * only when a tuple is used again: a packet in the middle of a TCP connection always keeps its
 * backend, however long it was silent. */
#pragma once

#include "packet.h"

static __always_inline __u32 timeout_of(struct skep_connection *connection, __u8 protocol)
{
  if (protocol == IPPROTO_TCP || protocol == IPPROTO_SCTP) {
    switch (connection->state) {
    case SKEP_STATE_ESTABLISHED:
      return SKEP_TIMEOUT_TCP_S;
    case SKEP_STATE_CLOSING:
      return SKEP_TIMEOUT_FIN_S;
    case SKEP_STATE_RESET:
      return SKEP_TIMEOUT_RESET_S;
    default:
      return SKEP_TIMEOUT_SYN_S;
    }
  }
  if (protocol == IPPROTO_ICMP)
    return SKEP_TIMEOUT_ICMP_S;
  return connection->replied ? SKEP_TIMEOUT_UDP_REPLIED_S : SKEP_TIMEOUT_UDP_S;
}

static __always_inline int is_expired(struct skep_connection *connection, __u8 protocol)
{
  return now_coarse() - connection->last > timeout_of(connection, protocol);
}

/* True for a packet that opens a connection: the only one that may be given a new backend. */
static __always_inline int is_opening(struct packet *packet)
{
  return packet->protocol == IPPROTO_TCP &&
         (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* True if the entry may be forgotten in favour of this packet. */
static __always_inline int is_reusable(struct skep_connection *connection, struct packet *packet)
{
  if (packet->protocol == IPPROTO_TCP) {
    if (!is_opening(packet))
      return 0;
    if (connection->state == SKEP_STATE_CLOSING || connection->state == SKEP_STATE_RESET)
      return 1;
  }
  return is_expired(connection, packet->protocol);
}

/* Notes the packet; writes only what changed, so that CPUs do not fight over the line. */
static __always_inline void track(struct skep_connection *connection, struct packet *packet)
{
  __u32 now = now_coarse();
  if (connection->last != now)
    connection->last = now;
  if (packet->protocol != IPPROTO_TCP)
    return;
  __u8 state = connection->state;
  if (packet->tcp_flags & TCP_RST)
    state = SKEP_STATE_RESET;
  else if (packet->tcp_flags & TCP_FIN)
    state = SKEP_STATE_CLOSING;
  else if (is_opening(packet))
    state = SKEP_STATE_NEW;
  else if (state == SKEP_STATE_NEW && packet->has_ports)
    state = SKEP_STATE_ESTABLISHED;
  if (state != connection->state)
    connection->state = state;
}

static __always_inline __u8 first_state(struct packet *packet)
{
  return is_opening(packet) || packet->protocol != IPPROTO_TCP ? SKEP_STATE_NEW
                                                               : SKEP_STATE_ESTABLISHED;
}

/* The flow of this packet in the direction it travels. */
static __always_inline struct skep_flow flow_of(struct packet *packet, __u32 vni, __u8 kind)
{
  struct skep_flow flow = {
    .source_be = packet->source_be,
    .destination_be = packet->destination_be,
    .vni = vni,
    .source_port_be = packet->source_port_be,
    .destination_port_be = packet->destination_port_be,
    .protocol = packet->protocol,
    .kind = kind,
  };
  return flow;
}

/* True if both entries answer the same client through the same front. */
static __always_inline int same_front(struct skep_connection *a, struct skep_connection *b)
{
  return a->address_be == b->address_be && a->port_be == b->port_be && a->route == b->route &&
         a->target == b->target && a->other_address_be == b->other_address_be &&
         a->other_port_be == b->other_port_be;
}

/* Files a reply flow whose destination port is the client's port, or a borrowed one if another live
 * flow has it already (one client, two fronts, same backend). `reply` must hold what the reply is
 * turned into. Gives the port used, or 0 if none is free. An ICMP id cannot be replaced. */
static __always_inline __u16 file_reply(struct skep_flow *flow, struct skep_connection *reply,
                                        struct packet *packet, __u32 client_be)
{
  __u16 own_be = flow->destination_port_be;
  struct skep_connection *other = bpf_map_lookup_elem(&sw_connection, flow);
  if (!other || same_front(other, reply) || is_reusable(other, packet)) {
    if (bpf_map_update_elem(&sw_connection, flow, reply, BPF_ANY) == 0)
      return own_be;
    return 0;
  }
  if (!packet->has_ports || packet->protocol == IPPROTO_SCTP)
    return 0;
  if (reply->other_port_be == 0) {
    reply->other_address_be = client_be;
    reply->other_port_be = own_be;
  }
  for (int i = 0; i < SKEP_ALTERNATIVE_PORT_TRIES; i++) {
    __u32 port = SKEP_ALTERNATIVE_PORT_FIRST +
                 bpf_get_prandom_u32() % SKEP_ALTERNATIVE_PORT_COUNT;
    flow->destination_port_be = bpf_htons((__u16)port);
    if (bpf_map_update_elem(&sw_connection, flow, reply, BPF_NOEXIST) == 0) {
      count_bytes(SKEP_PORT_BORROWED, 0);
      return flow->destination_port_be;
    }
  }
  return 0;
}
