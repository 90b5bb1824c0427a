/* Replaces addresses and ports and keeps every checksum right, also the half-done ones of packets
 * made on this host (the helpers know them, hand-written arithmetic would not). */
#pragma once

#include "packet.h"

#define TCP_CHECK_AT 16
#define UDP_CHECK_AT 6

/* One end of a packet: where it stands and what it was. */
struct end {
  __u32 address_at;
  __u32 port_at;
  __u32 address_be;
  __u16 port_be;
};

static __always_inline int rewrite_end(struct __sk_buff *skb, struct packet *packet,
                                       struct end was, __u32 address_be, __u16 port_be)
{
  if (packet->has_ports && packet->protocol != IPPROTO_SCTP) {
    __u64 udp = packet->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
    __u32 check_at = packet->l4_at + (udp ? UDP_CHECK_AT : TCP_CHECK_AT);
    if (bpf_l4_csum_replace(skb, check_at, was.address_be, address_be,
                            BPF_F_PSEUDO_HDR | udp | 4) < 0)
      return DROP(SKEP_REWRITE);
    if (was.port_be != port_be) {
      if (bpf_l4_csum_replace(skb, check_at, was.port_be, port_be, udp | 2) < 0 ||
          bpf_skb_store_bytes(skb, was.port_at, &port_be, 2, 0) < 0)
        return DROP(SKEP_REWRITE);
    }
  }
  if (was.address_be != address_be) {
    if (bpf_l3_csum_replace(skb, IP_CHECK_AT, was.address_be, address_be, 4) < 0 ||
        bpf_skb_store_bytes(skb, was.address_at, &address_be, 4, 0) < 0)
      return DROP(SKEP_REWRITE);
  }
  return 0;
}

static __always_inline int rewrite_source(struct __sk_buff *skb, struct packet *packet,
                                          __u32 address_be, __u16 port_be)
{
  struct end was = { IP_SOURCE_AT, packet->l4_at, packet->source_be, packet->source_port_be };
  int bad = rewrite_end(skb, packet, was, address_be, port_be);
  packet->source_be = address_be;
  packet->source_port_be = port_be;
  return bad;
}

static __always_inline int rewrite_destination(struct __sk_buff *skb, struct packet *packet,
                                               __u32 address_be, __u16 port_be)
{
  struct end was = { IP_DESTINATION_AT, packet->l4_at + 2, packet->destination_be,
                     packet->destination_port_be };
  int bad = rewrite_end(skb, packet, was, address_be, port_be);
  packet->destination_be = address_be;
  packet->destination_port_be = port_be;
  return bad;
}

/* One hop further. Only where we route; inside one subnet the TTL stays, as on a switch. */
static __always_inline int decrement_ttl(struct __sk_buff *skb, struct packet *packet)
{
  if (packet->ttl <= 1)
    return DROP(SKEP_TTL);
  __u16 was = bpf_htons((__u16)((packet->ttl << 8) | packet->protocol));
  packet->ttl--;
  __u16 now = bpf_htons((__u16)((packet->ttl << 8) | packet->protocol));
  if (bpf_l3_csum_replace(skb, IP_CHECK_AT, was, now, 2) < 0 ||
      bpf_skb_store_bytes(skb, IP_TTL_AT, &packet->ttl, 1, 0) < 0)
    return DROP(SKEP_REWRITE);
  return 0;
}
