/* Published ports. The node a client asked (the entry node) picks the backend. A local one gets the
 * packet with its destination replaced; to a remote one the packet travels unchanged on the mesh
 * VNI with the backend's id in the inner destination MAC, and the backend's node replaces the
 * destination. So every packet describes itself, and the container sees the real client. */
#pragma once

#include "reply.h"
#include "service.h"
#include "too_long.h"

/* Where the client of a published port is, seen from the entry node. */
struct entry {
  __u8 route;   /* enum skep_route of the reply */
  __u32 target; /* uplink, for SKEP_ROUTE_UPLINK */
  __u32 vni;    /* network of the client, for SKEP_ROUTE_ENDPOINT; else 0 */
};

/* True if the client's own address would not lead the reply back through this node. */
static __always_inline int must_borrow(struct skep_config *config, struct packet *packet,
                                       struct entry *entry, struct skep_address *backend)
{
  if (entry->route != SKEP_ROUTE_ENDPOINT)
    return 0;
  return entry->vni != config->ingress_vni || same_address(&packet->source, backend);
}

/* Files the way back of a new flow whose reply comes to this node as a packet of the backend, or
 * for a borrowed source. `client` is the address the backend sees. */
static __always_inline int file_published(struct skep_scratch *scratch, struct packet *packet,
                                          struct skep_endpoint_key *chosen, __u16 target_port_be,
                                          int remote, struct skep_address *client)
{
  struct skep_connection *connection = &scratch->connection;
  struct skep_flow *back = &scratch->back;
  /* Replies of a remote backend come back with the front as source already. */
  back->source = remote ? packet->destination : connection->address;
  back->destination = *client;
  back->vni = remote ? 0 : chosen->vni;
  back->source_port_be = remote ? packet->destination_port_be : target_port_be;
  back->destination_port_be = packet->source_port_be;
  back->protocol = packet->protocol;
  back->kind = remote ? SKEP_FLOW_BORROWED : SKEP_FLOW_REPLY;
  back->pad = 0;
  __u16 port_be = file_reply(back, &scratch->reply, packet, client);
  if (port_be == 0)
    return DROP(SKEP_NO_PORT);
  if (port_be != packet->source_port_be) {
    connection->other_address = *client;
    connection->other_port_be = port_be;
  }
  if (!remote) {
    struct skep_endpoint *endpoint = bpf_map_lookup_elem(&sw_endpoint, chosen);
    if (!endpoint)
      return DROP(SKEP_BACKEND_GONE);
    expect_replies_from(endpoint->ifindex);
  }
  return 0;
}

/* Picks a backend for a new flow and files what the way back needs. The flow is in the scratch, and
 * so is then its connection. */
static __always_inline int open_published(struct skep_config *config, struct packet *packet,
                                          struct skep_service *service, struct entry *entry,
                                          struct skep_scratch *scratch)
{
  struct skep_connection *connection = &scratch->connection;
  struct skep_connection *reply = &scratch->reply;
  struct skep_endpoint_key chosen = {};
  struct skep_backend *backend = choose_backend(service, &chosen);
  if (!backend)
    return DROP(SKEP_NO_BACKEND);
  struct skep_network *network = bpf_map_lookup_elem(&sw_network, &chosen.vni);
  if (!network)
    return DROP(SKEP_NOT_CONFIGURED);
  __builtin_memset(connection, 0, sizeof(*connection));
  connection->last = now_coarse();
  connection->state = first_state(packet);
  connection->backend_be = chosen.address_be;
  connection->address = member_address(&network->subnets, chosen.address_be, packet->is_v6);
  connection->port_be = service->target_port_be;
  connection->vni = chosen.vni;
  if (!is_given(&connection->address))
    return DROP(SKEP_NO_BACKEND);

  __builtin_memset(reply, 0, sizeof(*reply));
  reply->last = connection->last;
  reply->state = connection->state;
  reply->route = entry->route;
  reply->address = packet->destination;
  reply->port_be = packet->destination_port_be;
  reply->vni = entry->vni;
  reply->target.ifindex = entry->target;
  struct skep_address client = packet->source;
  int borrow = must_borrow(config, packet, entry, &connection->address);
  if (borrow) {
    if (!config->node_id_be)
      return DROP(SKEP_NOT_CONFIGURED);
    reply->other_address = client;
    reply->other_port_be = packet->source_port_be;
    client = member_address(&network->subnets, config->node_id_be, packet->is_v6);
    connection->other_address = client;
    connection->other_port_be = packet->source_port_be;
  }
  int remote = is_given(&backend->tunnel);
  if (!remote || borrow) {
    int bad = file_published(scratch, packet, &chosen, service->target_port_be, remote, &client);
    if (bad)
      return bad;
  }
  if (bpf_map_update_elem(&sw_connection, &scratch->flow, connection, BPF_ANY) < 0)
    return DROP(SKEP_CONNECTION_TABLE);
  count_bytes(SKEP_SERVICE_CHOSEN, 0);
  return 0;
}

