/* Tells an outside client that its packet is longer than the tunnel to the backend's node takes, as
 * a router on the way would: "fragmentation needed", or "packet too big" in IPv6. Without it such
 * packets vanish, or the tunnel fragments each of them, which costs most of the throughput. */
#pragma once

#include "checksum.h"
#include "forward.h"

#define IP_DONT_FRAGMENT 0x4000
#define TCP_OFFSET_AT 12
#define UDP_HEADER_BYTES 8
#define ICMP_UNREACHABLE 3
#define ICMP_FRAGMENTATION_NEEDED 4
#define ICMP6_PACKET_TOO_BIG 2

/* Length of the frame, of an aggregated packet that of one of its segments. */
static __always_inline __u32 frame_length(struct __sk_buff *skb, struct packet *packet)
{
  if (!skb->gso_size)
    return skb->len;
  __u32 header_bytes = UDP_HEADER_BYTES;
  __u8 offset;
  if (packet->protocol == IPPROTO_TCP &&
      bpf_skb_load_bytes(skb, packet->l4_at + TCP_OFFSET_AT, &offset, 1) == 0)
    header_bytes = (offset >> 4) * 4;
  return packet->l4_at + header_bytes + skb->gso_size;
}

/* True if the packet does not fit the tunnel and cannot be fragmented on the way: not by IPv6
 * routers, not where the sender forbids it, and not in a tunnel over IPv6. */
static __always_inline int is_too_long(struct __sk_buff *skb, struct skep_config *config,
                                       struct packet *packet, struct skep_address *tunnel)
{
  if (!packet->is_v6 && is_v4(tunnel) && !(packet->fragment & IP_DONT_FRAGMENT))
    return 0;
  return frame_length(skb, packet) > config->frame_bytes_max;
}

/* So many a second and CPU: whoever sends long packets must not make us send as many. */
static __always_inline int may_complain(struct skep_scratch *scratch)
{
  __u32 now = now_coarse();
  if (scratch->complaint_second != now) {
    scratch->complaint_second = now;
    scratch->complaints = 0;
  }
  return scratch->complaints++ < SKEP_COMPLAINTS_PER_SECOND;
}

static __always_inline int write_complaint4(struct __sk_buff *skb, struct packet *packet,
                                            struct skep_complaint *complaint)
{
  struct iphdr ip = {};
  ip.version = 4;
  ip.ihl = 5;
  ip.tot_len = bpf_htons(IP_BYTES + sizeof(*complaint));
  ip.ttl = 64;
  ip.protocol = IPPROTO_ICMP;
  ip.saddr = packet->destination.word_be[3];
  ip.daddr = packet->source.word_be[3];
  ip.check = fold(bpf_csum_diff(NULL, 0, (__be32 *)&ip, sizeof(ip), 0));
  complaint->type = ICMP_UNREACHABLE;
  complaint->code = ICMP_FRAGMENTATION_NEEDED;
  complaint->check = fold(bpf_csum_diff(NULL, 0, (__be32 *)complaint, sizeof(*complaint), 0));
  if (bpf_skb_change_tail(skb, ETH_BYTES + sizeof(ip) + sizeof(*complaint), 0) < 0 ||
      bpf_skb_store_bytes(skb, ETH_BYTES, &ip, sizeof(ip), 0) < 0)
    return -1;
  return bpf_skb_store_bytes(skb, ETH_BYTES + sizeof(ip), complaint, sizeof(*complaint), 0);
}

static __always_inline int write_complaint6(struct __sk_buff *skb, struct packet *packet,
                                            struct skep_complaint *complaint)
{
  struct ipv6hdr ip = {};
  ip.version = 6;
  ip.payload_len = bpf_htons(sizeof(*complaint));
  ip.nexthdr = IPPROTO_ICMPV6;
  ip.hop_limit = 64;
  __builtin_memcpy(&ip.saddr, &packet->destination, sizeof(ip.saddr));
  __builtin_memcpy(&ip.daddr, &packet->source, sizeof(ip.daddr));
  complaint->type = ICMP6_PACKET_TOO_BIG;
  complaint->code = 0;
  complaint->check = transport_check6(&packet->destination, &packet->source, IPPROTO_ICMPV6,
                                      complaint, sizeof(*complaint));
  if (bpf_skb_change_tail(skb, ETH_BYTES + sizeof(ip) + sizeof(*complaint), 0) < 0 ||
      bpf_skb_store_bytes(skb, ETH_BYTES, &ip, sizeof(ip), 0) < 0)
    return -1;
  return bpf_skb_store_bytes(skb, ETH_BYTES + sizeof(ip), complaint, sizeof(*complaint), 0);
}

/* Answers a packet that came in on the uplink `ifindex`, as it came, under the address asked. */
static __always_inline int answer_too_long(struct __sk_buff *skb, struct skep_config *config,
                                           struct packet *packet, struct skep_scratch *scratch,
                                           __u32 ifindex)
{
  struct skep_complaint *complaint = &scratch->complaint;
  if (!may_complain(scratch) ||
      bpf_skb_load_bytes(skb, ETH_BYTES, complaint->quote, sizeof(complaint->quote)) < 0)
    return DROP(SKEP_TOO_LONG);
  complaint->check = 0;
  complaint->mtu_be = bpf_htonl(config->frame_bytes_max - ETH_BYTES);
  int bad = packet->is_v6 ? write_complaint6(skb, packet, complaint)
                          : write_complaint4(skb, packet, complaint);
  if (bad < 0)
    return DROP(SKEP_TOO_LONG);
  count(skb, SKEP_TOO_LONG_ANSWERED);
  return to_uplink(skb, ifindex);
}
