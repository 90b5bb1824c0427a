/* Refuses what nobody is there to take, as a host without a listener would: TCP with a reset, the
 * rest with an ICMP error. The packet is made into the answer, which goes back where it came from;
 * it must be as its sender wrote it. */
#pragma once

#include "complaint.h"

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

/* Makes the packet a reset to its sender. 0 if done. */
static __always_inline int make_reset(struct __sk_buff *skb, struct packet *packet)
{
  __u32 numbers[2];
  __u32 at = ETH_BYTES + answer_header_bytes(packet);
  if (packet->protocol != IPPROTO_TCP || !packet->has_ports || (packet->tcp_flags & TCP_RST))
    return -1;
  if (bpf_skb_load_bytes(skb, packet->l4_at + 4, numbers, sizeof(numbers)) < 0)
    return -1;
  int half = is_half_summed(skb, packet->l4_at + TCP_CHECK_AT);
  /* The device knows where layer 4 began: there it has to stay. */
  if (half < 0 || (half && packet->l4_at != at))
    return -1;
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
  __s64 sum = answer_sum(packet, IPPROTO_TCP, sizeof(segment));
  if (half)
    segment.check = (__u16)fold(sum);
  else
    segment.check = (__u16)~fold(
      bpf_csum_diff(NULL, 0, (__be32 *)&segment, sizeof(segment), (__u32)sum));
  if (bpf_skb_change_tail(skb, at + sizeof(segment), 0) < 0 ||
      store_answer_header(skb, packet, IPPROTO_TCP, sizeof(segment), ANSWER_HOPS) < 0 ||
      bpf_skb_store_bytes(skb, at, &segment, sizeof(segment), BPF_F_RECOMPUTE_CSUM) < 0)
    return -1;
  count(skb, SKEP_RESET_SENT);
  return 0;
}

/* Makes the packet a refusal to its sender. 0 if done; else nobody is to be answered. */
static __always_inline int make_refusal(struct __sk_buff *skb, struct packet *packet)
{
  if (packet->protocol == IPPROTO_TCP)
    return make_reset(skb, packet);
  return make_unreachable(skb, packet);
}

/* Reasons for which a packet's sender is to know that nobody can take it. */
#define REFUSALS (1ull << SKEP_NO_BACKEND | 1ull << SKEP_BACKEND_GONE | 1ull << SKEP_PORT_IN_USE)

/* True if this verdict is one of them; without a branch for each, which the verifier would walk apart. */
static __always_inline int is_refusal(int verdict)
{
  __u32 reason = (__u32)(DROP(0) - verdict);
  return reason < SKEP_COUNTERS && (REFUSALS >> reason & 1);
}
