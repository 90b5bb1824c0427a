/* Programs that others go on in: a new flow gets its backend, or its client is refused. */
#include "lib/open_published.h"
#include "lib/open_virtual.h"
#include "lib/refuse.h"
#include "lib/refused.h"

/* The verdict, or a refusal to the client if nobody is there to answer it. */
static __always_inline int or_refuse(struct __sk_buff *skb, struct skep_config *config,
                                     struct packet *packet, struct entry *entry, int verdict)
{
  if (!is_refusal(verdict) || make_refusal(skb, packet) < 0)
    return verdict;
  if (entry->route == SKEP_ROUTE_HOST)
    return to_host(skb, config);
  if (entry->route == SKEP_ROUTE_UPLINK)
    return to_uplink(skb, entry->target);
  return to_endpoint(skb, config, entry->vni, packet->source_be);
}

/* A port that is not the service's any more: whoever has it on the host may have the packet. */
static __always_inline int give_up(struct __sk_buff *skb, struct skep_config *config,
                                   struct packet *packet, struct entry *entry)
{
  if (entry->route == SKEP_ROUTE_HOST)
    return or_refuse(skb, config, packet, entry, DROP(SKEP_NO_BACKEND));
  count(skb, SKEP_REFUSED);
  return entry->route == SKEP_ROUTE_UPLINK ? NEXT : to_host(skb, config);
}

static __always_inline int handle_open_published(struct __sk_buff *skb)
{
  struct skep_config *config = get_config();
  struct pending *pending = get_pending();
  if (!config || !pending)
    return DROP(SKEP_NOT_CONFIGURED);
  struct packet packet = pending->packet;
  struct entry entry = pending->entry;
  int verdict = pending->verdict;
  if (!verdict) {
    struct skep_connection connection = {};
    verdict = open_published(config, &packet, &entry, &connection);
    if (!verdict) {
      trace_step(skb, SKEP_SERVICE_CHOSEN);
      return forward_published(skb, config, &packet, &connection);
    }
  }
  if (verdict == GIVEN_UP)
    return give_up(skb, config, &packet, &entry);
  return or_refuse(skb, config, &packet, &entry, verdict);
}

SEC("tc/open_published")
int open_published_flow(struct __sk_buff *skb)
{
  return finish(skb, handle_open_published(skb));
}

static __always_inline int handle_open_virtual(struct __sk_buff *skb)
{
  struct skep_config *config = get_config();
  struct pending *pending = get_pending();
  if (!config || !pending)
    return DROP(SKEP_NOT_CONFIGURED);
  struct packet packet = pending->packet;
  struct entry entry = pending->entry;
  int verdict = pending->verdict;
  if (!verdict) {
    struct skep_connection connection = {};
    verdict = open_virtual(&packet, entry.vni, &connection);
    if (!verdict) {
      trace_step(skb, SKEP_SERVICE_CHOSEN);
      return forward_virtual(skb, config, &packet, &connection);
    }
  }
  return or_refuse(skb, config, &packet, &entry, verdict);
}

SEC("tc/open_virtual")
int open_virtual_flow(struct __sk_buff *skb)
{
  return finish(skb, handle_open_virtual(skb));
}

static __always_inline int handle_refused(struct __sk_buff *skb)
{
  struct skep_config *config = get_config();
  struct pending *pending = get_pending();
  if (!config || !pending)
    return DROP(SKEP_NOT_CONFIGURED);
  return retry_refused(skb, config, pending);
}

SEC("tc/refused")
int refused_by_node(struct __sk_buff *skb)
{
  return finish(skb, handle_refused(skb));
}
