/* What a network path can do to tunnel packets, as tc programs for an interface's egress: a card that
 * completes inner checksums wrongly, and a stretch that carries no long packets. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define OUTER_IP_AT 14
#define OUTER_UDP_AT 34
#define INNER_IP_AT 64
#define INNER_L4_AT 84
#define TUNNEL_PORT 4789
/* Length of the outer IP packet from which on it is lost. */
#define LOST_BYTES 1401

static __always_inline int is_tunnel(struct __sk_buff *skb, struct iphdr *outer)
{
  __u16 port_be;
  if (skb->protocol != bpf_htons(ETH_P_IP))
    return 0;
  if (bpf_skb_load_bytes(skb, OUTER_IP_AT, outer, sizeof(*outer)) < 0 || outer->ihl != 5)
    return 0;
  if (outer->protocol != IPPROTO_UDP ||
      bpf_skb_load_bytes(skb, OUTER_UDP_AT + 2, &port_be, sizeof(port_be)) < 0)
    return 0;
  return port_be == bpf_htons(TUNNEL_PORT);
}

/* The sum a packet carries whose checksum is left to an offload: that of its pseudo header. */
static __always_inline __u16 pseudo_sum(struct iphdr *ip)
{
  __u32 words[3] = { ip->saddr, ip->daddr, 0 };
  __u16 length = bpf_ntohs(ip->tot_len) - 20;
  words[2] = bpf_htonl(((__u32)ip->protocol << 16) | length);
  __u64 sum = (__u32)bpf_csum_diff(NULL, 0, words, sizeof(words), 0);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (__u16)sum;
}

SEC("tc/bad_offload")
int bad_offload(struct __sk_buff *skb)
{
  struct iphdr outer = {}, inner = {};
  __u16 check = 0;
  if (!is_tunnel(skb, &outer))
    return TC_ACT_OK;
  if (bpf_skb_load_bytes(skb, INNER_IP_AT, &inner, sizeof(inner)) < 0 || inner.version != 4 ||
      inner.ihl != 5)
    return TC_ACT_OK;
  __u32 at = INNER_L4_AT + (inner.protocol == IPPROTO_UDP ? 6 : 16);
  if ((inner.protocol != IPPROTO_UDP && inner.protocol != IPPROTO_TCP) ||
      bpf_skb_load_bytes(skb, at, &check, sizeof(check)) < 0)
    return TC_ACT_OK;
  if (check != pseudo_sum(&inner))
    return TC_ACT_OK;
  /* What the card adds up starts from here. */
  check ^= bpf_htons(0x0110);
  bpf_skb_store_bytes(skb, at, &check, sizeof(check), 0);
  return TC_ACT_OK;
}

SEC("tc/short_only")
int short_only(struct __sk_buff *skb)
{
  struct iphdr outer = {};
  if (is_tunnel(skb, &outer) && bpf_ntohs(outer.tot_len) >= LOST_BYTES)
    return TC_ACT_SHOT;
  return TC_ACT_OK;
}

SEC("tc/blocked")
int blocked(struct __sk_buff *skb)
{
  struct iphdr outer = {};
  return is_tunnel(skb, &outer) ? TC_ACT_SHOT : TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
