/* Reads an IPv6 header, and the extension headers up to the one that ports stand in. */
#pragma once

#include "common.h"

/* Extension headers looked through; more is nobody's honest packet. */
#define EXTENSIONS_MAX 4
#define EXTENSION_HOP_BY_HOP 0
#define EXTENSION_ROUTING 43
#define EXTENSION_FRAGMENT 44
#define EXTENSION_DESTINATION 60

struct fragment_header {
  __u8 next;
  __u8 reserved;
  __u16 offset_be; /* 13 bits of offset, 2 reserved, 1 "more" */
  __u32 id_be;
};

static __always_inline int is_extension(__u8 protocol)
{
  return protocol == EXTENSION_HOP_BY_HOP || protocol == EXTENSION_ROUTING ||
         protocol == EXTENSION_FRAGMENT || protocol == EXTENSION_DESTINATION;
}

/* Moves protocol and l4_at behind the extension headers. */
static __always_inline int skip_extensions(struct __sk_buff *skb, struct packet *packet)
{
#pragma unroll
  for (int i = 0; i < EXTENSIONS_MAX; i++) {
    struct fragment_header header;
    if (!is_extension(packet->protocol) || (packet->fragment & IP_FRAGMENT_OFFSET))
      return 0;
    if (bpf_skb_load_bytes(skb, packet->l4_at, &header, sizeof(header)) < 0)
      return DROP(SKEP_MALFORMED);
    if (packet->protocol == EXTENSION_FRAGMENT) {
      __u16 offset = bpf_ntohs(header.offset_be);
      packet->fragment = (offset >> 3) | ((offset & 1) ? IP_MORE_FRAGMENTS : 0);
      packet->id = header.id_be;
      packet->l4_at += sizeof(header);
    } else {
      /* The second byte counts units of eight bytes after the first. */
      packet->l4_at += 8 + header.reserved * 8;
    }
    packet->protocol = header.next;
  }
  return is_extension(packet->protocol) ? DROP(SKEP_MALFORMED) : 0;
}

/* Fills in the addresses of an IPv6 packet. */
static __always_inline int read_addresses6(struct __sk_buff *skb, struct packet *packet)
{
  void *data = (void *)(long)skb->data;
  void *end = (void *)(long)skb->data_end;
  if (data + ETH_BYTES + IP6_BYTES > end) {
    if (bpf_skb_pull_data(skb, ETH_BYTES + IP6_BYTES) < 0)
      return DROP(SKEP_MALFORMED);
    data = (void *)(long)skb->data;
    end = (void *)(long)skb->data_end;
    if (data + ETH_BYTES + IP6_BYTES > end)
      return DROP(SKEP_MALFORMED);
  }
  struct ipv6hdr *ip = data + ETH_BYTES;
  if (ip->version != 6)
    return DROP(SKEP_MALFORMED);
  __builtin_memcpy(&packet->source, &ip->saddr, sizeof(packet->source));
  __builtin_memcpy(&packet->destination, &ip->daddr, sizeof(packet->destination));
  packet->protocol = ip->nexthdr;
  packet->ttl = ip->hop_limit;
  packet->id = 0;
  packet->fragment = 0;
  packet->is_v6 = 1;
  packet->l4_at = ETH_BYTES + IP6_BYTES;
  /* On the wire this form is nobody's address; inside it would pass for an IPv4 one. */
  if (is_v4(&packet->source) || is_v4(&packet->destination))
    return DROP(SKEP_MALFORMED);
  return skip_extensions(skb, packet);
}
