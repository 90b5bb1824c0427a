/* Refuses what nobody is there to take, as a host without a listener would: TCP with a reset, the
 * rest with an ICMP error. The packet is made into the answer, which goes back where it came from;
 * it must be as its sender wrote it. */
#pragma once

#include "icmp_error.h"
#include "packet.h"
#include "rewrite.h"

#define ICMP_HOST_UNREACHABLE 1
#define ICMP_PORT_UNREACHABLE 3
/* Of the packet complained about: its IP header and eight bytes more (RFC 792). */
#define QUOTED_BYTES_MAX (60 + 8)
/* Any number does: what matters is whether the kernel replaces it. */
#define PROBE 1

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

struct unreachable {
  __u8 type;
  __u8 code;
  __u16 check;
  __u32 unused;
  __u8 quote[QUOTED_BYTES_MAX];
};

static __always_inline __u32 fold(__s64 sum)
{
  __u64 folded = (__u32)sum;
  folded = (folded & 0xffff) + (folded >> 16);
  folded = (folded & 0xffff) + (folded >> 16);
  return (__u32)folded;
}

/* The header of an answer with `bytes` after it. */
static __always_inline struct iphdr answer_header(struct packet *packet, __u8 protocol,
                                                  __u32 bytes)
{
  struct iphdr ip = {};
  ip.version = 4;
  ip.ihl = 5;
  ip.tot_len = bpf_htons((__u16)(IP_BYTES + bytes));
  ip.ttl = 64;
  ip.protocol = protocol;
  ip.saddr = packet->destination_be;
  ip.daddr = packet->source_be;
  ip.check = (__u16)~fold(bpf_csum_diff(NULL, 0, (__be32 *)&ip, sizeof(ip), 0));
  return ip;
}

/* 1 if the packet's layer-4 checksum is half done, for a device to finish; 0 if not, or negative.
 * The kernel says so only by leaving the checksum alone when a port is replaced. */
static __always_inline int is_half_summed(struct __sk_buff *skb, __u32 check_at)
{
  __u16 before, after;
  if (bpf_skb_load_bytes(skb, check_at, &before, 2) < 0 ||
      bpf_l4_csum_replace(skb, check_at, 0, PROBE, 2) < 0 ||
      bpf_skb_load_bytes(skb, check_at, &after, 2) < 0)
    return -1;
  if (before == after)
    return 1;
  return bpf_l4_csum_replace(skb, check_at, PROBE, 0, 2) < 0 ? -1 : 0;
}

/* Makes the packet a reset to its sender. 0 if done. */
static __always_inline int make_reset(struct __sk_buff *skb, struct packet *packet)
{
  __u32 numbers[2];
  if (packet->protocol != IPPROTO_TCP || !packet->has_ports || (packet->tcp_flags & TCP_RST))
    return -1;
  if (bpf_skb_load_bytes(skb, packet->l4_at + 4, numbers, sizeof(numbers)) < 0)
    return -1;
  int half = is_half_summed(skb, packet->l4_at + TCP_CHECK_AT);
  /* The device knows where layer 4 began: there it has to stay. */
  if (half < 0 || (half && packet->l4_at != ETH_BYTES + IP_BYTES))
    return -1;
  struct iphdr ip = answer_header(packet, IPPROTO_TCP, sizeof(struct reset_segment));
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
  if (half)
    segment.check = (__u16)fold(sum);
  else
    segment.check = (__u16)~fold(
      bpf_csum_diff(NULL, 0, (__be32 *)&segment, sizeof(segment), (__u32)sum));

  __u32 length = ETH_BYTES + sizeof(ip) + sizeof(segment);
  if (bpf_skb_change_tail(skb, length, 0) < 0 ||
      bpf_skb_store_bytes(skb, ETH_BYTES, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM) < 0 ||
      bpf_skb_store_bytes(skb, ETH_BYTES + sizeof(ip), &segment, sizeof(segment),
                          BPF_F_RECOMPUTE_CSUM) < 0)
    return -1;
  count(skb, SKEP_RESET_SENT);
  return 0;
}

