/* Chooses backends. A service's slots list the active backends first; the choice goes round robin
 * over those on this node and checks the backend itself, since its row may be newer. */
#pragma once

#include "connection.h"

/* Round robin over the active slots. The backend's key comes back in `chosen`. */
static __always_inline struct skep_backend *choose_backend(struct skep_service *service,
                                                           struct skep_endpoint_key *chosen)
{
  __u32 active = service->active;
  if (active == 0)
    return NULL;
  __u32 turn = __sync_fetch_and_add(&service->next, 1);
  for (int i = 0; i < SKEP_CHOICE_TRIES; i++) {
    struct skep_slot_key key = { service->table, (turn + i) % active };
    struct skep_endpoint_key *slot = bpf_map_lookup_elem(&sw_slot, &key);
    if (!slot)
      continue;
    *chosen = *slot;
    struct skep_backend *backend = bpf_map_lookup_elem(&sw_backend, chosen);
    if (backend && backend->state == SKEP_BACKEND_ACTIVE)
      return backend;
  }
  return NULL;
}

/* The backend a tracked flow has, unless this packet must be given another. */
static __always_inline struct skep_backend *keep_backend(struct skep_connection *connection,
                                                         struct packet *packet)
{
  struct skep_endpoint_key key = { connection->vni, connection->backend_be };
  struct skep_backend *backend = bpf_map_lookup_elem(&sw_backend, &key);
  if (!backend)
    return NULL;
  if (is_reusable(connection, packet))
    return NULL;
  if (is_opening(packet) && backend->state != SKEP_BACKEND_ACTIVE)
    return NULL;
  return backend;
}

static __always_inline struct skep_service *published_service(struct packet *packet)
{
  struct skep_service_key key = {
    .port_be = packet->destination_port_be,
    .protocol = packet->protocol,
  };
  return bpf_map_lookup_elem(&sw_service, &key);
}

/* Protocols a port can be published for. */
static __always_inline int is_publishable(struct packet *packet)
{
  return packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP ||
         packet->protocol == IPPROTO_SCTP;
}
