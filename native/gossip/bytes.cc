// Conversions between endpoints, raw address bytes and text.
#include "gossip/bytes.h"

#include <arpa/inet.h>

#include <algorithm>

namespace skep::gossip {

std::optional<Endpoint> EndpointFromBytes(ByteView ip, uint16_t port) {
  static constexpr std::array<uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (ip.size() == 16 && std::equal(kMapped.begin(), kMapped.end(), ip.begin())) {
    ip = ip.subspan(12);
  }
  if (ip.size() != 4 && ip.size() != 16) return std::nullopt;
  Endpoint endpoint;
  std::copy(ip.begin(), ip.end(), endpoint.ip.begin());
  endpoint.ip_length = static_cast<uint8_t>(ip.size());
  endpoint.port = port;
  return endpoint;
}

std::optional<Endpoint> EndpointFromText(const std::string& ip, uint16_t port) {
  std::array<uint8_t, 16> raw{};
  if (inet_pton(AF_INET, ip.c_str(), raw.data()) == 1) {
    return EndpointFromBytes(ByteView(raw).first(4), port);
  }
  if (inet_pton(AF_INET6, ip.c_str(), raw.data()) == 1) return EndpointFromBytes(raw, port);
  return std::nullopt;
}

std::string IpText(const Endpoint& endpoint) {
  char text[INET6_ADDRSTRLEN] = "";
  if (endpoint.ip_length == 0) return text;
  inet_ntop(endpoint.ip_length == 4 ? AF_INET : AF_INET6, endpoint.ip.data(), text, sizeof text);
  return text;
}

}  // namespace skep::gossip
