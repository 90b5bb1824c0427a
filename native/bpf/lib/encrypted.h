/* Encrypted networks. Their packets travel as VXLAN inside WireGuard, between tunnel addresses out
 * of 240.0.0.0/4 that mean something only to these programs and to WireGuard: the kernel never
 * routes them, so a missing device or key stops a packet and cannot send it out in clear. What comes
 * out of WireGuard is taken at its device (wireguard.bpf.c); on every other way in a packet of an
 * encrypted network is refused.
 *
 * The ingress network may be one too. Then the mesh is encrypted with it: all but the echoes of the
 * nodes, which carry nothing and tell whether a node's data path lives, keys or none. Its members are
 * known by their underlay address as ever, which outlives keys: flows go on while these change. */
#pragma once

#include "common.h"

#define WIREGUARD_TUNNEL_PREFIX 0xf

/* Whether a tunnel address (host order) leads through WireGuard. */
static __always_inline int is_wireguard_tunnel(__u32 tunnel)
{
  return tunnel >> 28 == WIREGUARD_TUNNEL_PREFIX;
}

/* 1 if `bits` is 0, else 0, without a branch: each one here would make the verifier walk through all
 * that follows once more. */
static __always_inline __u64 is_zero(__u64 bits)
{
  asm volatile("" : "+r"(bits)); /* else the compiler makes a branch of it */
  return ((bits & 0xffffffff) - 1) >> 63;
}

/* Whether nothing of this network may ever be on the wire in clear. */
static __always_inline int is_encrypted(struct __sk_buff *skb, struct skep_config *config, __u32 vni)
{
  if (vni == SKEP_MESH_VNI) {
    __u64 ethertype_be;
    READ_CONTEXT(skb, offsetof(struct __sk_buff, protocol), ethertype_be);
    return (int)(config->mesh_encrypted & ~is_zero(ethertype_be ^ bpf_htons(SKEP_ETHERTYPE_ECHO)));
  }
  if (!config->encrypted_networks)
    return 0;
  struct skep_network *network = bpf_map_lookup_elem(&sw_network, &vni);
  return network && network->flags & SKEP_NETWORK_ENCRYPTED;
}

/* True for packets between members of the ingress network, whichever VNI they travel on. */
static __always_inline int is_of_mesh(struct skep_config *config, __u32 vni)
{
  return vni == SKEP_MESH_VNI || vni == config->ingress_vni;
}

/* Where packets for a tunnel leave, and the addresses they leave under and for; or a drop. For a
 * network that is not encrypted `*peer` stays NULL. */
static __always_inline int choose_way(struct __sk_buff *skb, struct skep_config *config, __u32 vni,
                                      __u32 *tunnel, struct skep_wireguard_peer **peer)
{
  int encrypted = !!is_encrypted(skb, config, vni);
  if (is_wireguard_tunnel(*tunnel) != encrypted) {
    if (!encrypted || !is_of_mesh(config, vni))
      return DROP(SKEP_CLEAR_SEND);
    struct skep_node *node = bpf_map_lookup_elem(&sw_node, tunnel);
    if (!node)
      return DROP(SKEP_NO_KEY);
    *tunnel = node->wireguard;
    if (!is_wireguard_tunnel(*tunnel))
      return DROP(SKEP_NO_KEY);
  }
  if (!encrypted)
    return 0;
  *peer = bpf_map_lookup_elem(&sw_wireguard, tunnel);
  return *peer ? 0 : DROP(SKEP_NO_KEY);
}
