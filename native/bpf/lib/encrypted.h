/* Encrypted networks. Their packets travel as VXLAN inside WireGuard, between tunnel addresses out
 * of 240.0.0.0/4 that mean something only to these programs and to WireGuard: the kernel never
 * routes them, so a missing device or key stops a packet and cannot send it out in clear. What comes
 * out of WireGuard is taken at its device (wireguard.bpf.c); on every other way in a packet of an
 * encrypted network is refused. */
#pragma once

#include "common.h"

#define WIREGUARD_TUNNEL_PREFIX 0xf

/* Whether a tunnel address (host order) leads through WireGuard. */
static __always_inline int is_wireguard_tunnel(__u32 tunnel)
{
  return tunnel >> 28 == WIREGUARD_TUNNEL_PREFIX;
}

/* Whether nothing of this network may ever be on the wire in clear. */
static __always_inline int is_encrypted(struct skep_config *config, __u32 vni)
{
  if (!config->encrypted_networks || vni == SKEP_MESH_VNI)
    return 0;
  struct skep_network *network = bpf_map_lookup_elem(&sw_network, &vni);
  return network && network->flags & SKEP_NETWORK_ENCRYPTED;
}

/* Where packets for a tunnel leave, and the address they leave under; or a drop. For a network that
 * is not encrypted `*peer` stays NULL. */
static __always_inline int choose_way(struct skep_config *config, __u32 vni, __u32 tunnel,
                                      struct skep_wireguard_peer **peer)
{
  if (is_wireguard_tunnel(tunnel) != !!is_encrypted(config, vni))
    return DROP(SKEP_CLEAR_SEND);
  if (!is_wireguard_tunnel(tunnel))
    return 0;
  *peer = bpf_map_lookup_elem(&sw_wireguard, &tunnel);
  return *peer ? 0 : DROP(SKEP_NO_KEY);
}
