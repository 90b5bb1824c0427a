/* Published ports. The node a client asked (the entry node) picks the backend. A local one gets the
 * packet with its destination replaced; to a remote one the packet travels unchanged on the mesh
 * VNI with the backend's id in the inner destination MAC, and the backend's node replaces the
 * destination. So every packet describes itself, and the container sees the real client. */
#pragma once

#include "pending.h"
#include "reply.h"
#include "service.h"

/* True if the client's own address would not lead the reply back through this node, or not to the
 * client alone: host sockets may be bound to anything, 127.0.0.1 too, and two to the same port. */
static __always_inline int must_borrow(struct skep_config *config, struct packet *packet,
                                       struct entry *entry, __u32 backend_be)
{
  if (entry->route == SKEP_ROUTE_HOST)
    return 1;
  if (entry->route != SKEP_ROUTE_ENDPOINT)
    return 0;
  return entry->vni != config->ingress_vni || packet->source_be == backend_be;
}

/* What replies are turned back into; the client's own end is filled in if it is replaced. */
static __always_inline struct skep_connection reply_to(struct packet *packet, struct entry *entry)
{
  struct skep_connection reply = {
    .last = now_coarse(),
    .state = first_state(packet),
    .route = entry->route,
    .address_be = packet->destination_be,
    .port_be = packet->destination_port_be,
    .vni = entry->vni,
    .target = entry->target,
  };
  return reply;
}

/* The flow of the replies, the client's end left open. Those of a remote backend come back with the
 * front as source already. */
static __always_inline struct skep_flow way_back(struct skep_connection *connection,
                                                 struct packet *packet, int remote)
{
  struct skep_flow back = {
    .source_be = remote ? packet->destination_be : connection->address_be,
    .vni = remote ? 0 : connection->vni,
    .source_port_be = remote ? packet->destination_port_be : connection->port_be,
    .protocol = packet->protocol,
    .kind = remote ? SKEP_FLOW_BORROWED : SKEP_FLOW_REPLY,
  };
  return back;
}

/* Tells the reply entry of a flow, if this node has it, what the client does (see track_reply), and
 * makes it anew if it was pushed out in the middle of a connection. 0: an opening packet has to be
 * filed anew. */
