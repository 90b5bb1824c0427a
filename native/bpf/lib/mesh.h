/* What arrives on the mesh VNI: packets for a backend here, replies on their way to a client, and
 * the data-path echo. */
#pragma once

#include "published.h"

/* Backend node: files the way back of a flow that is new here. */
static __always_inline int admit_new(struct packet *packet, struct skep_endpoint_key *backend,
                                     struct skep_address *tunnel, __u32 ifindex,
                                     struct skep_scratch *scratch, __u16 *port_be)
{
  struct skep_connection *reply = &scratch->reply;
  __builtin_memset(reply, 0, sizeof(*reply));
  reply->last = now_coarse();
  reply->state = first_state(packet);
  reply->route = SKEP_ROUTE_MESH;
  reply->address = packet->destination;
  reply->port_be = packet->destination_port_be;
  reply->target.tunnel = *tunnel;
  __u16 filed_be = file_reply(&scratch->back, reply, packet, &packet->source);
  if (filed_be == 0)
    return DROP(SKEP_NO_PORT);
  expect_replies_from(ifindex);
  if (filed_be != packet->source_port_be) {
    *port_be = filed_be;
    reply->backend_be = backend->address_be;
    reply->other_port_be = filed_be;
    if (bpf_map_update_elem(&sw_connection, &scratch->forward, reply, BPF_ANY) < 0)
      return DROP(SKEP_CONNECTION_TABLE);
  }
  return 0;
}

/* Backend node: finds or files the way back; `port_be` is the client's port as the backend shall
 * see it (another one if a second front already uses it towards this backend). */
static __always_inline int admit(struct packet *packet, struct skep_endpoint_key *backend,
                                 struct skep_address *address, __u16 target_port_be,
                                 struct skep_address *tunnel, __u32 ifindex, __u16 *port_be)
{
  struct skep_scratch *scratch = get_scratch();
  if (!scratch)
    return DROP(SKEP_NOT_CONFIGURED);
  struct skep_flow *back = &scratch->back;
  back->source = *address;
  back->destination = packet->source;
  back->vni = backend->vni;
  back->source_port_be = target_port_be;
  back->destination_port_be = packet->source_port_be;
  back->protocol = packet->protocol;
  back->kind = SKEP_FLOW_REPLY;
  back->pad = 0;
  *port_be = packet->source_port_be;
  struct skep_connection *known = bpf_map_lookup_elem(&sw_connection, back);
  if (known && known->route == SKEP_ROUTE_MESH && same_address(&known->target.tunnel, tunnel) &&
      same_address(&known->address, &packet->destination) &&
      known->port_be == packet->destination_port_be && !known->other_port_be) {
    track(known, packet, SKEP_END_CLIENT);
    return 0;
  }
  /* A flow that was given another port keeps it as long as nobody else was given it, also for its
   * next connections: for backend and client it is one tuple. */
  flow_of(packet, SKEP_MESH_VNI, SKEP_FLOW_SERVICE, &scratch->forward);
  struct skep_connection *moved = bpf_map_lookup_elem(&sw_connection, &scratch->forward);
  if (moved && moved->backend_be == backend->address_be) {
    back->destination_port_be = moved->other_port_be;
    struct skep_connection *other = bpf_map_lookup_elem(&sw_connection, back);
    if (other && other->route == SKEP_ROUTE_MESH && same_address(&other->target.tunnel, tunnel) &&
        answers(other, packet)) {
      *port_be = moved->other_port_be;
      track(moved, packet, SKEP_END_CLIENT);
      track(other, packet, SKEP_END_CLIENT);
      return 0;
    }
    back->destination_port_be = packet->source_port_be;
  }
  return admit_new(packet, backend, tunnel, ifindex, scratch, port_be);
}

/* Backend node: an ICMP error about a flow of the backend whose id is in the MAC. */
static __always_inline int mesh_error(struct __sk_buff *skb, struct skep_config *config,
                                      struct packet *packet, struct skep_endpoint_key *key,
                                      struct skep_address *address)
{
  struct skep_scratch *scratch = get_scratch();
  if (!scratch)
    return DROP(SKEP_NOT_CONFIGURED);
  struct skep_quote *quote = &scratch->quote;
  if (read_quote(skb, packet, quote))
    return DROP(SKEP_MALFORMED);
  struct skep_service_key service_key = {
    .port_be = quote->source_port_be,
    .protocol = (__u8)quote->protocol,
  };
  struct skep_service *service = bpf_map_lookup_elem(&sw_service, &service_key);
  if (!service)
    return DROP(SKEP_NO_SERVICE);
  return give_error(skb, config, packet, quote, key, address, service->target_port_be);
}

