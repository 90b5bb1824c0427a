// See trace.h.
#include "datapath/trace.h"

#include <algorithm>
#include <cstring>
#include <ctime>

namespace skep::datapath {
namespace {

uint64_t MonotonicNs() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

void Trace::Start(const TraceFilter& filter) {
  Stop();
  skep_trace_filter row{};
  maps_.sw_trace_filter().Get(0, &row);
  read_ = row.rows;
  std::memcpy(row.address_be, filter.address.data(), sizeof row.address_be);
  row.port_be = filter.port;
  std::memcpy(row.other_port_be, filter.other_ports.data(), sizeof row.other_port_be);
  row.protocol = filter.protocol;
  row.until_ns = MonotonicNs() + filter.duration_ns;
  maps_.sw_trace_filter().Put(0, row);
}

void Trace::Stop() {
  skep_trace_filter row{};
  maps_.sw_trace_filter().Get(0, &row);
  row.until_ns = 0;
  maps_.sw_trace_filter().Put(0, row);
}

std::vector<skep_trace_row> Trace::Read(uint64_t* lost) {
  std::vector<skep_trace_row> rows;
  skep_trace_filter filter{};
  maps_.sw_trace_filter().Get(0, &filter);
  if (filter.rows - read_ > SKEP_TRACE_ROWS) {
    *lost += filter.rows - read_ - SKEP_TRACE_ROWS;
    read_ = filter.rows - SKEP_TRACE_ROWS;
  }
  while (read_ < filter.rows) {
    const uint64_t sequence = read_ + 1;
    skep_trace_row row{};
    maps_.sw_trace().Get(static_cast<uint32_t>(sequence % SKEP_TRACE_ROWS), &row);
    if (row.sequence > sequence) {
      ++*lost;  // overwritten meanwhile
    } else if (row.sequence < sequence) {
      break;  // numbered, but not written yet
    } else {
      rows.push_back(row);
    }
    read_ = sequence;
  }
  return rows;
}

}  // namespace skep::datapath
