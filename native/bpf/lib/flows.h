/* Where flows are kept: in sw_opening until the client's second packet, then in sw_connection. Both
 * forget what was not used for longest, so a flood of first packets (SYNs from invented addresses
 * above all) pushes out only what is opening. An opening flow that was pushed out is not lost: its
 * next packet is given the same backend by the service's table. */
#pragma once

#include "packet.h"

/* True for a packet that opens a connection: the only one that may be given a new backend. */
static __always_inline int is_opening(struct packet *packet)
{
  return packet->protocol == IPPROTO_TCP &&
         (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

static __always_inline struct skep_connection *find_flow(struct skep_flow *flow)
{
  struct skep_connection *connection = bpf_map_lookup_elem(&sw_connection, flow);
  return connection ? connection : bpf_map_lookup_elem(&sw_opening, flow);
}

/* Files a flow in place of what was known of it. 0 if done. */
static __always_inline int file_flow(struct skep_flow *flow, struct skep_connection *connection)
{
  if (bpf_map_update_elem(&sw_connection, flow, connection, BPF_EXIST) == 0)
    return 0;
  return bpf_map_update_elem(&sw_opening, flow, connection, BPF_ANY);
}

/* Files a flow nobody knows. 0 if done, also if another CPU did it meanwhile and this one not. */
static __always_inline int file_new_flow(struct skep_flow *flow,
                                         struct skep_connection *connection)
{
  return bpf_map_update_elem(&sw_opening, flow, connection, BPF_NOEXIST);
}

/* 0 if this CPU was the one that took the flow out. */
static __always_inline int forget_flow(struct skep_flow *flow)
{
  if (bpf_map_delete_elem(&sw_connection, flow) == 0)
    return 0;
  return bpf_map_delete_elem(&sw_opening, flow);
}

/* Moves an opening flow to those that a flood cannot touch; the entry there, or NULL. */
static __always_inline struct skep_connection *settle_flow(struct skep_flow *flow)
{
  struct skep_connection *opening = bpf_map_lookup_elem(&sw_opening, flow);
  if (!opening)
    return NULL;
  struct skep_connection settled = *opening;
  if (bpf_map_update_elem(&sw_connection, flow, &settled, BPF_ANY) < 0)
    return opening;
  bpf_map_delete_elem(&sw_opening, flow);
  return bpf_map_lookup_elem(&sw_connection, flow);
}

/* The entry of the flow a client's packet belongs to. `settled` becomes 1 if this packet was the
 * second of the flow, and the reply entry should be settled too. */
static __always_inline struct skep_connection *find_client_flow(struct skep_flow *flow,
                                                                struct packet *packet,
                                                                int *settled)
{
  struct skep_connection *connection = bpf_map_lookup_elem(&sw_connection, flow);
  if (connection)
    return connection;
  if (is_opening(packet))
    return bpf_map_lookup_elem(&sw_opening, flow);
  connection = settle_flow(flow);
  *settled = connection != NULL;
  return connection;
}