/* Backend node: a client's packet, for the backend whose id is in the MAC. */
static __always_inline int mesh_to_backend(struct __sk_buff *skb, struct skep_config *config,
                                           struct packet *packet, struct skep_address *tunnel,
                                           __u32 backend_be)
{
  struct skep_endpoint_key key = { config->ingress_vni, backend_be };
  struct skep_endpoint *endpoint = bpf_map_lookup_elem(&sw_endpoint, &key);
  struct skep_network *network = bpf_map_lookup_elem(&sw_network, &key.vni);
  if (!endpoint || endpoint->kind != SKEP_ENDPOINT_LOCAL || !network)
    return DROP(SKEP_MESH_BACKEND);
  struct skep_address address = member_address(&network->subnets, backend_be, packet->is_v6);
  if (!is_given(&address))
    return DROP(SKEP_MESH_BACKEND);
  if (packet->protocol == icmp_of(packet))
    return mesh_error(skb, config, packet, &key, &address);
  int bad = read_ports(skb, packet, SKEP_MESH_VNI);
  if (bad)
    return bad;
  struct skep_service *service = published_service(packet);
  if (!service)
    return DROP(SKEP_NO_SERVICE);
  __u16 target_port_be = service->target_port_be;
  __u16 port_be = 0;
  bad = admit(packet, &key, &address, target_port_be, tunnel, endpoint->ifindex, &port_be);
  if (bad)
    return bad;
  if (port_be != packet->source_port_be) {
    bad = rewrite_source(skb, packet, &packet->source, port_be);
    if (bad)
      return bad;
  }
  bad = rewrite_destination(skb, packet, &address, target_port_be);
  if (bad)
    return bad;
  return to_container(skb, endpoint);
}

/* Entry node: a reply to the node's own address on the ingress network, which a container or a
 * host socket had borrowed or used. */
static __always_inline int mesh_to_node(struct __sk_buff *skb, struct skep_config *config,
                                        struct packet *packet)
{
  int bad = read_ports(skb, packet, SKEP_MESH_VNI);
  if (bad)
    return bad;
  struct skep_scratch *scratch = get_scratch();
  if (!scratch)
    return DROP(SKEP_NOT_CONFIGURED);
  flow_of(packet, 0, SKEP_FLOW_BORROWED, &scratch->flow);
  struct skep_connection *borrowed = bpf_map_lookup_elem(&sw_connection, &scratch->flow);
  if (!borrowed)
    return to_host(skb, config);
  track(borrowed, packet, SKEP_END_BACKEND);
  scratch->connection = *borrowed;
  struct skep_connection *client = &scratch->connection;
  bad = rewrite_destination(skb, packet, &client->other_address, client->other_port_be);
  if (bad)
    return bad;
  return to_endpoint(skb, config, client->vni,
                     find_member(client->vni, &packet->destination, packet->is_v6));
}

/* Entry node: a reply of a remote backend. It may only carry our own addresses as source. */
static __always_inline int mesh_to_client(struct __sk_buff *skb, struct skep_config *config,
                                          struct packet *packet)
{
  struct skep_local *front = bpf_map_lookup_elem(&sw_local, &packet->source);
  if (!front && !is_frontend(config, &packet->source))
    return DROP(SKEP_MESH_RETURN);
  struct skep_endpoint_key key = {
    config->ingress_vni, find_member(config->ingress_vni, &packet->destination, packet->is_v6)
  };
  if (key.address_be && key.address_be == config->node_id_be)
    return mesh_to_node(skb, config, packet);
  if (bpf_map_lookup_elem(&sw_local, &packet->destination))
    return to_host(skb, config);
  struct skep_endpoint *client = bpf_map_lookup_elem(&sw_endpoint, &key);
  if (client && client->kind == SKEP_ENDPOINT_LOCAL)
    return to_container(skb, client);
  if (front && front->ifindex)
    return to_uplink(skb, front->ifindex);
  return DROP(SKEP_MESH_RETURN);
}

/* Turns an echo request round, or notes a reply. */
static __always_inline int mesh_echo(struct __sk_buff *skb, struct skep_config *config, __u8 kind,
                                     struct skep_address *tunnel)
{
  if (kind == SKEP_MAC_ECHO_REQUEST) {
    count(skb, SKEP_ECHO_ANSWERED);
    return to_mesh(skb, config, SKEP_MAC_ECHO_REPLY, config->node_id_be, tunnel);
  }
  if (kind != SKEP_MAC_ECHO_REPLY)
    return DROP(SKEP_MESH_KIND);
  __u64 now = bpf_ktime_get_ns();
  bpf_map_update_elem(&sw_echo, tunnel, &now, BPF_ANY);
  count(skb, SKEP_ECHO_RECEIVED);
  return TC_ACT_SHOT;
}

/* `packet` is room for what is read. */
static __always_inline int from_mesh(struct __sk_buff *skb, struct skep_config *config,
                                     struct skep_address *tunnel, struct packet *packet)
{
  __u8 mac[6];
  if (bpf_skb_load_bytes(skb, 0, mac, sizeof(mac)) < 0 || mac[0] != SKEP_MAC_LOCAL)
    return DROP(SKEP_MESH_KIND);
  if (skb->protocol == bpf_htons(SKEP_ETHERTYPE_ECHO))
    return mesh_echo(skb, config, mac[1], tunnel);
  int bad = read_addresses(skb, packet);
  if (bad)
    return bad;
  if (mac[1] == SKEP_MAC_RETURN)
    return mesh_to_client(skb, config, packet);
  if (mac[1] != SKEP_MAC_BACKEND)
    return DROP(SKEP_MESH_KIND);
  __u32 backend_be;
  __builtin_memcpy(&backend_be, mac + 2, 4);
  return mesh_to_backend(skb, config, packet, tunnel, backend_be);
}
