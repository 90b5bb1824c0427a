/* What happens once in the life of a flow to a virtual address: it gets a backend, and both directions
 * are filed. */
#pragma once

#include "choice.h"
#include "virtual_address.h"

/* Picks a backend for a new flow and files both directions; it is in the scratch's connection then. 0 or
 * DROP(reason). */
static __always_inline int open_virtual(struct packet *packet)
{
  struct scratch *scratch = scratch_of(packet);
  struct skep_connection *connection = &scratch->connection;
  struct skep_connection *reply = &scratch->reply;
  struct skep_flow *back = &scratch->back;
  __u32 vni = scratch->entry.vni;
  struct skep_service_key service_key = { .vni = vni, .address = from_v4(scratch->virtual_be) };
  struct skep_service *service = bpf_map_lookup_elem(&sw_service, &service_key);
  if (!service)
    return DROP(SKEP_NO_SERVICE);
  struct skep_endpoint_key chosen = {};
  if (!choose_backend(service, packet, 0, &scratch->search, &chosen))
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
  virtual_reply(packet, vni, reply);
  virtual_way_back(connection, packet, back);
  back->destination = packet->source;
  back->destination_port_be = packet->source_port_be;
  if (same_address(&connection->address, &packet->source)) {
    /* The client is its own backend: it needs another source, or the answer never leaves it. */
    __u32 own_be = network->node_address_be ? network->node_address_be : network->gateway_be;
    back->destination = member_address(&network->subnets, own_be, packet->is_v6);
    reply->other_address = packet->source;
    reply->other_port_be = packet->source_port_be;
    connection->other_address = back->destination;
    connection->other_port_be = packet->source_port_be;
  }
  __u16 port_be = file_reply(back, reply, packet, &back->destination);
  if (port_be != packet->source_port_be) {
    if (port_be == 0)
      return DROP(SKEP_NO_PORT);
    connection->other_address = back->destination;
    connection->other_port_be = port_be;
  }
  expect_replies_to(vni, member_of(&network->subnets, &back->destination, packet->is_v6));
  count_load(service, connection);
  flow_of(packet, vni, SKEP_FLOW_SERVICE, &scratch->flow);
  if (file_flow(&scratch->flow, connection) < 0)
    return DROP(SKEP_CONNECTION_TABLE);
  count_bytes(SKEP_SERVICE_CHOSEN, 0);
  return 0;
}
