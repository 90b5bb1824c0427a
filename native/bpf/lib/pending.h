/* Hands a packet over to another program. What happens once a flow (choosing, filing, refusing) is in
 * programs of its own: the verifier walks each program through in all its ways, and gives up after a
 * million instructions. A program runs to its end on one CPU, so that a row per CPU is enough. */
#pragma once

#include "choice.h"

/* Where the client of a service is, seen from the node that chooses its backend. */
struct entry {
  __u8 route;     /* enum skep_route of the reply */
  __u8 refusals;  /* nodes that did not have the backend they were sent this packet for */
  __u16 pad;
  __u32 target;   /* uplink, for SKEP_ROUTE_UPLINK */
  __u32 vni;      /* network of the client, for SKEP_ROUTE_ENDPOINT; else 0 */
  __u32 avoid_be; /* backend of the last refusal */
};

/* What skep_pending holds. */
struct pending {
  struct packet packet;
  struct entry entry;
  __s32 verdict;    /* 0, or why there is nothing to be chosen */
  __u32 tunnel;     /* of the node that refused the packet */
  __u32 backend_be; /* that it refused */
  struct skep_endpoint_key chosen; /* backend of a new flow that is to be filed */
  struct search search;            /* for it */
};

static __always_inline struct pending *get_pending(void)
{
  __u32 zero = 0;
  _Static_assert(sizeof(struct pending) <= sizeof(struct skep_pending), "it fits the row");
  return (struct pending *)bpf_map_lookup_elem(&sw_pending, &zero);
}

/* Fills in the first three fields. One by one: where the compiler knows an entry's values it would copy
 * the structure from a constant, and clang 14 then forgets the stores before it. */
static __always_inline void put_down(struct pending *pending, struct packet *packet,
                                     struct entry *entry, int verdict)
{
  pending->packet = *packet;
  pending->entry.route = entry->route;
  pending->entry.refusals = entry->refusals;
  pending->entry.pad = 0;
  pending->entry.target = entry->target;
  pending->entry.vni = entry->vni;
  pending->entry.avoid_be = entry->avoid_be;
  pending->verdict = verdict;
}

/* Goes on in another program of sw_calls; comes back only if that is missing. */
static __always_inline int go_on(struct __sk_buff *skb, __u32 call)
{
  bpf_tail_call(skb, &sw_calls, call);
  return DROP(SKEP_NOT_CONFIGURED);
}

/* Has the client refused for the reason in `verdict`, or the packet dropped for it. */
static __always_inline int go_on_refusing(struct __sk_buff *skb, struct pending *pending,
                                          int verdict)
{
  pending->verdict = verdict;
  return go_on(skb, SKEP_CALL_REFUSE_CLIENT);
}
