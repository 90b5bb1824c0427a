/* Answers ARP on container interfaces. Every address of the subnet is behind one gateway MAC, so
 * containers keep one neighbour and nothing is ever flooded. */
#pragma once

#include "common.h"

#define ARP_REQUEST 1
#define ARP_REPLY 2

struct arp_frame {
  __u8 to[6];
  __u8 from[6];
  __u16 ethertype;
  __u16 hardware;
  __u16 protocol;
  __u8 hardware_length;
  __u8 protocol_length;
  __u16 operation;
  __u8 sender_mac[6];
  __u32 sender_be;
  __u8 target_mac[6];
  __u32 target_be;
} __attribute__((packed));

/* Byte by byte: an initialised array would become a map of read-only data. */
static __always_inline void write_gateway_mac(__u8 *mac)
{
  mac[0] = SKEP_MAC_LOCAL;
  mac[1] = SKEP_MAC_GATEWAY;
  mac[2] = 0;
  mac[3] = 0;
  mac[4] = 0;
  mac[5] = 1;
}

static __always_inline int answer_arp(struct __sk_buff *skb, struct skep_config *config,
                                      struct skep_link *link)
{
  struct arp_frame frame;
  if (bpf_skb_load_bytes(skb, 0, &frame, sizeof(frame)) < 0)
    return DROP(SKEP_MALFORMED);
  if (frame.operation != bpf_htons(ARP_REQUEST) || frame.protocol != bpf_htons(ETH_P_IP))
    return DROP(SKEP_ARP_UNANSWERED);
  /* Probes for the asker's own address must stay unanswered, or it would think it is taken. */
  if (frame.sender_be == 0 || frame.sender_be == frame.target_be)
    return DROP(SKEP_ARP_UNANSWERED);
  if (frame.sender_be != link->address_be)
    return DROP(SKEP_SPOOFED_ADDRESS);
  if (frame.target_be == link->address_be)
    return DROP(SKEP_ARP_UNANSWERED);
  if ((frame.target_be & link->subnets.mask_be) != link->subnets.subnet_be &&
      frame.target_be != config->dns_address_be)
    return DROP(SKEP_UNKNOWN_DESTINATION);
  __u32 asked_be = frame.target_be;
  __builtin_memcpy(frame.to, frame.sender_mac, 6);
  __builtin_memcpy(frame.target_mac, frame.sender_mac, 6);
  frame.target_be = frame.sender_be;
  write_gateway_mac(frame.from);
  write_gateway_mac(frame.sender_mac);
  frame.sender_be = asked_be;
  frame.operation = bpf_htons(ARP_REPLY);
  if (bpf_skb_store_bytes(skb, 0, &frame, sizeof(frame), 0) < 0)
    return DROP(SKEP_REWRITE);
  count(skb, SKEP_ARP_ANSWERED);
  return bpf_redirect(skb->ifindex, 0);
}
