/* Refuses a TCP connection that has no backend with a reset, instead of leaving the client to its
 * timeout. The packet is cut to its headers, turned round, and goes back where it came from. */
#pragma once

#include "checksum.h"
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

/* Fills in the segment that answers the packet; ports and addresses are turned round. */
static __always_inline void fill_reset(struct packet *packet, __u32 sequence_be,
                                       __u32 acknowledgement_be, struct reset_segment *segment)
{
  segment->source_port_be = packet->destination_port_be;
  segment->destination_port_be = packet->source_port_be;
  segment->offset = (sizeof(*segment) / 4) << 4;
  if (packet->tcp_flags & TCP_ACK) {
    segment->sequence_be = acknowledgement_be;
    segment->flags = TCP_RST;
  } else {
    segment->acknowledgement_be = bpf_htonl(bpf_ntohl(sequence_be) + 1);
    segment->flags = TCP_RST | TCP_ACK;
  }
}

static __always_inline int write_reset4(struct __sk_buff *skb, struct packet *packet,
                                        struct reset_segment *segment)
{
  struct iphdr ip = {};
  ip.version = 4;
  ip.ihl = 5;
  ip.tot_len = bpf_htons(IP_BYTES + sizeof(*segment));
  ip.ttl = 64;
  ip.protocol = IPPROTO_TCP;
  ip.saddr = packet->destination.word_be[3];
  ip.daddr = packet->source.word_be[3];
  ip.check = fold(bpf_csum_diff(NULL, 0, (__be32 *)&ip, sizeof(ip), 0));
  segment->check = transport_check4(ip.saddr, ip.daddr, IPPROTO_TCP, segment, sizeof(*segment));
  if (bpf_skb_change_tail(skb, ETH_BYTES + sizeof(ip) + sizeof(*segment), 0) < 0 ||
      bpf_skb_store_bytes(skb, ETH_BYTES, &ip, sizeof(ip), 0) < 0)
    return -1;
  return bpf_skb_store_bytes(skb, ETH_BYTES + sizeof(ip), segment, sizeof(*segment), 0);
}

static __always_inline int write_reset6(struct __sk_buff *skb, struct packet *packet,
                                        struct reset_segment *segment)
{
  struct ipv6hdr ip = {};
  ip.version = 6;
  ip.payload_len = bpf_htons(sizeof(*segment));
  ip.nexthdr = IPPROTO_TCP;
  ip.hop_limit = 64;
  __builtin_memcpy(&ip.saddr, &packet->destination, sizeof(ip.saddr));
  __builtin_memcpy(&ip.daddr, &packet->source, sizeof(ip.daddr));
  segment->check = transport_check6(&packet->destination, &packet->source, IPPROTO_TCP, segment,
                                    sizeof(*segment));
  if (bpf_skb_change_tail(skb, ETH_BYTES + sizeof(ip) + sizeof(*segment), 0) < 0 ||
      bpf_skb_store_bytes(skb, ETH_BYTES, &ip, sizeof(ip), 0) < 0)
    return -1;
  return bpf_skb_store_bytes(skb, ETH_BYTES + sizeof(ip), segment, sizeof(*segment), 0);
}

/* Makes the packet a reset to its sender. `packet` must be as the sender meant it. 0 if done. */
static __always_inline int make_reset(struct __sk_buff *skb, struct packet *packet)
{
  __u32 numbers[2];
  if (packet->protocol != IPPROTO_TCP || !packet->has_ports || (packet->tcp_flags & TCP_RST))
    return -1;
  if (bpf_skb_load_bytes(skb, packet->l4_at + 4, numbers, sizeof(numbers)) < 0)
    return -1;
  struct reset_segment segment = {};
  fill_reset(packet, numbers[0], numbers[1], &segment);
  int bad = packet->is_v6 ? write_reset6(skb, packet, &segment)
                          : write_reset4(skb, packet, &segment);
  if (bad < 0)
    return -1;
  count(skb, SKEP_RESET_SENT);
  return 0;
}

/* True if this verdict means that nobody is there to take the connection. */
static __always_inline int is_refusal(int verdict)
{
  return verdict == DROP(SKEP_NO_BACKEND) || verdict == DROP(SKEP_BACKEND_GONE);
}
