// Published ports kept away from what the kernel picks by itself (net.ipv4.ip_local_reserved_ports):
// a connection out of this host whose own port is a published one would never hear its answers. What
// the list holds besides is left alone.
#pragma once

#include <bitset>
#include <cstdint>
#include <string>

#include "datapath/map_set.h"

namespace skep::datapath {

constexpr size_t kPorts = 65536;
/// One bit a port; the protocol makes no difference.
using PortSet = std::bitset<kPorts>;

/// Writes a set as the kernel does: "80,8000-8010".
std::string TextOf(const PortSet& ports);

/// Reads the kernel's list; what is no port is left out.
PortSet PortsOf(const std::string& text);

class ReservedPorts {
 public:
  explicit ReservedPorts(const MapSet& maps) : maps_(maps) {}

  /// Makes `wanted` the ports of this data path in the list. True if the list was another and has
  /// been changed; false also where there is no such list to write.
  bool Apply(const PortSet& wanted) const;

 private:
  PortSet Ours() const;
  void SetOurs(const PortSet& ports) const;

  const MapSet& maps_;
};

}  // namespace skep::datapath
