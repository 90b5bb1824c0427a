// See map_set.h.
#include "datapath/map_set.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>

#include "netlink/system_error.h"

namespace skep::datapath {
namespace {

#define SKEP_MAP(name, type, key, value, entries, flags) \
  bpf::MapSpec{#name, BPF_MAP_TYPE_##type, sizeof(key), sizeof(value), entries, flags},
constexpr bpf::MapSpec kMaps[] = {
#include "bpf/lib/map_list.h"
};
#undef SKEP_MAP

// The kernel hashes whole keys: a byte of hidden padding would make lookups miss.
static_assert(sizeof(skep_config) == 64);
static_assert(sizeof(skep_node) == 4);
static_assert(sizeof(skep_network) == 20);
static_assert(sizeof(skep_wireguard_peer) == 8);
static_assert(sizeof(skep_subnet_key) == 8);
static_assert(sizeof(skep_link) == 36);
static_assert(sizeof(skep_endpoint_key) == 8);
static_assert(sizeof(skep_endpoint) == 20);
static_assert(sizeof(skep_backend) == 8);
static_assert(sizeof(skep_service_key) == 12);
static_assert(sizeof(skep_service) == 36);
static_assert(sizeof(skep_allow_key) == 28);
static_assert(sizeof(skep_maglev) == 1024);
static_assert(sizeof(skep_maglev_large) == 8188);
static_assert(sizeof(skep_range_key) == 8);
static_assert(sizeof(skep_budget) == 8);
static_assert(sizeof(skep_pending) == 192);
static_assert(sizeof(skep_slot_key) == 8);
static_assert(sizeof(skep_local) == 4);
static_assert(sizeof(skep_flow) == 20);
static_assert(sizeof(skep_connection) == 32);
static_assert(sizeof(skep_fragment_key) == 16);
static_assert(sizeof(skep_ports) == 4);
static_assert(sizeof(skep_address) == 16);
static_assert(sizeof(skep_socket_key) == 16);
static_assert(sizeof(skep_counter) == 16);
static_assert(sizeof(skep_trace_filter) == 40);
static_assert(sizeof(skep_trace_row) == 80);

bool SameLayout(const bpf_map_info& info, const bpf::MapSpec& spec) {
  // The kernel adds flags of its own to some types; only those we ask for are compared.
  return info.type == spec.type && info.key_size == spec.key_size &&
         info.value_size == spec.value_size && (info.map_flags & spec.flags) == spec.flags;
}

/// What stands behind the name of an array of programs that is not in force yet.
constexpr char kNext[] = "-next";

/// Number of CPUs the kernel may ever have: the length of a per-CPU value.
size_t PossibleCpus() {
  std::ifstream file("/sys/devices/system/cpu/possible");
  std::string text;
  file >> text;
  const size_t dash = text.find_last_of("-,");
  return std::stoul(dash == std::string::npos ? text : text.substr(dash + 1)) + 1;
}

}  // namespace

MapSet::MapSet(const std::string& directory, const Entries& entries) : directory_(directory) {
  for (bpf::MapSpec spec : kMaps) {
    const std::string path = directory + "/" + spec.name;
    if (spec.type == BPF_MAP_TYPE_PROG_ARRAY) {
      UniqueFd made = bpf::CreateMap(spec);
      ::unlink((path + kNext).c_str());
      bpf::Pin(made.get(), path + kNext);
      fds_.emplace(spec.name, std::move(made));
      continue;
    }
    const auto wanted = entries.find(spec.name);
    if (wanted != entries.end()) spec.entries = wanted->second;
    UniqueFd pinned = bpf::OpenPin(path);
    if (pinned.valid() && SameLayout(bpf::MapInfo(pinned.get()), spec)) {
      fds_.emplace(spec.name, std::move(pinned));
      continue;
    }
    if (pinned.valid()) ::unlink(path.c_str());
    UniqueFd made = bpf::CreateMap(spec);
    bpf::Pin(made.get(), path);
    fds_.emplace(spec.name, std::move(made));
  }
}

void MapSet::Commit() const {
  for (const bpf::MapSpec& spec : kMaps) {
    if (spec.type != BPF_MAP_TYPE_PROG_ARRAY) continue;
    const std::string path = directory_ + "/" + spec.name;
    ::unlink(path.c_str());
    if (::rename((path + kNext).c_str(), path.c_str()) < 0) {
      throw SystemError(errno, "rename", path + kNext);
    }
  }
}

int MapSet::Fd(const std::string& name) const {
  const auto found = fds_.find(name);
  if (found == fds_.end()) throw SystemError(ENOENT, "map", name);
  return found->second.get();
}

std::array<skep_counter, SKEP_COUNTERS> MapSet::Counters() const {
  std::array<skep_counter, SKEP_COUNTERS> sums{};
  std::vector<skep_counter> per_cpu(PossibleCpus());
  const int fd = Fd("sw_counter");
  for (uint32_t number = 0; number < SKEP_COUNTERS; number++) {
    if (!bpf::MapLookup(fd, &number, per_cpu.data())) continue;
    for (const skep_counter& each : per_cpu) {
      sums[number].packets += each.packets;
      sums[number].bytes += each.bytes;
    }
  }
  return sums;
}

}  // namespace skep::datapath
