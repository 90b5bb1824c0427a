/* What the hooks on sockets have in common: whose sockets they are for, and which services these mean
 * by the addresses of this host. */
#pragma once

#include "address.h"
#include "service.h"

/* Settings, if the socket is one of the host itself and published ports are known; else NULL. */
static __always_inline struct skep_config *config_for(struct bpf_sock_addr *context)
{
  struct skep_config *config = get_config();
  if (!config || !config->node_id_be || bpf_get_netns_cookie(context) != config->netns_cookie)
    return NULL;
  return config;
}

static __always_inline struct skep_address given4(struct bpf_sock_addr *context)
{
  return from_v4(context->user_ip4);
}

static __always_inline struct skep_address given6(struct bpf_sock_addr *context)
{
  struct skep_address address = { { context->user_ip6[0], context->user_ip6[1],
                                    context->user_ip6[2], context->user_ip6[3] } };
  return address;
}

/* True if `address` is one of this host that published ports answer on: own or loopback. */
static __always_inline int is_own(const struct skep_address *address)
{
  return is_loopback(address) || bpf_map_lookup_elem(&sw_local, address) != NULL;
}

/* Who answers on `port_be` of an own address: a service, or NULL if the port is the host's. */
static __always_inline struct skep_service *service_at(const struct skep_address *address,
                                                       __u8 protocol, __u16 port_be)
{
  struct skep_service *service = find_published(protocol, port_be);
  if (service && (service->flags & SKEP_SERVICE_ADDRESSED)) {
    struct skep_address asked = is_loopback(address) ? from_v4(bpf_htonl(0x7f000001)) : *address;
    service = addressed_service(service, 0, &asked, protocol, port_be);
  }
  return service && !yields(service) ? service : NULL;
}
