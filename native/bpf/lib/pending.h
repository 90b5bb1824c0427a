/* Hands a packet over to another program. What happens once a flow (choosing, filing, refusing) is in
 * programs of its own: the verifier walks each program through in all its ways, and gives up after a
 * million instructions. */
#pragma once

#include "common.h"

/* Leaves word for the next program. One by one: where the compiler knows an entry's values it would
 * copy the structure from a constant, and clang 14 then forgets the stores before it. */
static __always_inline void put_down(struct scratch *scratch, struct entry *entry, int verdict)
{
  scratch->entry.route = entry->route;
  scratch->entry.refusals = entry->refusals;
  scratch->entry.pad = 0;
  scratch->entry.target = entry->target;
  scratch->entry.vni = entry->vni;
  scratch->entry.avoid_be = entry->avoid_be;
  scratch->verdict = verdict;
}

/* Has the client refused for the reason in `verdict`, or the packet dropped for it. */
static __always_inline int go_on_refusing(struct __sk_buff *skb, struct scratch *scratch,
                                          int verdict)
{
  scratch->verdict = verdict;
  return go_on(skb, SKEP_CALL_REFUSE_CLIENT);
}
