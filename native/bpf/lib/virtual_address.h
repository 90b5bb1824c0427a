/* A container (or this host) talks to the virtual address of a service: destination address is
 * replaced, ports are not, the backend sees the real client. The reply is turned back where it
 * reaches the client's node. */
#pragma once

#include "pending.h"
#include "reply.h"
#include "service.h"

/* What replies are turned back into; the client's own end is filled in if it is replaced. */
static __always_inline struct skep_connection virtual_reply(struct packet *packet, __u32 vni)
{
  struct skep_connection reply = {
    .last = now_coarse(),
    .state = first_state(packet),
    .route = SKEP_ROUTE_ENDPOINT,
    .address_be = packet->destination_be,
    .port_be = packet->destination_port_be,
    .vni = vni,
  };
  return reply;
}

/* The flow of the replies, the client's end left open. */
static __always_inline struct skep_flow virtual_way_back(struct skep_connection *connection,
                                                         struct packet *packet)
{
  struct skep_flow back = {
    .source_be = connection->address_be,
    .vni = connection->vni,
    .source_port_be = packet->destination_port_be,
    .protocol = packet->protocol,
    .kind = SKEP_FLOW_REPLY,
  };
  return back;
}

/* Tells the reply entry what the client does, and makes it anew if it was pushed out in the middle
 * of a connection. 0: an opening packet has to be filed anew. */
static __always_inline int track_virtual(struct skep_connection *connection, struct packet *packet,
                                         __u32 vni, int settled)
{
  struct skep_flow back = virtual_way_back(connection, packet);
  enum reply_entry found = track_reply(connection, packet, settled, &back);
  if (found == REPLY_THERE || is_opening(packet))
    return found == REPLY_THERE;
  if (found == REPLY_MISSING) {
    struct skep_connection reply = virtual_reply(packet, vni);
    if (connection->other_address_be) {
      reply.other_address_be = packet->source_be;
      reply.other_port_be = packet->source_port_be;
    }
    file_new_flow(&back, &reply);
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

/* Sends a packet where its flow goes. */
static __always_inline int forward_virtual(struct __sk_buff *skb, struct skep_config *config,
                                           struct packet *packet,
                                           struct skep_connection *connection)
{
  struct skep_endpoint_key key = { connection->vni, connection->address_be };
  __u32 source_be = connection->other_address_be;
  __u16 source_port_be = connection->other_port_be;
  struct skep_backend *backend = bpf_map_lookup_elem(&sw_backend, &key);
  if (!backend)
    return DROP(SKEP_BACKEND_GONE);
  __u32 tunnel = backend->tunnel;
  int bad = rewrite_destination(skb, packet, key.address_be, packet->destination_port_be);
  if (bad)
    return bad;
  if (source_be) {
    bad = rewrite_source(skb, packet, source_be, source_port_be);
    if (bad)
      return bad;
  }
  if (tunnel)
    return to_tunnel(skb, config, key.vni, tunnel);
  return to_endpoint(skb, config, key.vni, key.address_be);
}

/* Sends a packet for a virtual address on network `vni` to a backend. `route` is where its sender is:
 * SKEP_ROUTE_ENDPOINT or SKEP_ROUTE_HOST. */
static __always_inline int to_virtual(struct __sk_buff *skb, struct skep_config *config,
                                      struct packet *packet, __u32 vni, __u8 route)
{
  int bad = read_ports(skb, packet, vni);
  if (bad)
    return bad;
  struct skep_flow flow = flow_of(packet, vni, SKEP_FLOW_SERVICE);
  struct skep_connection *connection = tracked_virtual(&flow, packet, vni, &bad);
  if (connection) {
    track(connection, packet, SKEP_END_CLIENT);
    return forward_virtual(skb, config, packet, connection);
  }
  struct pending *pending = get_pending();
  if (!pending)
    return DROP(SKEP_NOT_CONFIGURED);
  struct entry entry = { .route = route, .vni = vni };
  put_down(pending, packet, &entry, bad);
  return go_on(skb, SKEP_CALL_OPEN_VIRTUAL);
}
