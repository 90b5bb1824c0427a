/* What arrives on the mesh VNI: packets for a backend here, replies on their way to a client, and
 * the data-path echo. */
#pragma once

#include "published.h"

/* True if the entry is the way back of this packet's flow to the node behind `tunnel`. */
static __always_inline int leads_back(struct skep_connection *reply, __u32 tunnel)
{
  return reply->route == SKEP_ROUTE_MESH && reply->target == tunnel;
}

/* Backend node: files the way back of a flow that is new here. Both flows are in the scratch. */
static __always_inline int admit_new(struct packet *packet, __u32 backend_be, __u32 tunnel,
                                     __u32 ifindex, __u8 wishes,
                                     struct skep_connection **entry, __u16 *port_be)
{
  struct scratch *scratch = scratch_of(packet);
  struct skep_connection *reply = &scratch->reply;
  __builtin_memset(reply, 0, sizeof(*reply));
  reply->last = now_coarse();
  reply->state = first_state(packet);
  reply->route = SKEP_ROUTE_MESH;
  reply->address = packet->destination;
  reply->port_be = packet->destination_port_be;
  reply->target = tunnel;
  __u16 filed_be = file_reply(&scratch->back, reply, packet, &packet->source);
  if (filed_be == 0)
    return DROP(SKEP_NO_PORT);
  expect_replies_from(ifindex);
  if (wishes)
    *entry = find_flow(&scratch->back);
  if (filed_be != packet->source_port_be) {
    *port_be = filed_be;
    reply->backend_be = backend_be;
    reply->other_port_be = filed_be;
    if (file_flow(&scratch->forward, reply) < 0)
      return DROP(SKEP_CONNECTION_TABLE);
  }
  return 0;
}

/* Backend node: finds or files the way back; `port_be` is the client's port as the backend shall
 * see it (another one if a second front already uses it towards this backend). `*entry` becomes the
 * entry of the way back, also that of a new flow if `wishes` is 1: replies may go straight back. */
static __always_inline int admit(struct packet *packet, struct skep_endpoint_key *backend,
                                 struct skep_address *address, __u16 target_port_be, __u32 tunnel,
                                 __u32 ifindex, __u8 wishes, struct skep_connection **entry,
                                 __u16 *port_be)
{
  struct skep_flow *back = &scratch_of(packet)->back;
  struct skep_flow *forward = &scratch_of(packet)->forward;
  flow_from(address, target_port_be, packet, backend->vni, SKEP_FLOW_REPLY, back);
  back->destination = packet->source;
  back->destination_port_be = packet->source_port_be;
  *port_be = packet->source_port_be;
  int settled = 0;
  struct skep_connection *known = find_client_flow(back, packet, &settled);
  if (known && leads_back(known, tunnel) && !known->other_port_be &&
      known->port_be == packet->destination_port_be &&
      same_address(&known->address, &packet->destination)) {
    track(known, packet, SKEP_END_CLIENT);
    *entry = known;
    return 0;
  }
  /* A flow that was given another port keeps it as long as nobody else was given it, also for its
   * next connections: for backend and client it is one tuple. */
  flow_of(packet, SKEP_MESH_VNI, SKEP_FLOW_SERVICE, forward);
  struct skep_connection *moved = find_client_flow(forward, packet, &settled);
  if (moved && moved->backend_be == backend->address_be) {
    back->destination_port_be = moved->other_port_be;
    struct skep_connection *other = find_client_flow(back, packet, &settled);
    if (other && leads_back(other, tunnel) && answers(other, packet, back)) {
      *port_be = moved->other_port_be;
      track(moved, packet, SKEP_END_CLIENT);
      track(other, packet, SKEP_END_CLIENT);
      *entry = other;
      return 0;
    }
    back->destination_port_be = packet->source_port_be;
  }
  return admit_new(packet, backend->address_be, tunnel, ifindex, wishes, entry, port_be);
}

/* The address of a backend on the ingress network in the packet's family. 0 if it has one. */
static __always_inline int backend_address(struct packet *packet, struct skep_endpoint_key *key,
                                           struct skep_address *address)
{
  if (!packet->is_v6) {
    *address = from_v4(key->address_be);
    return 0;
  }
  struct skep_network *network = bpf_map_lookup_elem(&sw_network, &key->vni);
  if (!network)
    return DROP(SKEP_MESH_BACKEND);
  *address = derive6(&network->subnets, key->address_be);
  return is_given(address) ? 0 : DROP(SKEP_MESH_BACKEND);
}

