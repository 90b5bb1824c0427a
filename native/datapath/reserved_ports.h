// Published ports kept away from what the kernel picks by itself (net.ipv4.ip_local_reserved_ports):
// a connection out of this host whose own port is a published one would never hear its answers. What
// the list holds besides is left alone.
#pragma once

#include "datapath/host_record.h"
#include "datapath/port_set.h"

namespace skep::datapath {

class ReservedPorts {
 public:
  explicit ReservedPorts(HostRecord& record) : record_(record) {}

  /// Makes `wanted` the ports of this data path in the list. True if the list was another and has
  /// been changed; false also where there is no such list to write.
  bool Apply(const PortSet& wanted);

 private:
  HostRecord& record_;
};

}  // namespace skep::datapath
