/* A filter of some other agent: counts what passes by, and lets the next one decide. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} seen SEC(".maps");

SEC("tc")
int foreign(struct __sk_buff *skb)
{
  __u32 first = 0;
  __u64 *count = bpf_map_lookup_elem(&seen, &first);
  if (count)
    __sync_fetch_and_add(count, 1);
  return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "GPL";
