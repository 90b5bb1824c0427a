// Traces: tells the programs which packets to note, and reads the ring of rows they file.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "datapath/map_set.h"

namespace skep::datapath {

/// Which packets: those with `address` (16 bytes, IPv4 mapped) at either end.
struct TraceFilter {
  std::array<uint8_t, 16> address{};
  uint16_t port = 0;     // network byte order; 0: any
  std::array<uint16_t, 2> other_ports{};  // do as well; 0: none
  uint8_t protocol = 0;  // 0: any
  uint64_t duration_ns = 0;
};

/// One trace at a time on a node.
class Trace {
 public:
  explicit Trace(const MapSet& maps) : maps_(maps) {}

  /// The programs stop by themselves after the filter's duration.
  void Start(const TraceFilter& filter);
  void Stop();
  /// Rows filed since the last call, oldest first. `lost` grows by those that were overwritten.
  std::vector<skep_trace_row> Read(uint64_t* lost);

 private:
  const MapSet& maps_;
  uint64_t read_ = 0;  // rows read or lost so far
};

}  // namespace skep::datapath
