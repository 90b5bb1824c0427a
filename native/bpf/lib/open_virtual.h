/* What happens once in the life of a flow to a virtual address: it gets a backend, and both directions
 * are filed. */
#pragma once

#include "choice.h"
#include "virtual_address.h"

/* Picks a backend for a new flow and files both directions. */
static __always_inline int open_virtual(struct packet *packet, struct pending *pending,
                                        struct skep_connection *connection)
{
  __u32 vni = pending->entry.vni;
  struct skep_service_key service_key = { .vni = vni, .address_be = packet->destination_be };
  struct skep_service *service = bpf_map_lookup_elem(&sw_service, &service_key);
  if (!service)
    return DROP(SKEP_NO_SERVICE);
  struct skep_endpoint_key chosen = {};
  if (!choose_backend(service, packet, 0, &pending->search, &chosen))
    return DROP(SKEP_NO_BACKEND);

  connection->last = now_coarse();
  connection->state = first_state(packet);
  connection->address_be = chosen.address_be;
  connection->vni = chosen.vni;
  __u32 client_be = packet->source_be;
  struct skep_connection reply = virtual_reply(packet, vni);
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
  struct skep_flow back = virtual_way_back(connection, packet);
  back.destination_be = client_be;
  back.destination_port_be = packet->source_port_be;
  __u16 port_be = file_reply(&back, &reply, packet, client_be);
  if (port_be != packet->source_port_be) {
    if (port_be == 0)
      return DROP(SKEP_NO_PORT);
    connection->other_address_be = client_be;
    connection->other_port_be = port_be;
  }
  expect_replies_to(vni, client_be);
  count_load(service, connection);
  struct skep_flow flow = flow_of(packet, vni, SKEP_FLOW_SERVICE);
  if (file_flow(&flow, connection) < 0)
    return DROP(SKEP_CONNECTION_TABLE);
  count_bytes(SKEP_SERVICE_CHOSEN, 0);
  return 0;
}
