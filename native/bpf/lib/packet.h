/* Reads what a decision needs out of an IPv4 packet: addresses first, ports only on demand, because
 * the short path between containers needs no ports. */
#pragma once

#include "common.h"

#define IP_MORE_FRAGMENTS 0x2000
#define IP_FRAGMENT_OFFSET 0x1fff
#define ICMP_ECHO_REPLY 0
#define ICMP_ECHO_REQUEST 8
#define TCP_BYTES 20
#define UDP_BYTES 8
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

struct packet {
  __u32 source_be;
  __u32 destination_be;
  __u16 source_port_be;
  __u16 destination_port_be;
  __u16 id;
  __u16 fragment; /* flags and offset, host order */
  __u8 protocol;
  __u8 ttl;
  __u8 tcp_flags;
  __u8 has_ports; /* the layer-4 header is in this packet (0: a later fragment) */
  __u32 l4_at;
};

/* Fills in the addresses. */
static __always_inline int read_addresses(struct __sk_buff *skb, struct packet *packet)
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
  packet->source_be = ip->saddr;
  packet->destination_be = ip->daddr;
  packet->protocol = ip->protocol;
  packet->ttl = ip->ttl;
  packet->id = ip->id;
  packet->fragment = bpf_ntohs(ip->frag_off);
  packet->l4_at = ETH_BYTES + ip->ihl * 4;
  return 0;
}

/* Ports of a later fragment, as its first one left them. */
static __always_inline int recall_ports(struct packet *packet, __u32 vni)
{
  struct skep_fragment_key key = {
    .source_be = packet->source_be,
    .destination_be = packet->destination_be,
    .vni = vni,
    .id = packet->id,
    .protocol = packet->protocol,
  };
  struct skep_ports *ports = bpf_map_lookup_elem(&sw_fragment, &key);
  if (!ports)
    return DROP(SKEP_FRAGMENT);
  packet->source_port_be = ports->source_be;
  packet->destination_port_be = ports->destination_be;
  return 0;
}

static __always_inline void remember_ports(struct packet *packet, __u32 vni)
{
  struct skep_fragment_key key = {
    .source_be = packet->source_be,
    .destination_be = packet->destination_be,
    .vni = vni,
    .id = packet->id,
    .protocol = packet->protocol,
  };
  struct skep_ports ports = { packet->source_port_be, packet->destination_port_be };
  bpf_map_update_elem(&sw_fragment, &key, &ports, BPF_ANY);
}

/* Fills in ports, or what stands for them: an ICMP echo has its id on both sides, a protocol
 * without ports zeros. `vni` tells fragments of different networks apart. */
static __always_inline int read_ports(struct __sk_buff *skb, struct packet *packet, __u32 vni)
{
  packet->source_port_be = 0;
  packet->destination_port_be = 0;
  packet->tcp_flags = 0;
  packet->has_ports = 0;
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
  } else if (packet->protocol == IPPROTO_ICMP) {
    __u8 header[8];
    if (bpf_skb_load_bytes(skb, packet->l4_at, header, sizeof(header)) < 0)
      return DROP(SKEP_MALFORMED);
    if (header[0] == ICMP_ECHO_REQUEST || header[0] == ICMP_ECHO_REPLY) {
      __builtin_memcpy(&packet->source_port_be, header + 4, 2);
      packet->destination_port_be = packet->source_port_be;
    }
    return 0;
  } else {
    return 0;
  }
  packet->has_ports = 1;
  if (packet->fragment & IP_MORE_FRAGMENTS)
    remember_ports(packet, vni);
  return 0;
}
