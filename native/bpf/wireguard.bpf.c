/* from_wireguard: ingress of this node's WireGuard devices. WireGuard has decrypted the packet and
 * checked that its source is the peer's tunnel address; here the VXLAN header is taken off and the
 * frame goes to the container it is for, or where the mesh leads if the ingress network is encrypted.
 * Nothing else may come out of the tunnel: it is no way to the host's own services, nor into networks
 * that are not encrypted. */
#include "lib/decapsulate.h"

/* The device has no Ethernet header; afterwards the packet has the inner one. The network's VNI is
 * returned in `*vni`, the tunnel address of the peer on the underlay in `*tunnel`. */
static __always_inline int open_tunnel(struct __sk_buff *skb, struct skep_config *config,
                                       __u32 *vni, __u32 *tunnel)
{
  struct tunnel_headers outer;
  if (skb->protocol != bpf_htons(ETH_P_IP) ||
      bpf_skb_load_bytes(skb, 0, &outer, sizeof(outer)) < 0)
    return DROP(SKEP_WIREGUARD_CONTENT);
  if (outer.ip.version != 4 || outer.ip.ihl != 5 || outer.ip.protocol != IPPROTO_UDP ||
      outer.ip.frag_off & bpf_htons(0x3fff) || outer.destination_port_be != config->tunnel_port_be ||
      outer.flags_be != bpf_htonl(VXLAN_FLAGS))
    return DROP(SKEP_WIREGUARD_CONTENT);
  __u16 ethertype = (__u16)(outer.ethernet[12] << 8) | outer.ethernet[13];
  if (ethertype != ETH_P_IP && ethertype != ETH_P_IPV6)
    return DROP(SKEP_WIREGUARD_CONTENT);
  __u64 flags =
      BPF_F_ADJ_ROOM_FIXED_GSO | (ethertype == ETH_P_IPV6 ? BPF_F_ADJ_ROOM_DECAP_L3_IPV6 : 0);
  __u32 source = bpf_ntohl(outer.ip.saddr);
  struct skep_wireguard_peer *peer = bpf_map_lookup_elem(&sw_wireguard, &source);
  if (!peer)
    return DROP(SKEP_NO_KEY);
  *tunnel = peer->underlay;
  *vni = bpf_ntohl(outer.vni_be) >> 8;
  if (!is_encrypted(skb, config, *vni))
    return DROP(SKEP_WIREGUARD_CONTENT);
  if (bpf_skb_adjust_room(skb, -TUNNEL_BYTES, BPF_ADJ_ROOM_MAC, flags) < 0 ||
      bpf_skb_change_head(skb, ETH_BYTES, 0) < 0 ||
      bpf_skb_store_bytes(skb, 0, outer.ethernet, ETH_BYTES, 0) < 0)
    return DROP(SKEP_REWRITE);
  /* Congestion met on the way is the inner flow's (RFC 6040). */
  if ((outer.ip.tos & ECN_MASK) == ECN_CE)
    bpf_skb_ecn_set_ce(skb);
  return 0;
}

static __always_inline int handle_wireguard(struct __sk_buff *skb)
{
  struct skep_config *config = get_config();
  struct scratch *scratch = get_scratch();
  if (!config || !scratch)
    return DROP(SKEP_NOT_CONFIGURED);
  __u32 vni;
  __u32 tunnel;
  int bad = open_tunnel(skb, config, &vni, &tunnel);
  if (bad)
    return bad;
  trace_begin(skb, SKEP_PROGRAM_WIREGUARD);
  count(skb, SKEP_ENCRYPTED_RECEIVED);
  struct packet *packet = &scratch->packet;
  if (vni == SKEP_MESH_VNI)
    return from_mesh(skb, config, tunnel, packet);
  bad = read_addresses(skb, packet);
  if (bad)
    return bad;
  struct skep_endpoint_key key = {
    vni, find_member(vni, &packet->destination, packet->is_v6)
  };
  struct skep_endpoint *endpoint = bpf_map_lookup_elem(&sw_endpoint, &key);
  if (!endpoint)
    return DROP(SKEP_UNKNOWN_DESTINATION);
  return deliver(skb, config, packet, vni, endpoint);
}

SEC("tc/from_wireguard")
int from_wireguard(struct __sk_buff *skb)
{
  return finish(skb, handle_wireguard(skb));
}
