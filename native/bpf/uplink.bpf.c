/* from_uplink: ingress of every underlay interface. Takes packets for published ports; everything
 * else goes on to the stack untouched. */
#include "lib/decapsulate.h"

static __always_inline int handle_uplink(struct __sk_buff *skb)
{
  struct skep_config *config = get_config();
  struct scratch *scratch = get_scratch();
  if (!config || !scratch)
    return NEXT;
  struct packet *packet = &scratch->packet;
  if (read_addresses(skb, packet))
    return NEXT;
  if (packet->protocol == icmp_of(packet))
    return to_published_error(skb, config, packet);
  if (!is_publishable(packet) || read_ports(skb, packet, 0))
    return NEXT;
  if (packet->protocol == IPPROTO_UDP && packet->destination_port_be == config->tunnel_port_be) {
    if (is_own_tunnel(config, packet))
      return take_probe(skb, packet);
    return from_tunnel_directly(skb, config, packet);
  }
  struct skep_service *service = published_service(config, packet);
  if (!service || !bpf_map_lookup_elem(&sw_local, &packet->destination))
    return NEXT;
  struct entry entry = { .route = SKEP_ROUTE_UPLINK, .target = skb->ifindex };
  return to_published(skb, config, packet, service, &entry);
}

SEC("tc/from_uplink")
int from_uplink(struct __sk_buff *skb)
{
  trace_begin(skb, SKEP_PROGRAM_UPLINK);
  return finish(skb, handle_uplink(skb));
}
