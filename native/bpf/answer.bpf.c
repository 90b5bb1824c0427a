/* Programs that others go on in with what needs an answer of this node or another way out. */
#include "lib/complaint.h"
#include "lib/forward.h"
#include "lib/neighbour.h"

static __always_inline int handle_neighbour(struct __sk_buff *skb)
{
  __u32 ifindex = skb->ifindex;
  struct skep_link *link = bpf_map_lookup_elem(&sw_link, &ifindex);
  struct scratch *scratch = get_scratch();
  if (!link || !scratch)
    return DROP(SKEP_NOT_CONFIGURED);
  return answer_solicitation(skb, &scratch->packet, link);
}

/* A container asks who has an address of its network. */
SEC("tc/answer_neighbour")
int answer_neighbour(struct __sk_buff *skb)
{
  return finish(skb, handle_neighbour(skb));
}

static __always_inline int handle_too_long(struct __sk_buff *skb)
{
  struct skep_config *config = get_config();
  struct scratch *scratch = get_scratch();
  if (!config || !scratch)
    return DROP(SKEP_NOT_CONFIGURED);
  if (make_too_long(skb, &scratch->packet, config->mesh_frame_bytes_max - ETH_BYTES) < 0)
    return DROP(SKEP_TOO_LONG);
  count(skb, SKEP_TOO_LONG_ANSWERED);
  return to_uplink(skb, scratch->entry.target);
}

/* A client's packet does not fit the tunnel. */
SEC("tc/answer_too_long")
int answer_too_long(struct __sk_buff *skb)
{
  return finish(skb, handle_too_long(skb));
}

static __always_inline int handle_tunnel6(struct __sk_buff *skb)
{
  struct skep_config *config = get_config();
  struct scratch *scratch = get_scratch();
  if (!config || !scratch)
    return DROP(SKEP_NOT_CONFIGURED);
  return to_tunnel_device6(skb, config, scratch->vni, scratch->tunnel);
}

/* Leaves for a node whose tunnel address is of IPv6. */
SEC("tc/leave_over_ipv6")
int leave_over_ipv6(struct __sk_buff *skb)
{
  return finish(skb, handle_tunnel6(skb));
}
