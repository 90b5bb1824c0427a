/* Direct return: the node of a backend sends the reply straight to the client, from the address the
 * client asked, and the entry node sees one half of the connection only. A service wishes it; the
 * entry node says so in every packet it sends on (SKEP_MAC_DIRECT_BIT), so that a change acts on
 * connections that are open; and both nodes use it only while probes show that what stands between
 * them carries such packets (sw_direct). Everything else returns through the tunnel. Only clients of
 * the entry node's tunnel address get it: that is the address the probes are sent under. */
#pragma once

#include "forward.h"

#define SKEP_AF_INET 2

/* True if probes of late have shown that the way may be used. */
static __always_inline int is_direct_proven(__u32 tunnel, __u32 way)
{
  __u32 *ways = bpf_map_lookup_elem(&sw_direct, &tunnel);
  return ways && (*ways & way);
}

/* Entry node: 1 if the service wishes direct return and the client is one that can be answered from
 * elsewhere: outside, and under the address that is tried. */
static __always_inline __u64 wishes_direct(struct skep_config *config, struct packet *packet,
                                           struct skep_service *service, struct entry *entry)
{
  return is_zero((packet->destination.word_be[3] ^ config->tunnel_address_be) | packet->is_v6 |
                 (entry->route ^ SKEP_ROUTE_UPLINK) | (~service->flags & SKEP_SERVICE_DIRECT));
}

/* Entry node: a client that opens the same connection once more was not answered, and maybe cannot be
 * from another node: this connection returns through the tunnel. What the probes cannot see (filters
 * near the client, its own) costs one repetition that way. */
static __always_inline void note_repetition(struct __sk_buff *skb, struct skep_config *config,
                                            struct packet *packet, struct skep_service *service,
                                            struct entry *entry,
                                            struct skep_connection *connection)
{
  if (!is_opening(packet) || connection->state != SKEP_STATE_NEW ||
      connection->direct == SKEP_DIRECT_GIVEN_UP ||
      !wishes_direct(config, packet, service, entry))
    return;
  connection->direct = SKEP_DIRECT_GIVEN_UP;
  count(skb, SKEP_DIRECT_REPEATED);
}

/* Entry node: 1 if probes of late have shown that the node behind `tunnel` may answer clients. */
static __always_inline __u64 may_answer(__u32 tunnel)
{
  __u32 missing = SKEP_DIRECT_ENTRY;
  __u32 *ways = bpf_map_lookup_elem(&sw_direct, &tunnel);
  if (ways)
    missing &= ~*ways;
  return is_zero(missing);
}

/* Entry node: what a packet of a flow to a backend behind `tunnel` says about its replies. */
static __always_inline __u8 backend_mac(struct skep_config *config, struct packet *packet,
                                        struct skep_service *service, struct entry *entry,
                                        __u8 direct, __u32 tunnel)
{
  __u64 may = may_answer(tunnel) & is_zero(direct & SKEP_DIRECT_GIVEN_UP);
  return SKEP_MAC_BACKEND | (wishes_direct(config, packet, service, entry) & may) << 7;
}

/* Entry node: counts a packet whose replies take the tunnel although the service wishes otherwise.
 * Apart from the decision, which many ways of a program lead to. */
static __always_inline void count_withheld(struct __sk_buff *skb, struct skep_config *config,
                                           struct packet *packet, struct skep_service *service,
                                           struct entry *entry,
                                           struct skep_endpoint_key *chosen, __u8 direct)
{
  if (!(service->flags & SKEP_SERVICE_DIRECT) ||
      !wishes_direct(config, packet, service, entry))
    return;
  struct skep_backend *backend = bpf_map_lookup_elem(&sw_backend, chosen);
  if (!backend || !backend->tunnel)
    return;
  if (direct == SKEP_DIRECT_GIVEN_UP || !may_answer(backend->tunnel))
    count(skb, SKEP_DIRECT_WITHHELD);
}

/* Backend node: notes in a reply entry what the entry node says (SKEP_DIRECT_WISHED or 0); whether this node has a way to the
 * client out of its underlay interface is looked up when replies begin to go there. */
static __always_inline void note_wish(struct __sk_buff *skb, struct skep_config *config,
                                      struct packet *packet, struct skep_connection *reply,
                                      __u32 tunnel, __u8 wishes)
{
  if (reply->direct == wishes || packet->is_v6)
    return;
  if (wishes) {
    if (!config->uplink_ifindex || !is_direct_proven(tunnel, SKEP_DIRECT_BACKEND))
      return;
    struct bpf_fib_lookup route = {};
    route.family = SKEP_AF_INET;
    route.ifindex = config->uplink_ifindex;
    route.ipv4_src = packet->destination.word_be[3];
    route.ipv4_dst = packet->source.word_be[3];
    int found = bpf_fib_lookup(skb, &route, sizeof(route), 0);
    if ((found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH) ||
        route.ifindex != config->uplink_ifindex)
      return;
  }
  reply->direct = wishes;
}

/* Backend node: sends a finished reply to its client; 0 if it has to take the tunnel. */
static __always_inline int return_directly(struct __sk_buff *skb, struct skep_config *config,
                                           __u8 direct, __u32 tunnel)
{
  /* What came encrypted goes back encrypted, whatever the entry node says. */
  if (direct != SKEP_DIRECT_WISHED || !config->uplink_ifindex || config->mesh_encrypted ||
      !is_direct_proven(tunnel, SKEP_DIRECT_BACKEND))
    return 0;
  count(skb, SKEP_DIRECT_RETURNED);
  return to_uplink(skb, config->uplink_ifindex);
}

/* True for a packet that says it is from this node's tunnel address, which is of IPv4. */
static __always_inline int is_own_tunnel(struct skep_config *config, struct packet *packet)
{
  return !packet->is_v6 && packet->source.word_be[3] == config->tunnel_address_be;
}

/* Entry node: a packet on the tunnel's port that came from outside under our own address. It is a
 * probe that a backend's node was asked for, or it is nothing at all: the nonce tells. */
static __always_inline int take_probe(struct __sk_buff *skb, struct packet *packet)
{
  struct {
    __u32 magic_be;
    struct skep_direct_nonce nonce;
  } probe;
  if (bpf_skb_load_bytes(skb, packet->l4_at + UDP_BYTES, &probe, sizeof(probe)) < 0 ||
      probe.magic_be != bpf_htonl(SKEP_DIRECT_MAGIC))
    return DROP(SKEP_DIRECT_PROBE);
  struct skep_direct_probe *awaited = bpf_map_lookup_elem(&sw_direct_probe, &probe.nonce);
  if (!awaited)
    return DROP(SKEP_DIRECT_PROBE);
  awaited->bytes = skb->len - ETH_BYTES;
  count(skb, SKEP_DIRECT_PROBE_SEEN);
  return TC_ACT_SHOT;
}
