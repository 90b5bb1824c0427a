/* ICMP errors about flows through a service. They quote the packet they complain about, and the
 * quote must name the addresses its sender used, or the sender's stack ignores them: path MTU
 * discovery and "connection refused" over UDP depend on it. The ICMP checksum covers the quote; an
 * address changed together with the quoted header's own checksum leaves it as it is, so that only
 * ports count. The quoted layer-4 checksum is left alone: eight quoted bytes need not contain it. */
#pragma once

#include "connection.h"
#include "rewrite.h"

#define ICMP_DESTINATION_UNREACHABLE 3
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12
#define ICMP_HEADER_BYTES 8
#define ICMP_CHECK_AT 2

/* The quoted packet. */
struct quote {
  struct iphdr ip;
  __u16 source_port_be;
  __u16 destination_port_be;
};

/* Reads the quote of an ICMP error; 0 if the packet is one that can be read. */
static __always_inline int read_quote(struct __sk_buff *skb, struct packet *packet,
                                      struct quote *quote)
{
  __u8 type;
  if (packet->protocol != IPPROTO_ICMP || (packet->fragment & IP_FRAGMENT_OFFSET))
    return -1;
  if (bpf_skb_load_bytes(skb, packet->l4_at, &type, 1) < 0)
    return -1;
  if (type != ICMP_DESTINATION_UNREACHABLE && type != ICMP_TIME_EXCEEDED &&
      type != ICMP_PARAMETER_PROBLEM)
    return -1;
  if (bpf_skb_load_bytes(skb, packet->l4_at + ICMP_HEADER_BYTES, quote, sizeof(*quote)) < 0)
    return -1;
  if (quote->ip.version != 4 || quote->ip.ihl != 5)
    return -1;
  if (quote->ip.protocol != IPPROTO_TCP && quote->ip.protocol != IPPROTO_UDP)
    return -1;
  return 0;
}

/* Replaces one end of the quoted packet, at `address_at` and `port_at` inside the quote. */
static __always_inline int rewrite_quote(struct __sk_buff *skb, struct packet *packet,
                                         struct end was, __u32 address_be, __u16 port_be)
{
  __u32 quote_at = packet->l4_at + ICMP_HEADER_BYTES;
  __u32 check_at = quote_at + offsetof(struct iphdr, check);
  if (bpf_l3_csum_replace(skb, check_at, was.address_be, address_be, 4) < 0 ||
      bpf_skb_store_bytes(skb, quote_at + was.address_at, &address_be, 4, 0) < 0 ||
      bpf_l4_csum_replace(skb, packet->l4_at + ICMP_CHECK_AT, was.port_be, port_be, 2) < 0 ||
      bpf_skb_store_bytes(skb, quote_at + was.port_at, &port_be, 2, 0) < 0)
    return DROP(SKEP_REWRITE);
  return 0;
}

static __always_inline int rewrite_quoted_source(struct __sk_buff *skb, struct packet *packet,
                                                 struct quote *quote, __u32 address_be,
                                                 __u16 port_be)
{
  struct end was = { offsetof(struct iphdr, saddr), IP_BYTES, quote->ip.saddr,
                     quote->source_port_be };
  return rewrite_quote(skb, packet, was, address_be, port_be);
}

static __always_inline int rewrite_quoted_destination(struct __sk_buff *skb,
                                                      struct packet *packet, struct quote *quote,
                                                      __u32 address_be, __u16 port_be)
{
  struct end was = { offsetof(struct iphdr, daddr), IP_BYTES + 2, quote->ip.daddr,
                     quote->destination_port_be };
  return rewrite_quote(skb, packet, was, address_be, port_be);
}

/* The flow the quoted packet belongs to, looked at in its own direction or from the other end. */
static __always_inline struct skep_flow quoted_flow(struct quote *quote, __u32 vni, __u8 kind,
                                                    int reversed)
{
  struct skep_flow flow = {
    .source_be = reversed ? quote->ip.daddr : quote->ip.saddr,
    .destination_be = reversed ? quote->ip.saddr : quote->ip.daddr,
    .vni = vni,
    .source_port_be = reversed ? quote->destination_port_be : quote->source_port_be,
    .destination_port_be = reversed ? quote->source_port_be : quote->destination_port_be,
    .protocol = quote->ip.protocol,
    .kind = kind,
  };
  return flow;
}
