/* A container (or this host) talks to the virtual address of a service: destination address is
 * replaced, ports are not, the backend sees the real client. The reply is turned back where it
 * reaches the client's node. */
#pragma once

#include "pending.h"
#include "reply.h"
#include "service.h"

/* What replies are turned back into; the client's own end is filled in if it is replaced. */
static __always_inline void virtual_reply(struct packet *packet, __u32 vni,
                                          struct skep_connection *reply)
{
  __builtin_memset(reply, 0, sizeof(*reply));
  reply->last = now_coarse();
  reply->state = first_state(packet);
  reply->route = SKEP_ROUTE_ENDPOINT;
  reply->address = packet->destination;
  reply->port_be = packet->destination_port_be;
  reply->vni = vni;
}

/* The flow of the replies, the client's end left open. */
static __always_inline void virtual_way_back(struct skep_connection *connection,
                                             struct packet *packet, struct skep_flow *back)
{
  flow_from(&connection->address, packet->destination_port_be, packet, connection->vni,
            SKEP_FLOW_REPLY, back);
}

/* Tells the reply entry what the client does, and makes it anew if it was pushed out in the middle
 * of a connection. 0: an opening packet has to be filed anew. */
static __always_inline int track_virtual(struct skep_connection *connection, struct packet *packet,
                                         __u32 vni, int settled)
{
  struct skep_flow *back = &scratch_of(packet)->back;
  virtual_way_back(connection, packet, back);
  enum reply_entry found = track_reply(connection, packet, settled, back);
  if (found == REPLY_THERE || is_opening(packet))
    return found == REPLY_THERE;
  if (found == REPLY_MISSING) {
    struct skep_connection *reply = &scratch_of(packet)->reply;
    virtual_reply(packet, vni, reply);
    if (is_given(&connection->other_address)) {
      reply->other_address = packet->source;
      reply->other_port_be = packet->source_port_be;
    }
    file_new_flow(back, reply);
  }
  return 1;
}

/* The tracked flow of a client's packet, if the packet goes where the flow goes; else NULL, and
 * `bad` says whether it has nowhere to go. */
static __always_inline struct skep_connection *tracked_virtual(struct skep_flow *flow,
                                                               struct packet *packet, __u32 vni,
                                                               int *bad)
{
  int settled = 0;
  struct skep_connection *connection = find_client_flow(flow, packet, &settled);
  if (!connection)
    return NULL;
  int kept = keep_backend(connection, packet) != NULL;
  if (kept && track_virtual(connection, packet, vni, settled))
    return connection;
  if (!kept && packet->protocol == IPPROTO_TCP && !is_opening(packet))
    *bad = DROP(SKEP_BACKEND_GONE);
  uncount(connection);
  return NULL;
}

/* Sends a packet where its flow goes: to what the scratch's connection says. */
static __always_inline int forward_virtual(struct __sk_buff *skb, struct skep_config *config,
                                           struct packet *packet)
{
  struct skep_connection *connection = &scratch_of(packet)->connection;
  struct skep_endpoint_key key = { connection->vni, connection->backend_be };
  struct skep_backend *backend = bpf_map_lookup_elem(&sw_backend, &key);
  if (!backend)
    return DROP(SKEP_BACKEND_GONE);
  __u32 tunnel = backend->tunnel;
  int bad = rewrite_destination(skb, packet, &connection->address, packet->destination_port_be);
  if (bad)
    return bad;
  if (is_given(&connection->other_address)) {
    bad = rewrite_source(skb, packet, &connection->other_address, connection->other_port_be);
    if (bad)
      return bad;
  }
  if (tunnel) {
    /* A backend may be known before its address is, which says the MAC. */
    struct skep_endpoint *endpoint = bpf_map_lookup_elem(&sw_endpoint, &key);
    bad = endpoint ? address_to(skb, endpoint) : 0;
    return bad ? bad : to_tunnel(skb, config, key.vni, tunnel);
  }
  return to_endpoint(skb, config, key.vni, key.address_be);
}

/* True if a container opens a TCP connection to a member's own address from a port with which it holds one
 * to the same member through a virtual address: Linux picks ports for each destination apart. To the
 * member both are one tuple, so the answers would go to the one that is there. */
static __always_inline int is_port_in_use(struct __sk_buff *skb, struct packet *packet, __u32 vni)
{
  __u8 flags;
  if (packet->protocol != IPPROTO_TCP || (packet->fragment & IP_FRAGMENT_OFFSET) ||
      bpf_skb_load_bytes(skb, packet->l4_at + TCP_FLAGS_AT, &flags, 1) < 0 ||
      (flags & (TCP_SYN | TCP_ACK)) != TCP_SYN || read_ports(skb, packet, vni))
    return 0;
  struct skep_flow *back = &scratch_of(packet)->back;
  flow_from(&packet->destination, packet->destination_port_be, packet, vni, SKEP_FLOW_REPLY, back);
  back->destination = packet->source;
  back->destination_port_be = packet->source_port_be;
  struct skep_connection *reply = find_flow(back);
  /* One that is over gives way when the answer comes (answers_direct). */
  return reply && !is_over(reply) && !is_expired(reply, IPPROTO_TCP);
}

/* Sends a packet for a virtual address on network `vni` to a backend. `route` is where its sender is:
 * SKEP_ROUTE_ENDPOINT or SKEP_ROUTE_HOST; `virtual_be` is what the network knows the address by. */
static __always_inline int to_virtual(struct __sk_buff *skb, struct skep_config *config,
                                      struct packet *packet, __u32 vni, __u32 virtual_be,
                                      __u8 route)
{
  int bad = read_ports(skb, packet, vni);
  if (bad)
    return bad;
  struct scratch *scratch = scratch_of(packet);
  flow_of(packet, vni, SKEP_FLOW_SERVICE, &scratch->flow);
  struct skep_connection *connection = tracked_virtual(&scratch->flow, packet, vni, &bad);
  if (connection) {
    track(connection, packet, SKEP_END_CLIENT);
    scratch->connection = *connection;
    return forward_virtual(skb, config, packet);
  }
  struct entry entry = { .route = route, .vni = vni };
  put_down(scratch, &entry, bad);
  scratch->virtual_be = virtual_be;
  return go_on(skb, SKEP_CALL_OPEN_VIRTUAL);
}