/* Tells the reply entry of a flow, if this node has it, what the client does (see track_reply). */
static __always_inline int track_published(struct skep_connection *connection,
                                           struct packet *packet, struct skep_backend *backend,
                                           struct skep_flow *back)
{
  if (is_given(&backend->tunnel)) {
    if (!is_given(&connection->other_address))
      return 1;
    back->source = packet->destination;
    back->vni = 0;
    back->source_port_be = packet->destination_port_be;
    back->kind = SKEP_FLOW_BORROWED;
  } else {
    back->source = connection->address;
    back->vni = connection->vni;
    back->source_port_be = connection->port_be;
    back->kind = SKEP_FLOW_REPLY;
  }
  back->pad = 0;
  return track_reply(connection, packet, back);
}

/* The connection of the flow in the scratch if it may go on as it is: 1, and it is copied into the
 * scratch; 0: it needs a backend; else a verdict. */
static __always_inline int continue_published(struct packet *packet, struct skep_scratch *scratch)
{
  struct skep_connection *connection = bpf_map_lookup_elem(&sw_connection, &scratch->flow);
  if (!connection)
    return 0;
  struct skep_backend *kept = keep_backend(connection, packet);
  if (!kept)
    return packet->protocol == IPPROTO_TCP && !is_opening(packet) ? DROP(SKEP_BACKEND_GONE) : 0;
  if (!track_published(connection, packet, kept, &scratch->back) && is_opening(packet))
    return 0;
  track(connection, packet, SKEP_END_CLIENT);
  scratch->connection = *connection;
  return 1;
}

/* Entry node: a client's packet for a published port. Ports have been read. */
static __always_inline int to_published(struct __sk_buff *skb, struct skep_config *config,
                                        struct packet *packet, struct skep_service *service,
                                        struct entry *entry)
{
  struct skep_scratch *scratch = get_scratch();
  if (!scratch)
    return DROP(SKEP_NOT_CONFIGURED);
  flow_of(packet, entry->vni, SKEP_FLOW_SERVICE, &scratch->flow);
  int bad = continue_published(packet, scratch);
  if (bad == 0)
    bad = open_published(config, packet, service, entry, scratch);
  if (bad < 0)
    return bad;
  struct skep_connection *connection = &scratch->connection;
  struct skep_endpoint_key key = { connection->vni, connection->backend_be };
  struct skep_backend *backend = bpf_map_lookup_elem(&sw_backend, &key);
  if (!backend)
    return DROP(SKEP_BACKEND_GONE);
  if (entry->route == SKEP_ROUTE_UPLINK && is_given(&backend->tunnel) &&
      is_too_long(skb, config, packet, &backend->tunnel))
    return answer_too_long(skb, config, packet, scratch, entry->target);
  bad = decrement_ttl(skb, packet);
  if (bad)
    return bad;
  if (is_given(&connection->other_address)) {
    bad = rewrite_source(skb, packet, &connection->other_address, connection->other_port_be);
    if (bad)
      return bad;
  }
  if (is_given(&backend->tunnel)) {
    count(skb, SKEP_MESH_SENT);
    return to_mesh(skb, config, SKEP_MAC_BACKEND, key.address_be, &backend->tunnel);
  }
  bad = rewrite_destination(skb, packet, &connection->address, connection->port_be);
  if (bad)
    return bad;
  return to_endpoint(skb, config, key.vni, key.address_be);
}

/* Gives an ICMP error from the client's side to the backend of the quoted flow, with the addresses
 * the backend knows. */
static __always_inline int give_error(struct __sk_buff *skb, struct skep_config *config,
                                      struct packet *packet, struct skep_quote *quote,
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
  struct skep_scratch *scratch = get_scratch();
  if (!scratch)
    return NEXT;
  struct skep_quote *quote = &scratch->quote;
  if (read_quote(skb, packet, quote) || !same_address(&quote->source, &packet->destination))
    return NEXT;
  quoted_flow(quote, 0, SKEP_FLOW_SERVICE, 1, &scratch->flow);
  struct skep_connection *connection = bpf_map_lookup_elem(&sw_connection, &scratch->flow);
  if (!connection || connection->other_port_be)
    return NEXT;
  struct skep_endpoint_key key = { connection->vni, connection->backend_be };
  scratch->connection.address = connection->address;
  __u16 target_port_be = connection->port_be;
  struct skep_backend *backend = bpf_map_lookup_elem(&sw_backend, &key);
  if (!backend)
    return NEXT;
  if (is_given(&backend->tunnel))
    return to_mesh(skb, config, SKEP_MAC_BACKEND, key.address_be, &backend->tunnel);
  return give_error(skb, config, packet, quote, &key, &scratch->connection.address, target_port_be);
}
