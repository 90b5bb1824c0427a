// See map_set.h.
#include "datapath/map_set.h"

#include <unistd.h>

#include <cerrno>
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
static_assert(sizeof(skep_config) == 96);
static_assert(sizeof(skep_node) == 4);
static_assert(sizeof(skep_network) == 40);
static_assert(sizeof(skep_subnet_key) == 20);
static_assert(sizeof(skep_link) == 60);
static_assert(sizeof(skep_endpoint_key) == 8);
static_assert(sizeof(skep_endpoint) == 32);
static_assert(sizeof(skep_backend) == 20);
static_assert(sizeof(skep_service_key) == 12);
static_assert(sizeof(skep_service) == 20);
static_assert(sizeof(skep_slot_key) == 8);
static_assert(sizeof(skep_local) == 4);
static_assert(sizeof(skep_flow) == 44);
static_assert(sizeof(skep_connection) == 68);
static_assert(sizeof(skep_fragment_key) == 44);
static_assert(sizeof(skep_ports) == 4);
static_assert(sizeof(skep_socket_key) == 16);
static_assert(sizeof(skep_counter) == 16);

bool SameLayout(const bpf_map_info& info, const bpf::MapSpec& spec) {
  // The kernel adds flags of its own to some types; only those we ask for are compared.
  return info.type == spec.type && info.key_size == spec.key_size &&
         info.value_size == spec.value_size && (info.map_flags & spec.flags) == spec.flags;
}

/// Number of CPUs the kernel may ever have: the length of a per-CPU value.
size_t PossibleCpus() {
  std::ifstream file("/sys/devices/system/cpu/possible");
  std::string text;
  file >> text;
  const size_t dash = text.find_last_of("-,");
  return std::stoul(dash == std::string::npos ? text : text.substr(dash + 1)) + 1;
}

}  // namespace

MapSet::MapSet(const std::string& directory, const Entries& entries) {
  for (bpf::MapSpec spec : kMaps) {
    const std::string path = directory + "/" + spec.name;
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
