// See tunnel_numbers.h.
#include "datapath/tunnel_numbers.h"

#include <arpa/inet.h>

#include <algorithm>

namespace skep::datapath {

uint32_t TunnelNumbers::FreeNumber() {
  for (const auto& [number, address] : maps_.sw_underlay6().Rows()) last_ = std::max(last_, number);
  uint32_t number = last_ + 1;
  skep_address taken{};
  // After sixteen million of them from the start, where the oldest are long gone.
  if (number >= SKEP_UNDERLAY6_END) number = 1;
  while (maps_.sw_underlay6().Get(number, &taken)) number++;
  last_ = number;
  return number;
}

uint32_t TunnelNumbers::NumberOf(const IpAddress& address) {
  if (!address.given()) return 0;
  if (address.is_v4()) return ntohl(address.v4());
  uint32_t number = 0;
  skep_address filed{};
  const bool known = maps_.sw_underlay6_number().Get(ToMap(address), &number);
  // A process may have ended between the two writes.
  if (known && maps_.sw_underlay6().Get(number, &filed) && FromMap(filed) == address) return number;
  if (!known) number = FreeNumber();
  maps_.sw_underlay6().Put(number, ToMap(address));
  maps_.sw_underlay6_number().Put(ToMap(address), number);
  return number;
}

IpAddress TunnelNumbers::AddressOf(uint32_t number) const {
  if (number == 0) return {};
  if (number >= SKEP_UNDERLAY6_END) return IpAddress::V4(htonl(number));
  skep_address filed{};
  return maps_.sw_underlay6().Get(number, &filed) ? FromMap(filed) : IpAddress{};
}

void TunnelNumbers::Remove(uint32_t number) {
  skep_address filed{};
  if (number == 0 || number >= SKEP_UNDERLAY6_END) return;
  if (!maps_.sw_underlay6().Get(number, &filed)) return;
  maps_.sw_underlay6_number().Remove(filed);
  maps_.sw_underlay6().Remove(number);
}

}  // namespace skep::datapath
