/* Checksums of packets made here from nothing. */
#pragma once

#include "common.h"

/* A sum of the kernel's as one of 16 bits, not yet complemented. */
static __always_inline __u32 fold(__s64 sum)
{
  __u64 folded = (__u32)sum;
  folded = (folded & 0xffff) + (folded >> 16);
  folded = (folded & 0xffff) + (folded >> 16);
  return (__u32)folded;
}

/* What stands for the IP header in the checksum of TCP and ICMPv6. An IPv4 address in its mapped form
 * would add the mark, so the addresses are given as IPv4 has them. */
struct pseudo_header4 {
  __u32 source_be;
  __u32 destination_be;
  __u8 zero;
  __u8 protocol;
  __u16 length_be;
};

struct pseudo_header6 {
  struct skep_address source;
  struct skep_address destination;
  __u32 length_be;
  __u8 zero[3];
  __u8 protocol;
};

/* The pseudo header's sum for the answer to a packet: the other way round, with `length` bytes. */
static __always_inline __s64 answer_sum(struct packet *packet, __u8 protocol, __u32 length)
{
  if (packet->is_v6) {
    struct pseudo_header6 pseudo = {};
    pseudo.source = packet->destination;
    pseudo.destination = packet->source;
    pseudo.length_be = bpf_htonl(length);
    pseudo.protocol = protocol;
    return bpf_csum_diff(NULL, 0, (__be32 *)&pseudo, sizeof(pseudo), 0);
  }
  struct pseudo_header4 pseudo = {};
  pseudo.source_be = packet->destination.word_be[3];
  pseudo.destination_be = packet->source.word_be[3];
  pseudo.protocol = protocol;
  pseudo.length_be = bpf_htons((__u16)length);
  return bpf_csum_diff(NULL, 0, (__be32 *)&pseudo, sizeof(pseudo), 0);
}

/* Puts the IP header of an answer with `bytes` after it behind the Ethernet header. Negative if that
 * fails. */
static __always_inline int store_answer_header(struct __sk_buff *skb, struct packet *packet,
                                               __u8 protocol, __u32 bytes, __u8 hops)
{
  if (packet->is_v6) {
    struct ipv6hdr ip = {};
    ip.version = 6;
    ip.payload_len = bpf_htons((__u16)bytes);
    ip.nexthdr = protocol;
    ip.hop_limit = hops;
    __builtin_memcpy(&ip.saddr, &packet->destination, sizeof(ip.saddr));
    __builtin_memcpy(&ip.daddr, &packet->source, sizeof(ip.daddr));
    return bpf_skb_store_bytes(skb, ETH_BYTES, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM);
  }
  struct iphdr ip = {};
  ip.version = 4;
  ip.ihl = 5;
  ip.tot_len = bpf_htons((__u16)(IP_BYTES + bytes));
  ip.ttl = hops;
  ip.protocol = protocol;
  ip.saddr = packet->destination.word_be[3];
  ip.daddr = packet->source.word_be[3];
  ip.check = (__u16)~fold(bpf_csum_diff(NULL, 0, (__be32 *)&ip, sizeof(ip), 0));
  return bpf_skb_store_bytes(skb, ETH_BYTES, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM);
}

/* Bytes of the IP header of an answer to a packet. */
static __always_inline __u32 answer_header_bytes(struct packet *packet)
{
  return packet->is_v6 ? IP6_BYTES : IP_BYTES;
}
