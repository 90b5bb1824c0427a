/* from_uplink: ingress of every underlay interface. Takes packets for published ports; everything
 * else goes on to the stack untouched. */
#include "lib/decapsulate.h"

static __always_inline int handle_uplink(struct __sk_buff *skb)
{
  if (skb->protocol != bpf_htons(ETH_P_IP))
    return NEXT;
  struct packet packet = {};
  struct skep_config *config = get_config();
  if (!config || read_addresses(skb, &packet))
    return NEXT;
  if (packet.protocol == IPPROTO_ICMP)
    return to_published_error(skb, config, &packet);
  if (!is_publishable(&packet) || read_ports(skb, &packet, 0))
    return NEXT;
  if (packet.protocol == IPPROTO_UDP && packet.destination_port_be == config->tunnel_port_be) {
    if (packet.source_be == config->tunnel_address_be)
      return take_probe(skb, &packet);
    return from_tunnel_directly(skb, config, &packet);
  }
  struct skep_service *service = published_service(&packet);
  if (!service || !bpf_map_lookup_elem(&sw_local, &packet.destination_be))
    return NEXT;
  struct entry entry = { .route = SKEP_ROUTE_UPLINK, .target = skb->ifindex };
  return to_published(skb, config, &packet, service, &entry);
}

SEC("tc/from_uplink")
int from_uplink(struct __sk_buff *skb)
{
  trace_begin(skb, SKEP_PROGRAM_UPLINK);
  return finish(skb, handle_uplink(skb));
}
