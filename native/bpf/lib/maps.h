/* The maps of map_list.h as BPF definitions. The loader fills in the file descriptors. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "consts.h"
#include "structs.h"

#define SKEP_MAP(map_name, map_type, key_type, value_type, entries, map_flags_) \
  struct {                                                                      \
    __uint(type, BPF_MAP_TYPE_##map_type);                                      \
    __uint(max_entries, entries);                                               \
    __uint(map_flags, map_flags_);                                              \
    __type(key, key_type);                                                      \
    __type(value, value_type);                                                  \
  } map_name SEC(".maps");
#include "map_list.h"
#undef SKEP_MAP
