// All maps of the data path, created or taken over from their pins, with typed access.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "bpf/lib/consts.h"
#include "bpf/lib/structs.h"
#include "datapath/bpf_syscalls.h"
#include "netlink/ip_address.h"

namespace skep::datapath {

/// Addresses as the maps hold them.
skep_address ToMap(const IpAddress& address);
IpAddress FromMap(const skep_address& address);

/// One map: `Key` and `Value` are the structs of bpf/lib/structs.h.
template <typename Key, typename Value>
class Table {
 public:
  Table(int fd, const char* name) : fd_(fd), name_(name) {}

  void Put(const Key& key, const Value& value) const { bpf::MapUpdate(fd_, name_, &key, &value); }
  bool Get(const Key& key, Value* value) const { return bpf::MapLookup(fd_, &key, value); }
  bool Remove(const Key& key) const { return bpf::MapDelete(fd_, &key); }

  /// Calls `each(key, value)` for at most `max` rows, in no order. Rows that change meanwhile may be
  /// missed. Looking does not count as use where the kernel evicts unused rows.
  template <typename Each>
  void Some(size_t max, Each&& each) const {
    Key key{};
    size_t count = 0;
    for (bool more = bpf::MapNextKey(fd_, nullptr, &key); more && count < max;) {
      Value value{};
      if (Get(key, &value)) {
        each(key, value);
        count++;
      }
      const Key last = key;
      more = bpf::MapNextKey(fd_, &last, &key);
    }
  }

  /// Calls `each(key, value)` for every row, many rows a system call.
  template <typename Call>
  void Each(Call&& each) const {
    constexpr uint32_t kRows = 4096;
    std::vector<Key> keys(kRows);
    std::vector<Value> values(kRows);
    uint32_t position = 0;
    const uint32_t* from = nullptr;
    for (bool more = true; more; from = &position) {
      uint32_t count = kRows;
      uint32_t next = 0;
      more = bpf::MapNextBatch(fd_, from, &next, keys.data(), values.data(), &count);
      for (uint32_t i = 0; i < count; i++) each(keys[i], values[i]);
      position = next;
    }
  }

  /// Every row. Keys are collected first, so that rows may be removed meanwhile.
  std::vector<std::pair<Key, Value>> Rows() const {
    std::vector<Key> keys;
    Key key{};
    for (bool more = bpf::MapNextKey(fd_, nullptr, &key); more;) {
      keys.push_back(key);
      const Key last = key;
      more = bpf::MapNextKey(fd_, &last, &key);
    }
    std::vector<std::pair<Key, Value>> rows;
    rows.reserve(keys.size());
    for (const Key& each : keys) {
      Value value{};
      if (Get(each, &value)) rows.emplace_back(each, value);
    }
    return rows;
  }

 private:
  int fd_;
  const char* name_;
};

class MapSet {
 public:
  using Entries = std::map<std::string, uint32_t>;

  /// Takes over each map pinned in `directory` if its layout is ours. If not, another is made beside
  /// it, with the former rows where only fields were added at the end of its values. `entries` overrides default sizes by map name; a map that is taken over
  /// keeps its size.
  MapSet(const std::string& directory, const Entries& entries);

  /// Makes arrays of programs anew, beside those that programs in force use.
  void RenewProgramArrays();

  /// The programs that use these maps are attached: those made beside others take their names, in one
  /// step each, and what else is pinned in the directory goes. Until then the former maps keep their
  /// pins, and so do those of take-overs that were broken off: the kernel empties an array of programs
  /// that has neither pin nor descriptor, also while programs use it.
  void Commit() const;

  /// Puts back pins that somebody removed, since a next process finds its maps by them.
  /// @returns how many @throws SystemError
  uint32_t RepairPins() const;

  /// Maps whose former rows could not be taken over.
  const std::vector<std::string>& renewed() const { return renewed_; }

  /// Descriptor of a map, by name. @throws SystemError ENOENT
  int Fd(const std::string& name) const;
  const std::map<std::string, UniqueFd>& fds() const { return fds_; }

#define SKEP_MAP(name, type, key, value, entries, flags) \
  Table<key, value> name() const { return Table<key, value>(Fd(#name), #name); }
#include "bpf/lib/map_list.h"
#undef SKEP_MAP

  /// Packets and bytes by counter number, summed over CPUs.
  std::array<skep_counter, SKEP_COUNTERS> Counters() const;

 private:
  /// Makes a map under a name of its own beside the one pinned as `spec.name`.
  UniqueFd MakeBeside(const bpf::MapSpec& spec);

  std::string directory_;
  std::map<std::string, UniqueFd> fds_;
  /// Name of the pin by name of the map, for those made beside others.
  std::map<std::string, std::string> beside_;
  std::vector<std::string> renewed_;
};

}  // namespace skep::datapath
