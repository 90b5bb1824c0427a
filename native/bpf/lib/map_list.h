/* All maps, once. SKEP_MAP(name, type, key, value, entries, flags): the BPF side defines them from
 * this list, the C++ side creates or takes them over from the same list (native/datapath/maps.cc).
 * `entries` is the default; user space overrides those a limit exists for. */

/* SKEP_LAYOUT of who wrote the others. */
SKEP_MAP(sw_layout, ARRAY, __u32, __u32, 1, 0)
/* Settings of this node. */
SKEP_MAP(sw_config, ARRAY, __u32, struct skep_config, 1, 0)
/* Members of the cluster by tunnel address; VXLAN from anybody else is dropped. */
SKEP_MAP(sw_node, HASH, __u32, struct skep_node, 16384, 0)
/* Numbers that stand for tunnel addresses of IPv6, and back. */
SKEP_MAP(sw_underlay6, HASH, __u32, struct skep_address, 16384, BPF_F_NO_PREALLOC)
SKEP_MAP(sw_underlay6_number, HASH, struct skep_address, __u32, 16384, BPF_F_NO_PREALLOC)
/* Overlay networks by VNI. */
SKEP_MAP(sw_network, HASH, __u32, struct skep_network, 4096, BPF_F_NO_PREALLOC)
/* Ways through WireGuard by the peer's tunnel address: two a node while its key changes. */
SKEP_MAP(sw_wireguard, HASH, __u32, struct skep_wireguard_peer, 32768, BPF_F_NO_PREALLOC)
/* Subnet to VNI: what comes from the host, and what must not leave a container. */
SKEP_MAP(sw_subnet, LPM_TRIE, struct skep_subnet_key, __u32, 4096, BPF_F_NO_PREALLOC)
/* Container interfaces here, by interface index. */
SKEP_MAP(sw_link, HASH, __u32, struct skep_link, 16384, BPF_F_NO_PREALLOC)
/* Everything that has an address on a network: containers, virtual addresses, this host. */
SKEP_MAP(sw_endpoint, HASH, struct skep_endpoint_key, struct skep_endpoint, 262144, BPF_F_NO_PREALLOC)
/* Tasks as load-balancing targets. */
SKEP_MAP(sw_backend, HASH, struct skep_endpoint_key, struct skep_backend, 262144, BPF_F_NO_PREALLOC)
/* Virtual addresses and published ports. */
SKEP_MAP(sw_service, HASH, struct skep_service_key, struct skep_service, 16384, BPF_F_NO_PREALLOC)
/* Backends of a service; a table is written whole before the service row names it. */
SKEP_MAP(sw_slot, HASH, struct skep_slot_key, struct skep_endpoint_key, 524288, BPF_F_NO_PREALLOC)
/* Client networks of the services that restrict them. */
SKEP_MAP(sw_allow, LPM_TRIE, struct skep_allow_key, __u8, 65536, BPF_F_NO_PREALLOC)
/* Maglev tables of services, by the number of their slots' table: cell to slot. */
SKEP_MAP(sw_maglev, HASH, __u32, struct skep_maglev, 32768, BPF_F_NO_PREALLOC)
SKEP_MAP(sw_maglev_large, HASH, __u32, struct skep_maglev_large, 1024, BPF_F_NO_PREALLOC)
/* Connections opened from this node to each backend of services that choose by that. */
SKEP_MAP(sw_load, HASH, struct skep_endpoint_key, __u32, 262144, BPF_F_NO_PREALLOC)
/* Blocks of published ports that belong to a range, to the first port of it. */
SKEP_MAP(sw_range, LPM_TRIE, struct skep_range_key, __u16, 16384, BPF_F_NO_PREALLOC)
/* Own addresses published ports answer on. */
SKEP_MAP(sw_local, HASH, struct skep_address, struct skep_local, 1024, BPF_F_NO_PREALLOC)
/* Flows of which one packet was seen: a flood of those cannot touch the ones below. */
SKEP_MAP(sw_opening, LRU_HASH, struct skep_flow, struct skep_connection, 65536, 0)
/* Flows that go through a service, both directions. */
SKEP_MAP(sw_connection, LRU_HASH, struct skep_flow, struct skep_connection, 262144, 0)
/* Ports of IP fragments after the first. */
SKEP_MAP(sw_fragment, LRU_HASH, struct skep_fragment_key, struct skep_ports, 8192, 0)
/* Where a host socket meant to go before its published address was replaced. */
SKEP_MAP(sw_socket, LRU_HASH, struct skep_socket_key, struct skep_address, 16384, 0)
/* Programs the others go on in (SKEP_CALL_*). */
SKEP_MAP(sw_calls, PROG_ARRAY, __u32, __u32, SKEP_CALLS, 0)
/* What is known of the packet at hand. */
SKEP_MAP(sw_scratch, PERCPU_ARRAY, __u32, struct skep_scratch, 1, 0)
/* How many ICMP errors were made lately. */
SKEP_MAP(sw_budget, ARRAY, __u32, struct skep_budget, 1, 0)
/* Monotonic nanoseconds of the last echo reply, by tunnel address. */
SKEP_MAP(sw_echo, HASH, __u32, __u64, 16384, BPF_F_NO_PREALLOC)
/* Ways proven to carry direct return, by tunnel address: SKEP_DIRECT_ENTRY, SKEP_DIRECT_BACKEND. */
SKEP_MAP(sw_direct, HASH, __u32, __u32, 16384, BPF_F_NO_PREALLOC)
/* Probes that are awaited. */
SKEP_MAP(sw_direct_probe, HASH, struct skep_direct_nonce, struct skep_direct_probe, 4096, BPF_F_NO_PREALLOC)
/* Drop reasons and forwarding counters (drop_reasons.h). */
SKEP_MAP(sw_counter, PERCPU_ARRAY, __u32, struct skep_counter, SKEP_COUNTERS, 0)
/* Which packets are traced, the row being gathered on each CPU, and the ring of finished rows. */
SKEP_MAP(sw_trace_filter, ARRAY, __u32, struct skep_trace_filter, 1, 0)
SKEP_MAP(sw_trace_now, PERCPU_ARRAY, __u32, struct skep_trace_row, 1, 0)
SKEP_MAP(sw_trace, ARRAY, __u32, struct skep_trace_row, SKEP_TRACE_ROWS, 0)
