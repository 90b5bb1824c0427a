/* from_host: ingress of sw-h1, the far end of the host's leg. Here arrives what the host's stack
 * sends into overlay networks (its own packets, answers from outside after masquerading, service
 * DNS) and what its sockets send to published ports. */
#include "lib/address.h"
#include "lib/published.h"
#include "lib/virtual_address.h"

static __always_inline int handle_host(struct __sk_buff *skb)
{
  if (skb->protocol != bpf_htons(ETH_P_IP))
    return DROP(SKEP_NOT_IPV4);
  struct skep_config *config = get_config();
  if (!config)
    return DROP(SKEP_NOT_CONFIGURED);
  struct packet packet = {};
  int bad = read_addresses(skb, &packet);
  if (bad)
    return bad;
  if (is_front(config, packet.destination_be)) {
    bad = read_ports(skb, &packet, 0);
    if (bad)
      return bad;
    struct skep_service *service = published_service(&packet);
    if (!service)
      return DROP(SKEP_NO_SERVICE);
    struct entry entry = { .route = SKEP_ROUTE_HOST };
    return to_published(skb, config, &packet, service, &entry);
  }
  /* sw-h0 lets these leave for the sake of published ports; they have nothing to do elsewhere. */
  if (is_loopback4(packet.source_be))
    return DROP(SKEP_LOOPBACK);
  struct skep_subnet_key subnet = { 32, packet.destination_be };
  __u32 *vni = bpf_map_lookup_elem(&sw_subnet, &subnet);
  if (!vni)
    return DROP(SKEP_UNKNOWN_DESTINATION);
  struct skep_endpoint_key key = { *vni, packet.destination_be };
  struct skep_endpoint *endpoint = bpf_map_lookup_elem(&sw_endpoint, &key);
  if (!endpoint)
    return DROP(SKEP_UNKNOWN_DESTINATION);
  if (is_behind_tunnel(endpoint))
    return to_tunnel(skb, config, *vni, endpoint->tunnel);
  if (endpoint->kind == SKEP_ENDPOINT_VIP)
    return to_virtual(skb, config, &packet, *vni, SKEP_ROUTE_HOST);
  /* Its own addresses never come from the host: this would be a loop. */
  if (endpoint->kind == SKEP_ENDPOINT_NODE)
    return DROP(SKEP_UNKNOWN_DESTINATION);
  return deliver(skb, config, &packet, *vni, endpoint);
}

SEC("tc/from_host")
int from_host(struct __sk_buff *skb)
{
  trace_begin(skb, SKEP_PROGRAM_HOST);
  return finish(skb, handle_host(skb));
}
