/* from_overlay: ingress of the tunnel device. Only members of the cluster are heard; the VNI tells
 * container traffic from published-port traffic. */
#include "lib/mesh.h"

/* Who sent the tunnel packet, and its VNI in `vni`. */
static __always_inline int read_tunnel(struct __sk_buff *skb, __u32 *tunnel, __u32 *vni)
{
  struct bpf_tunnel_key key = {};
  __u32 size = offsetof(struct bpf_tunnel_key, local_ipv4);
  if (bpf_skb_get_tunnel_key(skb, &key, size, 0) == 0) {
    *tunnel = key.remote_ipv4;
  } else if (bpf_skb_get_tunnel_key(skb, &key, size, BPF_F_TUNINFO_IPV6) == 0) {
    struct skep_address remote;
    __builtin_memcpy(&remote, key.remote_ipv6, sizeof(remote));
    __u32 *number = bpf_map_lookup_elem(&sw_underlay6_number, &remote);
    if (!number)
      return DROP(SKEP_FOREIGN_TUNNEL);
    *tunnel = *number;
  } else {
    return DROP(SKEP_TUNNEL_KEY);
  }
  *vni = key.tunnel_id;
  return bpf_map_lookup_elem(&sw_node, tunnel) ? 0 : DROP(SKEP_FOREIGN_TUNNEL);
}

static __always_inline int handle_overlay(struct __sk_buff *skb)
{
  __u32 tunnel = 0;
  __u32 vni = 0;
  int bad = read_tunnel(skb, &tunnel, &vni);
  if (bad)
    return bad;
  struct skep_config *config = get_config();
  struct scratch *scratch = get_scratch();
  if (!config || !scratch)
    return DROP(SKEP_NOT_CONFIGURED);
  struct packet *packet = &scratch->packet;
  if (is_encrypted(skb, config, vni))
    return DROP(SKEP_CLEAR_RECEIVED);
  if (vni == SKEP_MESH_VNI)
    return from_mesh(skb, config, tunnel, packet);
  bad = read_addresses(skb, packet);
  if (bad)
    return bad;
  struct skep_endpoint_key destination = {
    vni, find_member(vni, &packet->destination, packet->is_v6)
  };
  struct skep_endpoint *endpoint = bpf_map_lookup_elem(&sw_endpoint, &destination);
  if (!endpoint)
    return DROP(SKEP_UNKNOWN_DESTINATION);
  return deliver(skb, config, packet, vni, endpoint);
}

SEC("tc/from_overlay")
int from_overlay(struct __sk_buff *skb)
{
  trace_begin(skb, SKEP_PROGRAM_OVERLAY);
  return finish(skb, handle_overlay(skb));
}