/* Backend node: an ICMP error about a flow of the backend whose id is in the MAC. */
static __always_inline int mesh_error(struct __sk_buff *skb, struct skep_config *config,
                                      struct packet *packet, __u32 backend_be)
{
  struct quote *quote = &scratch_of(packet)->quote;
  if (read_quote(skb, packet, quote))
    return DROP(SKEP_MALFORMED);
  struct skep_service *service =
      landing_service(config, backend_be, quote->source_port_be, (__u8)quote->protocol);
  if (!service)
    return DROP(SKEP_NO_SERVICE);
  struct skep_endpoint_key key = { config->ingress_vni, backend_be };
  struct skep_endpoint *endpoint = bpf_map_lookup_elem(&sw_endpoint, &key);
  if (!endpoint || endpoint->kind != SKEP_ENDPOINT_LOCAL)
    return DROP(SKEP_MESH_BACKEND);
  struct skep_address address;
  int bad = backend_address(packet, &key, &address);
  if (bad)
    return bad;
  /* As port_of_flow has it, for the flow that the quote is of. */
  struct skep_flow *back = &scratch_of(packet)->back;
  quoted_flow(quote, key.vni, SKEP_FLOW_REPLY, 0, back);
  back->source = address;
  back->source_port_be = target_port(service, quote->source_port_be);
  if (service->former_target_port_be && !find_flow(back))
    back->source_port_be = port_behind(service, service->former_target_port_be,
                                       quote->source_port_be);
  return give_error(skb, config, packet, quote, &key, &address, back->source_port_be);
}

/* Backend node: gives a packet back to the entry node that sent it for a backend which is not here.
 * Not more than was received goes back, and only to the member that sent it. */
static __always_inline int refuse_to_node(struct __sk_buff *skb, struct skep_config *config,
                                          struct packet *packet, __u32 tunnel, __u32 backend_be)
{
  int is_tcp = packet->protocol == IPPROTO_TCP;
  if (!packet->has_ports || (skb->gso_size && !is_tcp))
    return DROP(SKEP_MESH_BACKEND);
  /* Of the middle of a connection the entry node needs the headers only, to reset it. A packet from a
   * virtual card, whose tunnel header was taken off by hand, cannot be cut: then it goes as it is, but
   * for aggregated ones, which the sender repeats singly. */
  __u32 length = packet->l4_at + TCP_BYTES;
  if (is_tcp && !is_opening(packet) && skb->len > length &&
      bpf_skb_change_tail(skb, length, 0) < 0 && skb->gso_size)
    return DROP(SKEP_MESH_BACKEND);
  count(skb, SKEP_MESH_REFUSED);
  return to_mesh(skb, config, SKEP_MAC_REFUSAL, backend_be, tunnel);
}

/* True if `back` is the way back of a flow of this front, alive or not. */
static __always_inline int has_way_back(struct skep_flow *back, struct packet *packet, __u32 tunnel)
{
  struct skep_connection *reply = find_flow(back);
  return reply && leads_back(reply, tunnel) && answers(reply, packet, back);
}

/* Backend node: the backend's port that this packet's flow has. Flows that were opened before the service
 * changed it keep the one of before: the packet names the backend, not its port, but their way back does. */
static __always_inline __u16 port_of_flow(struct skep_service *service, struct packet *packet,
                                          struct skep_endpoint_key *backend,
                                          struct skep_address *address, __u32 tunnel)
{
  __u16 port_be = target_port(service, packet->destination_port_be);
  if (!service->former_target_port_be || is_opening(packet))
    return port_be;
  struct skep_flow *back = &scratch_of(packet)->back;
  struct skep_flow *forward = &scratch_of(packet)->forward;
  flow_from(address, port_be, packet, backend->vni, SKEP_FLOW_REPLY, back);
  back->destination = packet->source;
  back->destination_port_be = packet->source_port_be;
  /* A flow that was given another port has that of the client's end, whatever the backend's is. */
  flow_of(packet, SKEP_MESH_VNI, SKEP_FLOW_SERVICE, forward);
  struct skep_connection *moved = find_flow(forward);
  if (moved && moved->backend_be == backend->address_be)
    back->destination_port_be = moved->other_port_be;
  if (has_way_back(back, packet, tunnel))
    return port_be;
  __u16 former_be = port_behind(service, service->former_target_port_be,
                                packet->destination_port_be);
  back->source_port_be = former_be;
  return has_way_back(back, packet, tunnel) ? former_be : port_be;
}

