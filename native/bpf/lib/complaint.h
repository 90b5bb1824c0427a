/* ICMP errors made here: nobody is there to take a packet, or it does not fit the tunnel to the
 * backend's node. The packet is made into the error, which goes back where it came from; it must be as
 * its sender wrote it. */
#pragma once

#include "checksum.h"
#include "icmp_error.h"
#include "packet.h"
#include "rewrite.h"

#define ICMP_HOST_UNREACHABLE 1
#define ICMP_PORT_UNREACHABLE 3
#define ICMP_FRAGMENTATION_NEEDED 4
#define ICMP6_UNREACHABLE 1
#define ICMP6_ADDRESS_UNREACHABLE 3
#define ICMP6_PORT_UNREACHABLE 4
#define ICMP6_PACKET_TOO_BIG 2
#define ANSWER_HOPS 64
/* Bytes of a quoted segment, and zeros behind them: more than the longest quoted, a multiple of four. */
#define SEGMENT_QUOTED_MAX 40
/* Any number does: what matters is whether the kernel replaces it. */
#define PROBE 1

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

/* True for a packet an ICMP error may be sent about (RFC 1122, 3.2.2; RFC 4443, 2.4). */
static __always_inline int may_be_complained_about(struct __sk_buff *skb, struct packet *packet)
{
  __u8 type;
  if (packet->fragment & IP_FRAGMENT_OFFSET)
    return 0;
  if (is_any(&packet->source) || is_multicast(&packet->source, packet->is_v6))
    return 0;
  if (packet->protocol != icmp_of(packet))
    return 1;
  __u8 request = packet->is_v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO_REQUEST;
  return bpf_skb_load_bytes(skb, packet->l4_at, &type, 1) == 0 && type == request;
}

/* Where in a packet of this protocol, from layer 4 on, its checksum is; 0: nowhere a device looks. */
static __always_inline __u32 own_check_at(struct packet *packet)
{
  if (!packet->has_ports)
    return 0;
  if (packet->protocol == IPPROTO_TCP)
    return TCP_CHECK_AT;
  return packet->protocol == IPPROTO_UDP ? UDP_CHECK_AT : 0;
}

/* Empties the scratch's error and writes its first line. */
static __always_inline struct complaint *begin_complaint(struct packet *packet, __u8 type, __u8 code)
{
  struct complaint *complaint = &scratch_of(packet)->complaint;
  __builtin_memset(complaint, 0, sizeof(*complaint));
  complaint->type = type;
  complaint->code = code;
  return complaint;
}

/* The quoted layer-4 checksum, where a device may still finish it: it adds up the quoted segment, and
 * puts the complement there. The error's own checksum must be right before and after, so the value has
 * to be the one the device finds: half of the complement of the rest (modulo 65535). */
static __always_inline __u16 steady_check(__u8 *segment)
{
  __u32 value = 65535 - fold(bpf_csum_diff(NULL, 0, (__be32 *)segment, SEGMENT_QUOTED_MAX, 0));
  return (__u16)((value & 1 ? value + 65535 : value) / 2);
}

/* Prepares the quote for a device that finishes the packet's checksum: it knows where layer 4 began, so
 * there the quoted one has to be. 0 if done. */
static __always_inline int steady_quote(struct packet *packet, __u32 check_at)
{
  __u8 *quote = scratch_of(packet)->complaint.quote;
  __u8 *segment = packet->is_v6 ? quote + IP6_BYTES : quote + IP_BYTES;
  if (packet->l4_at != ETH_BYTES + answer_header_bytes(packet))
    return -1;
  __u16 *check = (__u16 *)(check_at == TCP_CHECK_AT ? segment + TCP_CHECK_AT : segment + UDP_CHECK_AT);
  *check = 0;
  *check = steady_check(segment);
  return 0;
}

/* Makes the packet the scratch's error, which quotes its headers. New headers are pushed in before layer
 * 4, so that the quoted segment stays where it was. 0 if done. */
