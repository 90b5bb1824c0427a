/* from_host: ingress of sw-h1, the far end of the host's leg. Here arrives what the host's stack
 * sends into overlay networks (its own packets, answers from outside after masquerading, service
 * DNS) and what its sockets send to published ports. */
#include "lib/published.h"
#include "lib/virtual_address.h"

static __always_inline int handle_host(struct __sk_buff *skb)
{
  struct skep_config *config = get_config();
  if (!config)
    return DROP(SKEP_NOT_CONFIGURED);
  struct scratch *scratch = get_scratch();
  if (!scratch)
    return DROP(SKEP_NOT_CONFIGURED);
  struct packet *packet = &scratch->packet;
  int bad = read_addresses(skb, packet);
  if (bad)
    return bad;
  if (is_front(config, &packet->destination)) {
    bad = read_ports(skb, packet, 0);
    if (bad)
      return bad;
    struct skep_service *service = published_service(config, packet);
    if (!service)
      return DROP(SKEP_NO_SERVICE);
    struct entry entry = { .route = SKEP_ROUTE_HOST };
    return to_published(skb, config, packet, service, &entry);
  }
  /* sw-h0 lets these leave for the sake of published ports; they have nothing to do elsewhere. */
  if (is_loopback(&packet->source))
    return DROP(SKEP_LOOPBACK);
  struct skep_subnet_key subnet = { 128, packet->destination };
  __u32 *vni = bpf_map_lookup_elem(&sw_subnet, &subnet);
  if (!vni)
    return DROP(SKEP_UNKNOWN_DESTINATION);
  struct skep_endpoint_key key = {
    *vni, find_member(*vni, &packet->destination, packet->is_v6)
  };
  struct skep_endpoint *endpoint = bpf_map_lookup_elem(&sw_endpoint, &key);
  if (!endpoint)
    return DROP(SKEP_UNKNOWN_DESTINATION);
  if (is_behind_tunnel(endpoint))
    return to_remote(skb, config, key.vni, endpoint);
  if (endpoint->kind == SKEP_ENDPOINT_VIP)
    return to_virtual(skb, config, packet, key.vni, key.address_be, SKEP_ROUTE_HOST);
  /* Its own addresses never come from the host: this would be a loop. */
  if (endpoint->kind == SKEP_ENDPOINT_NODE)
    return DROP(SKEP_UNKNOWN_DESTINATION);
  return deliver(skb, config, packet, key.vni, endpoint);
}

SEC("tc/from_host")
int from_host(struct __sk_buff *skb)
{
  trace_begin(skb, SKEP_PROGRAM_HOST);
  return finish(skb, handle_host(skb));
}
