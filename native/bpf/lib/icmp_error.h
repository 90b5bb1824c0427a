/* ICMP errors about flows through a service. They quote the packet they complain about, and the
 * quote must name the addresses its sender used, or the sender's stack ignores them: path MTU
 * discovery and "connection refused" over UDP depend on it. The ICMP checksum covers the quote. In
 * IPv4 an address changed together with the quoted header's own checksum leaves it as it is, so
 * that only ports count; IPv6 headers have no checksum, so addresses count too. The quoted layer-4
 * checksum is left alone: eight quoted bytes need not contain it. */
#pragma once

#include "connection.h"
#include "rewrite.h"

#define ICMP_DESTINATION_UNREACHABLE 3
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12
#define ICMP6_ERROR_FIRST 1
#define ICMP6_ERROR_LAST 4
#define ICMP_HEADER_BYTES 8

static __always_inline int is_error_type(struct packet *packet, __u8 type)
{
  if (packet->is_v6)
    return type >= ICMP6_ERROR_FIRST && type <= ICMP6_ERROR_LAST;
  return type == ICMP_DESTINATION_UNREACHABLE || type == ICMP_TIME_EXCEEDED ||
         type == ICMP_PARAMETER_PROBLEM;
}

static __always_inline int read_quote4(struct __sk_buff *skb, __u32 at, struct quote *quote)
{
  struct iphdr ip;
  if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) < 0 || ip.version != 4 || ip.ihl != 5)
    return -1;
  quote->source = from_v4(ip.saddr);
  quote->destination = from_v4(ip.daddr);
  quote->protocol = ip.protocol;
  return bpf_skb_load_bytes(skb, at + IP_BYTES, &quote->source_port_be, 4);
}

static __always_inline int read_quote6(struct __sk_buff *skb, __u32 at, struct quote *quote)
{
  struct ipv6hdr ip;
  if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) < 0 || ip.version != 6)
    return -1;
  __builtin_memcpy(&quote->source, &ip.saddr, sizeof(quote->source));
  __builtin_memcpy(&quote->destination, &ip.daddr, sizeof(quote->destination));
  if (is_v4(&quote->source) || is_v4(&quote->destination))
    return -1;
  quote->protocol = ip.nexthdr;
  return bpf_skb_load_bytes(skb, at + IP6_BYTES, &quote->source_port_be, 4);
}

/* Reads the quote of an ICMP error; 0 if the packet is one that can be read. */
static __always_inline int read_quote(struct __sk_buff *skb, struct packet *packet,
                                      struct quote *quote)
{
  __u8 type;
  if (packet->protocol != icmp_of(packet) || (packet->fragment & IP_FRAGMENT_OFFSET))
    return -1;
  if (bpf_skb_load_bytes(skb, packet->l4_at, &type, 1) < 0 || !is_error_type(packet, type))
    return -1;
  __u32 at = packet->l4_at + ICMP_HEADER_BYTES;
  int bad = packet->is_v6 ? read_quote6(skb, at, quote) : read_quote4(skb, at, quote);
  if (bad < 0)
    return -1;
  return quote->protocol == IPPROTO_TCP || quote->protocol == IPPROTO_UDP ? 0 : -1;
}

static __always_inline int rewrite_quoted_address4(struct __sk_buff *skb, __u32 quote_at,
                                                   __u32 address_at, struct skep_address *was,
                                                   struct skep_address *now)
{
  __u32 now_be = now->word_be[3];
  if (bpf_l3_csum_replace(skb, quote_at + offsetof(struct iphdr, check), was->word_be[3], now_be,
                          4) < 0)
    return -1;
  return bpf_skb_store_bytes(skb, quote_at + address_at, &now_be, 4, 0);
}

static __always_inline int rewrite_quoted_address6(struct __sk_buff *skb, struct packet *packet,
                                                   __u32 address_at, struct skep_address *was,
                                                   struct skep_address *now)
{
  if (replace_sum6(skb, packet->l4_at + ICMP_CHECK_AT, was, now, 0, 0) < 0)
    return -1;
  return bpf_skb_store_bytes(skb, address_at, now, sizeof(*now), 0);
}

/* Replaces one end of the quoted packet. `is_source` says which. */
static __always_inline int rewrite_quote(struct __sk_buff *skb, struct packet *packet,
                                         struct quote *quote, int is_source,
                                         struct skep_address *address, __u16 port_be)
{
  __u32 quote_at = packet->l4_at + ICMP_HEADER_BYTES;
  __u32 port_at = quote_at + (packet->is_v6 ? IP6_BYTES : IP_BYTES) + (is_source ? 0 : 2);
  struct skep_address *was = is_source ? &quote->source : &quote->destination;
  __u16 was_be = is_source ? quote->source_port_be : quote->destination_port_be;
  int bad;
  if (packet->is_v6) {
    __u32 at = is_source ? offsetof(struct ipv6hdr, saddr) : offsetof(struct ipv6hdr, daddr);
    bad = rewrite_quoted_address6(skb, packet, quote_at + at, was, address);
  } else {
    __u32 at = is_source ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr);
    bad = rewrite_quoted_address4(skb, quote_at, at, was, address);
  }
  if (bad < 0 ||
      bpf_l4_csum_replace(skb, packet->l4_at + ICMP_CHECK_AT, was_be, port_be, 2) < 0 ||
      bpf_skb_store_bytes(skb, port_at, &port_be, 2, 0) < 0)
    return DROP(SKEP_REWRITE);
  return 0;
}

/* The flow the quoted packet belongs to, looked at in its own direction or from the other end. */
static __always_inline void quoted_flow(struct quote *quote, __u32 vni, __u8 kind, int reversed,
                                        struct skep_flow *flow)
{
  flow->source = reversed ? quote->destination : quote->source;
  flow->destination = reversed ? quote->source : quote->destination;
  flow->vni = vni;
  flow->source_port_be = reversed ? quote->destination_port_be : quote->source_port_be;
  flow->destination_port_be = reversed ? quote->source_port_be : quote->destination_port_be;
  flow->protocol = quote->protocol;
  flow->kind = kind;
  flow->pad = 0;
}
