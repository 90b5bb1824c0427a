// See map_set.h.
#include "datapath/map_set.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
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
static_assert(sizeof(skep_config) == 104);
static_assert(sizeof(skep_node) == 8);
static_assert(sizeof(skep_subnets) == 24);
static_assert(sizeof(skep_network) == 40);
static_assert(sizeof(skep_wireguard_peer) == 12);
static_assert(sizeof(skep_subnet_key) == 20);
static_assert(sizeof(skep_link) == 60);
static_assert(sizeof(skep_endpoint_key) == 8);
static_assert(sizeof(skep_endpoint) == 20);
static_assert(sizeof(skep_backend) == 8);
static_assert(sizeof(skep_service_key) == 24);
static_assert(sizeof(skep_service) == 40);
static_assert(sizeof(skep_allow_key) == 28);
static_assert(sizeof(skep_maglev) == 1024);
static_assert(sizeof(skep_maglev_large) == 8188);
static_assert(sizeof(skep_range_key) == 8);
static_assert(sizeof(skep_budget) == 8);
static_assert(sizeof(skep_scratch) == 8 * SKEP_SCRATCH_WORDS);
static_assert(sizeof(skep_slot_key) == 8);
static_assert(sizeof(skep_local) == 4);
static_assert(sizeof(skep_flow) == 44);
static_assert(sizeof(skep_connection) == 60);
static_assert(sizeof(skep_fragment_key) == 44);
static_assert(sizeof(skep_ports) == 4);
static_assert(sizeof(skep_address) == 16);
static_assert(sizeof(skep_socket_key) == 16);
static_assert(sizeof(skep_counter) == 16);
static_assert(sizeof(skep_trace_filter) == 40);
static_assert(sizeof(skep_trace_row) == 80);

bool IsArray(const bpf::MapSpec& spec) {
  return spec.type == BPF_MAP_TYPE_ARRAY || spec.type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

bool SameLayout(const bpf_map_info& info, const bpf::MapSpec& spec) {
  // The kernel adds flags of its own to some types; only those we ask for are compared.
  return info.type == spec.type && info.key_size == spec.key_size &&
         info.value_size == spec.value_size && (info.map_flags & spec.flags) == spec.flags &&
         (!IsArray(spec) || info.max_entries >= spec.entries);
}

/// True if rows of a former map can be rows of the new one: values, or arrays, have only got longer.
bool HasGrown(const bpf_map_info& former, const bpf::MapSpec& spec) {
  return former.type == spec.type && former.key_size == spec.key_size &&
         former.value_size <= spec.value_size && spec.type != BPF_MAP_TYPE_PERCPU_ARRAY;
}

/// Copies rows, with zeros behind their values. Rows that flows change meanwhile may be missed; walking
/// begins again where one has just gone, so its steps are bounded.
void CopyRows(int from, int to, const bpf::MapSpec& spec) {
  std::vector<uint8_t> key(spec.key_size);
  std::vector<uint8_t> next(spec.key_size);
  uint64_t steps = uint64_t{spec.entries} * 2;
  for (bool more = bpf::MapNextKey(from, nullptr, next.data()); more && steps > 0;
       more = bpf::MapNextKey(from, key.data(), next.data()), steps--) {
    key = next;
    std::vector<uint8_t> value(spec.value_size);
    if (bpf::MapLookup(from, key.data(), value.data())) {
      bpf::MapUpdate(to, spec.name, key.data(), value.data());
    }
  }
}

/// Layout of the maps in force; ours if there are none, or none that say so.
uint32_t LayoutOf(const std::string& directory) {
  const UniqueFd pinned = bpf::OpenPin(directory + "/sw_layout");
  const uint32_t first = 0;
  uint32_t layout = 0;
  if (pinned.valid() && bpf::MapInfo(pinned.get()).value_size == sizeof layout) {
    bpf::MapLookup(pinned.get(), &first, &layout);
  }
  return layout == 0 ? SKEP_LAYOUT : layout;
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

skep_address ToMap(const IpAddress& address) {
  skep_address mapped{};
  static_assert(sizeof mapped.word_be == sizeof address.word);
  std::memcpy(mapped.word_be, address.word.data(), sizeof mapped.word_be);
  return mapped;
}

IpAddress FromMap(const skep_address& address) {
  IpAddress plain;
  std::memcpy(plain.word.data(), address.word_be, sizeof address.word_be);
  return plain;
}

MapSet::MapSet(const std::string& directory, const Entries& entries) : directory_(directory) {
  const bool readable = LayoutOf(directory) == SKEP_LAYOUT;
  for (bpf::MapSpec spec : kMaps) {
    const auto wanted = entries.find(spec.name);
    if (wanted != entries.end()) spec.entries = wanted->second;
    const std::string path = directory + "/" + spec.name;
    UniqueFd pinned = bpf::OpenPin(path);
    if (!pinned.valid()) {
      UniqueFd made = bpf::CreateMap(spec);
      bpf::Pin(made.get(), path);
      fds_.emplace(spec.name, std::move(made));
      continue;
    }
    const bpf_map_info former = bpf::MapInfo(pinned.get());
    if (readable && SameLayout(former, spec)) {
      fds_.emplace(spec.name, std::move(pinned));
      continue;
    }
    if (wanted == entries.end()) spec.entries = std::max(spec.entries, former.max_entries);
    UniqueFd made = MakeBeside(spec);
    if (readable && HasGrown(former, spec)) {
      CopyRows(pinned.get(), made.get(), spec);
    } else {
      renewed_.emplace_back(spec.name);
    }
    fds_.emplace(spec.name, std::move(made));
  }
  sw_layout().Put(0, SKEP_LAYOUT);
}

void MapSet::RenewProgramArrays() {
  for (const bpf::MapSpec& spec : kMaps) {
    if (spec.type != BPF_MAP_TYPE_PROG_ARRAY || beside_.contains(spec.name)) continue;
    fds_[spec.name] = MakeBeside(spec);
  }
}

UniqueFd MapSet::MakeBeside(const bpf::MapSpec& spec) {
  UniqueFd made = bpf::CreateMap(spec);
  const std::vector<std::string> pins = bpf::Pins(directory_);
  for (uint32_t number = 1;; number++) {
    const std::string name = std::string(spec.name) + "-" + std::to_string(number);
    // Another number than those of take-overs that were broken off, since programs in force may use theirs.
    if (std::find(pins.begin(), pins.end(), name) != pins.end()) continue;
    bpf::Pin(made.get(), directory_ + "/" + name);
    beside_[spec.name] = name;
    return made;
  }
}

void MapSet::Commit() const {
  for (const auto& [name, pin] : beside_) {
    const std::string path = directory_ + "/" + name;
    if (::rename((directory_ + "/" + pin).c_str(), path.c_str()) < 0) {
      throw SystemError(errno, "rename", path);
    }
  }
  for (const std::string& name : bpf::Pins(directory_)) {
    if (!fds_.contains(name)) ::unlink((directory_ + "/" + name).c_str());
  }
}

uint32_t MapSet::RepairPins() const {
  uint32_t repaired = 0;
  if (::mkdir(directory_.c_str(), 0700) == 0) repaired++;
  for (const auto& [name, fd] : fds_) {
    const std::string path = directory_ + "/" + name;
    if (::access(path.c_str(), F_OK) == 0 || errno != ENOENT) continue;
    bpf::Pin(fd.get(), path);
    repaired++;
  }
  return repaired;
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
