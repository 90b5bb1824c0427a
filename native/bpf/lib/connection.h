/* Connection tracking of flows that go through a service. Age matters
 * only when a tuple is used again: a packet in the middle of a TCP connection always keeps its
 * backend, however long it was silent. */
#pragma once

#include "flows.h"

/* True once both sides have sent FIN. */
static __always_inline int has_ended(struct skep_connection *reply)
{
  return (reply->ends & (SKEP_END_CLIENT | SKEP_END_BACKEND)) ==
         (SKEP_END_CLIENT | SKEP_END_BACKEND);
}

/* True once nothing more can come of the connection but what repeats its end. */
static __always_inline int is_over(struct skep_connection *reply)
{
  return reply->state == SKEP_STATE_RESET ||
         (reply->state == SKEP_STATE_CLOSING && has_ended(reply));
}

static __always_inline __u32 timeout_of(struct skep_connection *connection, __u8 protocol)
{
  if (protocol == IPPROTO_TCP || protocol == IPPROTO_SCTP) {
    switch (connection->state) {
    case SKEP_STATE_ESTABLISHED:
      return SKEP_TIMEOUT_TCP_S;
    case SKEP_STATE_CLOSING:
      if (!has_ended(connection))
        return SKEP_TIMEOUT_HALF_CLOSED_S;
      return connection->ends & SKEP_END_BACKEND_FIRST ? SKEP_TIMEOUT_TIME_WAIT_S
                                                       : SKEP_TIMEOUT_OVER_S;
    case SKEP_STATE_RESET:
      return SKEP_TIMEOUT_OVER_S;
    default:
      return SKEP_TIMEOUT_SYN_S;
    }
  }
  if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6)
    return SKEP_TIMEOUT_ICMP_S;
  return connection->replied ? SKEP_TIMEOUT_UDP_REPLIED_S : SKEP_TIMEOUT_UDP_S;
}

static __always_inline int is_expired(struct skep_connection *connection, __u8 protocol)
{
  return now_coarse() - connection->last > timeout_of(connection, protocol);
}

/* True if the flow entry may be forgotten in favour of this packet of the same flow: a client that
 * opens a connection again is done with the old one. */
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

/* True if a reply entry may be given to this packet of another flow, because nothing is left of the
 * old connection at the backend. Having seen it end is not enough: the last ACK is still to come,
 * and a RST waits while the backend's process holds the socket (Linux drops a SYN that waits behind
 * it). A backend that ended first is in TIME_WAIT: it compares a new connection's sequence numbers
 * with the old one's, which fits the same flow only. */
static __always_inline int is_free(struct skep_connection *reply, struct packet *packet)
{
  if (packet->protocol == IPPROTO_TCP && !is_opening(packet))
    return 0;
  return is_expired(reply, packet->protocol);
}

/* Takes a flow that is over out of its backend's load (policy least-conn). */
static __always_inline void uncount(struct skep_connection *connection)
{
  if (!connection->counted)
    return;
  connection->counted = 0;
  struct skep_endpoint_key key = { connection->vni, connection->backend_be };
  __u32 *load = bpf_map_lookup_elem(&sw_load, &key);
  if (load && *load)
    __sync_fetch_and_sub(load, 1);
}

/* Notes the packet; writes only what changed, so that CPUs do not fight over the line. `side` is
 * SKEP_END_CLIENT or SKEP_END_BACKEND: whose packet it is. */
static __always_inline void track(struct skep_connection *connection, struct packet *packet,
                                  __u8 side)
{
  __u32 now = now_coarse();
  if (connection->last != now)
    connection->last = now;
  if (packet->protocol != IPPROTO_TCP)
    return;
  __u8 state = connection->state;
  if (packet->tcp_flags & TCP_RST) {
    state = SKEP_STATE_RESET;
  } else if (packet->tcp_flags & TCP_FIN) {
    if (state != SKEP_STATE_RESET)
      state = SKEP_STATE_CLOSING;
    __u8 ends = connection->ends;
    if (!ends && side == SKEP_END_BACKEND)
      ends = SKEP_END_BACKEND_FIRST;
    ends |= side;
    if (ends != connection->ends)
      connection->ends = ends;
  } else if (is_opening(packet)) {
    state = SKEP_STATE_NEW;
    if (connection->ends)
      connection->ends = 0;
  } else if (state == SKEP_STATE_NEW && packet->has_ports)
    state = SKEP_STATE_ESTABLISHED;
  if (state != connection->state) {
    connection->state = state;
    if (state == SKEP_STATE_CLOSING || state == SKEP_STATE_RESET)
      uncount(connection);
  }
}

static __always_inline __u8 first_state(struct packet *packet)
{
  return is_opening(packet) || packet->protocol != IPPROTO_TCP ? SKEP_STATE_NEW
                                                               : SKEP_STATE_ESTABLISHED;
}

/* The flow of this packet in the direction it travels. */
static __always_inline void flow_of(struct packet *packet, __u32 vni, __u8 kind,
                                    struct skep_flow *flow)
{
  flow->source = packet->source;
  flow->destination = packet->destination;
  flow->vni = vni;
  flow->source_port_be = packet->source_port_be;
  flow->destination_port_be = packet->destination_port_be;
  flow->protocol = packet->protocol;
  flow->kind = kind;
  flow->pad = 0;
}

/* The flow of what `source` sends back; the client's end is left open. */
static __always_inline void flow_from(const struct skep_address *source, __u16 port_be,
                                      struct packet *packet, __u32 vni, __u8 kind,
                                      struct skep_flow *flow)
{
  flow->source = *source;
  flow->vni = vni;
  flow->source_port_be = port_be;
  flow->protocol = packet->protocol;
  flow->kind = kind;
  flow->pad = 0;
}

