/* VXLAN taken off by hand, on the uplink, for what is plainly ours. */
#pragma once

#include "mesh.h"
#include "vxlan.h"

/* A tunnel packet on the uplink, straight into the container it is for; NEXT leaves it to the
 * tunnel device and from_overlay, which also judge and count what is wrong. */
static __always_inline int from_tunnel_directly(struct __sk_buff *skb, struct skep_config *config,
                                                struct packet *packet)
{
  struct {
    struct tunnel_headers outer;
    struct iphdr inner;
  } __attribute__((packed)) headers;
  if (!config->uplink_ifindex || packet->l4_at != ETH_BYTES + IP_BYTES || packet->fragment & ~0x4000)
    return NEXT;
  if (bpf_skb_load_bytes(skb, ETH_BYTES, &headers, sizeof(headers)) < 0)
    return NEXT;
  if (headers.outer.flags_be != bpf_htonl(VXLAN_FLAGS) || headers.outer.check != 0 ||
      (headers.outer.ip.tos & ECN_MASK) == ECN_CE)
    return NEXT;
  if (headers.outer.ethernet[12] != (ETH_P_IP >> 8) ||
      headers.outer.ethernet[13] != (ETH_P_IP & 0xff) || headers.inner.version != 4 ||
      headers.inner.ihl < 5)
    return NEXT;
  __u32 vni = bpf_ntohl(headers.outer.vni_be) >> 8;
  __u32 tunnel = bpf_ntohl(packet->source_be);
  if (packet->destination_be != config->tunnel_address_be ||
      !bpf_map_lookup_elem(&sw_node, &tunnel))
    return NEXT;
  /* Replies go out of an uplink again. Aggregated packets keep their tunnel marks when the header is
   * taken off by hand, and a network card that segments tunnels would cut them wrongly. Nor can a
   * packet with such marks be made into a refusal. */
  if (vni == SKEP_MESH_VNI && (headers.outer.ethernet[1] == SKEP_MAC_RETURN ||
                               headers.outer.ethernet[1] == SKEP_MAC_REFUSAL))
    return NEXT;
  if (is_encrypted(config, vni))
    return DROP(SKEP_CLEAR_RECEIVED);
  struct skep_endpoint_key key = { vni, headers.inner.daddr };
  struct skep_endpoint *endpoint = NULL;
  if (vni != SKEP_MESH_VNI) {
    endpoint = bpf_map_lookup_elem(&sw_endpoint, &key);
    if (!endpoint || endpoint->kind != SKEP_ENDPOINT_LOCAL)
      return NEXT;
  }
  if (bpf_skb_adjust_room(skb, -TUNNEL_BYTES, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO) < 0)
    return NEXT;
  if (bpf_skb_store_bytes(skb, 0, headers.outer.ethernet, 12, 0) < 0)
    return DROP(SKEP_REWRITE);
  if (!endpoint)
    return from_mesh(skb, config, tunnel);
  struct packet inner = {};
  int bad = read_addresses(skb, &inner);
  if (bad)
    return bad;
  return deliver(skb, config, &inner, vni, endpoint);
}
