/* The four ways out of a program: into a container, into a tunnel, to the host's own stack, and out
 * of an uplink. */
#pragma once

#include "packet.h"
#include "vxlan.h"

static __always_inline int to_container(struct __sk_buff *skb, struct skep_endpoint *endpoint)
{
  __u8 mac[6];
  __builtin_memcpy(mac, endpoint->mac, 6);
  if (bpf_skb_store_bytes(skb, 0, mac, 6, 0) < 0)
    return DROP(SKEP_REWRITE);
  /* Out of the tunnel the frame is PACKET_OTHERHOST, and ip_rcv would drop it silently. */
  bpf_skb_change_type(skb, PACKET_HOST);
  count(skb, SKEP_TO_CONTAINER);
  return bpf_redirect_peer(endpoint->ifindex, 0);
}

#define LOOPBACK_IFINDEX 1

/* Into the host's stack for a socket bound to ::1: on lo, since the kernel hears that address on no
 * other device. */
static __always_inline int to_loopback(struct __sk_buff *skb)
{
  __u8 none[6] = {};
  if (bpf_skb_store_bytes(skb, 0, none, sizeof(none), 0) < 0)
    return DROP(SKEP_REWRITE);
  count(skb, SKEP_TO_HOST);
  return bpf_redirect(LOOPBACK_IFINDEX, BPF_F_INGRESS);
}

/* Into the host's stack, as if it had come in on sw-h0. */
static __always_inline int to_host(struct __sk_buff *skb, struct skep_config *config)
{
  __u8 mac[6];
  __builtin_memcpy(mac, config->host_mac, 6);
  if (bpf_skb_store_bytes(skb, 0, mac, 6, 0) < 0)
    return DROP(SKEP_REWRITE);
  count(skb, SKEP_TO_HOST);
  return bpf_redirect(config->host_ifindex, BPF_F_INGRESS);
}

/* To the socket of this host that has `address`. */
static __always_inline int to_host_socket(struct __sk_buff *skb, struct skep_config *config,
                                          const struct skep_address *address)
{
  return is_loopback6(address) ? to_loopback(skb) : to_host(skb, config);
}

static __always_inline int to_uplink(struct __sk_buff *skb, __u32 ifindex)
{
  count(skb, SKEP_TO_UPLINK);
  return bpf_redirect_neigh(ifindex, NULL, 0, 0);
}

/* The MAC of a member on another node. Nodes of ours look at the address only, but a stock engine's bridge
 * goes by the MAC, and the gateway's, which the sender used, is nobody's there. */
static __always_inline int address_to(struct __sk_buff *skb, struct skep_endpoint *endpoint)
{
  __u8 mac[6];
  __builtin_memcpy(mac, endpoint->mac, 6);
  return bpf_skb_store_bytes(skb, 0, mac, 6, 0) < 0 ? DROP(SKEP_REWRITE) : 0;
}

/* To a member of network `vni` on another node. */
static __always_inline int to_remote(struct __sk_buff *skb, struct skep_config *config, __u32 vni,
                                     struct skep_endpoint *endpoint)
{
  int bad = address_to(skb, endpoint);
  return bad ? bad : to_tunnel(skb, config, vni, endpoint->tunnel);
}

/* A frame for the mesh: destination kind and id, and our own node id as source. */
static __always_inline int to_mesh(struct __sk_buff *skb, struct skep_config *config, __u8 kind,
                                   __u32 id_be, __u32 tunnel)
{
  __u8 macs[12] = { SKEP_MAC_LOCAL, kind, 0, 0, 0, 0, SKEP_MAC_LOCAL, SKEP_MAC_NODE };
  __u32 node_be = config->node_id_be;
  __builtin_memcpy(macs + 2, &id_be, 4);
  __builtin_memcpy(macs + 8, &node_be, 4);
  if (bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0) < 0)
    return DROP(SKEP_REWRITE);
  return to_tunnel(skb, config, SKEP_MESH_VNI, tunnel);
}