/* Backend node: a client's packet, for the backend whose id is in the MAC. */
static __always_inline int mesh_to_backend(struct __sk_buff *skb, struct skep_config *config,
                                           struct packet *packet, __u32 tunnel, __u32 backend_be,
                                           __u8 wishes)
{
  if (packet->protocol == icmp_of(packet))
    return mesh_error(skb, config, packet, backend_be);
  int bad = read_ports(skb, packet, SKEP_MESH_VNI);
  if (bad)
    return bad;
  struct skep_service *service =
      landing_service(config, backend_be, packet->destination_port_be, packet->protocol);
  struct skep_endpoint_key key = { config->ingress_vni, backend_be };
  struct skep_endpoint *endpoint = bpf_map_lookup_elem(&sw_endpoint, &key);
  if (!service || !endpoint || endpoint->kind != SKEP_ENDPOINT_LOCAL)
    return refuse_to_node(skb, config, packet, tunnel, backend_be);
  __u16 port_be = 0;
  struct skep_connection *reply = NULL;
  struct skep_address address;
  bad = backend_address(packet, &key, &address);
  if (bad)
    return bad;
  __u16 target_port_be = port_of_flow(service, packet, &key, &address, tunnel);
  bad = admit(packet, &key, &address, target_port_be, tunnel, endpoint->ifindex, wishes, &reply,
              &port_be);
  if (bad)
    return bad;
  /* In this one place, for the verifier's sake. */
  if (reply)
    note_wish(skb, config, packet, reply, tunnel, wishes);
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

/* Entry node: a reply, or an ICMP error about one, to a client that borrowed our own address. */
static __always_inline int mesh_to_borrower(struct __sk_buff *skb, struct skep_config *config,
                                            struct packet *packet)
{
  int bad = read_ports(skb, packet, SKEP_MESH_VNI);
  if (bad)
    return bad;
  struct scratch *scratch = scratch_of(packet);
  struct quote *quote = &scratch->quote;
  int is_error = read_quote(skb, packet, quote) == 0;
  if (is_error)
    quoted_flow(quote, 0, SKEP_FLOW_BORROWED, 1, &scratch->flow);
  else
    flow_of(packet, 0, SKEP_FLOW_BORROWED, &scratch->flow);
  struct skep_connection *borrowed = find_flow(&scratch->flow);
  if (!borrowed)
    return to_host(skb, config);
  if (!is_error)
    track(borrowed, packet, SKEP_END_BACKEND);
  struct skep_connection *client = &scratch->connection;
  *client = *borrowed;
  if (is_error) {
    bad = rewrite_quote(skb, packet, quote, 1, &client->other_address, client->other_port_be);
    if (bad)
      return bad;
    count(skb, SKEP_ICMP_ERROR);
  }
  bad = rewrite_destination(skb, packet, &client->other_address,
                            is_error ? 0 : client->other_port_be);
  if (bad)
    return bad;
  if (client->route == SKEP_ROUTE_HOST)
    return to_host_socket(skb, config, &packet->destination);
  return to_endpoint(skb, config, client->vni,
                     find_member(client->vni, &packet->destination, packet->is_v6));
}

/* Entry node: a reply of a remote backend. It may only carry our own addresses as source. */
static __always_inline int mesh_to_client(struct __sk_buff *skb, struct skep_config *config,
                                          struct packet *packet)
{
  struct skep_local *front = bpf_map_lookup_elem(&sw_local, &packet->source);
  if (!front && !is_front(config, &packet->source))
    return DROP(SKEP_MESH_RETURN);
  struct skep_endpoint_key key = {
    config->ingress_vni, find_member(config->ingress_vni, &packet->destination, packet->is_v6)
  };
  if (key.address_be && key.address_be == config->node_id_be)
    return mesh_to_borrower(skb, config, packet);
  if (bpf_map_lookup_elem(&sw_local, &packet->destination))
    return to_host(skb, config);
  struct skep_endpoint *client = bpf_map_lookup_elem(&sw_endpoint, &key);
  if (client && client->kind == SKEP_ENDPOINT_LOCAL)
    return to_container(skb, client);
  if (front && front->ifindex)
    return to_uplink(skb, front->ifindex);
  return DROP(SKEP_MESH_RETURN);
}

/* Entry node: a packet that the backend's node gave back, since the backend is not there. */
static __always_inline int mesh_refused(struct __sk_buff *skb, struct packet *packet, __u32 tunnel,
                                        __u32 backend_be)
{
  scratch_of(packet)->tunnel = tunnel;
  scratch_of(packet)->backend_be = backend_be;
  return go_on(skb, SKEP_CALL_REFUSED);
}

/* Turns an echo request round, or notes a reply. */
static __always_inline int mesh_echo(struct __sk_buff *skb, struct skep_config *config, __u8 kind,
                                     __u32 tunnel)
{
  if (kind == SKEP_MAC_ECHO_REQUEST) {
    count(skb, SKEP_ECHO_ANSWERED);
    return to_mesh(skb, config, SKEP_MAC_ECHO_REPLY, config->node_id_be, tunnel);
  }
  if (kind != SKEP_MAC_ECHO_REPLY)
    return DROP(SKEP_MESH_KIND);
  __u64 now = bpf_ktime_get_ns();
  bpf_map_update_elem(&sw_echo, &tunnel, &now, BPF_ANY);
  count(skb, SKEP_ECHO_RECEIVED);
  return TC_ACT_SHOT;
}

/* `packet` is room for what is read. */
static __always_inline int from_mesh(struct __sk_buff *skb, struct skep_config *config,
                                     __u32 tunnel, struct packet *packet)
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
  __u32 backend_be;
  __builtin_memcpy(&backend_be, mac + 2, 4);
  if (mac[1] == SKEP_MAC_REFUSAL)
    return mesh_refused(skb, packet, tunnel, backend_be);
  if ((mac[1] & ~SKEP_MAC_DIRECT_BIT) != SKEP_MAC_BACKEND)
    return DROP(SKEP_MESH_KIND);
  return mesh_to_backend(skb, config, packet, tunnel, backend_be, mac[1] >> 7);
}
