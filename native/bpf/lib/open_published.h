/* What happens once in the life of a flow to a published port: it gets a backend, and both directions
 * are filed. */
#pragma once

#include "choice.h"
#include "published.h"

/* Files what the way back of a new flow needs. */
static __always_inline int file_way_back(struct skep_config *config, struct packet *packet,
                                         struct entry *entry, struct skep_connection *connection,
                                         int remote)
{
  __u32 client_be = packet->source_be;
  struct skep_connection reply = reply_to(packet, entry);
  int borrow = must_borrow(config, packet, entry, connection->address_be);
  if (remote && !borrow)
    return 0;
  if (borrow) {
    if (!config->node_id_be)
      return DROP(SKEP_NOT_CONFIGURED);
    reply.other_address_be = client_be;
    reply.other_port_be = packet->source_port_be;
    client_be = config->node_id_be;
    connection->other_address_be = client_be;
    connection->other_port_be = packet->source_port_be;
  }
  struct skep_flow back = way_back(connection, packet, remote);
  back.destination_be = client_be;
  back.destination_port_be = packet->source_port_be;
  __u16 port_be = file_reply(&back, &reply, packet, client_be);
  if (port_be == 0)
    return DROP(SKEP_NO_PORT);
  if (port_be != packet->source_port_be) {
    connection->other_address_be = client_be;
    connection->other_port_be = port_be;
  }
  if (remote)
    return 0;
  struct skep_endpoint_key key = { connection->vni, connection->address_be };
  struct skep_endpoint *endpoint = bpf_map_lookup_elem(&sw_endpoint, &key);
  if (!endpoint)
    return DROP(SKEP_BACKEND_GONE);
  expect_replies_from(endpoint->ifindex);
  return 0;
}

/* The host may have the packet, as it came: the port is not the service's any more. */
#define GIVEN_UP 1

/* Picks the backend of a new flow. 0, DROP(reason) or GIVEN_UP. */
static __always_inline int choose_published(struct packet *packet, struct entry *entry,
                                            struct pending *pending)
{
  struct skep_service *service = published_service(packet);
  if (!service)
    return DROP(SKEP_NO_SERVICE);
  if (!may_enter(service, packet, entry))
    return DROP(SKEP_NOT_ALLOWED);
  if (yields(service))
    return GIVEN_UP;
  struct skep_endpoint_key key = {};
  if (!choose_backend(service, packet, entry->avoid_be, &pending->search, &key))
    return DROP(SKEP_NO_BACKEND);
  pending->chosen = key;
  return 0;
}

/* Files both directions of a new flow to the backend that was chosen. 0 or DROP(reason). */
static __always_inline int file_published(struct skep_config *config, struct packet *packet,
                                          struct entry *entry, struct skep_endpoint_key *chosen,
                                          struct skep_service *service,
                                          struct skep_connection *connection)
{
  struct skep_backend *backend = bpf_map_lookup_elem(&sw_backend, chosen);
  if (!backend)
    return DROP(SKEP_BACKEND_GONE);
  connection->last = now_coarse();
  connection->state = first_state(packet);
  connection->address_be = chosen->address_be;
  connection->port_be = target_port(service, packet->destination_port_be);
  connection->vni = chosen->vni;
  connection->refusals = entry->refusals;
  int bad = file_way_back(config, packet, entry, connection, backend->tunnel != 0);
  if (bad)
    return bad;
  count_load(service, connection);
  struct skep_flow flow = flow_of(packet, entry->vni, SKEP_FLOW_SERVICE);
  if (file_flow(&flow, connection) < 0)
    return DROP(SKEP_CONNECTION_TABLE);
  count_bytes(entry->refusals ? SKEP_RESELECTED : SKEP_SERVICE_CHOSEN, 0);
  return 0;
}
