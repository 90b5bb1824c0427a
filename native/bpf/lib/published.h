/* Published ports. The node a client asked (the entry node) picks the backend. A local one gets the
 * packet with its destination replaced; to a remote one the packet travels unchanged on the mesh
 * VNI with the backend's id in the inner destination MAC, and the backend's node replaces the
 * destination. So every packet describes itself, and the container sees the real client. */
#pragma once

#include "pending.h"
#include "reply.h"
#include "service.h"
#include "too_long.h"

/* True if the client's own address would not lead the reply back through this node, or not to the
 * client alone: host sockets may be bound to anything, 127.0.0.1 too, and two to the same port. */
static __always_inline int must_borrow(struct skep_config *config, struct packet *packet,
                                       struct entry *entry, const struct skep_address *backend)
{
  if (entry->route == SKEP_ROUTE_HOST)
    return 1;
  if (entry->route != SKEP_ROUTE_ENDPOINT)
    return 0;
  return entry->vni != config->ingress_vni || same_address(&packet->source, backend);
}

/* What replies are turned back into; the client's own end is filled in if it is replaced. */
static __always_inline void reply_to(struct packet *packet, struct entry *entry,
                                     struct skep_connection *reply)
{
  __builtin_memset(reply, 0, sizeof(*reply));
  reply->last = now_coarse();
  reply->state = first_state(packet);
  reply->route = entry->route;
  reply->address = packet->destination;
  reply->port_be = packet->destination_port_be;
  reply->vni = entry->vni;
  reply->target = entry->target;
}

/* The flow of the replies, the client's end left open. Those of a remote backend come back with the
 * front as source already. */
static __always_inline void way_back(struct skep_connection *connection, struct packet *packet,
                                     int remote, struct skep_flow *back)
{
  if (remote)
    flow_from(&packet->destination, packet->destination_port_be, packet, 0, SKEP_FLOW_BORROWED,
              back);
  else
    flow_from(&connection->address, connection->port_be, packet, connection->vni, SKEP_FLOW_REPLY,
              back);
}

/* Tells the reply entry of a flow, if this node has it, what the client does (see track_reply), and
 * makes it anew if it was pushed out in the middle of a connection. 0: an opening packet has to be
 * filed anew. */
static __always_inline int track_published(struct skep_connection *connection,
                                           struct packet *packet, struct entry *entry, int settled,
                                           struct skep_backend *backend)
{
  int remote = backend->tunnel != 0;
  if (remote && !is_given(&connection->other_address))
    return 1;
  struct skep_flow *back = &scratch_of(packet)->back;
  way_back(connection, packet, remote, back);
  enum reply_entry found = track_reply(connection, packet, settled, back);
  if (found == REPLY_THERE || is_opening(packet))
    return found == REPLY_THERE;
  if (found == REPLY_MISSING) {
    struct skep_connection *reply = &scratch_of(packet)->reply;
    reply_to(packet, entry, reply);
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
         is_allowed(service, &packet->source);
}

/* Sends a packet where its flow goes: to what the scratch's connection says. */
static __always_inline int forward_published(struct __sk_buff *skb, struct skep_config *config,
                                             struct packet *packet,
                                             struct skep_service *service, struct entry *entry)
{
  struct skep_connection *connection = &scratch_of(packet)->connection;
  struct skep_endpoint_key key = { connection->vni, connection->backend_be };
  struct skep_backend *backend = bpf_map_lookup_elem(&sw_backend, &key);
  if (!backend)
    return DROP(SKEP_BACKEND_GONE);
  __u32 tunnel = backend->tunnel;
  if (entry->route == SKEP_ROUTE_UPLINK && tunnel && is_too_long(skb, config, packet, tunnel)) {
    scratch_of(packet)->entry.target = entry->target;
    return go_on(skb, SKEP_CALL_ANSWER_TOO_LONG);
  }
  int bad = decrement_ttl(skb, packet);
  if (bad)
    return bad;
  if (is_given(&connection->other_address)) {
    bad = rewrite_source(skb, packet, &connection->other_address, connection->other_port_be);
    if (bad)
      return bad;
  }
  if (tunnel) {
    count(skb, SKEP_MESH_SENT);
    __u8 mac = backend_mac(config, packet, service, entry, connection->direct, tunnel);
    return to_mesh(skb, config, mac, key.address_be, tunnel);
  }
  bad = rewrite_destination(skb, packet, &connection->address, connection->port_be);
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
  struct scratch *scratch = scratch_of(packet);
  flow_of(packet, entry->vni, SKEP_FLOW_SERVICE, &scratch->flow);
  struct skep_connection *connection = tracked_published(&scratch->flow, packet, entry, &bad);
  if (connection) {
    note_repetition(skb, config, packet, service, entry, connection);
    struct skep_endpoint_key key = { connection->vni, connection->backend_be };
    count_withheld(skb, config, packet, service, entry, &key, connection->direct);
    track(connection, packet, SKEP_END_CLIENT);
    scratch->connection = *connection;
    return forward_published(skb, config, packet, service, entry);
  }
  put_down(scratch, entry, bad);
  return go_on(skb, SKEP_CALL_OPEN_PUBLISHED);
}

/* Gives an ICMP error from the client's side to the backend of the quoted flow, with the addresses
 * the backend knows. */
static __always_inline int give_error(struct __sk_buff *skb, struct skep_config *config,
                                      struct packet *packet, struct quote *quote,
                                      struct skep_endpoint_key *backend,
                                      struct skep_address *address, __u16 target_port_be)
{
  int bad = rewrite_quote(skb, packet, quote, 1, address, target_port_be);
  if (!bad)
    bad = rewrite_destination(skb, packet, address, 0);
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
  struct scratch *scratch = scratch_of(packet);
  struct quote *quote = &scratch->quote;
  if (read_quote(skb, packet, quote) || !same_address(&quote->source, &packet->destination))
    return NEXT;
  quoted_flow(quote, 0, SKEP_FLOW_SERVICE, 1, &scratch->flow);
  struct skep_connection *connection = find_flow(&scratch->flow);
  if (!connection || connection->other_port_be)
    return NEXT;
  struct skep_endpoint_key key = { connection->vni, connection->backend_be };
  struct skep_address *address = &scratch->connection.address;
  *address = connection->address;
  __u16 target_port_be = connection->port_be;
  struct skep_backend *backend = bpf_map_lookup_elem(&sw_backend, &key);
  if (!backend)
    return NEXT;
  if (backend->tunnel)
    return to_mesh(skb, config, SKEP_MAC_BACKEND, key.address_be, backend->tunnel);
  return give_error(skb, config, packet, quote, &key, address, target_port_be);
}