/* True while this node has not made too many ICMP errors in this second. Counting is not exact when
 * CPUs meet, which does no harm. */
static __always_inline int may_complain(void)
{
  __u32 zero = 0;
  struct skep_budget *budget = bpf_map_lookup_elem(&sw_budget, &zero);
  if (!budget)
    return 0;
  __u32 now = now_coarse();
  if (budget->second != now) {
    budget->second = now;
    budget->used = 0;
  }
  return __sync_fetch_and_add(&budget->used, 1) < SKEP_ERRORS_PER_SECOND;
}

/* True for a packet an ICMP error may be sent about (RFC 1122, 3.2.2). */
static __always_inline int may_be_complained_about(struct __sk_buff *skb, struct packet *packet)
{
  __u8 type;
  if (packet->fragment & IP_FRAGMENT_OFFSET)
    return 0;
  if (!packet->source_be ||
      (packet->source_be & bpf_htonl(0xe0000000)) == bpf_htonl(0xe0000000))
    return 0;
  if (packet->protocol != IPPROTO_ICMP)
    return 1;
  return bpf_skb_load_bytes(skb, packet->l4_at, &type, 1) == 0 && type == ICMP_ECHO_REQUEST;
}

/* Makes the packet an ICMP error to its sender: port unreachable where there are ports, else host
 * unreachable. A checksum that was half done stays right: the device adds up to the complement of
 * zero, and puts it into the unused field. 0 if done. */
static __always_inline int make_unreachable(struct __sk_buff *skb, struct packet *packet)
{
  struct unreachable error = {};
  __u32 quoted = packet->l4_at - ETH_BYTES + 8;
  if (!may_be_complained_about(skb, packet) || !may_complain())
    return -1;
  if (quoted < IP_BYTES + 8 || quoted > QUOTED_BYTES_MAX ||
      bpf_skb_load_bytes(skb, ETH_BYTES, error.quote, quoted) < 0)
    return -1;
  error.type = ICMP_DESTINATION_UNREACHABLE;
  error.code = packet->has_ports ? ICMP_PORT_UNREACHABLE : ICMP_HOST_UNREACHABLE;
  /* The rest of the quote is zero and adds nothing. */
  error.check = (__u16)~fold(bpf_csum_diff(NULL, 0, (__be32 *)&error, sizeof(error), 0));
  __u32 bytes = ICMP_HEADER_BYTES + quoted;
  struct iphdr ip = answer_header(packet, IPPROTO_ICMP, bytes);
  if (bpf_skb_change_tail(skb, ETH_BYTES + IP_BYTES + bytes, 0) < 0 ||
      bpf_skb_store_bytes(skb, ETH_BYTES, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM) < 0)
    return -1;
  /* The verifier of Linux 6.1 forgets the bounds of a number that was put aside: it is told again
   * where it matters, one bound at a time and unseen by the compiler, which would make both one. */
  asm volatile("" : "+r"(bytes));
  if (bytes > sizeof(error))
    return -1;
  asm volatile("" : "+r"(bytes));
  if (bytes < ICMP_HEADER_BYTES)
    return -1;
  if (bpf_skb_store_bytes(skb, ETH_BYTES + IP_BYTES, &error, bytes, BPF_F_RECOMPUTE_CSUM) < 0)
    return -1;
  count(skb, SKEP_UNREACHABLE_SENT);
  return 0;
}

/* Makes the packet a refusal to its sender. 0 if done; else nobody is to be answered. */
static __always_inline int make_refusal(struct __sk_buff *skb, struct packet *packet)
{
  if (packet->protocol == IPPROTO_TCP)
    return make_reset(skb, packet);
  return make_unreachable(skb, packet);
}

/* True if this verdict means that nobody is there to take the packet. */
static __always_inline int is_refusal(int verdict)
{
  return verdict == DROP(SKEP_NO_BACKEND) || verdict == DROP(SKEP_BACKEND_GONE);
}
