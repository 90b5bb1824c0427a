/* Checksums of packets made here from nothing. */
#pragma once

#include "common.h"

static __always_inline __u16 fold(__s64 sum)
{
  __u64 folded = (__u32)sum;
  folded = (folded & 0xffff) + (folded >> 16);
  folded = (folded & 0xffff) + (folded >> 16);
  return (__u16)~folded;
}

/* What stands for the IP header in the checksum of TCP, UDP and ICMPv6. An IPv4 address in its
 * mapped form would add the mark, so the addresses are given as IPv4 has them. */
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

/* `length` must be a constant and a multiple of four. */
static __always_inline __u16 transport_check4(__u32 source_be, __u32 destination_be,
                                              __u8 protocol, void *segment, __u32 length)
{
  struct pseudo_header4 pseudo = {
    .source_be = source_be,
    .destination_be = destination_be,
    .protocol = protocol,
    .length_be = bpf_htons((__u16)length),
  };
  __s64 sum = bpf_csum_diff(NULL, 0, (__be32 *)&pseudo, sizeof(pseudo), 0);
  return fold(bpf_csum_diff(NULL, 0, segment, length, (__u32)sum));
}

/* `length` must be a constant and a multiple of four. */
static __always_inline __u16 transport_check6(struct skep_address *source,
                                              struct skep_address *destination, __u8 protocol,
                                              void *segment, __u32 length)
{
  struct pseudo_header6 pseudo = {
    .source = *source,
    .destination = *destination,
    .length_be = bpf_htonl(length),
    .protocol = protocol,
  };
  __s64 sum = bpf_csum_diff(NULL, 0, (__be32 *)&pseudo, sizeof(pseudo), 0);
  return fold(bpf_csum_diff(NULL, 0, segment, length, (__u32)sum));
}
