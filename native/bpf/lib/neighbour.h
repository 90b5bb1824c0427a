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
  __s64 sum = answer_sum(packet, IPPROTO_ICMPV6, sizeof(*message));
  message->check =
      (__u16)~fold(bpf_csum_diff(NULL, 0, (__be32 *)message, sizeof(*message), (__u32)sum));
  if (bpf_skb_change_tail(skb, ETH_BYTES + IP6_BYTES + sizeof(*message), 0) < 0 ||
      store_answer_header(skb, packet, IPPROTO_ICMPV6, sizeof(*message), NEIGHBOUR_HOP_LIMIT) < 0)
    return -1;
  return bpf_skb_store_bytes(skb, ETH_BYTES + IP6_BYTES, message, sizeof(*message),
                             BPF_F_RECOMPUTE_CSUM);
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
  /* It was sent to a multicast group of the target; the answer comes from the target itself. */
  packet->destination = message.target;
  if (write_advertisement(skb, packet, &message) < 0 ||
      bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0) < 0)
    return DROP(SKEP_REWRITE);
  count(skb, SKEP_NEIGHBOUR_ANSWERED);
  return bpf_redirect(skb->ifindex, 0);
}