static __always_inline int track_published(struct skep_connection *connection,
                                           struct packet *packet, struct entry *entry, int settled,
                                           struct skep_backend *backend)
{
  int remote = backend->tunnel != 0;
  if (remote && !connection->other_address_be)
    return 1;
  struct skep_flow back = way_back(connection, packet, remote);
  enum reply_entry found = track_reply(connection, packet, settled, &back);
  if (found == REPLY_THERE || is_opening(packet))
    return found == REPLY_THERE;
  if (found == REPLY_MISSING) {
    struct skep_connection reply = reply_to(packet, entry);
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
static __always_inline struct skep_connection *tracked_published(struct skep_flow *flow,
                                                                 struct packet *packet,
                                                                 struct entry *entry, int *bad)
{
  int settled = 0;
  struct skep_connection *connection = find_client_flow(flow, packet, &settled);
  if (!connection)
    return NULL;
  struct skep_backend *kept = keep_backend(connection, packet);
  if (kept && track_published(connection, packet, entry, settled, kept))
    return connection;
  if (!kept && packet->protocol == IPPROTO_TCP && !is_opening(packet))
    *bad = DROP(SKEP_BACKEND_GONE);
  uncount(connection);
  return NULL;
}

/* True if the client may use the service. Sockets of this host always may. */
static __always_inline int may_enter(struct skep_service *service, struct packet *packet,
                                     struct entry *entry)
{
  return !service->allow || entry->route == SKEP_ROUTE_HOST ||
         is_allowed(service, packet->source_be);
}

/* Sends a packet where its flow goes. */
static __always_inline int forward_published(struct __sk_buff *skb, struct skep_config *config,
                                             struct packet *packet,
                                             struct skep_service *service, struct entry *entry,
                                             struct skep_connection *connection)
{
  struct skep_endpoint_key key = { connection->vni, connection->address_be };
  __u16 target_port_be = connection->port_be;
  __u32 source_be = connection->other_address_be;
  __u16 source_port_be = connection->other_port_be;
  __u8 direct = connection->direct;
  struct skep_backend *backend = bpf_map_lookup_elem(&sw_backend, &key);
  if (!backend)
    return DROP(SKEP_BACKEND_GONE);
  __u32 tunnel = backend->tunnel;
  int bad = decrement_ttl(skb, packet);
  if (bad)
    return bad;
  if (source_be) {
    bad = rewrite_source(skb, packet, source_be, source_port_be);
    if (bad)
      return bad;
  }
  if (tunnel) {
    count(skb, SKEP_MESH_SENT);
    __u8 mac = backend_mac(config, packet, service, entry, direct, tunnel);
    return to_mesh(skb, config, mac, key.address_be, tunnel);
  }
  bad = rewrite_destination(skb, packet, key.address_be, target_port_be);
  if (bad)
    return bad;
  return to_endpoint(skb, config, key.vni, key.address_be);
}

/* Entry node: a client's packet for a published port. Ports have been read. */
static __always_inline int to_published(struct __sk_buff *skb, struct skep_config *config,
                                        struct packet *packet, struct skep_service *service,
                                        struct entry *entry)
{
  int bad = 0;
  /* A TCP connection is checked when it opens, others know no opening. */
  if (packet->protocol != IPPROTO_TCP && !may_enter(service, packet, entry))
    return DROP(SKEP_NOT_ALLOWED);
  struct skep_flow flow = flow_of(packet, entry->vni, SKEP_FLOW_SERVICE);
  struct skep_connection *connection = tracked_published(&flow, packet, entry, &bad);
  if (connection) {
    note_repetition(skb, config, packet, service, entry, connection);
    count_withheld(skb, config, packet, service, entry, connection);
    track(connection, packet, SKEP_END_CLIENT);
    return forward_published(skb, config, packet, service, entry, connection);
  }
  struct pending *pending = get_pending();
  if (!pending)
    return DROP(SKEP_NOT_CONFIGURED);
  put_down(pending, packet, entry, bad);
  return go_on(skb, SKEP_CALL_OPEN_PUBLISHED);
}

/* Gives an ICMP error from the client's side to the backend of the quoted flow, with the addresses
 * the backend knows. */
static __always_inline int give_error(struct __sk_buff *skb, struct skep_config *config,
                                      struct packet *packet, struct quote *quote,
                                      struct skep_endpoint_key *backend, __u16 target_port_be)
{
  int bad = rewrite_quoted_source(skb, packet, quote, backend->address_be, target_port_be);
  if (!bad)
    bad = rewrite_destination(skb, packet, backend->address_be, 0);
  if (bad)
    return bad;
  count(skb, SKEP_ICMP_ERROR);
  return to_endpoint(skb, config, backend->vni, backend->address_be);
}

/* Entry node: an ICMP error about what a backend sent to a client, above all "fragmentation
 * needed". Errors about anything else are the host's own. */
static __always_inline int to_published_error(struct __sk_buff *skb, struct skep_config *config,
                                              struct packet *packet)
{
  struct quote quote = {};
  if (read_quote(skb, packet, &quote) || quote.ip.saddr != packet->destination_be)
    return NEXT;
  struct skep_flow flow = quoted_flow(&quote, 0, SKEP_FLOW_SERVICE, 1);
  struct skep_connection *connection = find_flow(&flow);
  if (!connection || connection->other_port_be)
    return NEXT;
  struct skep_endpoint_key key = { connection->vni, connection->address_be };
  __u16 target_port_be = connection->port_be;
  struct skep_backend *backend = bpf_map_lookup_elem(&sw_backend, &key);
  if (!backend)
    return NEXT;
  if (backend->tunnel)
    return to_mesh(skb, config, SKEP_MAC_BACKEND, key.address_be, backend->tunnel);
  return give_error(skb, config, packet, &quote, &key, target_port_be);
}
