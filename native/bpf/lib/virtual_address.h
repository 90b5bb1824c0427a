/* A container (or this host) talks to the virtual address of a service: destination address is
 * replaced, ports are not, the backend sees the real client. The reply is turned back where it
 * reaches the client's node. */
#pragma once

#include "reply.h"
#include "service.h"

/* Picks a backend for a new flow and files both directions. The flow is in the scratch, and so is
 * then its connection. `virtual_be` is what the network knows the virtual address by. */
static __always_inline int open_virtual(struct packet *packet, __u32 vni, __u32 virtual_be,
                                        struct skep_scratch *scratch)
{
  struct skep_connection *connection = &scratch->connection;
  struct skep_connection *reply = &scratch->reply;
  struct skep_flow *back = &scratch->back;
  struct skep_service_key service_key = { .vni = vni, .address_be = virtual_be };
  struct skep_service *service = bpf_map_lookup_elem(&sw_service, &service_key);
  if (!service)
    return DROP(SKEP_NO_SERVICE);
  struct skep_endpoint_key chosen = {};
  if (!choose_backend(service, &chosen))
    return DROP(SKEP_NO_BACKEND);
  struct skep_network *network = bpf_map_lookup_elem(&sw_network, &vni);
  if (!network)
    return DROP(SKEP_NOT_CONFIGURED);

  __builtin_memset(connection, 0, sizeof(*connection));
  connection->last = now_coarse();
  connection->state = first_state(packet);
  connection->backend_be = chosen.address_be;
  connection->address = member_address(&network->subnets, chosen.address_be, packet->is_v6);
  connection->vni = chosen.vni;
  __builtin_memset(reply, 0, sizeof(*reply));
  reply->last = connection->last;
  reply->state = connection->state;
  reply->route = SKEP_ROUTE_ENDPOINT;
  reply->address = packet->destination;
  reply->port_be = packet->destination_port_be;
  reply->vni = vni;
  struct skep_address client = packet->source;
  if (same_address(&connection->address, &client)) {
    /* The client is its own backend: it needs another source, or the answer never leaves it. */
    __u32 own_be = network->node_address_be ? network->node_address_be : network->gateway_be;
    client = member_address(&network->subnets, own_be, packet->is_v6);
    reply->other_address = packet->source;
    reply->other_port_be = packet->source_port_be;
    connection->other_address = client;
    connection->other_port_be = packet->source_port_be;
  }
  back->source = connection->address;
  back->destination = client;
  back->vni = vni;
  back->source_port_be = packet->destination_port_be;
  back->destination_port_be = packet->source_port_be;
  back->protocol = packet->protocol;
  back->kind = SKEP_FLOW_REPLY;
  back->pad = 0;
  __u16 port_be = file_reply(back, reply, packet, &client);
  if (port_be != packet->source_port_be) {
    if (port_be == 0)
      return DROP(SKEP_NO_PORT);
    connection->other_address = client;
    connection->other_port_be = port_be;
  }
  expect_replies_to(vni, member_of(&network->subnets, &client, packet->is_v6));
  if (bpf_map_update_elem(&sw_connection, &scratch->flow, connection, BPF_ANY) < 0)
    return DROP(SKEP_CONNECTION_TABLE);
  count_bytes(SKEP_SERVICE_CHOSEN, 0);
  return 0;
}

/* The connection of the flow in the scratch if it may go on as it is: 1, and it is copied into the
 * scratch; 0: it needs a backend; else a verdict. */
static __always_inline int continue_virtual(struct packet *packet, __u32 vni,
                                            struct skep_scratch *scratch)
{
  struct skep_connection *connection = bpf_map_lookup_elem(&sw_connection, &scratch->flow);
  if (!connection)
    return 0;
  if (!keep_backend(connection, packet))
    return packet->protocol == IPPROTO_TCP && !is_opening(packet) ? DROP(SKEP_BACKEND_GONE) : 0;
  struct skep_flow *back = &scratch->back;
  back->source = connection->address;
  back->vni = vni;
  back->source_port_be = packet->destination_port_be;
  back->kind = SKEP_FLOW_REPLY;
  back->pad = 0;
  if (!track_reply(connection, packet, back) && is_opening(packet))
    return 0;
  track(connection, packet, SKEP_END_CLIENT);
  scratch->connection = *connection;
  return 1;
}

/* Sends a packet for a virtual address on network `vni` to a backend. */
static __always_inline int to_virtual(struct __sk_buff *skb, struct skep_config *config,
                                      struct packet *packet, __u32 vni, __u32 virtual_be)
{
  int bad = read_ports(skb, packet, vni);
  if (bad)
    return bad;
  struct skep_scratch *scratch = get_scratch();
  if (!scratch)
    return DROP(SKEP_NOT_CONFIGURED);
  flow_of(packet, vni, SKEP_FLOW_SERVICE, &scratch->flow);
  bad = continue_virtual(packet, vni, scratch);
  if (bad == 0)
    bad = open_virtual(packet, vni, virtual_be, scratch);
  if (bad < 0)
    return bad;
  struct skep_connection *connection = &scratch->connection;
  struct skep_endpoint_key key = { connection->vni, connection->backend_be };
  struct skep_backend *backend = bpf_map_lookup_elem(&sw_backend, &key);
  if (!backend)
    return DROP(SKEP_BACKEND_GONE);
  bad = rewrite_destination(skb, packet, &connection->address, packet->destination_port_be);
  if (bad)
    return bad;
  if (is_given(&connection->other_address)) {
    bad = rewrite_source(skb, packet, &connection->other_address, connection->other_port_be);
    if (bad)
      return bad;
  }
  if (is_given(&backend->tunnel))
    return to_tunnel(skb, config, vni, &backend->tunnel);
  return to_endpoint(skb, config, key.vni, key.address_be);
}
