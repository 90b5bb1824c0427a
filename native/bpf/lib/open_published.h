/* What happens once in the life of a flow to a published port: it gets a backend, and both directions
 * are filed. */
#pragma once

#include "choice.h"
#include "published.h"

/* Files what the way back of a new flow needs. */
static __always_inline int file_way_back(struct skep_config *config, struct packet *packet,
                                         struct entry *entry, struct skep_subnets *subnets,
                                         int remote)
{
  struct skep_connection *connection = &scratch_of(packet)->connection;
  struct skep_connection *reply = &scratch_of(packet)->reply;
  struct skep_flow *back = &scratch_of(packet)->back;
  int borrow = must_borrow(config, packet, entry, &connection->address);
  if (remote && !borrow)
    return 0;
  reply_to(packet, entry, reply);
  way_back(connection, packet, remote, back);
  back->destination = packet->source;
  back->destination_port_be = packet->source_port_be;
  if (borrow) {
    if (!config->node_id_be)
      return DROP(SKEP_NOT_CONFIGURED);
    reply->other_address = packet->source;
    reply->other_port_be = packet->source_port_be;
    back->destination = member_address(subnets, config->node_id_be, packet->is_v6);
    connection->other_address = back->destination;
    connection->other_port_be = packet->source_port_be;
  }
  __u16 port_be = file_reply(back, reply, packet, &back->destination);
  if (port_be == 0)
    return DROP(SKEP_NO_PORT);
  if (port_be != packet->source_port_be) {
    connection->other_address = back->destination;
    connection->other_port_be = port_be;
  }
  if (remote)
    return 0;
  struct skep_endpoint_key key = { connection->vni, connection->backend_be };
  struct skep_endpoint *endpoint = bpf_map_lookup_elem(&sw_endpoint, &key);
  if (!endpoint)
    return DROP(SKEP_BACKEND_GONE);
  expect_replies_from(endpoint->ifindex);
  return 0;
}

/* The host may have the packet, as it came: the port is not the service's any more. */
#define GIVEN_UP 1

/* Picks the backend of a new flow. 0, DROP(reason) or GIVEN_UP. */
static __always_inline int choose_published(struct skep_config *config, struct packet *packet,
                                            struct entry *entry, struct scratch *scratch)
{
  struct skep_service *service = published_service(config, packet);
  if (!service)
    return DROP(SKEP_NO_SERVICE);
  if (!may_enter(service, packet, entry))
    return DROP(SKEP_NOT_ALLOWED);
  if (yields(service))
    return GIVEN_UP;
  struct skep_endpoint_key key = {};
  if (!choose_backend(service, packet, entry->avoid_be, &scratch->search, &key))
    return DROP(SKEP_NO_BACKEND);
  scratch->chosen = key;
  return 0;
}

/* Files both directions of a new flow to the backend that was chosen; it is in the scratch's connection
 * then. 0 or DROP(reason). */
static __always_inline int file_published(struct skep_config *config, struct packet *packet,
                                          struct entry *entry, struct skep_endpoint_key *chosen,
                                          struct skep_service *service)
{
  struct scratch *scratch = scratch_of(packet);
  struct skep_connection *connection = &scratch->connection;
  struct skep_backend *backend = bpf_map_lookup_elem(&sw_backend, chosen);
  if (!backend)
    return DROP(SKEP_BACKEND_GONE);
  struct skep_network *network = bpf_map_lookup_elem(&sw_network, &chosen->vni);
  if (!network)
    return DROP(SKEP_NOT_CONFIGURED);
  __builtin_memset(connection, 0, sizeof(*connection));
  connection->last = now_coarse();
  connection->state = first_state(packet);
  connection->backend_be = chosen->address_be;
  connection->address = member_address(&network->subnets, chosen->address_be, packet->is_v6);
  /* A client of IPv6, and tasks that have none. */
  if (!is_given(&connection->address))
    return DROP(SKEP_NO_BACKEND);
  connection->port_be = target_port(service, packet->destination_port_be);
  connection->vni = chosen->vni;
  connection->refusals = entry->refusals;
  int bad = file_way_back(config, packet, entry, &network->subnets, backend->tunnel != 0);
  if (bad)
    return bad;
  count_load(service, connection);
  flow_of(packet, entry->vni, SKEP_FLOW_SERVICE, &scratch->flow);
  if (file_flow(&scratch->flow, connection) < 0)
    return DROP(SKEP_CONNECTION_TABLE);
  count_bytes(entry->refusals ? SKEP_RESELECTED : SKEP_SERVICE_CHOSEN, 0);
  return 0;
}
