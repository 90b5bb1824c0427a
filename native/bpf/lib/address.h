/* Arithmetic of addresses that are of either family, and of the two addresses of a network's member. */
#pragma once

#include <linux/types.h>
#include <bpf/bpf_endian.h>

#include "structs.h"

#define V4_MAPPED bpf_htonl(0xffff)
#define LINK_LOCAL_PREFIX 0xfe800000
#define LINK_LOCAL_MASK 0xffc00000

static __always_inline int same_address(const struct skep_address *a, const struct skep_address *b)
{
  return ((a->word_be[3] ^ b->word_be[3]) | (a->word_be[2] ^ b->word_be[2]) |
          (a->word_be[1] ^ b->word_be[1]) | (a->word_be[0] ^ b->word_be[0])) == 0;
}

/* False for all zero, which stands for none. */
static __always_inline int is_given(const struct skep_address *address)
{
  return (address->word_be[0] | address->word_be[1] | address->word_be[2] |
          address->word_be[3]) != 0;
}

static __always_inline int is_v4(const struct skep_address *address)
{
  return address->word_be[0] == 0 && address->word_be[1] == 0 && address->word_be[2] == V4_MAPPED;
}

static __always_inline struct skep_address from_v4(__u32 address_be)
{
  struct skep_address address;
  address.word_be[0] = 0;
  address.word_be[1] = 0;
  address.word_be[2] = V4_MAPPED;
  address.word_be[3] = address_be;
  return address;
}

/* 127.0.0.0/8. */
static __always_inline int is_loopback4(__u32 address_be)
{
  return (address_be & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
}

/* :: and ::1. */
static __always_inline int is_any6(const struct skep_address *address)
{
  return !is_given(address);
}

static __always_inline int is_loopback6(const struct skep_address *address)
{
  return (address->word_be[0] | address->word_be[1] | address->word_be[2]) == 0 &&
         address->word_be[3] == bpf_htonl(1);
}

/* 0.0.0.0 or ::. */
static __always_inline int is_any(const struct skep_address *address)
{
  return is_v4(address) ? address->word_be[3] == 0 : is_any6(address);
}

/* 127.0.0.0/8 or ::1. */
static __always_inline int is_loopback(const struct skep_address *address)
{
  return is_v4(address) ? is_loopback4(address->word_be[3]) : is_loopback6(address);
}

/* fe80::/10. */
static __always_inline int is_link_local(const struct skep_address *address)
{
  return (address->word_be[0] & bpf_htonl(LINK_LOCAL_MASK)) == bpf_htonl(LINK_LOCAL_PREFIX);
}

/* Multicast, and IPv4 broadcast: 224.0.0.0 and above, ff00::/8. */
static __always_inline int is_multicast(const struct skep_address *address, int is_v6)
{
  if (is_v6)
    return (address->word_be[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
  return (address->word_be[3] & bpf_htonl(0xe0000000)) == bpf_htonl(0xe0000000);
}

/* The IPv6 address of the member whose IPv4 address this is; all zero if the network has none. */
static __always_inline struct skep_address derive6(const struct skep_subnets *subnets,
                                                   __u32 member_be)
{
  struct skep_address address = subnets->subnet6;
  if (is_given(&address))
    address.word_be[3] |= member_be & ~subnets->mask_be;
  return address;
}

/* The member's address in the family asked for. */
static __always_inline struct skep_address member_address(const struct skep_subnets *subnets,
                                                          __u32 member_be, int is_v6)
{
  return is_v6 ? derive6(subnets, member_be) : from_v4(member_be);
}

/* What a network knows the owner of this address by, or 0 if it belongs to no member. IPv4
 * addresses are what they are, inside the subnet or not. */
static __always_inline __u32 member_of(const struct skep_subnets *subnets,
                                       const struct skep_address *address, int is_v6)
{
  if (!is_v6)
    return address->word_be[3];
  if (!is_given(&subnets->subnet6) || address->word_be[0] != subnets->subnet6.word_be[0] ||
      address->word_be[1] != subnets->subnet6.word_be[1] ||
      address->word_be[2] != subnets->subnet6.word_be[2] ||
      (address->word_be[3] & subnets->mask_be) != (subnets->subnet6.word_be[3] & subnets->mask_be))
    return 0;
  return subnets->subnet_be | (address->word_be[3] & ~subnets->mask_be);
}

/* True for an address inside the network's subnet of its family. */
static __always_inline int is_in_subnet(const struct skep_subnets *subnets,
                                        const struct skep_address *address, int is_v6)
{
  if (is_v6)
    return member_of(subnets, address, is_v6) != 0;
  return (address->word_be[3] & subnets->mask_be) == subnets->subnet_be;
}
