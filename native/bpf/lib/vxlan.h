/* VXLAN, written by hand where there is one uplink: it skips the tunnel device, the host's routing
 * and its netfilter hooks. What does not fit (several uplinks, oversized frames) takes the device. */
#pragma once

#include "checksum.h"
#include "encrypted.h"

#define VXLAN_FLAGS 0x08000000
#define TUNNEL_BYTES 50
#define ECN_MASK 3
#define ECN_ECT_0 2
#define ECN_CE 3

/* What stands between the outer Ethernet header and the inner packet. */
struct tunnel_headers {
  struct iphdr ip;
  __u16 source_port_be;
  __u16 destination_port_be;
  __u16 length_be;
  __u16 check;
  __u32 flags_be;
  __u32 vni_be; /* shifted left by 8 */
  __u8 ethernet[ETH_BYTES];
} __attribute__((packed));

/* Outer congestion bits for an inner packet (RFC 6040, compatible with the tunnel device). */
static __always_inline __u8 outer_ecn(__u8 inner_tos)
{
  __u8 ecn = inner_tos & ECN_MASK;
  return ecn == ECN_CE ? ECN_ECT_0 : ecn;
}

/* Through the tunnel device. */
static __always_inline int to_tunnel_device(struct __sk_buff *skb, struct skep_config *config,
                                            __u32 vni, __u32 tunnel)
{
  struct bpf_tunnel_key key = {};
  key.tunnel_id = vni;
  key.remote_ipv4 = tunnel;
  key.tunnel_ttl = 64;
  /* Members are known by their tunnel address, whichever interface the packet leaves by. Before Linux 6.0
   * the key is cut off before it, and the kernel picks the source by route. No branch: each way of the
   * programs that ends here would be walked through twice by the verifier. */
  key.local_ipv4 = bpf_ntohl(config->tunnel_address_be);
  __u32 key_bytes = offsetof(struct bpf_tunnel_key, local_ipv4) +
                    (config->tunnel_source_bytes & SKEP_TUNNEL_SOURCE_BYTES);
  if (bpf_skb_set_tunnel_key(skb, &key, key_bytes, BPF_F_ZERO_CSUM_TX) < 0)
    return DROP(SKEP_TUNNEL_SEND);
  count(skb, SKEP_TO_TUNNEL);
  return bpf_redirect(config->vxlan_ifindex, 0);
}

/* True for a number that stands for a tunnel address of IPv6. */
static __always_inline int is_underlay6(__u32 tunnel)
{
  return tunnel < SKEP_UNDERLAY6_END;
}

/* Through the tunnel device over IPv6, where the outer checksum covers the whole packet and only the
 * device can have it made: one of zero is an exception that receivers need not make (RFC 6935). */
static __always_inline int to_tunnel_device6(struct __sk_buff *skb, struct skep_config *config,
                                             __u32 vni, __u32 tunnel)
{
  struct bpf_tunnel_key key = {};
  struct skep_address *remote = bpf_map_lookup_elem(&sw_underlay6, &tunnel);
  if (!remote)
    return DROP(SKEP_TUNNEL_SEND);
  key.tunnel_id = vni;
  key.tunnel_ttl = 64;
  __builtin_memcpy(key.remote_ipv6, remote, sizeof(key.remote_ipv6));
  __builtin_memcpy(key.local_ipv6, &config->tunnel_address6, sizeof(key.local_ipv6));
  __u32 key_bytes = offsetof(struct bpf_tunnel_key, local_ipv6) +
                    (config->tunnel_source_bytes & SKEP_TUNNEL_SOURCE_BYTES);
  if (bpf_skb_set_tunnel_key(skb, &key, key_bytes, BPF_F_TUNINFO_IPV6) < 0)
    return DROP(SKEP_TUNNEL_SEND);
  count(skb, SKEP_TO_TUNNEL);
  return bpf_redirect(config->vxlan_ifindex, 0);
}