/* True if both entries answer the same client through the same front. */
static __always_inline int same_front(struct skep_connection *a, struct skep_connection *b)
{
  return same_address(&a->address, &b->address) && a->port_be == b->port_be &&
         a->route == b->route && a->target == b->target &&
         same_address(&a->other_address, &b->other_address) &&
         a->other_port_be == b->other_port_be;
}

/* Gives `flow` to `reply` if nobody has it, or only a connection that is over. 1 if done. Removed
 * first: of two CPUs that want the same tuple only one may have it. */
static __always_inline int claim(struct skep_flow *flow, struct skep_connection *reply,
                                 struct packet *packet)
{
  struct skep_connection *other = find_flow(flow);
  if (other && (!is_free(other, packet) || forget_flow(flow) < 0))
    return 0;
  return file_new_flow(flow, reply) == 0;
}

/* True if the client's port cannot stand for one flow: a UDP socket bound to a port of its own choice
 * talks to everybody from it, to the backend's own address as well (gossip, SIP), and what the
 * backend then sends by itself is no answer of the service. */
static __always_inline int is_shared_port(struct skep_connection *reply, struct packet *packet)
{
  return packet->protocol == IPPROTO_UDP && packet->has_ports &&
         reply->route == SKEP_ROUTE_ENDPOINT &&
         bpf_ntohs(packet->source_port_be) < SKEP_EPHEMERAL_PORT_FIRST;
}

/* A port that a flow may be given instead of its own. A client of the outside gets to the backend through
 * services only, and those flows are known; a container or a host may also talk to it directly, from any
 * port that Linux gives to sockets. */
static __always_inline __u16 alternative_port(struct skep_connection *reply)
{
  __u32 end = reply->route == SKEP_ROUTE_UPLINK || reply->route == SKEP_ROUTE_MESH
                ? 65536
                : SKEP_EPHEMERAL_PORT_FIRST;
  return (__u16)(SKEP_ALTERNATIVE_PORT_FIRST +
                 bpf_get_prandom_u32() % (end - SKEP_ALTERNATIVE_PORT_FIRST));
}

/* Files a reply flow whose destination port is the client's port, or a borrowed one if another
 * flow has it and is not over (one client, two fronts, same backend). `reply` must hold what the
 * reply is turned into. Gives the port used, or 0 if none is free. An ICMP id cannot be replaced.
 */
static __always_inline __u16 file_reply(struct skep_flow *flow, struct skep_connection *reply,
                                        struct packet *packet, struct skep_address *client)
{
  __u16 own_be = flow->destination_port_be;
  struct skep_connection *other = find_flow(flow);
  if (!is_shared_port(reply, packet) &&
      (!other || same_front(other, reply) || is_free(other, packet))) {
    if (file_flow(flow, reply) == 0)
      return own_be;
    return 0;
  }
  if (!packet->has_ports || packet->protocol == IPPROTO_SCTP)
    return 0;
  if (reply->other_port_be == 0) {
    reply->other_address = *client;
    reply->other_port_be = own_be;
  }
  /* The middle of a connection nobody knows any more: its end is all that can follow. */
  if (packet->protocol == IPPROTO_TCP && !is_opening(packet))
    reply->state = SKEP_STATE_RESET;
  for (int i = 0; i < SKEP_ALTERNATIVE_PORT_TRIES; i++) {
    flow->destination_port_be = bpf_htons(alternative_port(reply));
    if (claim(flow, reply, packet)) {
      count_bytes(SKEP_PORT_BORROWED, 0);
      return flow->destination_port_be;
    }
  }
  return 0;
}

/* True if the reply entry under `back` answers the flow this packet belongs to: same front, same client
 * port. An entry without a client's end of its own answers the client at the tuple's. */
static __always_inline int answers(struct skep_connection *reply, struct packet *packet,
                                   struct skep_flow *back)
{
  if (!same_address(&reply->address, &packet->destination) ||
      reply->port_be != packet->destination_port_be)
    return 0;
  if (!reply->other_port_be)
    return back->destination_port_be == packet->source_port_be;
  return same_address(&reply->other_address, &packet->source) &&
         reply->other_port_be == packet->source_port_be;
}

/* What track_reply found. */
enum reply_entry {
  REPLY_THERE = 0,
  REPLY_MISSING = 1, /* nobody has the tuple */
  REPLY_TAKEN = 2,   /* another flow has it */
};

/* Tells the reply entry of a tracked flow what the client does: where both directions have entries
 * of their own, the one for replies never sees the client's packets, and it decides who may have
 * the tuple. Only packets that open or end a connection matter, the second one, which settles the
 * entry, and one in each second, to notice that the entry was pushed out of its table.
 * `back` names the backend's end of the flow; the rest is filled in. */
static __always_inline enum reply_entry track_reply(struct skep_connection *connection,
                                                    struct packet *packet, int settled,
                                                    struct skep_flow *back)
{
  int matters = packet->protocol == IPPROTO_TCP &&
                (packet->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST));
  if (!matters && !settled && connection->last == now_coarse())
    return REPLY_THERE;
  back->destination = packet->source;
  back->destination_port_be = packet->source_port_be;
  if (is_given(&connection->other_address)) {
    back->destination = connection->other_address;
    back->destination_port_be = connection->other_port_be;
  }
  back->protocol = packet->protocol;
  struct skep_connection *reply = settled ? settle_flow(back) : NULL;
  if (!reply)
    reply = find_flow(back);
  if (!reply)
    return REPLY_MISSING;
  if (!answers(reply, packet, back))
    return REPLY_TAKEN;
  if (matters)
    track(reply, packet, SKEP_END_CLIENT);
  return REPLY_THERE;
}
