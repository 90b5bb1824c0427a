/* Chooses the backend of a new flow. The Maglev table makes the choice a function of the client and
 * the set of backends, the same on every node: a flow whose entry was lost goes on where it was.
 * Rows of backends may be newer than the table, so that each choice is checked. */
#pragma once

#include "connection.h"

/* The finalizer of MurmurHash3: every bit of the input reaches every bit of the result. */
static __always_inline __u32 mix(__u32 value)
{
  value = (value ^ (value >> 16)) * 0x85ebca6b;
  value = (value ^ (value >> 13)) * 0xc2b2ae35;
  return value ^ (value >> 16);
}

/* What a service's policy looks at. The address asked is left out, since each node has its own. */
static __always_inline __u32 client_hash(struct skep_service *service, struct packet *packet)
{
  const struct skep_address *client = &packet->source;
  __u32 hash = mix(client->word_be[3] + 0x9e3779b9);
  if (packet->is_v6)
    hash = mix(mix(mix(hash + client->word_be[2]) + client->word_be[1]) + client->word_be[0]);
  if (service->policy == SKEP_POLICY_CLIENT_IP)
    return hash;
  __u32 ports = ((__u32)packet->source_port_be << 16) | packet->destination_port_be;
  return mix(mix(hash + ports) + packet->protocol);
}

/* A hash as a number below `count`. */
static __always_inline __u32 scale(__u32 hash, __u32 count)
{
  return (__u32)(((__u64)hash * count) >> 32);
}

/* The same for a table whose length is known when this is compiled. Newer verifiers see the bound in
 * the multiplication; that of Linux 6.1 has to be shown it, behind the compiler's back. */
static __always_inline __u32 cell_of(__u32 hash, const __u32 cells)
{
  __u32 cell = scale(hash, cells);
  asm volatile("" : "+r"(cell));
  return cell < cells ? cell : 0;
}

/* The slot a hash leads to. */
static __always_inline __u32 slot_of(struct skep_service *service, __u32 hash)
{
  if (service->cells == SKEP_MAGLEV_SMALL_CELLS) {
    struct skep_maglev *table = bpf_map_lookup_elem(&sw_maglev, &service->table);
    if (table)
      return table->slot[cell_of(hash, SKEP_MAGLEV_SMALL_CELLS)];
  } else if (service->cells == SKEP_MAGLEV_LARGE_CELLS) {
    struct skep_maglev_large *table = bpf_map_lookup_elem(&sw_maglev_large, &service->table);
    if (table)
      return table->slot[cell_of(hash, SKEP_MAGLEV_LARGE_CELLS)];
  }
  return scale(hash, service->active);
}

/* 1 if there is an active backend in a slot, and not the one to be avoided; its key is in `key`.
 * Nothing else is told, so that the verifier sees every turn of a loop end alike. */
static __always_inline int is_choosable(struct skep_service *service, __u32 index, __u32 avoid_be,
                                        struct skep_endpoint_key *key)
{
  struct skep_slot_key slot_key = { service->table, index };
  struct skep_endpoint_key *slot = bpf_map_lookup_elem(&sw_slot, &slot_key);
  if (!slot)
    return 0;
  *key = *slot;
  struct skep_backend *backend = bpf_map_lookup_elem(&sw_backend, slot);
  return backend && backend->state == SKEP_BACKEND_ACTIVE && key->address_be != avoid_be;
}

static __always_inline void next_index(struct skep_service *service, struct search *search)
{
  __u32 index = search->index + 1;
  search->index = index < service->active ? index : 0;
}

/* Finds the slot with the fewest connections from here, of those from a place that moves on. */
static __always_inline void find_least_loaded(struct skep_service *service, __u32 avoid_be,
                                              struct search *search)
{
  __u32 active = service->active;
  search->index = __sync_fetch_and_add(&service->next, 1) % active;
  search->best = search->index;
  search->least = ~0u;
  for (__u32 i = 0; i < SKEP_LOADS_COMPARED && i < active; i++) {
    struct skep_endpoint_key key = {};
    if (is_choosable(service, search->index, avoid_be, &key)) {
      __u32 *load = bpf_map_lookup_elem(&sw_load, &key);
      __u32 is = load ? *load : 0;
      if (is < search->least) {
        search->best = search->index;
        search->least = is;
      }
    }
    next_index(service, search);
  }
}

/* Finds the slot the client's hash leads to, or if nobody is to be found there, one of those after
 * it: they are in the order of their addresses, the same on every node. */
static __always_inline void find_hashed(struct skep_service *service, struct packet *packet,
                                        __u32 avoid_be, struct search *search)
{
  search->index = slot_of(service, client_hash(service, packet));
  for (__u32 i = 0; i < SKEP_CHOICE_TRIES; i++) {
    struct skep_endpoint_key key = {};
    if (is_choosable(service, search->index, avoid_be, &key))
      break;
    next_index(service, search);
  }
  search->best = search->index;
}

/* The backend for a new flow, its key in `chosen`; NULL if no active one is found. `avoid_be` is one
 * that was tried already, or 0. */
static __always_inline struct skep_backend *choose_backend(struct skep_service *service,
                                                           struct packet *packet, __u32 avoid_be,
                                                           struct search *search,
                                                           struct skep_endpoint_key *chosen)
{
  if (service->active == 0)
    return NULL;
  if (service->policy == SKEP_POLICY_LEAST_CONN)
    find_least_loaded(service, avoid_be, search);
  else
    find_hashed(service, packet, avoid_be, search);
  if (!is_choosable(service, search->best, avoid_be, chosen))
    return NULL;
  return bpf_map_lookup_elem(&sw_backend, chosen);
}

/* Counts a flow that begins as load of its backend, where that matters. */
static __always_inline void count_load(struct skep_service *service,
                                       struct skep_connection *connection)
{
  if (service->policy != SKEP_POLICY_LEAST_CONN)
    return;
  struct skep_endpoint_key key = { connection->vni, connection->backend_be };
  connection->counted = 1;
  __u32 *load = bpf_map_lookup_elem(&sw_load, &key);
  __u32 one = 1;
  if (load)
    __sync_fetch_and_add(load, 1);
  else
    bpf_map_update_elem(&sw_load, &key, &one, BPF_NOEXIST);
}
