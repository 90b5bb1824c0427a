/* Packets of outside clients that are longer than the tunnel to the backend's node takes. Their senders
 * are told, as a router on the way would do: "fragmentation needed", or "packet too big" in IPv6.
 * Without it such packets vanish, or the tunnel fragments each of them, which costs most of the
 * throughput. */
#pragma once

#include "packet.h"
#include "vxlan.h"

#define IP_DONT_FRAGMENT 0x4000
#define TCP_OFFSET_AT 12
#define UDP_HEADER_BYTES 8

/* Length of the frame, of an aggregated packet that of one of its segments. */
static __always_inline __u32 frame_length(struct __sk_buff *skb, struct packet *packet)
{
  if (!skb->gso_size)
    return skb->len;
  __u32 header_bytes = UDP_HEADER_BYTES;
  __u8 offset;
  if (packet->protocol == IPPROTO_TCP &&
      bpf_skb_load_bytes(skb, packet->l4_at + TCP_OFFSET_AT, &offset, 1) == 0)
    header_bytes = (offset >> 4) * 4;
  return packet->l4_at + header_bytes + skb->gso_size;
}

/* True if the packet does not fit the tunnel and cannot be fragmented on the way: not by IPv6
 * routers, not where the sender forbids it, and not in a tunnel over IPv6. */
static __always_inline int is_too_long(struct __sk_buff *skb, struct skep_config *config,
                                       struct packet *packet, __u32 tunnel)
{
  /* Nearly all packets are short. */
  if (skb->len <= config->mesh_frame_bytes_max)
    return 0;
  if (!packet->is_v6 && !is_underlay6(tunnel) && !(packet->fragment & IP_DONT_FRAGMENT))
    return 0;
  return frame_length(skb, packet) > config->mesh_frame_bytes_max;
}
