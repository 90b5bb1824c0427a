/* Refuses a TCP connection that has no backend with a reset, instead of leaving the client to its
 * timeout. The packet is cut to its headers, turned round, and goes back where it came from. */
#pragma once

#include "packet.h"

struct reset_segment {
  __u16 source_port_be;
  __u16 destination_port_be;
  __u32 sequence_be;
  __u32 acknowledgement_be;
  __u8 offset;
  __u8 flags;
  __u16 window;
  __u16 check;
  __u16 urgent;
};

struct pseudo_header {
  __u32 source_be;
  __u32 destination_be;
  __u8 zero;
  __u8 protocol;
  __u16 length_be;
};

static __always_inline __u16 fold(__s64 sum)
{
  __u64 folded = (__u32)sum;
  folded = (folded & 0xffff) + (folded >> 16);
  folded = (folded & 0xffff) + (folded >> 16);
  return (__u16)~folded;
}

/* Makes the packet a reset to its sender. `packet` must be as the sender meant it. 0 if done. */
static __always_inline int make_reset(struct __sk_buff *skb, struct packet *packet)
{
  __u32 numbers[2];
  if (packet->protocol != IPPROTO_TCP || !packet->has_ports || (packet->tcp_flags & TCP_RST))
    return -1;
  if (bpf_skb_load_bytes(skb, packet->l4_at + 4, numbers, sizeof(numbers)) < 0)
    return -1;
  struct iphdr ip = {};
  ip.version = 4;
  ip.ihl = 5;
  ip.tot_len = bpf_htons(IP_BYTES + sizeof(struct reset_segment));
  ip.ttl = 64;
  ip.protocol = IPPROTO_TCP;
  ip.saddr = packet->destination_be;
  ip.daddr = packet->source_be;
  ip.check = fold(bpf_csum_diff(NULL, 0, (__be32 *)&ip, sizeof(ip), 0));

  struct reset_segment segment = {};
  segment.source_port_be = packet->destination_port_be;
  segment.destination_port_be = packet->source_port_be;
  segment.offset = (sizeof(segment) / 4) << 4;
  if (packet->tcp_flags & TCP_ACK) {
    segment.sequence_be = numbers[1];
    segment.flags = TCP_RST;
  } else {
    segment.acknowledgement_be = bpf_htonl(bpf_ntohl(numbers[0]) + 1);
    segment.flags = TCP_RST | TCP_ACK;
  }
  struct pseudo_header pseudo = {
    .source_be = ip.saddr,
    .destination_be = ip.daddr,
    .protocol = IPPROTO_TCP,
    .length_be = bpf_htons(sizeof(segment)),
  };
  __s64 sum = bpf_csum_diff(NULL, 0, (__be32 *)&pseudo, sizeof(pseudo), 0);
  segment.check = fold(bpf_csum_diff(NULL, 0, (__be32 *)&segment, sizeof(segment), (__u32)sum));

  __u32 length = ETH_BYTES + sizeof(ip) + sizeof(segment);
  if (bpf_skb_change_tail(skb, length, 0) < 0 ||
      bpf_skb_store_bytes(skb, ETH_BYTES, &ip, sizeof(ip), 0) < 0 ||
      bpf_skb_store_bytes(skb, ETH_BYTES + sizeof(ip), &segment, sizeof(segment), 0) < 0)
    return -1;
  count(skb, SKEP_RESET_SENT);
  return 0;
}

/* True if this verdict means that nobody is there to take the connection. */
static __always_inline int is_refusal(int verdict)
{
  return verdict == DROP(SKEP_NO_BACKEND) || verdict == DROP(SKEP_BACKEND_GONE);
}
