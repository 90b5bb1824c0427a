/* The four ways out of a program: into a container, into a tunnel, to the host's own stack, and out
 * of an uplink. */
#pragma once

#include "packet.h"
#include "vxlan.h"

/* True for the addresses host sockets reach published ports under. */
static __always_inline int is_frontend(struct skep_config *config, struct skep_address *address)
{
  return same_address(address, &config->frontend) ||
         (is_given(&config->frontend6) && same_address(address, &config->frontend6));
}

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

static __always_inline int to_uplink(struct __sk_buff *skb, __u32 ifindex)
{
  count(skb, SKEP_TO_UPLINK);
  return bpf_redirect_neigh(ifindex, NULL, 0, 0);
}

/* A frame for the mesh: destination kind and id, and our own node id as source. */
static __always_inline int to_mesh(struct __sk_buff *skb, struct skep_config *config, __u8 kind,
                                   __u32 id_be, struct skep_address *tunnel)
{
  __u8 macs[12] = { SKEP_MAC_LOCAL, kind, 0, 0, 0, 0, SKEP_MAC_LOCAL, SKEP_MAC_NODE };
  __u32 node_be = config->node_id_be;
  __builtin_memcpy(macs + 2, &id_be, 4);
  __builtin_memcpy(macs + 8, &node_be, 4);
  if (bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0) < 0)
    return DROP(SKEP_REWRITE);
  return to_tunnel(skb, config, SKEP_MESH_VNI, tunnel);
}
