/* A container (or this host) talks to the virtual address of a service: destination address is
 * replaced, ports are not, the backend sees the real client. The reply is turned back where it
 * reaches the client's node. */
#pragma once

#include "reply.h"
#include "service.h"

/* Picks a backend for a new flow and files both directions. */
static __always_inline int open_virtual(struct packet *packet, __u32 vni, struct skep_flow *flow,
                                        struct skep_connection *connection)
{
  struct skep_service_key service_key = { .vni = vni, .address_be = packet->destination_be };
  struct skep_service *service = bpf_map_lookup_elem(&sw_service, &service_key);
  if (!service)
    return DROP(SKEP_NO_SERVICE);
  struct skep_endpoint_key chosen = {};
  if (!choose_backend(service, &chosen))
    return DROP(SKEP_NO_BACKEND);

  connection->last = now_coarse();
  connection->state = first_state(packet);
  connection->address_be = chosen.address_be;
  connection->vni = chosen.vni;
  __u32 client_be = packet->source_be;
  struct skep_connection reply = {
    .last = connection->last,
    .state = connection->state,
    .route = SKEP_ROUTE_ENDPOINT,
    .address_be = packet->destination_be,
    .port_be = packet->destination_port_be,
    .vni = vni,
  };
  if (chosen.address_be == client_be) {
    /* The client is its own backend: it needs another source, or the answer never leaves it. */
    struct skep_network *network = bpf_map_lookup_elem(&sw_network, &vni);
    if (!network)
      return DROP(SKEP_NOT_CONFIGURED);
    client_be = network->node_address_be ? network->node_address_be : network->gateway_be;
    reply.other_address_be = packet->source_be;
    reply.other_port_be = packet->source_port_be;
    connection->other_address_be = client_be;
    connection->other_port_be = packet->source_port_be;
  }
  struct skep_flow back = {
    .source_be = chosen.address_be,
    .destination_be = client_be,
    .vni = vni,
    .source_port_be = packet->destination_port_be,
    .destination_port_be = packet->source_port_be,
    .protocol = packet->protocol,
    .kind = SKEP_FLOW_REPLY,
  };
  __u16 port_be = file_reply(&back, &reply, packet, client_be);
  if (port_be != packet->source_port_be) {
    if (port_be == 0)
      return DROP(SKEP_NO_PORT);
    connection->other_address_be = client_be;
    connection->other_port_be = port_be;
  }
  expect_replies_to(vni, client_be);
  if (bpf_map_update_elem(&sw_connection, flow, connection, BPF_ANY) < 0)
    return DROP(SKEP_CONNECTION_TABLE);
  count_bytes(SKEP_SERVICE_CHOSEN, 0);
  return 0;
}

/* Sends a packet for a virtual address on network `vni` to a backend. */
static __always_inline int to_virtual(struct __sk_buff *skb, struct skep_config *config,
                                      struct packet *packet, __u32 vni)
{
  int bad = read_ports(skb, packet, vni);
  if (bad)
    return bad;
  struct skep_flow flow = flow_of(packet, vni, SKEP_FLOW_SERVICE);
  struct skep_connection fresh = {};
  struct skep_connection *connection = bpf_map_lookup_elem(&sw_connection, &flow);
  if (connection && !keep_backend(connection, packet)) {
    if (packet->protocol == IPPROTO_TCP && !is_opening(packet))
      return DROP(SKEP_BACKEND_GONE);
    connection = NULL;
  }
  if (connection) {
    struct skep_flow back = {
      .source_be = connection->address_be,
      .vni = vni,
      .source_port_be = packet->destination_port_be,
      .kind = SKEP_FLOW_REPLY,
    };
    if (!track_reply(connection, packet, &back) && is_opening(packet))
      connection = NULL;
  }
  if (connection) {
    track(connection, packet, SKEP_END_CLIENT);
  } else {
    bad = open_virtual(packet, vni, &flow, &fresh);
    if (bad)
      return bad;
    trace_step(skb, SKEP_SERVICE_CHOSEN);
    connection = &fresh;
  }
  struct skep_endpoint_key key = { connection->vni, connection->address_be };
  __u32 source_be = connection->other_address_be;
  __u16 source_port_be = connection->other_port_be;
  struct skep_backend *backend = bpf_map_lookup_elem(&sw_backend, &key);
  if (!backend)
    return DROP(SKEP_BACKEND_GONE);
  __u32 tunnel = backend->tunnel;
  bad = rewrite_destination(skb, packet, key.address_be, packet->destination_port_be);
  if (bad)
    return bad;
  if (source_be) {
    bad = rewrite_source(skb, packet, source_be, source_port_be);
    if (bad)
      return bad;
  }
  if (tunnel)
    return to_tunnel(skb, config, vni, tunnel);
  return to_endpoint(skb, config, key.vni, key.address_be);
}