static __always_inline int send_complaint(struct __sk_buff *skb, struct packet *packet)
{
  struct complaint *complaint = &scratch_of(packet)->complaint;
  __u32 check_at = own_check_at(packet);
  __u32 quoted = packet->l4_at - ETH_BYTES + (check_at == TCP_CHECK_AT ? TCP_BYTES : 8);
  int half = check_at ? is_half_summed(skb, packet->l4_at + check_at) : 0;
  if (half < 0 || quoted < IP_BYTES + 8 || quoted > COMPLAINT_QUOTE_BYTES ||
      bpf_skb_load_bytes(skb, ETH_BYTES, complaint->quote, quoted) < 0)
    return -1;
  if (half && steady_quote(packet, check_at) < 0)
    return -1;
  __u32 bytes = ICMP_HEADER_BYTES + quoted;
  __u8 protocol = icmp_of(packet);
  __s64 pseudo = packet->is_v6 ? answer_sum(packet, protocol, bytes) : 0;
  /* The rest of the quote is zero and adds nothing. */
  complaint->check = (__u16)~fold(
    bpf_csum_diff(NULL, 0, (__be32 *)complaint, sizeof(*complaint), (__u32)pseudo));
  __u32 header_bytes = answer_header_bytes(packet);
  if (bpf_skb_change_tail(skb, ETH_BYTES + quoted, 0) < 0 ||
      bpf_skb_adjust_room(skb, header_bytes + ICMP_HEADER_BYTES, BPF_ADJ_ROOM_NET,
                          BPF_F_ADJ_ROOM_FIXED_GSO) < 0 ||
      store_answer_header(skb, packet, protocol, bytes, ANSWER_HOPS) < 0)
    return -1;
  /* The verifier of Linux 6.1 forgets the bounds of a number that was put aside: it is told again
   * where it matters, one bound at a time and unseen by the compiler, which would make both one. */
  asm volatile("" : "+r"(bytes));
  if (bytes > sizeof(*complaint))
    return -1;
  asm volatile("" : "+r"(bytes));
  if (bytes < ICMP_HEADER_BYTES)
    return -1;
  return bpf_skb_store_bytes(skb, ETH_BYTES + header_bytes, complaint, bytes,
                             BPF_F_RECOMPUTE_CSUM) < 0
           ? -1
           : 0;
}

/* Makes the packet an ICMP error to its sender: port unreachable where there are ports, else host
 * unreachable. 0 if done. */
static __always_inline int make_unreachable(struct __sk_buff *skb, struct packet *packet)
{
  if (!may_be_complained_about(skb, packet) || !may_complain())
    return -1;
  if (packet->is_v6)
    begin_complaint(packet, ICMP6_UNREACHABLE,
                    packet->has_ports ? ICMP6_PORT_UNREACHABLE : ICMP6_ADDRESS_UNREACHABLE);
  else
    begin_complaint(packet, ICMP_DESTINATION_UNREACHABLE,
                    packet->has_ports ? ICMP_PORT_UNREACHABLE : ICMP_HOST_UNREACHABLE);
  if (send_complaint(skb, packet) < 0)
    return -1;
  count(skb, SKEP_UNREACHABLE_SENT);
  return 0;
}

/* Makes the packet an ICMP error that says how long a packet may be. 0 if done. */
static __always_inline int make_too_long(struct __sk_buff *skb, struct packet *packet,
                                         __u32 bytes_max)
{
  if (!may_be_complained_about(skb, packet) || !may_complain())
    return -1;
  struct complaint *complaint =
      packet->is_v6 ? begin_complaint(packet, ICMP6_PACKET_TOO_BIG, 0)
                    : begin_complaint(packet, ICMP_DESTINATION_UNREACHABLE,
                                      ICMP_FRAGMENTATION_NEEDED);
  complaint->mtu_be = bpf_htonl(bytes_max);
  return send_complaint(skb, packet);
}
