/* Programs that others go on in: a new flow gets its backend, or its client is refused. */
#include "lib/open_published.h"
#include "lib/open_virtual.h"
#include "lib/refuse.h"
#include "lib/refused.h"

/* A port that is not the service's any more: whoever has it on the host may have the packet. */
static __always_inline int give_up(struct __sk_buff *skb, struct skep_config *config,
                                   struct scratch *scratch)
{
  __u8 route = scratch->entry.route;
  if (route == SKEP_ROUTE_HOST)
    return go_on_refusing(skb, scratch, DROP(SKEP_NO_BACKEND));
  count(skb, SKEP_REFUSED);
  return route == SKEP_ROUTE_UPLINK ? NEXT : to_host(skb, config);
}

static __always_inline int handle_open_published(struct __sk_buff *skb)
{
  struct skep_config *config = get_config();
  struct scratch *scratch = get_scratch();
  if (!config || !scratch)
    return DROP(SKEP_NOT_CONFIGURED);
  int verdict = scratch->verdict;
  if (!verdict) {
    struct entry entry = scratch->entry;
    verdict = choose_published(config, &scratch->packet, &entry, scratch);
  }
  if (!verdict)
    return go_on(skb, SKEP_CALL_FILE_PUBLISHED);
  if (verdict == GIVEN_UP)
    return give_up(skb, config, scratch);
  return go_on_refusing(skb, scratch, verdict);
}

SEC("tc/open_published")
int open_published_flow(struct __sk_buff *skb)
{
  return finish(skb, handle_open_published(skb));
}

static __always_inline int handle_file_published(struct __sk_buff *skb)
{
  struct skep_config *config = get_config();
  struct scratch *scratch = get_scratch();
  if (!config || !scratch)
    return DROP(SKEP_NOT_CONFIGURED);
  struct packet *packet = &scratch->packet;
  struct entry entry = scratch->entry;
  struct skep_endpoint_key chosen = scratch->chosen;
  struct skep_service *service = published_service(config, packet);
  if (!service)
    return go_on_refusing(skb, scratch, DROP(SKEP_NO_SERVICE));
  count_withheld(skb, config, packet, service, &entry, &chosen, 0);
  int bad = file_published(config, packet, &entry, &chosen, service);
  if (bad)
    return go_on_refusing(skb, scratch, bad);
  trace_step(skb, SKEP_SERVICE_CHOSEN);
  return forward_published(skb, config, packet, service, &entry);
}

SEC("tc/file_published")
int file_published_flow(struct __sk_buff *skb)
{
  return finish(skb, handle_file_published(skb));
}

static __always_inline int handle_open_virtual(struct __sk_buff *skb)
{
  struct skep_config *config = get_config();
  struct scratch *scratch = get_scratch();
  if (!config || !scratch)
    return DROP(SKEP_NOT_CONFIGURED);
  int verdict = scratch->verdict;
  if (verdict)
    return go_on_refusing(skb, scratch, verdict);
  __u32 ifindex = skb->ifindex;
  struct skep_link *link = bpf_map_lookup_elem(&sw_link, &ifindex);
  if (link && !link->asks)
    link->asks = 1;
  verdict = open_virtual(&scratch->packet);
  if (verdict)
    return go_on_refusing(skb, scratch, verdict);
  trace_step(skb, SKEP_SERVICE_CHOSEN);
  return forward_virtual(skb, config, &scratch->packet);
}

SEC("tc/open_virtual")
int open_virtual_flow(struct __sk_buff *skb)
{
  return finish(skb, handle_open_virtual(skb));
}

static __always_inline int handle_refuse_client(struct __sk_buff *skb)
{
  struct skep_config *config = get_config();
  struct scratch *scratch = get_scratch();
  if (!config || !scratch)
    return DROP(SKEP_NOT_CONFIGURED);
  struct packet *packet = &scratch->packet;
  struct entry entry = scratch->entry;
  int verdict = scratch->verdict;
  if (!is_refusal(verdict) || make_refusal(skb, packet) < 0)
    return verdict;
  if (entry.route == SKEP_ROUTE_HOST)
    return to_host_socket(skb, config, &packet->source);
  if (entry.route == SKEP_ROUTE_UPLINK)
    return to_uplink(skb, entry.target);
  return to_endpoint(skb, config, entry.vni,
                     find_member(entry.vni, &packet->source, packet->is_v6));
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
  struct scratch *scratch = get_scratch();
  if (!config || !scratch)
    return DROP(SKEP_NOT_CONFIGURED);
  return retry_refused(skb, config, scratch);
}

SEC("tc/refused")
int refused_by_node(struct __sk_buff *skb)
{
  return finish(skb, handle_refused(skb));
}
