/* Services as packets find them: the row of a published port, and the backend a tracked flow has.
 */
#pragma once

#include "connection.h"

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

/* True if the client may open a connection to the service. */
static __always_inline int is_allowed(struct skep_service *service,
                                      const struct skep_address *client)
{
  int v4 = is_v4(client);
  struct skep_allow_key key;
  key.prefix_length = v4 ? 64 + 32 : 64 + 128;
  key.list = service->allow;
  key.family = v4 ? SKEP_FAMILY_IPV4 : SKEP_FAMILY_IPV6;
  key.address_be[0] = v4 ? client->word_be[3] : client->word_be[0];
  key.address_be[1] = v4 ? 0 : client->word_be[1];
  key.address_be[2] = v4 ? 0 : client->word_be[2];
  key.address_be[3] = v4 ? 0 : client->word_be[3];
  return bpf_map_lookup_elem(&sw_allow, &key) != NULL;
}

/* The row of a port on all addresses; a range of ports has one, under its first port. */
static __always_inline struct skep_service *find_published(__u8 protocol, __u16 port_be)
{
  struct skep_service_key key = {
    .port_be = port_be,
    .protocol = protocol,
  };
  struct skep_service *service = bpf_map_lookup_elem(&sw_service, &key);
  if (service)
    return service;
  struct skep_range_key range = { 32, protocol, 0, port_be };
  __u16 *first_be = bpf_map_lookup_elem(&sw_range, &range);
  if (!first_be)
    return NULL;
  key.port_be = *first_be;
  return bpf_map_lookup_elem(&sw_service, &key);
}

/* The row of a port on one address if there are such, or else `all`, the one of all addresses. On
 * network 0 the address is the one asked; on the ingress network it is a backend here, and the row
 * says what a published port of another node means for it. */
static __always_inline struct skep_service *
addressed_service(struct skep_service *all, __u32 vni, const struct skep_address *address,
                  __u8 protocol, __u16 port_be)
{
  struct skep_service_key key = {
    .vni = vni,
    .address = *address,
    .port_be = port_be,
    .protocol = protocol,
  };
  struct skep_service *one = bpf_map_lookup_elem(&sw_service, &key);
  return one ? one : all;
}

static __always_inline struct skep_service *published_service(struct skep_config *config,
                                                              struct packet *packet)
{
  struct skep_service *all = find_published(packet->protocol, packet->destination_port_be);
  if (!all || !(all->flags & SKEP_SERVICE_ADDRESSED))
    return all;
  struct skep_address asked = packet->destination;
  if (is_front6(config, &asked))
    asked = from_v4(asked.word_be[3]);
  return addressed_service(all, 0, &asked, packet->protocol, packet->destination_port_be);
}

/* What a published port of another node means for a backend here. */
static __always_inline struct skep_service *landing_service(struct skep_config *config,
                                                            __u32 backend_be, __u16 port_be,
                                                            __u8 protocol)
{
  struct skep_service *all = find_published(protocol, port_be);
  if (all && !(all->flags & SKEP_SERVICE_ADDRESSED))
    return all;
  struct skep_address backend = from_v4(backend_be);
  return addressed_service(all, config->ingress_vni, &backend, protocol, port_be);
}

/* What network `vni` knows the owner of an address by; 0 if it is nobody's. */
static __always_inline __u32 find_member(__u32 vni, const struct skep_address *address, int is_v6)
{
  if (!is_v6)
    return address->word_be[3];
  struct skep_network *network = bpf_map_lookup_elem(&sw_network, &vni);
  return network ? member_of(&network->subnets, address, is_v6) : 0;
}

/* True if new flows are not this service's any more, and the host may have the port itself: its row
 * is there for the flows it has, or to say that others are. */
static __always_inline int yields(struct skep_service *service)
{
  return !service->total && (service->flags & (SKEP_SERVICE_RETIRED | SKEP_SERVICE_ADDRESSED));
}

/* The container's port behind a published one, if that of the first published is `first_be`. */
static __always_inline __u16 port_behind(struct skep_service *service, __u16 first_be,
                                         __u16 port_be)
{
  __u16 offset = bpf_ntohs(port_be) - bpf_ntohs(service->first_port_be);
  return bpf_htons((__u16)(bpf_ntohs(first_be) + offset));
}

/* The container's port behind a published one. */
static __always_inline __u16 target_port(struct skep_service *service, __u16 port_be)
{
  return port_behind(service, service->target_port_be, port_be);
}

/* Protocols a port can be published for. */
static __always_inline int is_publishable(struct packet *packet)
{
  return packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP ||
         packet->protocol == IPPROTO_SCTP;
}
