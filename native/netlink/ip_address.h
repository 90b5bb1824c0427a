// An address of either family: IPv6, or IPv4 in the form ::ffff:a.b.c.d, as the data path's maps hold
// it. All zero stands for none.
#pragma once

#include <arpa/inet.h>

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

namespace skep {

struct IpAddress {
  std::array<uint32_t, 4> word{};  // network byte order

  auto operator<=>(const IpAddress&) const = default;

  static IpAddress V4(uint32_t address) {
    return IpAddress{{0, 0, htonl(0xffff), address}};
  }

  /// From what the kernel gives with a family; anything else than 4 or 16 bytes is none.
  static IpAddress FromBytes(const void* bytes, size_t size) {
    IpAddress address;
    if (size == sizeof address.word) std::memcpy(address.word.data(), bytes, size);
    if (size != sizeof(uint32_t)) return address;
    uint32_t v4;
    std::memcpy(&v4, bytes, size);
    return V4(v4);
  }

  /// Dotted IPv4 or IPv6 text; nothing if it is neither. IPv4 in IPv6 form is the IPv4 address.
  static std::optional<IpAddress> Parse(const std::string& text) {
    in_addr v4{};
    if (::inet_pton(AF_INET, text.c_str(), &v4) == 1) return V4(v4.s_addr);
    in6_addr v6{};
    if (::inet_pton(AF_INET6, text.c_str(), &v6) != 1) return std::nullopt;
    return FromBytes(&v6, sizeof v6);
  }

  bool given() const { return *this != IpAddress{}; }
  bool is_v4() const { return word[0] == 0 && word[1] == 0 && word[2] == htonl(0xffff); }
  int family() const { return is_v4() ? AF_INET : AF_INET6; }
  uint32_t v4() const { return word[3]; }

  /// The address as its family has it on the wire.
  const void* bytes() const { return is_v4() ? &word[3] : word.data(); }
  size_t size() const { return is_v4() ? sizeof(uint32_t) : sizeof word; }
  /// Length of a prefix that is this address alone.
  uint8_t bits() const { return static_cast<uint8_t>(size() * 8); }

  std::string Text() const {
    char text[INET6_ADDRSTRLEN];
    ::inet_ntop(family(), bytes(), text, sizeof text);
    return text;
  }
};

}  // namespace skep
