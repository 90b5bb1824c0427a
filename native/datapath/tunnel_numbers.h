// Tunnel addresses as the maps hold them: an IPv4 address is its own number, in host byte order; an IPv6
// address gets one out of 0.0.0.0/8, which is no host's. Numbers are not given again while others are
// left, since rows and connections may name one after its node is gone.
#pragma once

#include <cstdint>

#include "datapath/map_set.h"
#include "netlink/ip_address.h"

namespace skep::datapath {

class TunnelNumbers {
 public:
  explicit TunnelNumbers(const MapSet& maps) : maps_(maps) {}

  /// The number of an address, 0 for none. One of IPv6 is filed if it is new.
  /// @throws SystemError E2BIG if there are too many
  uint32_t NumberOf(const IpAddress& address);
  /// None if nobody has that number (any more).
  IpAddress AddressOf(uint32_t number) const;
  /// Forgets the number of an address; no error if it has none.
  void Remove(uint32_t number);

 private:
  uint32_t FreeNumber();

  const MapSet& maps_;
  uint32_t last_ = 0;
};

}  // namespace skep::datapath
