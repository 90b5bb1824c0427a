/* from_uplink: ingress of every underlay interface. Takes packets for published ports; everything
 * else goes on to the stack untouched. */
#include "lib/decapsulate.h"

static __always_inline int handle_uplink(struct __sk_buff *skb)
{
  struct skep_scratch *scratch = get_scratch();
  if (!scratch)
    return DROP(SKEP_NOT_CONFIGURED);
  struct packet *packet = &scratch->packet;
  struct skep_config *config = get_config();
  if (!config || read_addresses(skb, packet))
    return NEXT;
  if (packet->protocol == icmp_of(packet))
    return to_published_error(skb, config, packet);
  if (!is_publishable(packet) || read_ports(skb, packet, 0))
    return NEXT;
  if (packet->protocol == IPPROTO_UDP && packet->destination_port_be == config->tunnel_port_be)
    return from_tunnel_directly(skb, config, packet);
  struct skep_service *service = published_service(packet);
  if (!service || !bpf_map_lookup_elem(&sw_local, &packet->destination))
    return NEXT;
  struct entry entry = { .route = SKEP_ROUTE_UPLINK, .target = skb->ifindex };
  int verdict = to_published(skb, config, packet, service, &entry);
  if (verdict == DROP(SKEP_NO_BACKEND) || verdict == DROP(SKEP_BACKEND_GONE)) {
    /* Nobody listens on the host, so its stack refuses: better than silence. */
    count(skb, SKEP_REFUSED);
    return NEXT;
  }
  return verdict;
}

SEC("tc/from_uplink")
int from_uplink(struct __sk_buff *skb)
{
  return finish(skb, handle_uplink(skb));
}
