// The small vocabulary of the gossip room: byte buffers, time and network endpoints.
#pragma once

#include <algorithm>
#include <array>
#include <compare>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace skep::gossip {

using Bytes = std::vector<uint8_t>;
using ByteView = std::span<const uint8_t>;

/// Milliseconds on a monotonic clock that the caller owns.
using Millis = int64_t;
inline constexpr Millis kNever = std::numeric_limits<Millis>::max();

inline ByteView AsBytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

inline std::string_view AsText(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// `more` must not be part of `out`.
inline void Append(Bytes* out, ByteView more) {
  // Not insert(): GCC 12 warns of an overflow in it that cannot happen.
  const size_t at = out->size();
  out->resize(at + more.size());
  std::copy(more.begin(), more.end(), out->begin() + static_cast<std::ptrdiff_t>(at));
}

inline void AppendU16(Bytes* out, uint16_t value) {
  out->push_back(static_cast<uint8_t>(value >> 8));
  out->push_back(static_cast<uint8_t>(value));
}

inline void AppendU32(Bytes* out, uint32_t value) {
  AppendU16(out, static_cast<uint16_t>(value >> 16));
  AppendU16(out, static_cast<uint16_t>(value));
}

inline uint16_t ReadU16(ByteView from, size_t at) {
  return static_cast<uint16_t>(from[at] << 8 | from[at + 1]);
}

inline uint32_t ReadU32(ByteView from, size_t at) {
  return static_cast<uint32_t>(ReadU16(from, at)) << 16 | ReadU16(from, at + 2);
}

/// An IPv4 or IPv6 address with a port.
struct Endpoint {
  std::array<uint8_t, 16> ip{};
  uint8_t ip_length = 0;  // 4 or 16; 0 means "no address".
  uint16_t port = 0;

  auto operator<=>(const Endpoint&) const = default;
  ByteView IpBytes() const { return {ip.data(), ip_length}; }
};

/// From raw address bytes; IPv4 mapped into IPv6 becomes IPv4. Empty for any other length than 4 or
/// 16.
std::optional<Endpoint> EndpointFromBytes(ByteView ip, uint16_t port);

/// From the text of an address (no name lookup).
std::optional<Endpoint> EndpointFromText(const std::string& ip, uint16_t port);

/// The address without its port, as text.
std::string IpText(const Endpoint& endpoint);

}  // namespace skep::gossip
