/* What every topic needs: headers, counters, verdicts. A function that decides about a packet
 * returns a TC verdict, or DROP(reason); finish() is the one exit that turns the latter into a
 * counted TC_ACT_SHOT. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stddef.h>

#include "address.h"
#include "consts.h"
#include "drop_reasons.h"
#include "maps.h"
#include "structs.h"

/* Lets programs after ours, and then the stack, have the packet. */
#define NEXT TC_ACT_UNSPEC
#define DROP(reason) (-0x100 - (int)(reason))

#define ETH_BYTES 14
#define IP_BYTES 20
#define IP6_BYTES 40
#define IP_TTL_AT (ETH_BYTES + 8)
#define IP_CHECK_AT (ETH_BYTES + 10)
#define IP_SOURCE_AT (ETH_BYTES + 12)
#define IP_DESTINATION_AT (ETH_BYTES + 16)
#define IP6_HOP_LIMIT_AT (ETH_BYTES + 7)
#define IP6_SOURCE_AT (ETH_BYTES + 8)
#define IP6_DESTINATION_AT (ETH_BYTES + 24)

static __always_inline void count_bytes(__u32 reason, __u32 bytes)
{
  struct skep_counter *counter = bpf_map_lookup_elem(&sw_counter, &reason);
  if (counter) {
    counter->packets++;
    counter->bytes += bytes;
  }
}

static __always_inline void count(struct __sk_buff *skb, __u32 reason)
{
  count_bytes(reason, skb->len);
}

static __always_inline int finish(struct __sk_buff *skb, int verdict)
{
  if (verdict > -0x100)
    return verdict;
  count(skb, (__u32)(-0x100 - verdict));
  return TC_ACT_SHOT;
}

static __always_inline struct skep_config *get_config(void)
{
  __u32 zero = 0;
  return bpf_map_lookup_elem(&sw_config, &zero);
}

/* This CPU's room for one decision; what an earlier one left there is still in it. */
static __always_inline struct skep_scratch *get_scratch(void)
{
  __u32 zero = 0;
  return bpf_map_lookup_elem(&sw_scratch, &zero);
}

/* Seconds that nearly are seconds (2^30 ns), cheap and good enough for timeouts. */
static __always_inline __u32 now_coarse(void)
{
  return (__u32)(bpf_ktime_get_coarse_ns() >> 30);
}
