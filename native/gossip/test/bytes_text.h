// Byte literals for tests.
#pragma once

#include <string>

#include "gossip/bytes.h"

namespace skep::gossip::test {

/// "8a 01" or "8a01" to bytes.
inline Bytes Hex(const std::string& text) {
  Bytes out;
  int high = -1;
  for (const char c : text) {
    if (c == ' ') continue;
    const int digit = c <= '9' ? c - '0' : c - 'a' + 10;
    if (high < 0) {
      high = digit;
    } else {
      out.push_back(static_cast<uint8_t>(high << 4 | digit));
      high = -1;
    }
  }
  return out;
}

inline std::string ToHex(ByteView bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const uint8_t byte : bytes) {
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

inline Bytes Text(std::string_view text) { return Bytes(text.begin(), text.end()); }

}  // namespace skep::gossip::test
