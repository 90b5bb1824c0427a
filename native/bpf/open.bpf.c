/* Programs that others go on in: a new flow gets its backend, or its client is refused. */
#include "lib/open_published.h"
#include "lib/open_virtual.h"
#include "lib/refuse.h"
#include "lib/refused.h"

/* A port that is not the service's any more: whoever has it on the host may have the packet. */
static __always_inline int give_up(struct __sk_buff *skb, struct skep_config *config,
                                   struct pending *pending)
{
  __u8 route = pending->entry.route;
  if (route == SKEP_ROUTE_HOST)
    return go_on_refusing(skb, pending, DROP(SKEP_NO_BACKEND));
  count(skb, SKEP_REFUSED);
  return route == SKEP_ROUTE_UPLINK ? NEXT : to_host(skb, config);
}

static __always_inline int handle_open_published(struct __sk_buff *skb)
{
  struct skep_config *config = get_config();
  struct pending *pending = get_pending();
  if (!config || !pending)
    return DROP(SKEP_NOT_CONFIGURED);
  int verdict = pending->verdict;
  if (!verdict) {
    struct packet packet = pending->packet;
    struct entry entry = pending->entry;
    verdict = choose_published(&packet, &entry, pending);
  }
  if (!verdict)
    return go_on(skb, SKEP_CALL_FILE_PUBLISHED);
  if (verdict == GIVEN_UP)
    return give_up(skb, config, pending);
  return go_on_refusing(skb, pending, verdict);
}

SEC("tc/open_published")
int open_published_flow(struct __sk_buff *skb)
{
  return finish(skb, handle_open_published(skb));
}

static __always_inline int handle_file_published(struct __sk_buff *skb)
{
  struct skep_config *config = get_config();
  struct pending *pending = get_pending();
  if (!config || !pending)
    return DROP(SKEP_NOT_CONFIGURED);
  struct packet packet = pending->packet;
  struct entry entry = pending->entry;
  struct skep_endpoint_key chosen = pending->chosen;
  struct skep_connection connection = {};
  struct skep_service *service = published_service(&packet);
  if (!service)
    return go_on_refusing(skb, pending, DROP(SKEP_NO_SERVICE));
  connection.vni = chosen.vni;
  connection.address_be = chosen.address_be;
  count_withheld(skb, config, &packet, service, &entry, &connection);
  int bad = file_published(config, &packet, &entry, &chosen, service, &connection);
  if (bad)
    return go_on_refusing(skb, pending, bad);
  trace_step(skb, SKEP_SERVICE_CHOSEN);
  return forward_published(skb, config, &packet, service, &entry, &connection);
}

SEC("tc/file_published")
int file_published_flow(struct __sk_buff *skb)
{
  return finish(skb, handle_file_published(skb));
}

static __always_inline int handle_open_virtual(struct __sk_buff *skb)
{
  struct skep_config *config = get_config();
  struct pending *pending = get_pending();
  if (!config || !pending)
    return DROP(SKEP_NOT_CONFIGURED);
  int verdict = pending->verdict;
  if (verdict)
    return go_on_refusing(skb, pending, verdict);
  struct packet packet = pending->packet;
  struct skep_connection connection = {};
  verdict = open_virtual(&packet, pending, &connection);
  if (verdict)
    return go_on_refusing(skb, pending, verdict);
  trace_step(skb, SKEP_SERVICE_CHOSEN);
  return forward_virtual(skb, config, &packet, &connection);
}

SEC("tc/open_virtual")
int open_virtual_flow(struct __sk_buff *skb)
{
  return finish(skb, handle_open_virtual(skb));
}

static __always_inline int handle_refuse_client(struct __sk_buff *skb)
{
  struct skep_config *config = get_config();
  struct pending *pending = get_pending();
  if (!config || !pending)
    return DROP(SKEP_NOT_CONFIGURED);
  struct packet packet = pending->packet;
  struct entry entry = pending->entry;
  int verdict = pending->verdict;
  if (!is_refusal(verdict) || make_refusal(skb, &packet) < 0)
    return verdict;
  if (entry.route == SKEP_ROUTE_HOST)
    return to_host(skb, config);
  if (entry.route == SKEP_ROUTE_UPLINK)
    return to_uplink(skb, entry.target);
  return to_endpoint(skb, config, entry.vni, packet.source_be);
}

/* The packet's drop, or a refusal to the client if nobody is there to answer it. */
SEC("tc/refuse_client")
int refuse_client(struct __sk_buff *skb)
{
  return finish(skb, handle_refuse_client(skb));
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
