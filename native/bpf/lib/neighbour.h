/* Answers neighbour solicitations on container interfaces, as arp.h does for IPv4: every address of
 * the subnet is behind one gateway MAC. */
#pragma once

#include "arp.h"
#include "checksum.h"
#include "packet.h"

#define NEIGHBOUR_SOLICITATION 135
#define NEIGHBOUR_ADVERTISEMENT 136
#define NEIGHBOUR_HOP_LIMIT 255
#define NEIGHBOUR_ROUTER 0x80000000
#define NEIGHBOUR_SOLICITED 0x40000000
#define NEIGHBOUR_OVERRIDE 0x20000000
#define OPTION_TARGET_MAC 2
#define LINK_LOCAL_PREFIX 0xfe800000
#define LINK_LOCAL_MASK 0xffc00000

/* A solicitation up to its target, and a whole advertisement. */
struct neighbour_message {
  __u8 type;
  __u8 code;
  __u16 check;
  __u32 flags_be;
  struct skep_address target;
  __u8 option;
  __u8 option_length; /* in units of eight bytes */
  __u8 mac[6];
};
#define SOLICITATION_BYTES 24

static __always_inline int is_link_local(struct skep_address *address)
{
  return (address->word_be[0] & bpf_htonl(LINK_LOCAL_MASK)) == bpf_htonl(LINK_LOCAL_PREFIX);
}

/* True for a neighbour solicitation, whatever its form. */
static __always_inline int is_solicitation(struct __sk_buff *skb, struct packet *packet)
{
  __u8 type;
  return packet->is_v6 && packet->protocol == IPPROTO_ICMPV6 && !packet->fragment &&
         bpf_skb_load_bytes(skb, packet->l4_at, &type, 1) == 0 && type == NEIGHBOUR_SOLICITATION;
}

static __always_inline int write_advertisement(struct __sk_buff *skb, struct packet *packet,
                                               struct neighbour_message *message)
{
  struct ipv6hdr ip = {};
  ip.version = 6;
  ip.payload_len = bpf_htons(sizeof(*message));
  ip.nexthdr = IPPROTO_ICMPV6;
  ip.hop_limit = NEIGHBOUR_HOP_LIMIT;
  __builtin_memcpy(&ip.saddr, &message->target, sizeof(ip.saddr));
  __builtin_memcpy(&ip.daddr, &packet->source, sizeof(ip.daddr));
  message->check = transport_check6(&message->target, &packet->source, IPPROTO_ICMPV6, message,
                                    sizeof(*message));
  if (bpf_skb_change_tail(skb, ETH_BYTES + IP6_BYTES + sizeof(*message), 0) < 0 ||
      bpf_skb_store_bytes(skb, ETH_BYTES, &ip, sizeof(ip), 0) < 0 ||
      bpf_skb_store_bytes(skb, ETH_BYTES + IP6_BYTES, message, sizeof(*message), 0) < 0)
    return -1;
  return 0;
}

/* A solicitation of a container. */
static __always_inline int answer_solicitation(struct __sk_buff *skb, struct packet *packet,
                                               struct skep_link *link)
{
  struct neighbour_message message = {};
  /* Only a neighbour can have sent what no router has passed on. */
  if (packet->ttl != NEIGHBOUR_HOP_LIMIT ||
      bpf_skb_load_bytes(skb, packet->l4_at, &message, SOLICITATION_BYTES) < 0)
    return DROP(SKEP_NEIGHBOUR);
  /* Whether an address is taken is asked for the asker's own one: the answer would take it away. */
  if (!is_given(&packet->source))
    return DROP(SKEP_NEIGHBOUR);
  struct skep_address own = derive6(&link->subnets, link->address_be);
  if (!same_address(&packet->source, &own) && !is_link_local(&packet->source))
    return DROP(SKEP_SPOOFED_ADDRESS);
  if (same_address(&message.target, &own) || !member_of(&link->subnets, &message.target, 1))
    return DROP(SKEP_NEIGHBOUR);
  message.type = NEIGHBOUR_ADVERTISEMENT;
  message.code = 0;
  message.check = 0;
  message.flags_be = bpf_htonl(NEIGHBOUR_ROUTER | NEIGHBOUR_SOLICITED | NEIGHBOUR_OVERRIDE);
  message.option = OPTION_TARGET_MAC;
  message.option_length = 1;
  write_gateway_mac(message.mac);
  __u8 macs[12];
  __builtin_memcpy(macs, link->mac, 6);
  write_gateway_mac(macs + 6);
  if (write_advertisement(skb, packet, &message) < 0 ||
      bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0) < 0)
    return DROP(SKEP_REWRITE);
  count(skb, SKEP_NEIGHBOUR_ANSWERED);
  return bpf_redirect(skb->ifindex, 0);
}
