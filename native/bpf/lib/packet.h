/* Reads what a decision needs out of an IP packet: addresses first, ports only on demand, because
 * the short path between containers needs no ports. From here on both families look the same. */
#pragma once

#include "common.h"

#define IP_MORE_FRAGMENTS 0x2000
#define IP_FRAGMENT_OFFSET 0x1fff
#define ICMP_ECHO_REPLY 0
#define ICMP_ECHO_REQUEST 8
#define ICMP6_ECHO_REQUEST 128
#define ICMP6_ECHO_REPLY 129
#define TCP_BYTES 20
#define UDP_BYTES 8
#define TCP_FLAGS_AT 13
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#include "packet6.h"

/* Fills in the addresses of an IPv4 packet. */
static __always_inline int read_addresses4(struct __sk_buff *skb, struct packet *packet)
{
  void *data = (void *)(long)skb->data;
  void *end = (void *)(long)skb->data_end;
  if (data + ETH_BYTES + IP_BYTES > end) {
    if (bpf_skb_pull_data(skb, ETH_BYTES + IP_BYTES) < 0)
      return DROP(SKEP_MALFORMED);
    data = (void *)(long)skb->data;
    end = (void *)(long)skb->data_end;
    if (data + ETH_BYTES + IP_BYTES > end)
      return DROP(SKEP_MALFORMED);
  }
  struct iphdr *ip = data + ETH_BYTES;
  if (ip->version != 4 || ip->ihl < 5)
    return DROP(SKEP_MALFORMED);
  packet->source = from_v4(ip->saddr);
  packet->destination = from_v4(ip->daddr);
  packet->protocol = ip->protocol;
  packet->ttl = ip->ttl;
  packet->id = ip->id;
  packet->fragment = bpf_ntohs(ip->frag_off);
  packet->is_v6 = 0;
  packet->l4_at = ETH_BYTES + ip->ihl * 4;
  return 0;
}

/* Nothing is known yet of what stands behind the addresses. */
static __always_inline void forget_ports(struct packet *packet)
{
  packet->source_port_be = 0;
  packet->destination_port_be = 0;
  packet->tcp_flags = 0;
  packet->has_ports = 0;
}

/* Fills in the addresses. */
static __always_inline int read_addresses(struct __sk_buff *skb, struct packet *packet)
{
  forget_ports(packet);
  if (skb->protocol == bpf_htons(ETH_P_IP))
    return read_addresses4(skb, packet);
  if (skb->protocol == bpf_htons(ETH_P_IPV6))
    return read_addresses6(skb, packet);
  return DROP(SKEP_NOT_IP);
}

/* The fragment's key, in the scratch. */
static __always_inline struct skep_fragment_key *fragment_key(struct packet *packet, __u32 vni)
{
  struct skep_fragment_key *key = &scratch_of(packet)->fragment;
  key->source = packet->source;
  key->destination = packet->destination;
  key->vni = vni;
  key->id = packet->id;
  key->protocol = packet->protocol;
  return key;
}

/* Ports of a later fragment, as its first one left them. */
static __always_inline int recall_ports(struct packet *packet, __u32 vni)
{
  struct skep_ports *ports = bpf_map_lookup_elem(&sw_fragment, fragment_key(packet, vni));
  if (!ports)
    return DROP(SKEP_FRAGMENT);
  packet->source_port_be = ports->source_be;
  packet->destination_port_be = ports->destination_be;
  return 0;
}

static __always_inline void remember_ports(struct packet *packet, __u32 vni)
{
  struct skep_ports ports = { packet->source_port_be, packet->destination_port_be };
  bpf_map_update_elem(&sw_fragment, fragment_key(packet, vni), &ports, BPF_ANY);
}

/* The ICMP of the packet's family. */
static __always_inline __u8 icmp_of(struct packet *packet)
{
  return packet->is_v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
}

/* Fills in ports, or what stands for them: an ICMP echo has its id on both sides, a protocol
 * without ports zeros. `vni` tells fragments of different networks apart. */
static __always_inline int read_ports(struct __sk_buff *skb, struct packet *packet, __u32 vni)
{
  forget_ports(packet);
  if (packet->fragment & IP_FRAGMENT_OFFSET)
    return recall_ports(packet, vni);
  if (packet->protocol == IPPROTO_TCP) {
    __u8 header[14];
    if (bpf_skb_load_bytes(skb, packet->l4_at, header, sizeof(header)) < 0)
      return DROP(SKEP_MALFORMED);
    __builtin_memcpy(&packet->source_port_be, header, 2);
    __builtin_memcpy(&packet->destination_port_be, header + 2, 2);
    packet->tcp_flags = header[13];
  } else if (packet->protocol == IPPROTO_UDP || packet->protocol == IPPROTO_SCTP) {
    __u16 header[2];
    if (bpf_skb_load_bytes(skb, packet->l4_at, header, sizeof(header)) < 0)
      return DROP(SKEP_MALFORMED);
    packet->source_port_be = header[0];
    packet->destination_port_be = header[1];
  } else if (packet->protocol == icmp_of(packet)) {
    __u8 header[8];
    if (bpf_skb_load_bytes(skb, packet->l4_at, header, sizeof(header)) < 0)
      return DROP(SKEP_MALFORMED);
    __u8 request = packet->is_v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO_REQUEST;
    __u8 reply = packet->is_v6 ? ICMP6_ECHO_REPLY : ICMP_ECHO_REPLY;
    if (header[0] == request || header[0] == reply) {
      __builtin_memcpy(&packet->source_port_be, header + 4, 2);
      packet->destination_port_be = packet->source_port_be;
    }
    if (packet->fragment & IP_MORE_FRAGMENTS)
      remember_ports(packet, vni);
    return 0;
  } else {
    return 0;
  }
  packet->has_ports = 1;
  if (packet->fragment & IP_MORE_FRAGMENTS)
    remember_ports(packet, vni);
  return 0;
}
