/* Traces for operators: while a filter is set, every program notes what it did with the packets of
 * one address, a row each, in a ring that user space reads. Off, it costs an array lookup at the start
 * and one at the end. The row is gathered per CPU: a program runs to its end on one CPU,
 * and none of ours interrupts another. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stddef.h>

#include "maps.h"

#define TRACE_ETHERNET_BYTES 14
#define TRACE_TUNNEL_BYTES 50
#define TRACE_MAPPED_WORD bpf_htonl(0xffff)

/* The filter in force, or NULL. */
static __always_inline struct skep_trace_filter *tracing(void)
{
  __u32 zero = 0;
  struct skep_trace_filter *filter = bpf_map_lookup_elem(&sw_trace_filter, &zero);
  return filter && filter->until_ns ? filter : NULL;
}

/* The row being gathered on this CPU. */
static __always_inline struct skep_trace_row *trace_row(void)
{
  __u32 zero = 0;
  return bpf_map_lookup_elem(&sw_trace_now, &zero);
}

/* A field of the context. In assembly, because the compiler would keep a pointer into it, which the
 * verifier refuses ("dereference of modified ctx ptr"). */
#define READ_CONTEXT(skb, offset, value)                              \
  asm volatile("%[to] = *(u32 *)(%[context] + %[at])"                 \
               : [to] "=r"(value)                                     \
               : [context] "r"(skb), [at] "i"(offset))
/* The packet's scratch words. */
#define SCRATCH_AT(word) (offsetof(struct __sk_buff, cb) + 4 * (word))
#define READ_SCRATCH(skb, word, value) READ_CONTEXT(skb, SCRATCH_AT(word), value)
#define WRITE_SCRATCH(skb, word, value)                               \
  asm volatile("*(u32 *)(%[context] + %[at]) = %[from]"               \
               :                                                      \
               : [context] "r"(skb), [at] "i"(SCRATCH_AT(word)), [from] "r"((__u64)(value)) \
               : "memory")

/* Notes a counted step, whether or not anybody traces: two shifts in the packet's scratch space cost
 * less than asking, and give the verifier no second way to walk. */
static __always_inline void trace_step(struct __sk_buff *skb, __u32 reason)
{
  __u64 last, earlier;
  READ_SCRATCH(skb, 0, last);
  READ_SCRATCH(skb, 1, earlier);
  WRITE_SCRATCH(skb, 1, earlier << 8 | last >> 24);
  WRITE_SCRATCH(skb, 0, last << 8 | (reason & 0xff));
}

static __always_inline int trace_same(const __u32 *left, const __u32 *right)
{
  return left[0] == right[0] && left[1] == right[1] && left[2] == right[2] && left[3] == right[3];
}

/* Reads addresses, protocol and where layer 4 begins. 0: not an IP packet, or cut off. */
static __always_inline __u32 trace_network(struct __sk_buff *skb, __u32 at, __u16 ethertype_be,
                                           struct skep_trace_row *row)
{
  if (ethertype_be == bpf_htons(ETH_P_IP)) {
    struct iphdr ip;
    if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) < 0)
      return 0;
    row->source_be[0] = row->source_be[1] = row->destination_be[0] = row->destination_be[1] = 0;
    row->source_be[2] = row->destination_be[2] = TRACE_MAPPED_WORD;
    row->source_be[3] = ip.saddr;
    row->destination_be[3] = ip.daddr;
    row->protocol = ip.protocol;
    /* A later fragment has no ports. */
    return ip.frag_off & bpf_htons(0x1fff) ? ~0u : at + ip.ihl * 4;
  }
  if (ethertype_be == bpf_htons(ETH_P_IPV6)) {
    struct ipv6hdr ip;
    if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) < 0)
      return 0;
    __builtin_memcpy(row->source_be, &ip.saddr, 16);
    __builtin_memcpy(row->destination_be, &ip.daddr, 16);
    row->protocol = ip.nexthdr;
    return at + sizeof(ip);
  }
  return 0;
}

