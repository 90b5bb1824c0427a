/* Arithmetic of addresses that are of either family. */
#pragma once

#include "common.h"

#define V4_MAPPED bpf_htonl(0xffff)

static __always_inline int is_v4(const struct skep_address *address)
{
  return address->word_be[0] == 0 && address->word_be[1] == 0 && address->word_be[2] == V4_MAPPED;
}

static __always_inline struct skep_address from_v4(__u32 address_be)
{
  struct skep_address address = { { 0, 0, V4_MAPPED, address_be } };
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
  return (address->word_be[0] | address->word_be[1] | address->word_be[2] |
          address->word_be[3]) == 0;
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
