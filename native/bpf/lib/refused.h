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
  struct skep_local *front = bpf_map_lookup_elem(&sw_local, &packet->destination_be);
  if (!front && !is_front(config, packet->destination_be))
    return DROP(SKEP_MESH_REFUSAL);
  if (packet->source_be == config->node_id_be) {
    struct skep_flow back = {
      .source_be = packet->destination_be,
      .destination_be = packet->source_be,
      .source_port_be = packet->destination_port_be,
      .destination_port_be = packet->source_port_be,
      .protocol = packet->protocol,
      .kind = SKEP_FLOW_BORROWED,
    };
    struct skep_connection *borrowed = find_flow(&back);
    if (!borrowed)
      return DROP(SKEP_MESH_REFUSAL);
    entry->route = borrowed->route;
    entry->vni = borrowed->vni;
    return rewrite_source(skb, packet, borrowed->other_address_be, borrowed->other_port_be);
  }
  if (!front)
    return DROP(SKEP_MESH_REFUSAL);
  struct skep_endpoint_key key = { config->ingress_vni, packet->source_be };
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
                                         struct pending *pending)
{
  struct packet packet = pending->packet;
  __u32 backend_be = pending->backend_be;
  int bad = read_ports(skb, &packet, SKEP_MESH_VNI);
  if (bad)
    return bad;
  struct entry entry = { .avoid_be = backend_be };
  bad = entry_of_refused(skb, config, &packet, &entry);
  if (bad)
    return bad;
  /* Only the node a flow goes to may refuse it. */
  struct skep_flow flow = flow_of(&packet, entry.vni, SKEP_FLOW_SERVICE);
  struct skep_connection *connection = find_flow(&flow);
  struct skep_endpoint_key key = { config->ingress_vni, backend_be };
  struct skep_backend *backend = bpf_map_lookup_elem(&sw_backend, &key);
  if (!connection || connection->address_be != backend_be ||
      (backend && backend->tunnel != pending->tunnel))
    return DROP(SKEP_MESH_REFUSAL);
  uncount(connection);
  entry.refusals = connection->refusals + 1;
  int verdict = 0;
  if (entry.refusals > SKEP_REFUSALS_MAX ||
      (packet.protocol == IPPROTO_TCP && !is_opening(&packet))) {
    connection->state = SKEP_STATE_RESET;
    verdict = DROP(SKEP_BACKEND_GONE);
  }
  put_down(pending, &packet, &entry, verdict);
  return go_on(skb, SKEP_CALL_OPEN_PUBLISHED);
}
