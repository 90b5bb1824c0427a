/* Packets that a backend's node gave back to the entry node, since the backend is not there. */
#pragma once

#include "pending.h"
#include "published.h"

/* Entry node: where the client of a packet is that came back; its own source is put in again if it
 * was borrowed. */
static __always_inline int entry_of_refused(struct __sk_buff *skb, struct skep_config *config,
                                            struct packet *packet, struct entry *entry)
{
  entry->route = SKEP_ROUTE_HOST;
  struct skep_local *front = bpf_map_lookup_elem(&sw_local, &packet->destination);
  if (!front && !is_front(config, &packet->destination))
    return DROP(SKEP_MESH_REFUSAL);
  struct skep_endpoint_key key = {
    config->ingress_vni, find_member(config->ingress_vni, &packet->source, packet->is_v6)
  };
  if (key.address_be && key.address_be == config->node_id_be) {
    struct skep_flow *back = &scratch_of(packet)->back;
    flow_from(&packet->destination, packet->destination_port_be, packet, 0, SKEP_FLOW_BORROWED,
              back);
    back->destination = packet->source;
    back->destination_port_be = packet->source_port_be;
    struct skep_connection *borrowed = find_flow(back);
    if (!borrowed)
      return DROP(SKEP_MESH_REFUSAL);
    entry->route = borrowed->route;
    entry->vni = borrowed->vni;
    return rewrite_source(skb, packet, &borrowed->other_address, borrowed->other_port_be);
  }
  if (!front)
    return DROP(SKEP_MESH_REFUSAL);
  struct skep_endpoint *client = bpf_map_lookup_elem(&sw_endpoint, &key);
  if (client && client->kind == SKEP_ENDPOINT_LOCAL) {
    entry->route = SKEP_ROUTE_ENDPOINT;
    entry->vni = config->ingress_vni;
  } else if (front->ifindex) {
    entry->route = SKEP_ROUTE_UPLINK;
    entry->target = front->ifindex;
  }
  return 0;
}

/* What opens a flow is sent to another backend; the middle of a TCP connection is reset. */
static __always_inline int retry_refused(struct __sk_buff *skb, struct skep_config *config,
                                         struct scratch *scratch)
{
  struct packet *packet = &scratch->packet;
  __u32 backend_be = scratch->backend_be;
  int bad = read_ports(skb, packet, SKEP_MESH_VNI);
  if (bad)
    return bad;
  struct entry entry = { .avoid_be = backend_be };
  bad = entry_of_refused(skb, config, packet, &entry);
  if (bad)
    return bad;
  /* Only the node a flow goes to may refuse it. */
  flow_of(packet, entry.vni, SKEP_FLOW_SERVICE, &scratch->flow);
  struct skep_connection *connection = find_flow(&scratch->flow);
  struct skep_endpoint_key key = { config->ingress_vni, backend_be };
  struct skep_backend *backend = bpf_map_lookup_elem(&sw_backend, &key);
  if (!connection || connection->backend_be != backend_be ||
      (backend && backend->tunnel != scratch->tunnel))
    return DROP(SKEP_MESH_REFUSAL);
  uncount(connection);
  entry.refusals = connection->refusals + 1;
  int verdict = 0;
  if (entry.refusals > SKEP_REFUSALS_MAX ||
      (packet->protocol == IPPROTO_TCP && !is_opening(packet))) {
    connection->state = SKEP_STATE_RESET;
    verdict = DROP(SKEP_BACKEND_GONE);
  }
  put_down(scratch, &entry, verdict);
  return go_on(skb, SKEP_CALL_OPEN_PUBLISHED);
}
