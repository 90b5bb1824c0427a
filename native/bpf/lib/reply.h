/* The way back: a backend's packet gets the address its client knows, and goes where the client is. */
#pragma once

#include "connection.h"
#include "direct.h"
#include "forward.h"
#include "icmp_error.h"
#include "rewrite.h"
#include "service.h"

/* True for what is reached through another node's tunnel. */
static __always_inline int is_behind_tunnel(struct skep_endpoint *endpoint)
{
  return endpoint->kind == SKEP_ENDPOINT_REMOTE || endpoint->kind == SKEP_ENDPOINT_PEER;
}

/* Sends a packet to a member of network `vni` without looking at services or replies any more. */
static __always_inline int to_endpoint(struct __sk_buff *skb, struct skep_config *config,
                                       __u32 vni, __u32 member_be)
{
  struct skep_endpoint_key key = { vni, member_be };
  struct skep_endpoint *endpoint = bpf_map_lookup_elem(&sw_endpoint, &key);
  if (!endpoint)
    return DROP(SKEP_UNKNOWN_DESTINATION);
  if (endpoint->kind == SKEP_ENDPOINT_LOCAL)
    return to_container(skb, endpoint);
  if (is_behind_tunnel(endpoint))
    return to_remote(skb, config, vni, endpoint);
  if (endpoint->kind == SKEP_ENDPOINT_NODE && endpoint->ifindex)
    return to_host(skb, config);
  return DROP(SKEP_UNKNOWN_DESTINATION);
}

/* Applies a reply entry and sends the packet on. Ports must have been read. `quote` is not NULL for
 * an ICMP error about the flow. */
static __always_inline int send_reply(struct __sk_buff *skb, struct skep_config *config,
                                      struct packet *packet, struct skep_connection *entry,
                                      struct quote *quote)
{
  /* A copy: the row may be given to another flow while it is being used. */
  struct skep_connection *reply = &scratch_of(packet)->reply;
  *reply = *entry;
  __u8 route = reply->route;
  __u8 direct = reply->direct;
  __u32 target = reply->target;
  __u32 vni = reply->vni;
  __u16 front_port_be = reply->port_be;
  __u16 client_port_be = reply->other_port_be;
  int has_client = is_given(&reply->other_address);
  if (route == SKEP_ROUTE_UPLINK || route == SKEP_ROUTE_MESH) {
    int late = decrement_ttl(skb, packet);
    if (late)
      return late;
  }
  int bad;
  if (quote) {
    bad = rewrite_quote(skb, packet, quote, 0, &reply->address, front_port_be);
    if (!bad && has_client)
      bad = rewrite_quote(skb, packet, quote, 1, &reply->other_address, client_port_be);
    if (bad)
      return bad;
    count(skb, SKEP_ICMP_ERROR);
  }
  bad = rewrite_source(skb, packet, &reply->address, front_port_be);
  if (bad)
    return bad;
  if (has_client) {
    bad = rewrite_destination(skb, packet, &reply->other_address, client_port_be);
    if (bad)
      return bad;
  }
  int verdict;
  switch (route) {
  case SKEP_ROUTE_UPLINK:
    return to_uplink(skb, target);
  case SKEP_ROUTE_MESH:
    verdict = return_directly(skb, config, direct, target);
    if (verdict)
      return verdict;
    count(skb, SKEP_MESH_RETURNED);
    return to_mesh(skb, config, SKEP_MAC_RETURN, config->node_id_be, target);
  case SKEP_ROUTE_HOST:
    return to_host_socket(skb, config, &packet->destination);
  default:
    return to_endpoint(skb, config, vni,
                       find_member(vni, &packet->destination, packet->is_v6));
  }
}

/* True for the answer to a client that has gone on to ask the backend at its own address, with the
 * port of a connection through the service that is over: opening that one again would have told the
 * entry. */
static __always_inline int answers_direct(struct skep_connection *reply, struct packet *packet)
{
  if (packet->protocol != IPPROTO_TCP ||
      (packet->tcp_flags & (TCP_SYN | TCP_ACK)) != (TCP_SYN | TCP_ACK))
    return 0;
  return is_over(reply);
}

/* If this packet answers a flow through a service, sends it and returns the verdict; else 0. */
static __always_inline int try_reply(struct __sk_buff *skb, struct skep_config *config,
                                     struct packet *packet, __u32 vni)
{
  int bad = read_ports(skb, packet, vni);
  if (bad)
    return bad == DROP(SKEP_FRAGMENT) ? 0 : bad;
  struct quote *quote = &scratch_of(packet)->quote;
  struct skep_flow *flow = &scratch_of(packet)->flow;
  int is_error = read_quote(skb, packet, quote) == 0;
  if (is_error)
    quoted_flow(quote, vni, SKEP_FLOW_REPLY, 1, flow);
  else
    flow_of(packet, vni, SKEP_FLOW_REPLY, flow);
  struct skep_connection *reply = find_flow(flow);
  if (!reply)
    return 0;
  if (is_error) {
    /* Routers on the way may complain too: only the quote tells whose flow it is. */
    return send_reply(skb, config, packet, reply, quote);
  }
  if (answers_direct(reply, packet)) {
    forget_flow(flow);
    return 0;
  }
  track(reply, packet, SKEP_END_BACKEND);
  if (!reply->replied)
    reply->replied = 1;
  return send_reply(skb, config, packet, reply, NULL);
}

/* Delivers to an address on network `vni` that was found in sw_endpoint, replies of services
 * included. */
static __always_inline int deliver(struct __sk_buff *skb, struct skep_config *config,
                                   struct packet *packet, __u32 vni,
                                   struct skep_endpoint *endpoint)
{
  if (endpoint->replies) {
    int verdict = try_reply(skb, config, packet, vni);
    if (verdict)
      return verdict;
  }
  if (endpoint->kind == SKEP_ENDPOINT_LOCAL)
    return to_container(skb, endpoint);
  if (endpoint->kind == SKEP_ENDPOINT_NODE && endpoint->ifindex) {
    /* sw-h0 lets replies to 127.0.0.1 through, and would let this pass for one of its own. */
    if (is_loopback(&packet->source))
      return DROP(SKEP_LOOPBACK);
    return to_host(skb, config);
  }
  return DROP(SKEP_UNKNOWN_DESTINATION);
}

/* From now on, packets to this address are looked up as replies. */
static __always_inline void expect_replies_to(__u32 vni, __u32 member_be)
{
  struct skep_endpoint_key key = { vni, member_be };
  struct skep_endpoint *endpoint = bpf_map_lookup_elem(&sw_endpoint, &key);
  if (endpoint && !endpoint->replies)
    endpoint->replies = 1;
}

/* From now on, packets from this interface are looked up as replies. */
static __always_inline void expect_replies_from(__u32 ifindex)
{
  struct skep_link *link = bpf_map_lookup_elem(&sw_link, &ifindex);
  if (link && !link->replies)
    link->replies = 1;
}
