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
#include "scratch.h"
#include "structs.h"
#include "trace.h"

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
  trace_step(skb, reason);
}

static __always_inline int finish(struct __sk_buff *skb, int verdict)
{
  if (verdict <= -0x100) {
    count(skb, (__u32)(-0x100 - verdict));
    verdict = TC_ACT_SHOT;
  }
  trace_end(skb, verdict);
  return verdict;
}

static __always_inline struct skep_config *get_config(void)
{
  __u32 zero = 0;
  return bpf_map_lookup_elem(&sw_config, &zero);
}

static __always_inline int is_front6(struct skep_config *config, const struct skep_address *address)
{
  return config->fronts6.word_be[2] && address->word_be[0] == config->fronts6.word_be[0] &&
         address->word_be[1] == config->fronts6.word_be[1] &&
         address->word_be[2] == config->fronts6.word_be[2];
}

/* True for the addresses host sockets reach published ports under. */
static __always_inline int is_front(struct skep_config *config, const struct skep_address *address)
{
  __u32 address_be = address->word_be[3];
  if (is_v4(address))
    return address_be == config->frontend_be ||
           bpf_ntohl(address_be) - bpf_ntohl(config->fronts_be) < SKEP_FRONTS;
  return is_front6(config, address);
}

/* Goes on in another program of sw_calls; comes back only if that is missing. */
static __always_inline int go_on(struct __sk_buff *skb, __u32 call)
{
  bpf_tail_call(skb, &sw_calls, call);
  return DROP(SKEP_NOT_CONFIGURED);
}

/* Seconds that nearly are seconds (2^30 ns), cheap and good enough for timeouts. */
static __always_inline __u32 now_coarse(void)
{
  return (__u32)(bpf_ktime_get_coarse_ns() >> 30);
}