/* Fills the row from the packet whose Ethernet header is at `at`. 0 if it is no IP packet. */
static __always_inline int trace_read(struct __sk_buff *skb, __u32 at, struct skep_trace_row *row)
{
  __u16 ethertype_be;
  if (bpf_skb_load_bytes(skb, at + 12, &ethertype_be, sizeof(ethertype_be)) < 0)
    return 0;
  __u32 l4_at = trace_network(skb, at + TRACE_ETHERNET_BYTES, ethertype_be, row);
  if (!l4_at)
    return 0;
  __u8 header[14] = {};
  row->source_port_be = row->destination_port_be = 0;
  row->tcp_flags = 0;
  if (row->protocol != IPPROTO_TCP && row->protocol != IPPROTO_UDP &&
      row->protocol != IPPROTO_SCTP)
    return 1;
  if (bpf_skb_load_bytes(skb, l4_at, header, row->protocol == IPPROTO_TCP ? 14 : 4) < 0)
    return 1;
  __builtin_memcpy(&row->source_port_be, header, 2);
  __builtin_memcpy(&row->destination_port_be, header + 2, 2);
  row->tcp_flags = header[13];
  return 1;
}

static __always_inline int trace_has_port(struct skep_trace_row *row, __u16 port_be)
{
  return port_be && (port_be == row->source_port_be || port_be == row->destination_port_be);
}

static __always_inline int trace_matches(struct skep_trace_filter *filter,
                                         struct skep_trace_row *row)
{
  if (!trace_same(filter->address_be, row->source_be) &&
      !trace_same(filter->address_be, row->destination_be))
    return 0;
  if (filter->protocol && filter->protocol != row->protocol)
    return 0;
  return !filter->port_be || trace_has_port(row, filter->port_be) ||
         trace_has_port(row, filter->other_port_be[0]) ||
         trace_has_port(row, filter->other_port_be[1]);
}

/* At the start of a program: gathers what the packet is, if the filter wants it. A tunnel packet on
 * an uplink is judged by what is inside. */
static __always_inline void trace_begin(struct __sk_buff *skb, enum skep_program program)
{
  WRITE_SCRATCH(skb, 0, 0);
  WRITE_SCRATCH(skb, 1, 0);
  struct skep_trace_filter *filter = tracing();
  if (!filter)
    return;
  struct skep_trace_row *row = trace_row();
  if (!row)
    return;
  row->sequence = 0;
  __u64 now = bpf_ktime_get_ns();
  if (now > filter->until_ns || !trace_read(skb, 0, row))
    return;
  if (!trace_matches(filter, row)) {
    if (program != SKEP_PROGRAM_UPLINK || row->protocol != IPPROTO_UDP ||
        !trace_read(skb, TRACE_TUNNEL_BYTES, row) || !trace_matches(filter, row))
      return;
  }
  row->time_ns = now;
  row->ifindex = skb->ifindex;
  row->bytes = skb->len;
  row->program = program;
  row->sequence = 1;
}

/* At the end of a program: files the row. */
static __always_inline void trace_end(struct __sk_buff *skb, int verdict)
{
  struct skep_trace_filter *filter = tracing();
  if (!filter)
    return;
  struct skep_trace_row *row = trace_row();
  if (!row || !row->sequence)
    return;
  row->verdict = verdict;
  __u64 last, earlier;
  READ_SCRATCH(skb, 0, last);
  READ_SCRATCH(skb, 1, earlier);
  row->steps[0] = (__u32)last;
  row->steps[1] = (__u32)earlier;
  row->sequence = __sync_fetch_and_add(&filter->rows, 1) + 1;
  __u32 slot = row->sequence % SKEP_TRACE_ROWS;
  bpf_map_update_elem(&sw_trace, &slot, row, BPF_ANY);
  row->sequence = 0;
}
