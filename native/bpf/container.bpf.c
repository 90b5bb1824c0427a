/* from_container: ingress of the host side of every container's veth pair. Refuses what the
 * container may not send, then sends it to another container, a virtual address, or the host. */
#include "lib/arp.h"
#include "lib/neighbour.h"
#include "lib/published.h"
#include "lib/virtual_address.h"

/* A destination on no network of this container: DNS, a published port of this node, or outside. */
static __always_inline int leave_network(struct __sk_buff *skb, struct skep_config *config,
                                         struct packet *packet, struct skep_link *link)
{
  struct skep_network *network = bpf_map_lookup_elem(&sw_network, &link->vni);
  if (!network)
    return DROP(SKEP_NOT_CONFIGURED);
  if (is_in_subnet(&network->subnets, &packet->destination, packet->is_v6))
    return DROP(SKEP_UNKNOWN_DESTINATION);
  /* sw-h0 would let it through to what the host keeps to itself. */
  if (is_loopback(&packet->destination))
    return DROP(SKEP_LOOPBACK);
  if (!packet->is_v6 && packet->destination.word_be[3] == config->dns_address_be) {
    int bad = read_ports(skb, packet, link->vni);
    if (bad)
      return bad;
    if (packet->destination_port_be != bpf_htons(53))
      return DROP(SKEP_DNS_PORT);
    return to_host(skb, config);
  }
  if (network->flags & SKEP_NETWORK_INTERNAL)
    return DROP(SKEP_INTERNAL_NETWORK);
  if (is_front(config, &packet->destination) || is_link_local(&packet->destination))
    return DROP(SKEP_ISOLATION);
  if (is_publishable(packet)) {
    int bad = read_ports(skb, packet, link->vni);
    if (bad)
      return bad;
    /* Masqueraded it would look like ours, and other nodes would let it in. */
    if (packet->protocol == IPPROTO_UDP && packet->destination_port_be == config->tunnel_port_be)
      return DROP(SKEP_CONTAINER_TUNNEL);
    struct skep_service *service = published_service(config, packet);
    if (service && bpf_map_lookup_elem(&sw_local, &packet->destination)) {
      struct entry entry = { .route = SKEP_ROUTE_ENDPOINT, .vni = link->vni };
      return to_published(skb, config, packet, service, &entry);
    }
  }
  struct skep_subnet_key subnet = { 128, packet->destination };
  if (bpf_map_lookup_elem(&sw_subnet, &subnet))
    return DROP(SKEP_ISOLATION);
  return to_host(skb, config);
}

/* True if the frame has the MAC address of its interface. */
static __always_inline int has_own_mac(struct __sk_buff *skb, struct skep_link *link)
{
  void *data = (void *)(long)skb->data;
  void *end = (void *)(long)skb->data_end;
  if (data + ETH_BYTES > end)
    return 0;
  struct ethhdr *ethernet = data;
  __u16 *is = (__u16 *)ethernet->h_source;
  __u16 *must = (__u16 *)link->mac;
  return is[0] == must[0] && is[1] == must[1] && is[2] == must[2];
}

/* An IPv6 packet that does not come from the container's own address: the container's stack asks
 * for neighbours and routers, and reports its groups, under link-local addresses or none. */
static __always_inline int from_stranger6(struct packet *packet)
{
  if (is_multicast(&packet->destination, 1) &&
      (!is_given(&packet->source) || is_link_local(&packet->source)))
    return DROP(SKEP_MULTICAST);
  return DROP(SKEP_SPOOFED_ADDRESS);
}

static __always_inline int handle_container(struct __sk_buff *skb)
{
  __u32 ifindex = skb->ifindex;
  struct skep_link *link = bpf_map_lookup_elem(&sw_link, &ifindex);
  struct skep_config *config = get_config();
  if (!link || !config)
    return DROP(SKEP_NOT_CONFIGURED);
  if (!has_own_mac(skb, link))
    return DROP(SKEP_SPOOFED_MAC);
  if (skb->protocol == bpf_htons(ETH_P_ARP))
    return answer_arp(skb, config, link);
  struct scratch *scratch = get_scratch();
  if (!scratch)
    return DROP(SKEP_NOT_CONFIGURED);
  struct packet *packet = &scratch->packet;
  int bad = read_addresses(skb, packet);
  if (bad)
    return bad;
  if (is_solicitation(skb, packet))
    return go_on(skb, SKEP_CALL_ANSWER_NEIGHBOUR);
  __u32 vni = link->vni;
  struct skep_address own = member_address(&link->subnets, link->address_be, packet->is_v6);
  if (!same_address(&packet->source, &own))
    return packet->is_v6 ? from_stranger6(packet) : DROP(SKEP_SPOOFED_ADDRESS);
  if (link->replies) {
    int verdict = try_reply(skb, config, packet, vni);
    if (verdict)
      return verdict;
  }
  __u32 member_be = member_of(&link->subnets, &packet->destination, packet->is_v6);
  struct skep_endpoint_key key = { vni, member_be };
  struct skep_endpoint *endpoint = bpf_map_lookup_elem(&sw_endpoint, &key);
  if (!endpoint) {
    /* Multicast and broadcast have no place on these networks. */
    if (is_multicast(&packet->destination, packet->is_v6))
      return DROP(SKEP_MULTICAST);
    return leave_network(skb, config, packet, link);
  }
  if (endpoint->kind == SKEP_ENDPOINT_VIP)
    return to_virtual(skb, config, packet, vni, member_be, SKEP_ROUTE_ENDPOINT);
  if (link->asks && is_port_in_use(skb, packet, vni)) {
    struct entry entry = { .route = SKEP_ROUTE_ENDPOINT, .vni = vni };
    put_down(scratch, &entry, 0);
    return go_on_refusing(skb, scratch, DROP(SKEP_PORT_IN_USE));
  }
  if (is_behind_tunnel(endpoint))
    return to_remote(skb, config, vni, endpoint);
  return deliver(skb, config, packet, vni, endpoint);
}

SEC("tc/from_container")
int from_container(struct __sk_buff *skb)
{
  trace_begin(skb, SKEP_PROGRAM_CONTAINER);
  return finish(skb, handle_container(skb));
}
