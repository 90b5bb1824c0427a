/* VXLAN taken off by hand, on the uplink, for what is plainly ours. */
#pragma once

#include "mesh.h"
#include "vxlan.h"

/* Since 6.3; older kernels refuse it. */
#ifndef BPF_F_ADJ_ROOM_DECAP_L3_IPV6
#define BPF_F_ADJ_ROOM_DECAP_L3_IPV6 (1ULL << 8)
#endif

struct tunnel_packet {
  struct tunnel_headers outer;
  struct iphdr inner; /* of an IPv6 packet: its first half */
} __attribute__((packed));

/* True for an inner packet of the family its frame says. */
static __always_inline int is_inner_sound(struct tunnel_packet *headers, int is_v6)
{
  return is_v6 ? headers->inner.version == 6
               : headers->inner.version == 4 && headers->inner.ihl >= 5;
}

/* What network `vni` knows the inner destination by, or 0. */
static __always_inline __u32 read_member(struct __sk_buff *skb, struct tunnel_packet *headers,
                                         __u32 vni, int is_v6)
{
  if (!is_v6)
    return headers->inner.daddr;
  struct skep_address destination;
  if (bpf_skb_load_bytes(skb, IP6_DESTINATION_AT + TUNNEL_BYTES, &destination,
                         sizeof(destination)) < 0)
    return 0;
  return find_member(vni, &destination, 1);
}

/* Takes the outer headers off; the packet has its inner family from then on. */
static __always_inline int take_off(struct __sk_buff *skb, struct tunnel_packet *headers, int is_v6)
{
  __u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | (is_v6 ? BPF_F_ADJ_ROOM_DECAP_L3_IPV6 : 0);
  if (bpf_skb_adjust_room(skb, -TUNNEL_BYTES, BPF_ADJ_ROOM_MAC, flags) < 0)
    return NEXT;
  /* With its ethertype: the outer one is that of the underlay. */
  if (bpf_skb_store_bytes(skb, 0, headers->outer.ethernet, ETH_BYTES, 0) < 0)
    return DROP(SKEP_REWRITE);
  return 0;
}

/* A tunnel packet on the uplink, straight into the container it is for; NEXT leaves it to the
 * tunnel device and from_overlay, which also judge and count what is wrong. `packet` becomes the
 * inner one. */
static __always_inline int from_tunnel_directly(struct __sk_buff *skb, struct skep_config *config,
                                                struct packet *packet)
{
  struct tunnel_packet headers;
  if (!config->uplink_ifindex || packet->is_v6 || packet->l4_at != ETH_BYTES + IP_BYTES ||
      packet->fragment & ~0x4000)
    return NEXT;
  if (bpf_skb_load_bytes(skb, ETH_BYTES, &headers, sizeof(headers)) < 0)
    return NEXT;
  if (headers.outer.flags_be != bpf_htonl(VXLAN_FLAGS) || headers.outer.check != 0 ||
      (headers.outer.ip.tos & ECN_MASK) == ECN_CE)
    return NEXT;
  __u16 ethertype = (__u16)(headers.outer.ethernet[12] << 8) | headers.outer.ethernet[13];
  int is_v6 = ethertype == ETH_P_IPV6;
  if ((ethertype != ETH_P_IP && !is_v6) || !is_inner_sound(&headers, is_v6))
    return NEXT;
  __u32 vni = bpf_ntohl(headers.outer.vni_be) >> 8;
  __u32 tunnel = bpf_ntohl(packet->source.word_be[3]);
  if (packet->destination.word_be[3] != config->tunnel_address_be ||
      !bpf_map_lookup_elem(&sw_node, &tunnel))
    return NEXT;
  /* Replies go out of an uplink again. Aggregated packets keep their tunnel marks when the header is
   * taken off by hand, and a network card that segments tunnels would cut them wrongly. Nor can a
   * packet with such marks be made into a refusal. */
  if (vni == SKEP_MESH_VNI && (headers.outer.ethernet[1] == SKEP_MAC_RETURN ||
                               headers.outer.ethernet[1] == SKEP_MAC_REFUSAL ||
                               config->mesh_encrypted))
    return NEXT;
  struct skep_endpoint *endpoint = NULL;
  if (vni != SKEP_MESH_VNI) {
    if (is_encrypted(skb, config, vni))
      return DROP(SKEP_CLEAR_RECEIVED);
    struct skep_endpoint_key key = { vni, read_member(skb, &headers, vni, is_v6) };
    endpoint = bpf_map_lookup_elem(&sw_endpoint, &key);
    if (!endpoint || endpoint->kind != SKEP_ENDPOINT_LOCAL)
      return NEXT;
  }
  int bad = take_off(skb, &headers, is_v6);
  if (bad)
    return bad;
  if (!endpoint)
    return from_mesh(skb, config, tunnel, packet);
  bad = read_addresses(skb, packet);
  if (bad)
    return bad;
  return deliver(skb, config, packet, vni, endpoint);
}
