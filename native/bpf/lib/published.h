/* Published ports. The node a client asked (the entry node) picks the backend. A local one gets the
 * packet with its destination replaced; to a remote one the packet travels unchanged on the mesh
 * VNI with the backend's id in the inner destination MAC, and the backend's node replaces the
 * destination. So every packet describes itself, and the container sees the real client. */
#pragma once

#include "reply.h"
#include "service.h"

/* Where the client of a published port is, seen from the entry node. */
struct entry {
  __u8 route;   /* enum skep_route of the reply */
  __u32 target; /* uplink, for SKEP_ROUTE_UPLINK */
  __u32 vni;    /* network of the client, for SKEP_ROUTE_ENDPOINT; else 0 */
};

/* True if the client's own address would not lead the reply back through this node. */
static __always_inline int must_borrow(struct skep_config *config, struct packet *packet,
                                       struct entry *entry, __u32 backend_be)
{
  if (entry->route != SKEP_ROUTE_ENDPOINT)
    return 0;
  return entry->vni != config->ingress_vni || packet->source_be == backend_be;
}

/* Picks a backend for a new flow and files what the way back needs. */
static __always_inline int open_published(struct skep_config *config, struct packet *packet,
                                          struct skep_service *service, struct entry *entry,
                                          struct skep_flow *flow,
                                          struct skep_connection *connection)
{
  struct skep_endpoint_key chosen = {};
  struct skep_backend *backend = choose_backend(service, &chosen);
  if (!backend)
    return DROP(SKEP_NO_BACKEND);
  connection->last = now_coarse();
  connection->state = first_state(packet);
  connection->address_be = chosen.address_be;
  connection->port_be = service->target_port_be;
  connection->vni = chosen.vni;

  __u32 client_be = packet->source_be;
  struct skep_connection reply = {
    .last = connection->last,
    .state = connection->state,
    .route = entry->route,
    .address_be = packet->destination_be,
    .port_be = packet->destination_port_be,
    .vni = entry->vni,
    .target = entry->target,
  };
  int borrow = must_borrow(config, packet, entry, chosen.address_be);
  if (borrow) {
    if (!config->node_id_be)
      return DROP(SKEP_NOT_CONFIGURED);
    reply.other_address_be = client_be;
    reply.other_port_be = packet->source_port_be;
    client_be = config->node_id_be;
    connection->other_address_be = client_be;
    connection->other_port_be = packet->source_port_be;
  }
  if (!backend->tunnel || borrow) {
    /* Replies of a remote backend come back with the front as source already. */
    int remote = backend->tunnel != 0;
    struct skep_flow back = {
      .source_be = remote ? packet->destination_be : chosen.address_be,
      .destination_be = client_be,
      .vni = remote ? 0 : chosen.vni,
      .source_port_be = remote ? packet->destination_port_be : service->target_port_be,
      .destination_port_be = packet->source_port_be,
      .protocol = packet->protocol,
      .kind = remote ? SKEP_FLOW_BORROWED : SKEP_FLOW_REPLY,
    };
    __u16 port_be = file_reply(&back, &reply, packet, client_be);
    if (port_be == 0)
      return DROP(SKEP_NO_PORT);
    if (port_be != packet->source_port_be) {
      connection->other_address_be = client_be;
      connection->other_port_be = port_be;
    }
    if (!remote) {
      struct skep_endpoint *endpoint = bpf_map_lookup_elem(&sw_endpoint, &chosen);
      if (!endpoint)
        return DROP(SKEP_BACKEND_GONE);
      expect_replies_from(endpoint->ifindex);
    }
  }
  if (bpf_map_update_elem(&sw_connection, flow, connection, BPF_ANY) < 0)
    return DROP(SKEP_CONNECTION_TABLE);
  count_bytes(SKEP_SERVICE_CHOSEN, 0);
  return 0;
}

/* Tells the reply entry of a flow, if this node has it, what the client does (see track_reply). */
static __always_inline int track_published(struct skep_connection *connection,
                                           struct packet *packet, struct skep_backend *backend)
{
  struct skep_flow back = {
    .source_be = connection->address_be,
    .vni = connection->vni,
    .source_port_be = connection->port_be,
    .kind = SKEP_FLOW_REPLY,
  };
  if (backend->tunnel) {
    if (!connection->other_address_be)
      return 1;
    back.source_be = packet->destination_be;
    back.vni = 0;
    back.source_port_be = packet->destination_port_be;
    back.kind = SKEP_FLOW_BORROWED;
  }
  return track_reply(connection, packet, &back);
}

/* True if nobody of ours answers: the packet is as it came, and the host's stack may have it, which
 * refuses unless somebody listens there. */
static __always_inline int is_unanswered(int verdict)
{
  return verdict == DROP(SKEP_NO_BACKEND) || verdict == DROP(SKEP_BACKEND_GONE);
}

/* Entry node: a client's packet for a published port. Ports have been read. */
static __always_inline int to_published(struct __sk_buff *skb, struct skep_config *config,
                                        struct packet *packet, struct skep_service *service,
                                        struct entry *entry)
{
  struct skep_flow flow = flow_of(packet, entry->vni, SKEP_FLOW_SERVICE);
  struct skep_connection fresh = {};
  struct skep_connection *connection = bpf_map_lookup_elem(&sw_connection, &flow);
  if (connection) {
    struct skep_backend *kept = keep_backend(connection, packet);
    if (!kept && packet->protocol == IPPROTO_TCP && !is_opening(packet))
      return DROP(SKEP_BACKEND_GONE);
    if (!kept || (!track_published(connection, packet, kept) && is_opening(packet)))
      connection = NULL;
  }
  /* A TCP connection is checked when it opens, others know no opening. */
  if (service->allow && entry->route != SKEP_ROUTE_HOST &&
      (!connection || packet->protocol != IPPROTO_TCP) &&
      !is_allowed(service, packet->source_be))
    return DROP(SKEP_NOT_ALLOWED);
  int bad;
  if (connection) {
    track(connection, packet, SKEP_END_CLIENT);
  } else {
    bad = open_published(config, packet, service, entry, &flow, &fresh);
    if (bad)
      return bad;
    trace_step(skb, SKEP_SERVICE_CHOSEN);
    connection = &fresh;
  }
  struct skep_endpoint_key key = { connection->vni, connection->address_be };
  __u16 target_port_be = connection->port_be;
  __u32 source_be = connection->other_address_be;
  __u16 source_port_be = connection->other_port_be;
  struct skep_backend *backend = bpf_map_lookup_elem(&sw_backend, &key);
  if (!backend)
    return DROP(SKEP_BACKEND_GONE);
  __u32 tunnel = backend->tunnel;
  bad = decrement_ttl(skb, packet);
  if (bad)
    return bad;
  if (source_be) {
    bad = rewrite_source(skb, packet, source_be, source_port_be);
    if (bad)
      return bad;
  }
  if (tunnel) {
    count(skb, SKEP_MESH_SENT);
    return to_mesh(skb, config, SKEP_MAC_BACKEND, key.address_be, tunnel);
  }
  bad = rewrite_destination(skb, packet, key.address_be, target_port_be);
  if (bad)
    return bad;
  return to_endpoint(skb, config, key.vni, key.address_be);
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
  struct skep_connection *connection = bpf_map_lookup_elem(&sw_connection, &flow);
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
