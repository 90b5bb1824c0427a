/* Replaces addresses and ports and keeps every checksum right, also the half-done ones of packets
 * made on this host (the helpers know them, hand-written arithmetic would not). */
#pragma once

#include "packet.h"

#define TCP_CHECK_AT 16
#define UDP_CHECK_AT 6
#define ICMP_CHECK_AT 2

/* Since 6.16: the address is in no header checksum of its own (IPv6), so that the sum over a whole
 * received packet stays as it is. Older kernels refuse the flag. */
#ifndef BPF_F_IPV6
#define BPF_F_IPV6 (1ULL << 7)
#endif

/* One end of a packet: where it stands and what it was. */
struct end {
  __u32 address_at;
  __u32 port_at;
  struct skep_address *address;
  __u16 *port_be;
};

/* Where the checksum is that covers the addresses; 0 if there is none in this packet. */
static __always_inline __u32 transport_check_at(struct packet *packet)
{
  if (packet->fragment & IP_FRAGMENT_OFFSET)
    return 0;
  if (packet->protocol == IPPROTO_TCP)
    return packet->l4_at + TCP_CHECK_AT;
  if (packet->protocol == IPPROTO_UDP)
    return packet->l4_at + UDP_CHECK_AT;
  if (packet->protocol == IPPROTO_ICMPV6 && packet->is_v6)
    return packet->l4_at + ICMP_CHECK_AT;
  return 0;
}

/* Carries the exchange of an IPv6 address over into the checksum at `check_at`. `pseudo` is
 * BPF_F_PSEUDO_HDR for an address of the packet's own header, 0 for one inside a quote. */
static __always_inline int replace_sum6(struct __sk_buff *skb, __u32 check_at,
                                        struct skep_address *was, struct skep_address *now,
                                        __u64 pseudo, __u64 flags)
{
  __s64 difference = bpf_csum_diff(was->word_be, sizeof(*was), now->word_be, sizeof(*now), 0);
  if (difference < 0)
    return -1;
  if (!pseudo)
    return bpf_l4_csum_replace(skb, check_at, 0, difference, flags);
  if (bpf_l4_csum_replace(skb, check_at, 0, difference, pseudo | BPF_F_IPV6 | flags) == 0)
    return 0;
  return bpf_l4_csum_replace(skb, check_at, 0, difference, pseudo | flags);
}

static __always_inline int rewrite_address6(struct __sk_buff *skb, struct end *end,
                                            struct skep_address *address, __u32 check_at, __u64 udp)
{
  if (check_at && replace_sum6(skb, check_at, end->address, address, BPF_F_PSEUDO_HDR, udp) < 0)
    return -1;
  return bpf_skb_store_bytes(skb, end->address_at, address, sizeof(*address), 0);
}

static __always_inline int rewrite_address4(struct __sk_buff *skb, struct end *end,
                                            struct skep_address *address, __u32 check_at, __u64 udp)
{
  __u32 was_be = end->address->word_be[3];
  __u32 now_be = address->word_be[3];
  if (check_at &&
      bpf_l4_csum_replace(skb, check_at, was_be, now_be, BPF_F_PSEUDO_HDR | udp | 4) < 0)
    return -1;
  if (bpf_l3_csum_replace(skb, IP_CHECK_AT, was_be, now_be, 4) < 0)
    return -1;
  return bpf_skb_store_bytes(skb, end->address_at, &now_be, 4, 0);
}

static __always_inline int rewrite_end(struct __sk_buff *skb, struct packet *packet,
                                       struct end *end, struct skep_address *address,
                                       __u16 port_be)
{
  __u32 check_at = transport_check_at(packet);
  __u64 udp = packet->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
  __u16 was_be = *end->port_be;
  if (!same_address(end->address, address)) {
    int bad = packet->is_v6 ? rewrite_address6(skb, end, address, check_at, udp)
                            : rewrite_address4(skb, end, address, check_at, udp);
    if (bad < 0)
      return DROP(SKEP_REWRITE);
    *end->address = *address;
  }
  if (packet->has_ports && packet->protocol != IPPROTO_SCTP && was_be != port_be) {
    if (bpf_l4_csum_replace(skb, check_at, was_be, port_be, udp | 2) < 0 ||
        bpf_skb_store_bytes(skb, end->port_at, &port_be, 2, 0) < 0)
      return DROP(SKEP_REWRITE);
  }
  *end->port_be = port_be;
  return 0;
}

static __always_inline int rewrite_source(struct __sk_buff *skb, struct packet *packet,
                                          struct skep_address *address, __u16 port_be)
{
  struct end end = { packet->is_v6 ? IP6_SOURCE_AT : IP_SOURCE_AT, packet->l4_at, &packet->source,
                     &packet->source_port_be };
  return rewrite_end(skb, packet, &end, address, port_be);
}

static __always_inline int rewrite_destination(struct __sk_buff *skb, struct packet *packet,
                                               struct skep_address *address, __u16 port_be)
{
  struct end end = { packet->is_v6 ? IP6_DESTINATION_AT : IP_DESTINATION_AT, packet->l4_at + 2,
                     &packet->destination, &packet->destination_port_be };
  return rewrite_end(skb, packet, &end, address, port_be);
}

static __always_inline int store_ttl4(struct __sk_buff *skb, struct packet *packet)
{
  __u16 was = bpf_htons((__u16)(((packet->ttl + 1) << 8) | packet->protocol));
  __u16 now = bpf_htons((__u16)((packet->ttl << 8) | packet->protocol));
  if (bpf_l3_csum_replace(skb, IP_CHECK_AT, was, now, 2) < 0)
    return -1;
  return bpf_skb_store_bytes(skb, IP_TTL_AT, &packet->ttl, 1, 0);
}

/* One hop further. Only where we route; inside one subnet the TTL stays, as on a switch. */
static __always_inline int decrement_ttl(struct __sk_buff *skb, struct packet *packet)
{
  if (packet->ttl <= 1)
    return DROP(SKEP_TTL);
  packet->ttl--;
  int bad = packet->is_v6
              ? bpf_skb_store_bytes(skb, IP6_HOP_LIMIT_AT, &packet->ttl, 1, BPF_F_RECOMPUTE_CSUM)
              : store_ttl4(skb, packet);
  return bad < 0 ? DROP(SKEP_REWRITE) : 0;
}
