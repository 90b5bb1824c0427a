// The programs' clock of connection ages, for comparison with what they wrote.
#pragma once

#include <cstdint>
#include <ctime>

namespace skep::datapath {

/// Coarse seconds: 2^30 ns of the monotonic clock each.
inline uint32_t CoarseNow() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  const uint64_t ns =
      static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
  return static_cast<uint32_t>(ns >> 30);
}

}  // namespace skep::datapath
