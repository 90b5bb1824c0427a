// Lifeguard's suspicion timer: starts long and shrinks as independent members confirm.
#pragma once

#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "gossip/bytes.h"

namespace skep::gossip {

class Suspicion {
 public:
  /// `confirmations_wanted` 0: nobody else could confirm, so the shortest time holds at once.
  Suspicion(std::string from, int confirmations_wanted, Millis shortest, Millis longest, Millis now)
      : wanted_(confirmations_wanted), shortest_(shortest), longest_(longest), started_(now) {
    heard_.insert(std::move(from));
  }

  /// True if `from` is a new voice that still counts; the news is then worth passing on.
  bool Confirm(const std::string& from) {
    if (confirmations_ >= wanted_ || !heard_.insert(from).second) return false;
    confirmations_++;
    return true;
  }

  Millis deadline() const { return started_ + Timeout(); }

  /// Our own thread stood still for this long: the suspect must not pay for it.
  void Shift(Millis by) { started_ += by; }

 private:
  Millis Timeout() const {
    if (wanted_ < 1) return shortest_;
    const double share = std::log(confirmations_ + 1.0) / std::log(wanted_ + 1.0);
    const double span = static_cast<double>(longest_ - shortest_);
    return std::max(shortest_,
                    static_cast<Millis>(std::floor(static_cast<double>(longest_) - share * span)));
  }

  int wanted_;
  int confirmations_ = 0;
  Millis shortest_;
  Millis longest_;
  Millis started_;
  std::set<std::string> heard_;
};

/// The shortest suspicion: multiplier x max(1, log10(members)) x probe interval.
inline Millis SuspicionTimeout(int multiplier, size_t members, Millis probe_interval) {
  const double count = std::max<double>(1.0, static_cast<double>(members));
  const double scale = std::max(1.0, std::log10(count));
  return static_cast<Millis>(multiplier * scale * static_cast<double>(probe_interval));
}

}  // namespace skep::gossip
