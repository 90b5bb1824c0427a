/* from_overlay: ingress of the tunnel device. Only members of the cluster are heard; the VNI tells
 * container traffic from published-port traffic. */
#include "lib/mesh.h"

static __always_inline int handle_overlay(struct __sk_buff *skb)
{
  struct bpf_tunnel_key key = {};
  if (bpf_skb_get_tunnel_key(skb, &key, offsetof(struct bpf_tunnel_key, local_ipv4), 0) < 0)
    return DROP(SKEP_TUNNEL_KEY);
  __u32 tunnel = key.remote_ipv4;
  if (!bpf_map_lookup_elem(&sw_node, &tunnel))
    return DROP(SKEP_FOREIGN_TUNNEL);
  struct skep_config *config = get_config();
  if (!config)
    return DROP(SKEP_NOT_CONFIGURED);
  if (key.tunnel_id == SKEP_MESH_VNI)
    return from_mesh(skb, config, tunnel);
  if (is_encrypted(config, key.tunnel_id))
    return DROP(SKEP_CLEAR_RECEIVED);
  if (skb->protocol != bpf_htons(ETH_P_IP))
    return DROP(SKEP_NOT_IPV4);
  struct packet packet = {};
  int bad = read_addresses(skb, &packet);
  if (bad)
    return bad;
  struct skep_endpoint_key destination = { key.tunnel_id, packet.destination_be };
  struct skep_endpoint *endpoint = bpf_map_lookup_elem(&sw_endpoint, &destination);
  if (!endpoint)
    return DROP(SKEP_UNKNOWN_DESTINATION);
  return deliver(skb, config, &packet, key.tunnel_id, endpoint);
}

SEC("tc/from_overlay")
int from_overlay(struct __sk_buff *skb)
{
  trace_begin(skb, SKEP_PROGRAM_OVERLAY);
  return finish(skb, handle_overlay(skb));
}