/* The same in a program of its own. */
static __always_inline int go_on_over_ipv6(struct __sk_buff *skb, __u32 vni, __u32 tunnel)
{
  struct scratch *scratch = get_scratch();
  if (!scratch)
    return DROP(SKEP_NOT_CONFIGURED);
  scratch->vni = vni;
  scratch->tunnel = tunnel;
  return go_on(skb, SKEP_CALL_TUNNEL6);
}

/* The TOS byte or traffic class of the packet in the frame, which starts with these bytes. */
static __always_inline __u8 inner_tos(struct __sk_buff *skb, __u8 *start)
{
  return skb->protocol == bpf_htons(ETH_P_IPV6) ? (__u8)(start[0] << 4) | (start[1] >> 4)
                                                : start[1];
}

/* To a node: straight out of the uplink where that is possible, or into WireGuard. */
static __always_inline int to_tunnel(struct __sk_buff *skb, struct skep_config *config, __u32 vni,
                                     __u32 tunnel)
{
  if (is_underlay6(tunnel))
    return is_encrypted(skb, config, vni) ? DROP(SKEP_CLEAR_SEND) : go_on_over_ipv6(skb, vni, tunnel);
  __u32 length = skb->len;
  struct skep_wireguard_peer *peer = NULL;
  int bad = choose_way(skb, config, vni, &tunnel, &peer);
  if (bad)
    return bad;
  if (!peer &&
      (!config->uplink_ifindex || (!skb->gso_size && length > config->frame_bytes_max)))
    return to_tunnel_device(skb, config, vni, tunnel);
  __u32 source_be = peer ? peer->source_be : config->tunnel_address_be;
  __u32 ifindex = peer ? peer->ifindex : config->uplink_ifindex;
  struct tunnel_headers headers = {};
  __u8 start[2];
  if (bpf_skb_load_bytes(skb, 0, headers.ethernet, ETH_BYTES) < 0 ||
      bpf_skb_load_bytes(skb, ETH_BYTES, start, sizeof(start)) < 0)
    return DROP(SKEP_MALFORMED);
  __u8 tos = inner_tos(skb, start);
  __u32 hash = bpf_get_hash_recalc(skb);
  if (bpf_skb_adjust_room(skb, TUNNEL_BYTES, BPF_ADJ_ROOM_MAC,
                          BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 |
                            BPF_F_ADJ_ROOM_ENCAP_L4_UDP | BPF_F_ADJ_ROOM_ENCAP_L2_ETH |
                            BPF_F_ADJ_ROOM_ENCAP_L2(ETH_BYTES)) < 0)
    return peer ? DROP(SKEP_TUNNEL_SEND) : to_tunnel_device(skb, config, vni, tunnel);
  struct iphdr ip = {
    .version = 4,
    .ihl = 5,
    .tos = outer_ecn(tos),
    .tot_len = bpf_htons((__u16)(length + TUNNEL_BYTES - ETH_BYTES)),
    .id = (__u16)bpf_get_prandom_u32(),
    .ttl = 64,
    .protocol = IPPROTO_UDP,
    .saddr = source_be,
    .daddr = bpf_htonl(tunnel),
  };
  ip.check = (__u16)~fold(bpf_csum_diff(NULL, 0, (__be32 *)&ip, sizeof(ip), 0));
  headers.ip = ip;
  headers.source_port_be = bpf_htons((__u16)(32768 + ((hash ^ (hash >> 16)) & 0x6fff)));
  headers.destination_port_be = config->tunnel_port_be;
  headers.length_be = bpf_htons((__u16)(length + TUNNEL_BYTES - ETH_BYTES - IP_BYTES));
  headers.flags_be = bpf_htonl(VXLAN_FLAGS);
  headers.vni_be = bpf_htonl(vni << 8);
  if (bpf_skb_store_bytes(skb, ETH_BYTES, &headers, sizeof(headers), 0) < 0)
    return DROP(SKEP_TUNNEL_SEND);
  if (peer) {
    count(skb, SKEP_ENCRYPTED_SENT);
    return bpf_redirect(ifindex, 0);
  }
  count(skb, SKEP_TO_TUNNEL);
  return bpf_redirect_neigh(ifindex, NULL, 0, 0);
}
